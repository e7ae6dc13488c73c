//! A part of a file as it was planned: what one task reads.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use byteview::ByteView;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::dataflow::task::Before;
use crate::source::buffers::Buffers;
use crate::source::byte_order::{ByteOrderMark, MARK_BYTES};
use crate::source::compression::Compression;
use crate::source::error::SourceError;
use crate::source::file_name::FileName;
use crate::source::open_file::open_file;

/// How often a read is tried that the system fails: a network file system may answer the next time.
const READ_ATTEMPTS: u32 = 3;
/// Bytes of a compressed file that are read at once.
const COMPRESSED_BYTES: usize = 256 << 10;

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
    pub(crate) name: FileName,
    /// The file as it was planned.
    pub(crate) stamp: FileStamp,
    /// Byte offset.
    pub(crate) start: u64,
    /// Byte offset, not included.
    pub(crate) end: u64,
}

impl FileRange {
    /// How the file is compressed, by its name. A compressed file is one range; a part of one was planned by a version that did
    /// not look at names, and is read as that version read it.
    pub(crate) fn compression(&self) -> Option<Compression> {
        let is_whole = self.start == 0 && self.end == self.stamp.size;
        Compression::of_name(self.name.as_bytes()).filter(|_| is_whole)
    }
}

/// The file of a range, open and found as it was planned.
pub(crate) struct PlannedFile<'r> {
    pub path: PathBuf,
    pub range: &'r FileRange,
    before: &'r Before,
    file: File,
    /// The file as it was opened.
    opened: FileStamp,
}

impl<'r> PlannedFile<'r> {
    /// The file may have another time than when it was planned where it may have been restored since.
    ///
    /// # Errors
    /// When the file vanished, or changed, or cannot be opened.
    pub fn open(directory: &Path, range: &'r FileRange, before: &'r Before) -> Result<Self, SourceError> {
        let path = range.name.in_directory(directory);
        let file = open_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::Vanished { path: path.clone(), size: range.stamp.size },
            _ => SourceError::File { path: path.clone(), offset: range.start, error },
        })?;
        let mut planned = Self { path, range, before, file, opened: range.stamp };
        let found = planned.stamp()?;
        if found == range.stamp || (*before != Before::Planned && found.size == range.stamp.size) {
            planned.opened = found;
            Ok(planned)
        } else {
            Err(changed(&planned.path, range.stamp, found))
        }
    }

    /// Reads exactly the bytes `from..until`, into a buffer that is left in `buffer`.
    pub fn read(
        &mut self,
        from: u64,
        until: u64,
        buffers: &Buffers,
        buffer: &mut ByteView,
    ) -> Result<ByteView, SourceError> {
        let read = |file: &mut File| {
            file.seek(SeekFrom::Start(from))?;
            buffers.read(file, (until - from) as usize, buffer)
        };
        let read = retried(&mut self.file, &self.path, read);
        read.map_err(|error| self.failed(error))
    }

    /// The byte order mark of the file, wherever the range begins.
    pub fn byte_order_mark(&mut self) -> Result<ByteOrderMark, SourceError> {
        let mut head = [0; MARK_BYTES];
        let read = retried(&mut self.file, &self.path, |file| {
            let mut filled = 0;
            while filled < head.len() {
                match file.read_at(&mut head[filled..], filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            Ok(filled)
        });
        let filled = read.map_err(|error| self.failed(error))?;
        Ok(ByteOrderMark::of(&head[..filled]))
    }

    /// Lets `read` have the contents of a compressed file, in pieces; checks behind it that all of the file was what it should be.
    /// Gives the receipt, too.
    pub fn decompressed<T>(
        &mut self,
        compression: Compression,
        read: impl FnOnce(&mut dyn Read) -> Result<T, SourceError>,
    ) -> Result<(T, Vec<u8>), SourceError> {
        let path = self.path.clone();
        let damaged = |error| SourceError::Compressed { path: path.clone(), format: compression.to_string(), error };
        let mut raw = RawBytes { file: &mut self.file, path: &path, at: 0, hasher: Xxh3::new() };
        let mut contents = compression.decode(BufReader::with_capacity(COMPRESSED_BYTES, &mut raw)).map_err(damaged)?;
        let read = read(&mut contents);
        drop(contents);
        // What is behind the end of the contents belongs to the file, too.
        let rest = io::copy(&mut raw, &mut io::sink());
        let hash = raw.hasher.digest128();
        // A file that is being written is not a damaged one.
        self.check_unchanged()?;
        rest.map_err(|error| self.failed(error))?;
        let read = read.map_err(|error| match error {
            SourceError::File { error, .. } => damaged(error),
            other => other,
        })?;
        Ok((read, self.receipt(hash)?))
    }

    /// Asked behind reading: what was read is then what was opened.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let found = self.stamp()?;
        if found == self.opened { Ok(()) } else { Err(changed(&self.path, self.opened, found)) }
    }

    /// The receipt of the range whose bytes have this hash.
    ///
    /// # Errors
    /// When others were read before.
    pub fn receipt(&self, hash: u128) -> Result<Vec<u8>, SourceError> {
        match self.before {
            Before::Read(receipt) if receipt_hash(receipt).is_some_and(|read| read != hash) => {
                let read = receipt_hash(receipt).unwrap_or_default();
                let FileRange { start, end, .. } = self.range;
                let bytes = |hash: u128| format!("bytes {start} to {end} with the XXH3 {hash:032x}");
                let (path, expected, found) = (self.path.clone(), bytes(read), bytes(hash));
                Err(SourceError::Changed { path, expected, found })
            }
            _ => Ok(hash.to_le_bytes().to_vec()),
        }
    }

    fn stamp(&self) -> Result<FileStamp, SourceError> {
        self.file.metadata().and_then(|metadata| FileStamp::of(&metadata)).map_err(|error| self.failed(error))
    }

    /// What is read, for reports.
    pub fn whence(&self) -> String {
        format!("{} from byte {}", self.path.display(), self.range.start)
    }

    pub fn failed(&self, error: io::Error) -> SourceError {
        SourceError::File { path: self.path.clone(), offset: self.range.start, error }
    }
}

