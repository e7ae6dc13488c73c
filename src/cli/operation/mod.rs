//! What writing verbs have in common: permission, the lock, the backup, and the store's record of what was done.
//!
//! # Invariants
//! - Nothing is written without `--apply`, and without the job's name or a "yes" beside it.
//! - Whoever writes holds the directory's lock, so no driver is alive and none can start (I-8).
//! - Nothing is deleted. What is in the way moves to the backup folder or to `lost+found/`; what is about to change is copied to the
//!   backup folder first, synced.
//! - `operations.jsonl` says what is about to be done before it is begun, and what was done after it: a line without its second one is a
//!   verb that died, and that is safe to run again.
//!
//! # What a crash leaves
//! | step, all `operation.write` | a crash before or in it leaves |
//! |---|---|
//! | the backup folder and the copies in it | copies that nobody needs |
//! | the line `begins` | the same, and perhaps half a line, which whoever reads the file skips |
//! | a move within a file system: rename, sync of both directories | the file under the old name or the new one |
//! | a move across file systems: copy, sync, rename in the target, then the old name goes | the file under the old name, or both |
//! | the line `done` | all done, but not on record as done |
#![allow(clippy::disallowed_methods)] // looks at what the user named

mod files;
pub(crate) mod journal;
pub(crate) mod pins;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, Result};
use super::location::{Store, quoted};
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_base::disk::{Disk, Kind, Step};
use floodmark_base::id::{Epoch, WriterNonce};
use floodmark_store::checkpoint::Manifest;
use floodmark_store::lock::{DirectoryLock, Owner};
use floodmark_store::remote::RemoteDisk;

pub(crate) use files::{copy_tree, link_tree, move_to};
pub(crate) use journal::Moved;

/// What verbs that write take.
#[derive(Clone, Debug, clap::Args)]
pub struct WriteArgs {
    /// Do it. Without this nothing is written, and the verb only says what it would do.
    #[arg(long)]
    pub apply: bool,
    /// The name of the job, in place of the question on a terminal: for scripts.
    #[arg(long, value_name = "JOB")]
    pub confirm: Option<String>,
}

/// The folder that verbs take which move or replace something.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// Where copies of what changes, and what is in the way, go: a directory outside of the store, made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub backup: Option<PathBuf>,
}

/// A verb that may write: it holds the lock.
pub(crate) struct Operation<'s> {
    store: &'s Store,
    verb: &'static str,
    disk: Arc<dyn Disk>,
    /// The folder of this operation, in the backup directory; made when it is needed first.
    backup: Option<PathBuf>,
    moved: Vec<Moved>,
    time_ms: u64,
    /// The same door, where it is that of a job in object storage.
    remote: Option<Arc<RemoteDisk>>,
    _lock: DirectoryLock,
}

/// Refuses a store whose driver is alive, without touching its lock: what a dry run says must still be true when it is applied.
pub(crate) fn refuse_the_owned(store: &Store) -> Result<()> {
    match store.owner() {
        Owner::Alive { process } => Err(owned(store, &format!("process {process}"))),
        Owner::Nobody | Owner::Unknown { .. } | Owner::Elsewhere { .. } => Ok(()),
    }
}

/// Says whom a verb would fence that writes into the chain of a job in object storage: nobody can tell whether they are alive.
pub(crate) fn warn_of_fencing(store: &Store, console: &mut Console<'_>) {
    if let Owner::Elsewhere { epoch, who, .. } = store.owner() {
        console.hint(&format!(
            "floodmark: epoch {epoch} is held by {who}; if it runs, this takes the job over from it, and it ends: stop it first"
        ));
    }
}

/// Refuses a verb that cannot do in object storage what it does in a directory.
pub(crate) fn refuse_in_bucket(store: &Store, reason: &str, next: impl Into<String>) -> Result<()> {
    match store.remote() {
        Some(_) => Err(Failure::usage(format!("{}: {reason}", store.name())).try_next(next)),
        None => Ok(()),
    }
}

