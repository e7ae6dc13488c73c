//! A fork of a store: what a recovery of it needs, in a temporary directory of its own, in which it may write as it likes.
//!
//! Nothing is written into the store, and nothing is locked. Files that never change are linked (hard where the file system can,
//! else symbolically), small ones and the newest segment of the log, which a driver at work goes on with, are copied. That driver may
//! publish, truncate and collect meanwhile; a fork is taken only where the newest manifest was the same before and after.
#![allow(clippy::disallowed_methods)] // writes a fork in a scratch directory, which need not survive

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use floodmark_base::disk::{Disk, LocalDisk, give_second_name};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchId;
use floodmark_base::pursuit::Pursuit;
use floodmark_store::checkpoint::{MANIFESTS, ManifestChain, Standing};
use floodmark_store::recovery::facts::{CHECKPOINTS, Facts, WAL, observe};
use floodmark_store::recovery::refusal::Refusal;

/// A fork of a store, which goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Fork {
    directory: TempDir,
}

/// Why a try did not come to a fork.
enum Trouble {
    Io(PathBuf, io::Error),
    Refused(Refusal),
}

impl Fork {
    /// Forks what is needed for the state as of `to`, and says what a recovery finds in it.
    ///
    /// # Errors
    /// When there is no store, it cannot be read, or what is stored is refused.
    pub fn of(disk: &dyn Disk, store: &Path, to: BatchId) -> Result<(Self, Facts)> {
        let store = std::path::absolute(store).map_err(|error| {
            Error::caused_by(ErrorKind::Environment, format!("cannot look at {}", store.display()), error)
        })?;
        let newest = || ManifestChain::newest_name(disk, &store).ok().flatten();
        let mut pursuit = Pursuit::default();
        loop {
            let before = newest();
            let directory = tempfile::Builder::new().prefix("floodmark-replay-").tempdir().map_err(|error| {
                Error::caused_by(ErrorKind::Environment, "cannot make a directory to replay in", error)
            })?;
            let fork = Self { directory };
            match fork.fill(disk, &store, to) {
                Ok(facts) if newest() == before => return Ok((fork, facts)),
                Err(trouble) if !pursuit.goes_on(newest() != before) => return Err(trouble.into_error(&store)),
                Ok(_) if !pursuit.goes_on(true) => {
                    let moving = format!("{} is changed faster than it can be looked at", store.display());
                    return Err(Error::new(ErrorKind::Environment, moving));
                }
                _ => {}
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn fill(&self, disk: &dyn Disk, store: &Path, to: BatchId) -> Result<Facts, Trouble> {
        let fork = self.path();
        let (manifests, wal) = (store.join(MANIFESTS), store.join(WAL));
        for name in names(disk, &manifests)? {
            copy(disk, &manifests.join(&name), &fork.join(MANIFESTS).join(&name))?;
        }
        let chain = ManifestChain::observe(&LocalDisk, fork).map_err(|error| Trouble::Refused(error.into()))?;
        let known = chain.checkpoints().into_iter();
        for checkpoint in known.filter(|it| it.standing == Standing::Usable && it.manifest.point.batch <= to) {
            let below = Path::new(CHECKPOINTS).join(&checkpoint.files.directory);
            for file in &checkpoint.files.files {
                match link(disk, &store.join(&below).join(&file.name), &fork.join(&below).join(&file.name)) {
                    // A checkpoint that is damaged: recovery will say so.
                    Err(Trouble::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        let mut segments: Vec<String> = names(disk, &wal)?;
        segments.retain(|name| name.ends_with(".log"));
        if let Some(newest) = segments.pop() {
            copy(disk, &wal.join(&newest), &fork.join(WAL).join(&newest))?;
        }
        for name in segments {
            link(disk, &wal.join(&name), &fork.join(WAL).join(&name))?;
        }
        observe(&LocalDisk, fork).map_err(Trouble::Refused)
    }
}

impl Trouble {
    fn into_error(self, store: &Path) -> Error {
        match self {
            Self::Io(path, error) => {
                let message = format!("{} cannot be replayed: cannot read {}", store.display(), path.display());
                Error::caused_by(ErrorKind::Environment, message, error)
            }
            Self::Refused(refusal) => {
                let kind = refusal.kind();
                Error::caused_by(kind, format!("{} cannot be replayed", store.display()), refusal)
            }
        }
    }
}

/// The names in a directory; none where it is not there, which the recovery then judges.
fn names(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, Trouble> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| Trouble::Io(directory.to_path_buf(), error)),
    }
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Trouble> {
    let copied = disk.read(from).and_then(|bytes| {
        make_parent(to)?;
        fs::write(to, bytes)
    });
    copied.map_err(|error| Trouble::Io(from.to_path_buf(), error))
}

/// Gives an immutable file a second name in the fork. What only the door knows is copied.
fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Trouble> {
    if fs::metadata(from).is_err() {
        return copy(disk, from, to);
    }
    let linked = make_parent(to).and_then(|()| give_second_name(from, to));
    linked.map(drop).map_err(|error| Trouble::Io(from.to_path_buf(), error))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
