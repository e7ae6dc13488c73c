//! `floodmark unpin`: a pin moves to the backup folder.

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::{Store, quoted};
use crate::operation::pins::{Pin, pins};
use crate::operation::{BackupArgs, Moved, Operation, WriteArgs, refuse_the_owned};
use crate::page::{Page, count};

/// (writes) Gives a pin up.
///
/// It moves to the backup folder. Writes only with --apply.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The batch whose pin is to go.
    batch: u64,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    backup: BackupArgs,
}

#[derive(Serialize)]
struct UnpinReport {
    store: String,
    applied: bool,
    batch: u64,
    directories: Vec<String>,
    moved: Vec<Moved>,
    next: Option<String>,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    refuse_the_owned(&store)?;
    let (known, _) = pins(&*console.disk(), store.path())?;
    let found: Vec<&Pin> = known.iter().filter(|pin| pin.batch().0 == args.batch).collect();
    let Some(first) = found.first() else {
        let there: Vec<String> = known.iter().map(|pin| pin.batch().to_string()).collect();
        let there = if there.is_empty() { "nothing is".to_string() } else { format!("pinned: {}", there.join(", ")) };
        return Err(Failure::usage(format!("batch {} is not pinned; {there}", args.batch)));
    };
    let job = first.manifest.point.job_name.clone();
    let mut report = UnpinReport {
        store: store.name(),
        applied: args.write.apply,
        batch: args.batch,
        directories: found.iter().map(|pin| pin.directory.clone()).collect(),
        moved: Vec::new(),
        next: None,
    };
    if args.write.apply {
        let question = format!("Give up the pin of batch {} of the job \"{job}\"?", args.batch);
        let backup = Some(&args.backup);
        let mut operation = Operation::begin(console, &store, &job, "unpin", &args.write, backup, &question)?;
        let what = format!("the pin of batch {} moves to the backup folder", args.batch);
        operation.begins(&what)?;
        for pin in &found {
            give_up(&mut operation, pin)?;
        }
        report.moved = operation.done(&what)?;
    } else {
        report.next = Some(format!(
            "floodmark unpin {} {} --apply --backup DIR --confirm {}",
            store.shown(),
            args.batch,
            quoted(&job)
        ));
    }
    console.show(&report)?;
    Ok(Exit::Healthy)
}

/// Moves a pin to the backup folder; in a bucket the pin is one object, and files that only it held go with the next life's collection.
fn give_up(operation: &mut Operation<'_>, pin: &Pin) -> Result<()> {
    let Some(bytes) = operation.remote().map(|remote| remote.pin_bytes(&pin.directory)).transpose()? else {
        return operation.move_to_backup(&pin.below());
    };
    if let Some(bytes) = bytes {
        operation.keep_object(&format!("pins/{}", pin.directory), &bytes)?;
    }
    Ok(operation.remote().map_or(Ok(()), |remote| remote.unpin(&pin.directory))?)
}

impl Report for UnpinReport {
    const SCHEMA: &'static str = "floodmark.unpin/1";

    fn write(&self, page: &mut Page) {
        let done = if self.applied { "is given up" } else { "would be given up; nothing was written" };
        page.line(&format!("The pin of batch {} {done}.", count(self.batch)));
        for moved in &self.moved {
            page.verbatim(&format!("{} -> {}", moved.from, moved.to));
        }
        if let Some(next) = &self.next {
            page.next(next);
        }
    }
}
