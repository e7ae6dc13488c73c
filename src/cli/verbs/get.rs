//! `floodmark get`: the state of one key.

use serde::Serialize;

use crate::checkpoints::{Known, Opened, Question};
use crate::console::{Console, Report};
use crate::entries::{KeyArgs, SeenEntry, Types};
use crate::failure::Result;
use crate::location::Store;
use crate::page::Page;

/// The state of a key.
///
/// KEY is JSON of the operator's key type, such as '["apple", 3]'; strings, numbers and variants of enums may be given as they are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    #[command(flatten)]
    asked: KeyArgs,
    /// Ask the checkpoint of this batch, not the newest one.
    #[arg(long, value_name = "BATCH")]
    as_of: Option<u64>,
}

#[derive(Serialize)]
struct GetReport {
    operator: String,
    batch: u64,
    time_ms: u64,
    /// Whether the key has a state.
    present: bool,
    #[serde(flatten)]
    entry: SeenEntry,
    #[serde(skip)]
    text: String,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let opened = Opened::open(&store, args.as_of, &question(args, &store))?;
    let types = Types::of(opened.known.operator(&args.asked.uid)?);
    let key = args.asked.encoded(&types)?;
    let state = opened.view.get(types.number, &key);
    let state = state.map_err(|error| opened.damaged(&store, "the state of this key cannot be read", Some(&error)))?;
    let Known { manifest, .. } = &opened.known;
    console.show(&GetReport {
        operator: args.asked.uid.clone(),
        batch: opened.known.batch().0,
        time_ms: manifest.point.last_batch_time.0,
        present: state.is_some(),
        entry: types.entry(&key, state.as_deref()),
        text: line(&types, &key, state.as_deref()),
    })?;
    console.flush()?;
    if !console.is_json() {
        console.hint(&format!("as of {}", opened.known.name()));
    }
    let exit = opened.checkpoints.tell_damage(&store, console);
    match opened.view.damage() {
        Some(_) => Err(opened.damaged(&store, "this key could be read", None)),
        None => Ok(exit),
    }
}

fn question(args: &Args, store: &Store) -> Question {
    let KeyArgs { uid, key, key_hex } = &args.asked;
    match (key, key_hex) {
        (Some(key), _) => Question::of("get", store, &[uid, key]),
        (None, hex) => Question::of("get", store, &[uid, "--key-hex", hex.as_deref().unwrap_or_default()]),
    }
}

/// An entry as a line of text.
pub(super) fn line(types: &Types, key: &[u8], state: Option<&[u8]>) -> String {
    match state {
        Some(state) => format!("{} → {}", types.key_text(key), types.state_text(state)),
        None => format!("{} has no state", types.key_text(key)),
    }
}

impl Report for GetReport {
    const SCHEMA: &'static str = "floodmark.get/1";

    fn write(&self, page: &mut Page) {
        page.verbatim(&self.text);
    }
}