/// Whether a planned range can still be read. `deeply`, it is read: a compressed file is decompressed, and what was read before has
/// to be there. Returns the length of what was decompressed.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn check_range(
    directory: &Path,
    range: &FileRange,
    before: &Before,
    deeply: bool,
) -> Result<Option<u64>, SourceError> {
    // In this life nothing was planned yet.
    let before = if *before == Before::Planned { &Before::Restored } else { before };
    let mut file = PlannedFile::open(directory, range, before)?;
    if !deeply {
        return Ok(None);
    }
    if let Some(compression) = range.compression() {
        let failed = |error| SourceError::File { path: range.name.in_directory(directory), offset: 0, error };
        let read = file.decompressed(compression, |contents| io::copy(contents, &mut io::sink()).map_err(failed));
        return read.map(|(bytes, _)| Some(bytes));
    }
    let raw = RawBytes { file: &mut file.file, path: &file.path, at: range.start, hasher: Xxh3::new() };
    let mut bytes = raw.take(range.end - range.start);
    let read = io::copy(&mut bytes, &mut io::sink());
    let hash = bytes.into_inner().hasher.digest128();
    read.map_err(|error| file.failed(error))?;
    file.check_unchanged()?;
    file.receipt(hash).map(|_| None)
}

/// The bytes of a file from its beginning, each read tried again where the system fails it.
struct RawBytes<'f> {
    file: &'f mut File,
    path: &'f Path,
    at: u64,
    hasher: Xxh3,
}

impl Read for RawBytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = retried(self.file, self.path, |file| file.read_at(buffer, self.at))?;
        self.at += read as u64;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Reads, and opens the file anew and reads again where the system says that it cannot. A file that has ended too early, or
/// has vanished, is no such case.
fn retried<T>(file: &mut File, path: &Path, mut read: impl FnMut(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match read(file) {
            Err(error) if attempt < READ_ATTEMPTS && may_pass(&error) => {
                tracing::warn!("{}: {error}: reading it again", path.display());
                attempt += 1;
                if let Ok(again) = open_file(path) {
                    *file = again;
                }
            }
            outcome => return outcome,
        }
    }
}

/// Whether the same read may succeed the next time.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, UnexpectedEof};
    !matches!(error.kind(), UnexpectedEof | InvalidInput | NotFound | PermissionDenied)
}

/// The hash in a receipt: 16 bytes, little-endian; none in one that a version without hashes left.
pub(crate) fn receipt_hash(receipt: &[u8]) -> Option<u128> {
    receipt.try_into().ok().map(u128::from_le_bytes)
}

pub(crate) fn changed(path: &Path, expected: FileStamp, found: FileStamp) -> SourceError {
    SourceError::Changed { path: path.to_path_buf(), expected: expected.to_string(), found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_the_system_fails_is_tried_three_times_and_one_that_cannot_succeed_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("f");
        std::fs::write(&path, "tea").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut read = |kind: io::ErrorKind, failures: u32| {
            let mut attempts = 0;
            let outcome = retried(&mut file, &path, |file| {
                attempts += 1;
                if attempts <= failures { Err(io::Error::from(kind)) } else { Ok(file.metadata()?.len()) }
            });
            (outcome.ok(), attempts)
        };
        let transient = io::ErrorKind::TimedOut;
        assert_eq!(read(transient, 2), (Some(3), 3));
        assert_eq!(read(transient, 9), (None, 3));
        assert_eq!(read(io::ErrorKind::UnexpectedEof, 9), (None, 1));
    }

    #[test]
    fn only_a_whole_file_is_decompressed_by_its_name() {
        let stamp = FileStamp { size: 10, modified_ns: 0 };
        let range = |start, end| FileRange { name: "a.gz".into(), stamp, start, end };
        assert_eq!(range(0, 10).compression(), Some(Compression::Gzip));
        assert_eq!((range(0, 5).compression(), range(5, 10).compression()), (None, None));
    }
}
