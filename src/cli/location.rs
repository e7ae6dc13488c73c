//! The location that a verb is given: whether a store is there, judged by names only.
//!
//! A URL of object storage is looked at through a scratch directory ([`remote`](super::remote)), which is the path of the store then.
#![allow(clippy::disallowed_methods)] // looks at what the user named

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, Result};
use super::remote::RemoteStore;
pub(crate) use floodmark_store::checkpoint::MANIFESTS;
use floodmark_store::lock::{Owner, owner_of};
use floodmark_store::recovery::facts::{CHECKPOINTS, WAL};
use floodmark_store::remote::{LOG, number_in};

/// A directory that holds what a job has stored; it may be damaged.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// As the user wrote it: for the commands that are shown.
    shown: String,
    remote: Option<Arc<RemoteStore>>,
}

impl Store {
    /// Looks whether a store is at `location`.
    ///
    /// # Errors
    /// Exit code 10 where none is, with what is there instead; 1 where the place cannot be read.
    pub fn open(location: &str, console: &Console<'_>) -> Result<Self> {
        if let Some(remote) = RemoteStore::open(location, console)? {
            remote.refuse_where_no_job_is(location)?;
            return Ok(Self::of_remote(location, remote));
        }
        let path = PathBuf::from(location);
        let none = |what: String| Failure::new(Exit::NotAStore, format!("{location}: {what}"));
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(none("no such directory".to_string()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(none("a part of this path is not a directory".to_string()));
            }
            Err(error) => return Err(Failure::io("look at", &path, &error)),
        };
        if !metadata.is_dir() {
            let whole = parent_store(&path).map(|store| format!("floodmark status {}", store.display()));
            let failure = none("a file, not the directory of a job".to_string());
            return Err(match whole {
                Some(next) => failure.try_next(next),
                None => failure,
            });
        }
        match traces(&path)? {
            true if is_bucket(&path)? => {
                let full = fs::canonicalize(&path).unwrap_or(path);
                let failure = none("this is how object storage keeps a job: give it as a URL".to_string());
                Err(failure.try_next(format!("floodmark status {}", quoted(&format!("file://{}", full.display())))))
            }
            true => Ok(Self { path, shown: location.to_string(), remote: None }),
            false => Err(not_here(location, &path)?),
        }
    }

    /// The place where a store is to be made; nothing is judged yet.
    ///
    /// # Errors
    /// Where a URL means nothing, or object storage cannot be read.
    pub fn place(location: &str, console: &Console<'_>) -> Result<Self> {
        Ok(match RemoteStore::open(location, console)? {
            Some(remote) => Self::of_remote(location, remote),
            None => Self { path: PathBuf::from(location), shown: location.to_string(), remote: None },
        })
    }

    fn of_remote(location: &str, remote: RemoteStore) -> Self {
        Self { path: remote.path().to_path_buf(), shown: location.to_string(), remote: Some(Arc::new(remote)) }
    }

    /// What reports call it: its path, or its URL.
    pub fn name(&self) -> String {
        match &self.remote {
            Some(_) => self.shown.clone(),
            None => self.path.display().to_string(),
        }
    }

    /// The bucket behind it, if it is in object storage.
    pub fn remote(&self) -> Option<&RemoteStore> {
        self.remote.as_deref()
    }

    /// Sees to it that the files in a directory of the store are there, not only their names and sizes.
    ///
    /// # Errors
    /// When object storage cannot be read, or holds other bytes.
    pub fn bring(&self, directory: &Path) -> Result<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.bring(directory))
    }

    /// The same for all checkpoints of the chain, as a start does it.
    ///
    /// # Errors
    /// As [`bring`](Self::bring), and where a start is refused by what is in the bucket.
    pub fn bring_all(&self) -> Result<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.bring_all(&self.shown()))
    }

    /// Where a job has gone on meanwhile: looks again. A directory is always as it is.
    ///
    /// # Errors
    /// When object storage cannot be read.
    pub fn catch_up(&self) -> Result<bool> {
        self.remote.as_ref().map_or(Ok(false), |remote| remote.catch_up())
    }

    /// Looks again.
    ///
    /// # Errors
    /// As [`catch_up`](Self::catch_up).
    pub fn refresh(&self) -> Result<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.refresh())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The location as the user wrote it, ready for a shell.
    pub fn shown(&self) -> String {
        quoted(&self.shown)
    }

    /// Who drives the job at this moment.
    pub fn owner(&self) -> Owner {
        match &self.remote {
            Some(remote) => remote.owner(),
            None => owner_of(&self.path),
        }
    }
}

/// Whether a directory is a bucket: objects of a log, whose names are numbers.
fn is_bucket(path: &Path) -> Result<bool> {
    let has_log = names(path)?.iter().any(|name| name == LOG);
    Ok(has_log && names(&path.join(LOG))?.iter().any(|name| number_in(name).is_some()))
}

/// Whether anything lies there that only a job leaves.
fn traces(path: &Path) -> Result<bool> {
    let twenty_digits = |name: &str| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    let is_manifest = |name: &str| twenty_digits(name);
    let is_segment = |name: &str| name.strip_suffix(".log").is_some_and(twenty_digits);
    let is_checkpoint =
        |name: &str| name.split('-').count() == 3 && name.starts_with(|first: char| first.is_ascii_digit());
    let mut readable = names(path)?;
    readable.retain(|name| [MANIFESTS, WAL, CHECKPOINTS].contains(&name.as_str()));
    for directory in readable {
        let found = names(&path.join(&directory))?;
        let is_ours: &dyn Fn(&str) -> bool = match directory.as_str() {
            MANIFESTS => &is_manifest,
            WAL => &is_segment,
            _ => &is_checkpoint,
        };
        if found.iter().any(|name| is_ours(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names in a directory; none where it is none.
fn names(path: &Path) -> Result<Vec<String>> {
    let list = |error: io::Error| Failure::io("list", path, &error);
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(list))
            .collect(),
        // Not the directory of a job, whatever its name is.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        Err(error) => Err(list(error)),
    }
}

/// Why a directory is not a store, with the store that the user may have meant.
fn not_here(location: &str, path: &Path) -> Result<Failure> {
    let what = if names(path)?.is_empty() {
        "an empty directory"
    } else {
        "no Floodmark store: no manifests, no log, no checkpoints"
    };
    let failure = Failure::new(Exit::NotAStore, format!("{location}: {what}"));
    if let Some(store) = parent_store(path) {
        return Ok(failure.try_next(format!("floodmark status {}", quoted(&store.display().to_string()))));
    }
    let inside = names(path)?.into_iter().map(|name| path.join(name)).find(|inside| traces(inside).unwrap_or(false));
    Ok(match inside {
        Some(store) => failure.try_next(format!("floodmark status {}", quoted(&store.display().to_string()))),
        None => failure,
    })
}

/// The store that a path lies in.
fn parent_store(path: &Path) -> Option<PathBuf> {
    let full = fs::canonicalize(path).ok()?;
    let mut above = full.ancestors().skip(1).take(3);
    above.find(|directory| traces(directory).unwrap_or(false)).map(Path::to_path_buf)
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
