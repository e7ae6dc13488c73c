//! What `floodmark gc` does on a URL: objects that nobody needs.
//!
//! A driver at work is not disturbed, and not fenced: of table files only those go that lives of older epochs have left, which are
//! fenced already. Each object is copied to the backup folder before it is deleted; a crash in between leaves both.

use super::Garbage;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::operation::Operation;
use crate::remote::RemoteStore;

/// Refuses a bucket that no driver would start on: what it names may be needed.
pub(super) fn refuse(remote: &RemoteStore, store: &Store) -> Result<()> {
    match remote.refusal() {
        Some(refusal) => Err(refusal.try_next(format!("floodmark verify {}", store.shown()))),
        None => Ok(()),
    }
}

/// What may go, and the name of the job.
pub(super) fn look(remote: &RemoteStore) -> Result<(Vec<Garbage>, String)> {
    let look = remote.look();
    let job = look.manifests.newest_sound().map(|newest| newest.point.job_name.clone()).unwrap_or_default();
    let unneeded = remote.disk().unneeded(&look)?;
    Ok((unneeded.into_iter().map(|it| Garbage { path: it.name, kind: it.kind, bytes: it.bytes }).collect(), job))
}

/// Copies an object to the backup folder, and deletes it.
pub(super) fn move_away(operation: &mut Operation<'_>, name: &str) -> Result<()> {
    let not_there = || Failure::new(Exit::Failed, "this verb writes to a bucket only");
    let Some(bytes) = operation.remote().ok_or_else(not_there)?.read_object(name)? else { return Ok(()) };
    operation.keep_object(name, &bytes)?;
    Ok(operation.remote().ok_or_else(not_there)?.delete_object(name)?)
}
