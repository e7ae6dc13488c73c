//! Text files that appear in a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(test)]
use crate::clock::Clock;
use crate::source::buffers::Buffers;
use crate::source::direct::{DirectSource, OfferLimits, RangeReader};
use crate::source::directory::Directory;
use crate::source::error::SourceError;
use crate::source::file_pieces::Pieces;
use crate::source::file_range::{FileRange, check_range};
use crate::source::files_position::FilesPosition;
use crate::source::files_status::FilesStatus;
use crate::source::framing::MAX_FRAME_BYTES;
use crate::source::memory::{Before, SourceMemory};
use crate::source::text_range::TextRangeReader;
use crate::text::Text;

/// Bytes of a task: small enough that workers share a batch evenly, large enough that combining within it pays.
pub(crate) const TASK_BYTES: u64 = 1 << 20;
/// The largest task that can be asked for: a buffer can hold no more.
pub(crate) const MAX_TASK_BYTES: u64 = 1 << 30;
/// Bytes of a record, before any was read.
const ASSUMED_RECORD_BYTES: u64 = 64;

/// The lines of the files that are moved into a directory: exactly once into state, across crashes, since files can be read
/// again.
///
/// Files must appear whole, by an atomic move, and then be left alone while a checkpoint may need them. They are taken in the
/// order of their modification times, then names; each name once, as long as it is there, however old its time. A name may have
/// any bytes; names that begin with `.` or `_` or end with `.tmp` are not taken. A link is taken as the file it leads to.
///
/// **Lines.** A line ends at `\n`, a `\r` before it is dropped, and the end of a file ends its last line; lines that are not
/// UTF-8 or too long are counted, reported and skipped. A byte order mark of UTF-8 at the beginning of a file is left out. A file
/// that begins with the mark of UTF-16 is not read: it is counted as one failed record and reported.
///
/// **Compressed files.** A name that ends with `.gz`, `.bz2` or `.zst` is read as gzip, bzip2 or zstd, in bounded memory. Such a
/// file is one task on one worker, and counts with its compressed size in the limits of a batch, so many small files are read
/// faster than a large one. One that is cut off, damaged or not compressed as its name says stops the job with an error that
/// names it.
///
/// **What is not there.** A directory that does not exist yet, or is away for a while, has no files for now; so it is with a file
/// that was taken in part. Entries that cannot be read, and sub-directories, are passed over. Each is reported once, and stands in
/// [`Status::files`](crate::Status::files). A read that the system fails is tried three times. A file that changes or vanishes after
/// it was planned stops the job with an error that names it.
///
/// **What is remembered.** A checkpoint keeps an entry in the state for each file that was taken and is still there: its name, size,
/// time, and a hash of each part that was read. A directory that was restored with other times goes on where it was. A file with
/// other contents under a known name is not read, unless [`read_replaced_files`](Self::read_replaced_files) says so; it is
/// counted, named in [`Status::files`](crate::Status::files), and reported once. A name that was missing from 16 listings in turn is
/// forgotten.
///
/// **When a file may be archived.** [`on_files_released`](crate::StreamingListener::on_files_released) names the files that no recovery
/// reads again. A file that is moved away or deleted earlier may end the next start.
///
/// ```
/// use floodmark::TextFiles;
///
/// let files = TextFiles::new("./incoming").max_files_per_batch(100);
/// // A relative directory is made absolute at once, so that a later change of the current directory does no harm.
/// assert_eq!(files.directory(), std::env::current_dir().unwrap().join("incoming"));
/// ```
#[derive(Debug)]
pub struct TextFiles {
    files: Directory,
    task_bytes: u64,
    max_line_bytes: usize,
    density: Arc<Density>,
}

/// What the workers have seen of the records' sizes, to tell bytes from records.
#[derive(Debug, Default)]
pub(crate) struct Density {
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Density {
    pub fn add(&self, bytes: u64, records: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    fn bytes_of(&self, records: u64) -> u64 {
        let (bytes, seen) = (self.bytes.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed));
        let each = bytes.checked_div(seen).unwrap_or(ASSUMED_RECORD_BYTES).max(1);
        records.saturating_mul(each)
    }
}

impl TextFiles {
    /// The files of `directory`, those included that are there already.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            files: Directory::new(directory),
            task_bytes: TASK_BYTES,
            max_line_bytes: MAX_FRAME_BYTES,
            density: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.files.set_clock(clock);
        self
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

    /// Reads files in pieces of about so many bytes, each on one worker (default 1 MiB; at least 1).
    #[must_use]
    pub fn task_bytes(mut self, bytes: u64) -> Self {
        self.task_bytes = bytes.clamp(1, MAX_TASK_BYTES);
        self
    }

    /// Skips lines with more bytes than this, their end not counted (default 1 MiB).
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = bytes.min(1 << 30);
        self
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.files.path()
    }
}

impl DirectSource for TextFiles {
    type Item = Text;
    type Range = FileRange;
    type Position = FilesPosition;

    fn offer(&mut self, position: &FilesPosition, limits: &OfferLimits) -> Result<Vec<FileRange>, SourceError> {
        let budget_bytes = limits.bytes.min(self.density.bytes_of(limits.records));
        let pieces = Pieces { budget_bytes, task_bytes: self.task_bytes, grain_bytes: 1 };
        self.files.offer(position, pieces, |_, _| Ok(()))
    }

    fn advance(position: &mut FilesPosition, range: &FileRange) {
        position.advance(range);
    }

    fn kind(&self) -> String {
        "text_file_stream".to_string()
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = Text, Range = FileRange>> {
        Arc::new(TextRangeReader {
            directory: self.files.path().to_path_buf(),
            max_line_bytes: self.max_line_bytes,
            density: Arc::clone(&self.density),
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
