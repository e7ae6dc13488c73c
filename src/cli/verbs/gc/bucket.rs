//! `floodmark gc` on a URL: objects that nobody needs.
//!
//! A driver at work is not disturbed, and not fenced: of table files only those go that lives of older epochs have left, which are
//! fenced already. Each object is copied to the backup folder before it is deleted; a crash in between leaves both.

use super::{Args, Garbage, GcReport};
use crate::cli::console::Console;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Result};
use crate::cli::location::{Store, quoted};
use crate::cli::operation::Operation;
use crate::cli::remote::RemoteStore;
use crate::remote::Unneeded;

pub(super) fn run(args: &Args, store: &Store, console: &mut Console<'_>) -> Result {
    let Some(remote) = store.remote() else { return Ok(Exit::Healthy) };
    if let Some(refusal) = remote.refusal() {
        return Err(refusal.try_next(format!("floodmark verify {}", store.shown())));
    }
    let newest = remote.look().manifests.newest_sound().map(|newest| newest.point.job_name.clone());
    let job = newest.unwrap_or_default();
    let mut unneeded = look(remote)?;
    let mut report = GcReport {
        store: store.name(),
        applied: args.write.apply && !unneeded.is_empty(),
        bytes: unneeded.iter().map(|it| it.bytes).sum(),
        garbage: Vec::new(),
        moved: Vec::new(),
        next: None,
    };
    if report.applied {
        let question = format!("Move {} objects that nobody needs to the backup folder?", unneeded.len());
        let backup = Some(&args.backup);
        let mut operation = Operation::begin(console, store, &job, "gc", &args.write, backup, &question)?;
        remote.refresh()?;
        unneeded = look(remote)?;
        let what = format!("{} objects that nobody needs move to the backup folder", unneeded.len());
        operation.begins(&what)?;
        for it in &unneeded {
            console.check()?;
            move_away(&mut operation, &it.name)?;
        }
        report.moved = operation.done(&what)?;
    } else if !unneeded.is_empty() {
        let (shown, job) = (store.shown(), quoted(&job));
        report.next = Some(format!("floodmark gc {shown} --apply --backup DIR --confirm {job}"));
    }
    report.garbage = unneeded.into_iter().map(|it| Garbage { path: it.name, kind: it.kind, bytes: it.bytes }).collect();
    console.show(&report)?;
    Ok(Exit::Healthy)
}

fn look(remote: &RemoteStore) -> Result<Vec<Unneeded>> {
    Ok(remote.disk().unneeded(&remote.look())?)
}

/// Copies an object to the backup folder, and deletes it.
fn move_away(operation: &mut Operation<'_>, name: &str) -> Result<()> {
    let not_there = || Failure::new(Exit::Failed, "this verb writes to a bucket only");
    let Some(bytes) = operation.remote().ok_or_else(not_there)?.read_object(name)? else { return Ok(()) };
    operation.keep_object(name, &bytes)?;
    Ok(operation.remote().ok_or_else(not_there)?.delete_object(name)?)
}
