//! `floodmark history`: the state of one key in every checkpoint that is there.

use serde::Serialize;

use super::get::line;
use crate::checkpoints::{Checkpoints, Known, Opened, Question};
use crate::console::{Console, Report};
use crate::entries::{KeyArgs, SeenEntry, Types};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::page::{Page, time};

/// The state of a key in every retained checkpoint.
///
/// The newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    #[command(flatten)]
    asked: KeyArgs,
}

#[derive(Serialize)]
struct HistoryReport {
    operator: String,
    versions: Vec<Version>,
    /// The batches that `--as-of` can ask for.
    batches: String,
    note: &'static str,
}

/// The state after one batch.
#[derive(Serialize)]
struct Version {
    batch: u64,
    time_ms: u64,
    pinned: bool,
    /// Whether the key has a state; `None` where that cannot be read.
    present: Option<bool>,
    #[serde(flatten)]
    entry: Option<SeenEntry>,
    /// Why it cannot be read, or is not there.
    problem: Option<String>,
    #[serde(skip)]
    text: String,
}

const NOTE: &str = "The states after the batches between these are not stored; they can be had by replay with the job's own \
                    code: StreamingContext::replay.";

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let checkpoints = Checkpoints::of(&store)?;
    // The newest one says whether the operator is there at all, and what its keys are.
    let newest = checkpoints.pick(None)?;
    let known_somewhere = checkpoints.known.iter().find_map(|known| known.operator(&args.asked.uid).ok());
    let types = match known_somewhere {
        Some(operator) => Types::of(operator),
        None => Types::of(newest.operator(&args.asked.uid)?),
    };
    let key = args.asked.encoded(&types)?;
    let mut report = HistoryReport {
        operator: args.asked.uid.clone(),
        versions: Vec::new(),
        batches: checkpoints.batches(),
        note: NOTE,
    };
    let mut worst = None;
    for known in &checkpoints.known {
        console.check()?;
        match version(&store, known, &checkpoints, &args.asked.uid, &key) {
            Ok(version) => report.versions.push(version),
            // Collected since it was found.
            Err(_) if !still_known(&store, known)? => {}
            Err(failure) => {
                report.versions.push(Version {
                    present: None,
                    entry: None,
                    text: format!("cannot be read: {failure}"),
                    problem: Some(failure.to_string()),
                    ..Version::at(known)
                });
                worst.get_or_insert(failure);
            }
        }
    }
    console.show(&report)?;
    let exit = checkpoints.tell_damage(&store, console);
    match worst {
        Some(failure) if failure.exit != Exit::Usage => Err(failure),
        _ => Ok(exit),
    }
}

/// Whether a checkpoint still counts: in a bucket, after a look at what was published since.
fn still_known(store: &Store, known: &Known) -> Result<bool> {
    store.catch_up()?;
    Ok(Checkpoints::of(store)?.count(known))
}

fn version(store: &Store, known: &Known, checkpoints: &Checkpoints, uid: &str, key: &[u8]) -> Result<Version> {
    let types = match known.operator(uid) {
        Ok(operator) => Types::of(operator),
        Err(absent) => {
            let problem = absent.to_string();
            return Ok(Version { text: problem.clone(), problem: Some(problem), ..Version::at(known) });
        }
    };
    let opened = Opened::open_known(store, known, checkpoints.clone(), &Question::of("operators", store, &[]))?;
    let state = opened.view.get(types.number, key);
    let state = state
        .map_err(|error| -> Failure { opened.damaged(store, "the state of this key cannot be read", Some(&error)) })?;
    Ok(Version {
        present: Some(state.is_some()),
        text: line(&types, key, state.as_deref()),
        entry: Some(types.entry(key, state.as_deref())),
        ..Version::at(known)
    })
}

impl Version {
    fn at(known: &Known) -> Self {
        Self {
            batch: known.batch().0,
            time_ms: known.manifest.point.last_batch_time.0,
            pinned: known.pinned,
            present: Some(false),
            entry: None,
            problem: None,
            text: String::new(),
        }
    }
}

impl Report for HistoryReport {
    const SCHEMA: &'static str = "floodmark.history/1";

    fn write(&self, page: &mut Page) {
        let widest = self.versions.iter().map(|version| version.batch.to_string().len()).max().unwrap_or_default();
        for version in &self.versions {
            let pinned = if version.pinned { "  pinned" } else { "" };
            let (batch, time) = (version.batch, time(version.time_ms));
            page.verbatim(&format!("batch {batch:>widest$}  {time}{pinned}  {}", version.text));
        }
        page.gap();
        page.line(&format!("With --as-of {} can be asked for. {}", self.batches, self.note));
    }
}
