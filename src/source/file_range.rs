//! A part of a file as it was planned: what one task reads.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use byteview::ByteView;
use serde::{Deserialize, Serialize};

use crate::source::buffers::Buffers;
use crate::source::error::SourceError;

/// What tells that a file is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Bytes.
    pub(crate) size: u64,
    /// Time of modification, in nanoseconds since the epoch.
    pub(crate) modified_ns: i64,
}

impl FileStamp {
    pub(crate) fn of(metadata: &Metadata) -> io::Result<Self> {
        let modified = metadata.modified()?;
        let modified_ns = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        };
        Ok(Self { size: metadata.len(), modified_ns })
    }
}

impl std::fmt::Display for FileStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes modified at {} ns", self.size, self.modified_ns)
    }
}

/// The records of a file that begin in `start..end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileRange {
    /// The file's name in its directory.
    pub(crate) name: String,
    /// The file as it was planned.
    pub(crate) stamp: FileStamp,
    /// Byte offset.
    pub(crate) start: u64,
    /// Byte offset, not included.
    pub(crate) end: u64,
}

/// The file of a range, open and found as it was planned.
pub(crate) struct PlannedFile<'r> {
    pub path: PathBuf,
    pub range: &'r FileRange,
    file: File,
}

impl<'r> PlannedFile<'r> {
    /// # Errors
    /// When the file vanished, or changed, or cannot be opened.
    pub fn open(directory: &Path, range: &'r FileRange) -> Result<Self, SourceError> {
        let path = directory.join(&range.name);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::Vanished { path: path.clone(), size: range.stamp.size },
            _ => SourceError::File { path: path.clone(), offset: range.start, error },
        })?;
        let planned = Self { path, range, file };
        planned.check_unchanged()?;
        Ok(planned)
    }

    /// Reads exactly the bytes `from..until`, into a buffer that is left in `buffer`.
    pub fn read(
        &mut self,
        from: u64,
        until: u64,
        buffers: &Buffers,
        buffer: &mut ByteView,
    ) -> Result<ByteView, SourceError> {
        let read = self.file.seek(SeekFrom::Start(from));
        read.and_then(|_| buffers.read(&mut self.file, (until - from) as usize, buffer))
            .map_err(|error| self.failed(error))
    }

    /// Asked before reading and after it: what was read in between is then what was planned.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let found =
            self.file.metadata().and_then(|metadata| FileStamp::of(&metadata)).map_err(|error| self.failed(error))?;
        if found == self.range.stamp { Ok(()) } else { Err(changed(&self.path, self.range.stamp, found)) }
    }

    /// What is read, for reports.
    pub fn whence(&self) -> String {
        format!("{} from byte {}", self.path.display(), self.range.start)
    }

    fn failed(&self, error: io::Error) -> SourceError {
        SourceError::File { path: self.path.clone(), offset: self.range.start, error }
    }
}

pub(crate) fn changed(path: &Path, expected: FileStamp, found: FileStamp) -> SourceError {
    SourceError::Changed { path: path.to_path_buf(), expected: expected.to_string(), found: found.to_string() }
}
