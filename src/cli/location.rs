//! The location that a verb is given: whether a store is there, judged by names only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::failure::{Failure, Result};
pub(crate) use crate::checkpoint::MANIFESTS;
use crate::driver::lock::{Owner, owner_of};
use crate::recovery::facts::{CHECKPOINTS, WAL};

/// A directory that holds what a job has stored; it may be damaged.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// As the user wrote it: for the commands that are shown.
    shown: String,
}

impl Store {
    /// Looks whether a store is at `location`.
    ///
    /// # Errors
    /// Exit code 10 where none is, with what is there instead; 1 where the place cannot be read.
    pub fn open(location: &str) -> Result<Self> {
        let path = path_of(location)?;
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
            return Err(
                whole.map_or(none("a file, not the directory of a job".to_string()), |next| failure.try_next(next))
            );
        }
        match traces(&path)? {
            true => Ok(Self { path, shown: location.to_string() }),
            false => Err(not_here(location, &path)?),
        }
    }

    /// The place where a store is to be made; nothing is judged yet.
    ///
    /// # Errors
    /// Exit code 2 for a location that is no directory's.
    pub fn place(location: &str) -> Result<Self> {
        Ok(Self { path: path_of(location)?, shown: location.to_string() })
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
        owner_of(&self.path)
    }
}

/// The path that a location names; URLs of object stores are not read yet.
fn path_of(location: &str) -> Result<PathBuf> {
    match location.split_once("://") {
        None => Ok(PathBuf::from(location)),
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((scheme, _)) => Err(Failure::usage(format!(
            "{location}: this build reads directories, not {scheme}:// locations; copy the store to a directory first"
        ))),
    }
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
