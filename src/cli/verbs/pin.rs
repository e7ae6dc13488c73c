//! `floodmark pin`: keeps a checkpoint when the job's own collection has passed it.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::operation::pins::{Pin, pins};
use crate::operation::{Operation, WriteArgs, refuse_the_owned};
use crate::page::{Page, bytes, count, counted};
use crate::view;
use floodmark_base::id::BatchId;
use floodmark_store::recovery::rollback;

/// (writes) Keeps a checkpoint for good, or lists the pins.
///
/// Writes only with --apply. A pin is a second name of every file of the checkpoint, in `pinned/`. It keeps the state, not the
/// log: `rollback` can go back to it as long as the log reaches back to it, `get`, `scan` and `export` for ever.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The batch whose checkpoint is to be kept.
    batch: Option<u64>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Serialize)]
struct PinReport {
    store: String,
    applied: bool,
    /// The checkpoint to pin, or that was pinned.
    pinned: Option<PinnedCheckpoint>,
    already: bool,
    pins: Vec<PinnedCheckpoint>,
    unreadable: Vec<String>,
    next: Option<String>,
}

#[derive(Serialize)]
struct PinnedCheckpoint {
    batch: u64,
    directory: String,
    bytes: u64,
    keys: u64,
}

impl From<&Pin> for PinnedCheckpoint {
    fn from(pin: &Pin) -> Self {
        Self {
            batch: pin.batch().0,
            directory: pin.directory.clone(),
            bytes: pin.files().iter().flat_map(|files| &files.files).map(|file| file.size).sum(),
            keys: pin.manifest.point.keyed_entries(),
        }
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let (known, unreadable) = pins(&*console.disk(), store.path())?;
    let mut report = PinReport {
        store: store.name(),
        applied: false,
        pinned: None,
        already: false,
        pins: known.iter().map(PinnedCheckpoint::from).collect(),
        unreadable: unreadable.into_iter().map(|(directory, reason)| format!("{directory}: {reason}")).collect(),
        next: None,
    };
    if let Some(batch) = args.batch {
        pin_one(args, console, &store, BatchId(batch), &mut report)?;
    } else if args.write.apply {
        return Err(Failure::usage("pin --apply needs the batch whose checkpoint is to be pinned"));
    }
    console.show(&report)?;
    Ok(if report.unreadable.is_empty() { Exit::Healthy } else { Exit::Degraded })
}

fn pin_one(
    args: &Args,
    console: &mut Console<'_>,
    store: &Store,
    batch: BatchId,
    report: &mut PinReport,
) -> Result<()> {
    refuse_the_owned(store)?;
    let chain = view::chain(store.path())?;
    let Some(manifest) = rollback::target(&chain, batch).filter(|manifest| manifest.checkpoint.is_some()) else {
        let there = rollback::targets(&chain).into_iter().filter(|it| it.checkpoint.is_some());
        let there: Vec<String> = there.map(|manifest| manifest.point.batch.to_string()).collect();
        let message = format!("there is no checkpoint of batch {batch}: there are {}", there.join(", "));
        return Err(Failure::usage(message).try_next(format!("floodmark log {}", store.shown())));
    };
    let directory = manifest.checkpoint.as_ref().map(|files| files.directory.clone()).unwrap_or_default();
    let new = Pin { directory, manifest: manifest.clone() };
    report.already = report.pins.iter().any(|pin| pin.directory == new.directory);
    report.pinned = Some(PinnedCheckpoint::from(&new));
    if report.already {
        return Ok(());
    }
    // In a bucket sizes were looked at; `verify --full` reads all.
    if store.remote().is_none()
        && let Some(damage) = floodmark_store::state::files::verify_files(
            &store.path().join(floodmark_store::recovery::facts::CHECKPOINTS).join(&new.directory),
            new.files().map(|files| files.files.as_slice()).unwrap_or_default(),
            true,
        )
        .err()
    {
        return Err(Failure::from(damage).try_next(format!("floodmark verify {}", store.shown())));
    }
    let job = &new.manifest.point.job_name;
    if !args.write.apply {
        report.next =
            Some(format!("floodmark pin {} {batch} --apply --confirm {}", store.shown(), crate::location::quoted(job)));
        return Ok(());
    }
    let question = format!("Pin the checkpoint of batch {batch} of the job \"{job}\"?");
    let operation = Operation::begin(console, store, job, "pin", &args.write, None, &question)?;
    let what = format!("checkpoint of batch {batch}, {}, is pinned", new.directory);
    operation.begins(&what)?;
    operation.pin(&new.manifest)?;
    operation.done(&what)?;
    report.applied = true;
    report.pins.push(PinnedCheckpoint::from(&new));
    Ok(())
}

impl Report for PinReport {
    const SCHEMA: &'static str = "floodmark.pin/1";

    fn write(&self, page: &mut Page) {
        if let Some(pinned) = &self.pinned {
            let done = match (self.applied, self.already) {
                (_, true) => "is pinned already",
                (true, _) => "is pinned",
                (false, _) => "would be pinned; nothing was written",
            };
            page.line(&format!(
                "The checkpoint of batch {} ({}, {}) {done}.",
                count(pinned.batch),
                bytes(pinned.bytes),
                counted(pinned.keys, "key")
            ));
            if let Some(next) = &self.next {
                page.next(next);
            }
        }
        if self.pins.is_empty() {
            page.line("No checkpoint is pinned.");
        } else {
            let row =
                |it: &PinnedCheckpoint| vec![count(it.batch), count(it.keys), bytes(it.bytes), it.directory.clone()];
            page.table(&["pinned", "keys", "bytes", "directory"], &self.pins.iter().map(row).collect::<Vec<_>>());
        }
        for unreadable in &self.unreadable {
            page.line(&format!("A pin cannot be read: {unreadable}"));
        }
    }
}
