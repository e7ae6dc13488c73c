//! `floodmark scan`: all keys of an operator, as they come.

use serde::Serialize;

use super::get::line;
use crate::checkpoints::{Opened, Question};
use crate::console::Console;
use crate::entries::Types;
use crate::failure::Result;
use crate::location::Store;
use crate::page::count;
use crate::reading::{Entries, Hole};

/// The state of every key of an operator.
///
/// In the order of the store: by the hash of the key. It prints as it reads, one key at a time. In a damaged checkpoint it goes
/// around what cannot be read, and ends with exit code 3.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The operator.
    uid: String,
    /// Ask the checkpoint of this batch, not the newest one.
    #[arg(long, value_name = "BATCH")]
    as_of: Option<u64>,
    /// Print so many keys at most.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print keys that begin with this text only. All keys are read.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Print keys without their states.
    #[arg(long)]
    keys_only: bool,
}

/// What stands behind the entries.
#[derive(Serialize)]
struct ScanEnd<'a> {
    operator: &'a str,
    batch: u64,
    time_ms: u64,
    /// How many entries were printed.
    count: u64,
    /// How many keys the operator has.
    keys: u64,
    /// Whether the list was cut by `--limit`.
    limited: bool,
    /// What could not be read.
    holes: &'a [Hole],
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let question = Question::of("scan", &store, &[&args.uid]);
    let opened = Opened::open(&store, args.as_of, &question)?;
    let operator = opened.known.operator(&args.uid)?;
    let types = Types::of(operator);
    let mut entries = Entries::of(&opened.view, types.number);
    let mut list = console.list("floodmark.scan/1", "entries")?;
    let (mut printed, mut limited) = (0, false);
    while entries.advance() {
        console.check()?;
        if args.prefix.as_ref().is_some_and(|prefix| !types.plain_key_text(&entries.key).starts_with(prefix)) {
            continue;
        }
        if args.limit.is_some_and(|limit| printed >= limit) {
            limited = true;
            break;
        }
        printed += 1;
        let state = (!args.keys_only).then_some(entries.state.as_slice());
        if console.is_json() {
            list.push(console, &types.entry(&entries.key, state))?;
        } else if args.keys_only {
            console.line(&types.key_text(&entries.key))?;
        } else {
            console.line(&line(&types, &entries.key, state))?;
        }
    }
    let end = ScanEnd {
        operator: &args.uid,
        batch: opened.known.batch().0,
        time_ms: opened.known.manifest.point.last_batch_time.0,
        count: printed,
        keys: operator.entries,
        limited,
        holes: &entries.holes,
    };
    list.finish(console, &end)?;
    console.flush()?;
    if !console.is_json() {
        let of = if printed == operator.entries { String::new() } else { format!(" of {}", count(operator.entries)) };
        console.hint(&format!("{}{of} keys as of {}", count(printed), opened.known.name()));
    }
    let exit = opened.checkpoints.tell_damage(&store, console);
    // A scan that was cut has not looked at everything, and says nothing of the rest.
    let expected = if limited { 0 } else { operator.entries };
    match entries.damage(&store, &opened, &args.uid, expected) {
        Some(failure) => Err(failure),
        None => Ok(exit),
    }
}
