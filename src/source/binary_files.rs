//! Files of records of one length that appear in a directory.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byteview::ByteView;
use xxhash_rust::xxh3::xxh3_128;

use crate::bytes::Bytes;
use crate::source::buffers::Buffers;
use crate::source::compression::Compression;
use crate::source::direct::{DirectSource, OfferLimits, RangeReader};
use crate::source::directory::Directory;
use crate::source::error::SourceError;
use crate::source::file_pieces::Pieces;
use crate::source::file_range::{FileRange, PlannedFile, check_range};
use crate::source::files_position::FilesPosition;
use crate::source::files_status::FilesStatus;
use crate::source::memory::{Before, SourceMemory};
use crate::source::task::ReadSummary;
use crate::source::text_files::{MAX_TASK_BYTES, TASK_BYTES};
use crate::source::text_stream::fill;

/// The longest record: a task must hold one.
pub(crate) const MAX_RECORD_LENGTH: u64 = MAX_TASK_BYTES;

/// Bytes of a decompressed file that are read at once, about.
const PIECE_BYTES: usize = 1 << 20;

/// The records, all of one length, of the files that are moved into a directory: exactly once into state, across crashes, since
/// files can be read again. Spark: `binaryRecordsStream`.
///
/// Files are taken by the rules of [`TextFiles`](crate::TextFiles), compressed ones, too. One whose size is no multiple of the
/// record length stops the job before anything of it is taken, with an error that names the file, its size and the record
/// length: move it away, then restart. Of a compressed file that shows only when it was read to its end: the job stops then.
///
/// A checkpoint keeps an entry in the state for each file that was taken and is still there, as with
/// [`TextFiles`](crate::TextFiles).
///
/// ```
/// use floodmark::BinaryFiles;
///
/// let files = BinaryFiles::new("./incoming", 16).max_files_per_batch(100);
/// assert_eq!(files.record_length(), 16);
/// ```
#[derive(Debug)]
pub struct BinaryFiles {
    files: Directory,
    record_length: u64,
    task_bytes: u64,
}

impl BinaryFiles {
    /// The files of `directory`, those included that are there already; `record_length` is in bytes, from 1 to 1 GiB (what lies
    /// outside is taken for the nearest of these).
    pub fn new(directory: impl Into<PathBuf>, record_length: usize) -> Self {
        let record_length = (record_length as u64).clamp(1, MAX_RECORD_LENGTH);
        Self { files: Directory::new(directory), record_length, task_bytes: TASK_BYTES }
    }

    /// Takes at most so many files in one batch (default 1,000; at least 1).
    #[must_use]
    pub fn max_files_per_batch(mut self, files: usize) -> Self {
        self.files.set_max_files_per_batch(files);
        self
    }

    /// Whether a file with other contents under a name that was taken before is read as a new file (default `false`: it is
    /// not read, counted in [`Status::files`](crate::Status::files), and reported once).
    ///
    /// A file whose name was gone from 16 listings in turn is forgotten, and one that comes under it is new in any case.
    #[must_use]
    pub fn read_replaced_files(mut self, read: bool) -> Self {
        self.files.set_reads_replaced(read);
        self
    }

    /// Whether the job goes on without files that were planned and cannot be read any more: that are gone, have another size or
    /// other contents, or cannot be decompressed (default `false`: a start is refused, and names the file and the batch).
    ///
    /// The records of such a file that no checkpoint holds yet are lost, also where the results of their batch were published
    /// before. It is decided when the job starts, and stands in the log: every later start decides alike. A file that was
    /// taken in part, and is missing for 16 offers in turn or has other contents, is given up as well.
    #[must_use]
    pub fn go_on_without_files(mut self, go_on: bool) -> Self {
        self.files.set_goes_on_without(go_on);
        self
    }

    /// Reads files in pieces of about so many bytes, each on one worker (default 1 MiB; at least one record).
    #[must_use]
    pub fn task_bytes(mut self, bytes: u64) -> Self {
        self.task_bytes = bytes.clamp(1, MAX_TASK_BYTES);
        self
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Bytes of a record.
    #[must_use]
    pub fn record_length(&self) -> u64 {
        self.record_length
    }
}

impl DirectSource for BinaryFiles {
    type Item = Bytes;
    type Range = FileRange;
    type Position = FilesPosition;

