//! Where a victim works.

use std::fs;
use std::path::{Path, PathBuf};

use super::data;
use crate::process::ProcessError;

/// A directory with all that a victim reads and writes. Only its files are shared by the lives; nothing else is.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    /// A place in this directory, which must be there.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The job's own directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Where files are moved in.
    #[must_use]
    pub fn input(&self) -> PathBuf {
        self.0.join("input")
    }

    /// Where the results of every batch are published.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.0.join("results")
    }

    /// Where the windows are published, which do not yield in every batch.
    #[must_use]
    pub fn windows(&self) -> PathBuf {
        self.0.join("windows")
    }

    /// How many files were moved in: they are numbered from 1.
    ///
    /// # Errors
    /// When the directory is there and cannot be looked at.
    pub fn files(&self) -> Result<u64, ProcessError> {
        let mut files = 0;
        loop {
            let next = self.file(files + 1);
            if !fs::exists(&next).map_err(ProcessError::file("look for", &next))? {
                return Ok(files);
            }
            files += 1;
        }
    }

    /// Moves file `number` in, whole, unless it is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn move_in(&self, number: u64) -> Result<(), ProcessError> {
        let (hidden, visible) = (self.input().join(format!(".file-{number:08}")), self.file(number));
        if fs::exists(&visible).map_err(ProcessError::file("look for", &visible))? {
            return Ok(());
        }
        fs::write(&hidden, data::file_text(number)).map_err(ProcessError::file("write", &hidden))?;
        fs::rename(&hidden, &visible).map_err(ProcessError::file("move in", &visible))
    }

    fn file(&self, number: u64) -> PathBuf {
        self.input().join(format!("file-{number:08}"))
    }
}