fn owned(store: &Store, owner: &str) -> Failure {
    let message = format!("{} is owned by {owner}: stop the job first, nothing was written", store.path().display());
    Failure::new(Exit::Owned, message).try_next(format!("floodmark status {}", store.shown()))
}

impl<'s> Operation<'s> {
    /// Asks for permission, and takes the lock. `question` says what is about to be done.
    ///
    /// # Errors
    /// Exit code 2 without permission or without a backup folder that can be one, 6 where a driver is alive, 1 where the disk refuses.
    pub fn begin(
        console: &mut Console<'_>,
        store: &'s Store,
        job: &str,
        verb: &'static str,
        args: &WriteArgs,
        backup: Option<&BackupArgs>,
        question: &str,
    ) -> Result<Self> {
        let time_ms = SystemClock::default().epoch_ms();
        let backup = match backup {
            None => None,
            Some(BackupArgs { backup: None }) => {
                return Err(Failure::usage(format!(
                    "{verb} --apply needs --backup DIR: nothing is written without a copy"
                )));
            }
            Some(BackupArgs { backup: Some(directory) }) => Some(new_folder(store, directory, verb, time_ms)?),
        };
        permit(console, store, job, args, question)?;
        let lock = DirectoryLock::take(store.path()).map_err(|error| match Failure::from(error) {
            failure if failure.exit == Exit::Owned => owned(store, "another process"),
            failure => failure,
        })?;
        let remote = store.remote().map(|remote| remote.begin(console)).transpose()?;
        let disk = remote.clone().map_or_else(|| console.disk(), |remote| remote as Arc<dyn Disk>);
        Ok(Self { store, verb, disk, backup, moved: Vec::new(), time_ms, remote, _lock: lock })
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The job in object storage, where it is there.
    pub fn remote(&self) -> Option<&RemoteDisk> {
        self.remote.as_deref()
    }

    /// Pins the checkpoint that this manifest of the chain names.
    ///
    /// # Errors
    /// When the store fails, or the checkpoint is no longer there.
    pub fn pin(&self, manifest: &Manifest) -> Result<()> {
        match self.remote() {
            Some(remote) => Ok(remote.pin(manifest)?),
            None => pins::pin(self.disk(), self.store.path(), manifest).map(drop),
        }
    }

    /// Takes the log in object storage over for the life that this manifest has claimed, so that a driver of before ends at its next
    /// put; a directory's log has no driver, since the lock is ours.
    ///
    /// # Errors
    /// Exit code 6 where a newer driver has been here.
    pub fn take_log(&self, epoch: Epoch, nonce: WriterNonce) -> Result<()> {
        let Some(remote) = self.remote() else { return Ok(()) };
        match remote.open_log(epoch, nonce)? {
            Ok(_) => Ok(()),
            Err(overtaken) => Err(Failure::new(Exit::Owned, format!("another driver has taken over: {overtaken}"))),
        }
    }

    /// The door, for those who keep it.
    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    /// When it began, as a part of names.
    pub fn stamp(&self) -> String {
        stamp(self.time_ms)
    }

    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begins(&self, what: &str) -> Result<()> {
        journal::write(self, "begins", what, &[])
    }

    /// Writes down what was done, and gives it back for the report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn done(self, what: &str) -> Result<Vec<Moved>> {
        journal::write(&self, "done", what, &self.moved)?;
        Ok(self.moved)
    }

