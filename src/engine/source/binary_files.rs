//! Files of records of one length that appear in a directory.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byteview::ByteView;
use xxhash_rust::xxh3::xxh3_128;

use crate::dataflow::task::Before;
use crate::source::buffers::Buffers;
use crate::source::compression::Compression;
use crate::source::direct::RangeReader;
use crate::source::error::SourceError;
use crate::source::file_range::{FileRange, FileStamp, PlannedFile};
use crate::source::files::{FileFormat, Files, MAX_TASK_BYTES};
use crate::source::task::ReadSummary;
use crate::source::text_stream::fill;
use floodmark_base::bytes::Bytes;

/// The longest record: a task must hold one.
pub(crate) const MAX_RECORD_LENGTH: u64 = MAX_TASK_BYTES;

/// Bytes of a decompressed file that are read at once, about.
const PIECE_BYTES: usize = 1 << 20;

/// The records, all of one length, of the files that are moved into a directory: exactly once into state, across crashes, since
/// files can be read again. Spark: `binaryRecordsStream`.
///
/// Files are taken by the rules of [`Files`], which also has most settings. One whose size is no multiple of the
/// record length stops the job before anything of it is taken, with an error that names the file, its size and the record
/// length: move it away, then restart. Of a compressed file that shows only when it was read to its end: the job stops then.
///
/// ```
/// use floodmark::BinaryFiles;
///
/// let files = BinaryFiles::new("./incoming", 16).max_files_per_batch(100);
/// assert_eq!(files.record_length(), 16);
/// ```
pub type BinaryFiles = Files<FixedRecords>;

/// Files of records of one length.
#[derive(Debug)]
pub struct FixedRecords {
    record_length: u64,
}

impl Files<FixedRecords> {
    /// The files of `directory`, those included that are there already; `record_length` is in bytes, from 1 to 1 GiB (what lies
    /// outside is taken for the nearest of these).
    pub fn new(directory: impl Into<PathBuf>, record_length: usize) -> Self {
        let record_length = (record_length as u64).clamp(1, MAX_RECORD_LENGTH);
        Self::of(directory, FixedRecords { record_length })
    }

    /// Bytes of a record.
    #[must_use]
    pub fn record_length(&self) -> u64 {
        self.format.record_length
    }
}

impl FileFormat for FixedRecords {
    type Item = Bytes;

    /// Positions and ranges are whole records.
    fn kind(&self) -> String {
        format!("binary_records_stream, {} bytes a record", self.record_length)
    }

    fn bytes_of(&self, records: u64) -> u64 {
        records.saturating_mul(self.record_length)
    }

    fn grain_bytes(&self) -> u64 {
        self.record_length
    }

    fn check(&self, path: &Path, stamp: FileStamp) -> Result<(), SourceError> {
        // What is compressed is measured when it is read.
        match Compression::of_name(path.as_os_str().as_bytes()) {
            Some(_) => Ok(()),
            None => self.check_length(path, stamp.size),
        }
    }

    fn check_length(&self, path: &Path, bytes: u64) -> Result<(), SourceError> {
        let (record_length, size) = (self.record_length, bytes);
        if size.is_multiple_of(record_length) {
            return Ok(());
        }
        Err(SourceError::Length { path: path.to_path_buf(), size, record_length })
    }

    fn reader(&self, directory: PathBuf) -> Arc<dyn RangeReader<Item = Bytes, Range = FileRange>> {
        Arc::new(BinaryRangeReader { directory, record_length: self.record_length, buffers: Buffers::default() })
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
