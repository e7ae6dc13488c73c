//! The files of a checkpoint, as a manifest lists them, and whether they are what it says.
#![allow(clippy::disallowed_methods)] // reads files that RocksDB has written

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StateError;

/// One immutable file of a checkpoint: name, size in bytes and CRC32 of all of it (I-10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFile {
    pub name: String,
    pub size: u64,
    pub crc32: u32,
}

/// The last eight bytes of every table file.
pub const TABLE_FOOTER_MARK: u64 = 0x88e2_41b7_85f4_cff7;

const READ_BYTES: usize = 1 << 20;

impl CheckpointFile {
    /// Whether this is a table file, which never changes, so that it can be linked and its CRC inherited.
    pub fn is_table(&self) -> bool {
        is_table(&self.name)
    }

    /// Whether the file is there with the size listed.
    ///
    /// # Errors
    /// When it is missing or of another size.
    pub fn verify_size(&self, directory: &Path) -> Result<(), StateError> {
        let path = directory.join(&self.name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == self.size => Ok(()),
            Ok(metadata) => Err(StateError::FileSize { path, expected: self.size, found: metadata.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StateError::FileMissing { path, expected: self.size })
            }
            Err(source) => Err(StateError::Io { doing: "look at", path, source }),
        }
    }

    /// Whether a table file ends as one does: finds a file that was cut or zeroed at the end, without reading the rest.
    pub fn verify_footer(&self, directory: &Path) -> Result<(), StateError> {
        let path = directory.join(&self.name);
        let Some(offset) = self.size.checked_sub(8) else {
            return Err(StateError::FileSize { path, expected: 8, found: self.size });
        };
        let mut mark = [0; 8];
        File::open(&path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut mark)
            })
            .map_err(|source| StateError::Io { doing: "read", path: path.clone(), source })?;
        match u64::from_le_bytes(mark) {
            TABLE_FOOTER_MARK => Ok(()),
            found => Err(StateError::FileFooter { path, offset, expected: TABLE_FOOTER_MARK, found }),
        }
    }

    fn verify_checksum(&self, directory: &Path) -> Result<(), StateError> {
        verify_file(directory, self, &mut || true)
    }
}

/// Checks the files of a checkpoint against its manifest: sizes, footers of table files and CRCs of the small files, which
/// takes microseconds a file; with `full` also the CRC of every byte.
///
/// # Errors
/// The first file that is missing, has another size, ends wrongly or, with `full`, has another CRC.
pub fn verify_files(directory: &Path, files: &[CheckpointFile], full: bool) -> Result<(), StateError> {
    for file in files {
        file.verify_size(directory)?;
        if file.is_table() {
            file.verify_footer(directory)?;
        }
        if full || !file.is_table() {
            file.verify_checksum(directory)?;
        }
    }
    Ok(())
}

/// Checks the CRC of every byte of a file, in pieces; `goes_on` is asked before each, and where it says no, nothing is wrong.
///
/// # Errors
/// When the file has another CRC, or cannot be read.
pub fn verify_file(
    directory: &Path,
    file: &CheckpointFile,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(), StateError> {
    let path = directory.join(&file.name);
    let found = crc32_in_pieces(&path, goes_on).map_err(|source| StateError::Io {
        doing: "read",
        path: path.clone(),
        source,
    })?;
    match found {
        Some(found) if found != file.crc32 => Err(StateError::FileChecksum { path, expected: file.crc32, found }),
        _ => Ok(()),
    }
}

/// Sizes and CRCs of all files in a directory.
pub fn list_files(disk: &dyn floodmark_base::disk::Disk, directory: &Path) -> io::Result<Vec<CheckpointFile>> {
    let file = |name: String| {
        let path = directory.join(&name);
        Ok(CheckpointFile { size: fs::metadata(&path)?.len(), crc32: crc32_of(&path)?, name })
    };
    disk.list(directory)?.into_iter().map(file).collect()
}

/// Whether a name is that of a table file.
pub fn is_table(name: &str) -> bool {
    name.ends_with(".sst")
}

/// The CRC32 of a whole file, read in pieces.
pub fn crc32_of(path: &Path) -> io::Result<u32> {
    Ok(crc32_in_pieces(path, &mut || true)?.expect("nothing ends it early"))
}

/// As [`crc32_of`]; `None` where `goes_on` ended it.
fn crc32_in_pieces(path: &Path, goes_on: &mut dyn FnMut() -> bool) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; READ_BYTES];
    while goes_on() {
        match file.read(&mut piece)? {
            0 => return Ok(Some(hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
    Ok(None)
}