    /// Copies a file or a directory of the store into the backup folder.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn back_up(&mut self, below: &str) -> Result<()> {
        let from = self.store.path().join(below);
        let to = self.backup_folder()?.join(below);
        copy_tree(self.disk(), &from, &to)?;
        self.note(below, &to, true);
        Ok(())
    }

    /// Keeps the bytes of an object in the backup folder, synced, before it is deleted.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_object(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let to = self.backup_folder()?.join(name);
        files::write_whole(&*self.disk, &to, bytes)?;
        self.note(name, &to, false);
        Ok(())
    }

    /// Moves a file or a directory of the store into the backup folder.
    ///
    /// # Errors
    /// When it cannot be moved; it is then still where it was.
    pub fn move_to_backup(&mut self, below: &str) -> Result<()> {
        let to = self.backup_folder()?.join(below);
        self.move_away(below, &to)
    }

    /// Moves a file or a directory of the store to `lost+found/<time>/`.
    ///
    /// # Errors
    /// As [`move_to_backup`](Self::move_to_backup).
    pub fn move_aside(&mut self, below: &str) -> Result<()> {
        let to = self.store.path().join(LOST_AND_FOUND).join(stamp(self.time_ms)).join(below);
        self.move_away(below, &to)
    }

    fn move_away(&mut self, below: &str, to: &Path) -> Result<()> {
        move_to(self.disk(), &self.store.path().join(below), to)?;
        self.note(below, to, false);
        Ok(())
    }

    fn note(&mut self, below: &str, to: &Path, copied: bool) {
        let to = to.strip_prefix(self.store.path()).unwrap_or(to).display().to_string();
        self.moved.push(Moved { from: below.to_string(), to, copied });
    }

    fn backup_folder(&self) -> Result<PathBuf> {
        let folder = self.backup.clone().expect("a verb that backs up has asked for a folder");
        self.disk.create_dir_all(Step::Operation, &folder).map_err(|error| Failure::io("make", &folder, &error))?;
        Ok(folder)
    }
}

/// The directory inside of a store to which damaged bytes move.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";

/// A folder for this operation in the backup directory, which must not lie in the store.
fn new_folder(store: &Store, directory: &Path, verb: &str, time_ms: u64) -> Result<PathBuf> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Failure::io("look at", path, &error));
    // Links in between are followed where they are there already.
    let (inside, directory) = (absolute(store.path())?, absolute(directory)?);
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(&directory);
    if real(existing).starts_with(real(&inside)) {
        let message = format!("the backup folder {} lies in the store: choose one outside", directory.display());
        return Err(Failure::usage(message));
    }
    if directory.exists() && !directory.is_dir() {
        return Err(Failure::usage(format!("the backup folder {} is not a directory", directory.display())));
    }
    let name = format!("{verb}-{}", stamp(time_ms));
    let mut folder = directory.join(&name);
    for again in 2.. {
        if !folder.exists() {
            break;
        }
        folder = directory.join(format!("{name}-{again}"));
    }
    Ok(folder)
}

/// A time as the part of a file's name: `20261121T174212345Z`.
fn stamp(time_ms: u64) -> String {
    super::page::time(time_ms).chars().filter(|letter| letter.is_ascii_alphanumeric()).fold(
        String::new(),
        |text, letter| {
            let separator = if text.len() == 8 { "T" } else { "" };
            text + separator + &letter.to_string()
        },
    )
}

fn permit(console: &mut Console<'_>, store: &Store, job: &str, args: &WriteArgs, question: &str) -> Result<()> {
    match &args.confirm {
        Some(name) if name == job => Ok(()),
        Some(name) => Err(Failure::usage(format!(
            "--confirm names the job \"{name}\", but {} is that of \"{job}\": nothing was written",
            store.path().display()
        ))),
        None if console.terminal().input_is_terminal => {
            if console.ask(question)? {
                Ok(())
            } else {
                Err(Failure::usage("not confirmed: nothing was written"))
            }
        }
        None => {
            let message = format!("--apply without a terminal needs --confirm {}: nothing was written", quoted(job));
            Err(Failure::usage(message))
        }
    }
}

/// Whether something stands under this name.
pub(crate) fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.kind(path) {
        Ok(Kind::File | Kind::Directory | Kind::Other) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::io("look at", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_sorts_by_time_and_is_a_name() {
        assert_eq!(stamp(1_700_000_000_007), "20231114T221320007Z");
        assert!(stamp(999) < stamp(1_000));
    }
}
