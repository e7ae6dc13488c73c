//! What a store takes on the disk: files once, however many names they have.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::failure::{Failure, Result};
use super::location::names;
use crate::recovery::facts::{CHECKPOINTS, WAL};

/// Bytes by place. Table files that checkpoints share with each other and with the live directory count once.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sizes {
    pub log: u64,
    pub segments: u64,
    pub checkpoints: u64,
    pub total: u64,
}

impl Sizes {
    /// Adds up the files of a store. What a driver removes meanwhile does not count.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn of(store: &Path) -> Result<Self> {
        let mut sizes = Self::default();
        let mut met = HashSet::new();
        walk(&store.join(WAL), &mut met, &mut |name, bytes| {
            sizes.log += bytes;
            sizes.segments += u64::from(name.ends_with(".log"));
        })?;
        walk(&store.join(CHECKPOINTS), &mut met, &mut |_, bytes| sizes.checkpoints += bytes)?;
        let mut rest = 0;
        for name in names(store)?.into_iter().filter(|name| ![WAL, CHECKPOINTS].contains(&name.as_str())) {
            walk(&store.join(name), &mut met, &mut |_, bytes| rest += bytes)?;
        }
        sizes.total = sizes.log + sizes.checkpoints + rest;
        Ok(sizes)
    }
}

/// Gives the name and the bytes of every file below `directory` that was not met before.
pub(crate) fn walk(directory: &Path, met: &mut HashSet<(u64, u64)>, found: &mut dyn FnMut(&str, u64)) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let metadata =
                fs::symlink_metadata(directory).map_err(|error| Failure::io("look at", directory, &error))?;
            if met.insert((metadata.dev(), metadata.ino())) {
                found(&directory.file_name().unwrap_or_default().to_string_lossy(), metadata.len());
            }
            return Ok(());
        }
        other => other.map_err(|error| Failure::io("list", directory, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("list", directory, &error))?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| Failure::io("look at", &entry.path(), &error))?,
        };
        if metadata.is_dir() {
            walk(&entry.path(), met, found)?;
        } else if met.insert((metadata.dev(), metadata.ino())) {
            found(&entry.file_name().to_string_lossy(), metadata.len());
        }
    }
    Ok(())
}