    fn offer(&mut self, position: &FilesPosition, limits: &OfferLimits) -> Result<Vec<FileRange>, SourceError> {
        let record_length = self.record_length;
        let budget_bytes = limits.bytes.min(limits.records.saturating_mul(record_length));
        let pieces = Pieces { budget_bytes, task_bytes: self.task_bytes, grain_bytes: record_length };
        self.files.offer(position, pieces, |path, stamp| match stamp.size % record_length {
            0 => Ok(()),
            // What is compressed is measured when it is read.
            _ if Compression::of_name(path.as_os_str().as_bytes()).is_some() => Ok(()),
            _ => Err(SourceError::Length { path: path.to_path_buf(), size: stamp.size, record_length }),
        })
    }

    fn advance(position: &mut FilesPosition, range: &FileRange) {
        position.advance(range);
    }

    /// Positions and ranges are whole records.
    fn kind(&self) -> String {
        format!("binary_records_stream, {} bytes a record", self.record_length)
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = Bytes, Range = FileRange>> {
        Arc::new(BinaryRangeReader {
            directory: self.files.path().to_path_buf(),
            record_length: self.record_length,
            buffers: Buffers::default(),
        })
    }

    fn prune(&mut self, position: &mut FilesPosition) -> Result<(), SourceError> {
        self.files.prune(position);
        Ok(())
    }

    fn memory(&mut self) -> Option<&mut dyn SourceMemory<FileRange, FilesPosition>> {
        Some(&mut self.files)
    }

    fn check(&self, range: &FileRange, before: &Before, deeply: bool) -> Result<(), SourceError> {
        check_range(self.files.path(), range, before, deeply)
    }

    fn goes_on_without(&self) -> bool {
        self.files.goes_on_without()
    }

    fn files_status(&self) -> Option<FilesStatus> {
        Some(self.files.status().clone())
    }
}

/// Reads ranges of the files of one directory.
struct BinaryRangeReader {
    directory: PathBuf,
    record_length: u64,
    buffers: Buffers,
}

impl RangeReader for BinaryRangeReader {
    type Item = Bytes;
    type Range = FileRange;

    fn read(&self, range: &FileRange, emit: &mut dyn FnMut(Bytes)) -> Result<ReadSummary, SourceError> {
        self.read_with_receipt(range, &Before::Planned, emit).map(|(summary, _)| summary)
    }

    fn read_with_receipt(
        &self,
        range: &FileRange,
        before: &Before,
        emit: &mut dyn FnMut(Bytes),
    ) -> Result<(ReadSummary, Vec<u8>), SourceError> {
        let mut file = PlannedFile::open(&self.directory, range, before)?;
        if let Some(compression) = range.compression() {
            let path = file.path.clone();
            return file.decompressed(compression, |contents| self.read_stream(contents, &path, emit));
        }
        let (record_length, size) = (self.record_length, range.end - range.start);
        if size % record_length != 0 {
            // It was planned with another record length.
            return Err(SourceError::Length { path: file.path, size, record_length });
        }
        let mut buffer = ByteView::default();
        let bytes = file.read(range.start, range.end, &self.buffers, &mut buffer)?;
        file.check_unchanged()?;
        let receipt = file.receipt(xxh3_128(&bytes))?;
        for start in (0..bytes.len()).step_by(record_length as usize) {
            emit(Bytes::from_view(bytes.slice(start..start + record_length as usize)));
        }
        drop(bytes);
        self.buffers.give(buffer);
        Ok((ReadSummary { records: size / record_length, failed: 0 }, receipt))
    }
}

impl BinaryRangeReader {
    /// The records of what comes piece by piece, in bounded memory.
    fn read_stream(
        &self,
        contents: &mut dyn Read,
        path: &Path,
        emit: &mut dyn FnMut(Bytes),
    ) -> Result<ReadSummary, SourceError> {
        let record_length = self.record_length as usize;
        let piece_bytes = (PIECE_BYTES / record_length).max(1) * record_length;
        let mut size = 0;
        loop {
            let mut piece = ByteView::builder(piece_bytes);
            let read = fill(contents, &mut piece).map_err(|error| SourceError::File {
                path: path.to_path_buf(),
                offset: 0,
                error,
            })?;
            let piece = piece.freeze();
            for start in (0..read / record_length).map(|record| record * record_length) {
                emit(Bytes::from_view(piece.slice(start..start + record_length)));
            }
            size += read as u64;
            if read % record_length != 0 {
                let (path, record_length) = (path.to_path_buf(), self.record_length);
                return Err(SourceError::Length { path, size, record_length });
            }
            if read < piece_bytes {
                return Ok(ReadSummary { records: size / self.record_length, failed: 0 });
            }
        }
    }
}
