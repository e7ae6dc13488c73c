//! A view of a checkpoint that disturbs nothing: not the store, which may be read-only, and not a job at work on it.
//!
//! RocksDB wants to write beside what it reads (its own log, at least), so it reads a directory of its own in the system's place
//! for temporary files: table files are linked there (hard links where that is permitted, since those stay readable when the
//! job collects the checkpoint, and symbolic ones otherwise), and the small files are copied. The directory goes with the view; a
//! process that is killed leaves it behind, which takes no space but that of the links.
//!
//! # Invariants
//! Nothing is written into the checkpoint. What is damaged is told and not hidden: entries that depend on a damaged file fail
//! when they are read, and no older state of a key is ever shown in their place.
#![allow(clippy::disallowed_methods)] // copies files of RocksDB into a scratch directory

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;

use tempfile::TempDir;

use super::store::open_to_read;
use super::{OperatorNumber, StateError, StateReader};
use crate::state::files::{CheckpointFile, verify_files};
use floodmark_base::codec::KeyHash;
use floodmark_base::disk::give_second_name;

/// A checkpoint that is open for reading.
#[derive(Debug)]
pub struct CheckpointView {
    // Before its directory, so that it is closed when that goes.
    reader: StateReader,
    scratch: TempDir,
    directory: PathBuf,
    damage: Option<StateError>,
}

impl CheckpointView {
    /// Opens the files that a manifest lists, without reading the tables.
    ///
    /// # Errors
    /// When the small files are damaged, so that nothing can be read, or there is no place for temporary files. Damage in table files is
    /// no error: [`damage`](Self::damage) tells what sizes and ends of files show, and reads tell the rest.
    pub fn open(directory: &Path, files: &[CheckpointFile]) -> Result<Self, StateError> {
        let damage = files.iter().find_map(|file| verify_files(directory, slice::from_ref(file), false).err());
        let scratch = tempfile::Builder::new().prefix("floodmark-view-").tempdir();
        let scratch = scratch.map_err(|error| failed("create a directory in", &std::env::temp_dir(), error))?;
        let mut all_linked = true;
        for file in files {
            all_linked &= bring(&directory.join(&file.name), &scratch.path().join(&file.name), file.is_table())?;
        }
        match (open_to_read(scratch.path(), directory, !all_linked), damage) {
            (Ok(reader), damage) => Ok(Self { reader, scratch, directory: directory.to_path_buf(), damage }),
            (Err(_), Some(damage)) => Err(damage),
            (Err(error), None) => Err(error),
        }
    }

    /// What is in it.
    pub fn reader(&self) -> &StateReader {
        &self.reader
    }

    /// What is wrong with its files, as far as sizes and ends of files tell.
    pub fn damage(&self) -> Option<&StateError> {
        self.damage.as_ref()
    }

    /// The words of an error, with the files' own names.
    pub fn words(&self, error: &StateError) -> String {
        let scratch = self.scratch.path().display().to_string();
        error.to_string().replace(&scratch, &self.directory.display().to_string())
    }

    /// The state of a key, encoded.
    ///
    /// # Errors
    /// When what the answer depends on cannot be read.
    pub fn get(&self, operator: OperatorNumber, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.reader.get(operator, KeyHash::of_encoded(key), key)
    }

    /// Where the entries of an operator can be read again behind a damaged place: the first hash after `last` from which on a scan
    /// gives an entry or ends. `None` when there is none.
    ///
    /// Looks ever further ahead, then back again: some forty reads.
    pub fn readable_after(&self, operator: OperatorNumber, last: KeyHash) -> Option<KeyHash> {
        /// The first step: a store of so many keys has them about one step apart.
        const STEP: u64 = u64::MAX >> 24;
        let reads = |from: u64| self.reader.scan(operator, KeyHash(from)..=KeyHash(u64::MAX)).next_entry().is_ok();
        let (mut damaged, mut step) = (last.0, STEP);
        let mut readable = loop {
            let from = damaged.checked_add(step)?;
            if reads(from) {
                break from;
            }
            (damaged, step) = (from, step.saturating_mul(2));
        };
        while readable - damaged > STEP / 16 {
            let middle = damaged + (readable - damaged) / 2;
            *(if reads(middle) { &mut readable } else { &mut damaged }) = middle;
        }
        Some(KeyHash(readable))
    }
}

/// Links or copies a file; says whether it stays readable whatever happens to its name. What is missing stays so.
fn bring(from: &Path, to: &Path, is_table: bool) -> Result<bool, StateError> {
    let brought = if !is_table { fs::copy(from, to).map(|_| true) } else { give_second_name(from, to) };
    match brought {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        brought => brought.map_err(|error| failed(if is_table { "link" } else { "copy" }, from, error)),
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { doing, path: path.to_path_buf(), source }
}
