//! What a store takes on the disk: files once, however many names they have.
#![allow(clippy::disallowed_methods)] // measures stored files

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::failure::{Failure, Result};
use floodmark_store::recovery::facts::{CHECKPOINTS, WAL};
use floodmark_store::remote::Look;

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
        let mut files: HashMap<(u64, u64), (Place, u64)> = HashMap::new();
        walk(store, Path::new(""), &mut |path, metadata| {
            let place = Place::of(path);
            let known = files.entry((metadata.dev(), metadata.ino())).or_insert((place, metadata.len()));
            known.0 = known.0.min(place);
        })?;
        let mut sizes = Self::default();
        for (place, bytes) in files.into_values() {
            match place {
                Place::Segment => (sizes.log, sizes.segments) = (sizes.log + bytes, sizes.segments + 1),
                Place::Log => sizes.log += bytes,
                Place::Checkpoints => sizes.checkpoints += bytes,
                Place::Rest => {}
            }
            sizes.total += bytes;
        }
        Ok(sizes)
    }

    /// Adds up the objects of a bucket; those of the log count as segments.
    pub fn in_bucket(look: &Look) -> Self {
        let mut sizes = Self::default();
        for object in &look.objects {
            match object.name.split('/').next() {
                Some("log") => (sizes.log, sizes.segments) = (sizes.log + object.size, sizes.segments + 1),
                Some("files") => sizes.checkpoints += object.size,
                _ => {}
            }
            sizes.total += object.size;
        }
        sizes
    }
}

/// Where a file is, in the order in which the places of one with several names count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Segment,
    Log,
    Checkpoints,
    Rest,
}

impl Place {
    /// Of a path below the store.
    fn of(path: &Path) -> Self {
        match path.iter().next().and_then(|part| part.to_str()) {
            Some(WAL) if path.extension().is_some_and(|extension| extension == "log") => Self::Segment,
            Some(WAL) => Self::Log,
            Some(CHECKPOINTS) => Self::Checkpoints,
            _ => Self::Rest,
        }
    }
}

/// Gives every file below a directory, with its path below `root`; what goes meanwhile does not count.
pub(crate) fn walk(root: &Path, below: &Path, found: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<()> {
    let directory = root.join(below);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && below != Path::new("") => return Ok(()),
        entries => entries.map_err(|error| Failure::io("list", &directory, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("list", &directory, &error))?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(|error| Failure::io("look at", &entry.path(), &error))?,
        };
        let path = below.join(entry.file_name());
        if metadata.is_dir() {
            walk(root, &path, found)?;
        } else {
            found(&path, &metadata);
        }
    }
    Ok(())
}
