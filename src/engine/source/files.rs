//! Sources that read the files of a directory: what they share, whatever is in the files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataflow::task::Before;
use crate::source::direct::{DirectSource, OfferLimits, RangeReader};
use crate::source::directory::Directory;
use crate::source::error::SourceError;
use crate::source::file_pieces::Pieces;
use crate::source::file_range::{FileRange, FileStamp, check_range};
use crate::source::files_position::FilesPosition;
use crate::source::files_status::FilesStatus;
use crate::source::memory::SourceMemory;
#[cfg(test)]
use floodmark_base::clock::Clock;
use floodmark_base::codec::Record;

/// Bytes of a task: small enough that workers share a batch evenly, large enough that combining within it pays.
const TASK_BYTES: u64 = 1 << 20;
/// The largest task that can be asked for: a buffer can hold no more.
pub(crate) const MAX_TASK_BYTES: u64 = 1 << 30;

/// The files that are moved into a directory: exactly once into state, across crashes, since files can be read again. `F` is what is in
/// them: lines ([`TextFiles`](crate::TextFiles)) or records of one length ([`BinaryFiles`](crate::BinaryFiles)).
///
/// Files must appear whole, by an atomic move, and then be left alone while a checkpoint may need them. They are taken in the
/// order of their modification times, then names; each name once, as long as it is there, however old its time. A name may have
/// any bytes; names that begin with `.` or `_` or end with `.tmp` are not taken. A link is taken as the file it leads to.
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
/// use floodmark::{BinaryFiles, TextFiles};
///
/// let lines = TextFiles::new("./incoming").max_files_per_batch(100).read_replaced_files(true);
/// let records = BinaryFiles::new("./incoming", 16).max_files_per_batch(100).read_replaced_files(true);
/// // A relative directory is made absolute at once, so that a later change of the current directory does no harm.
/// assert_eq!(lines.directory(), std::env::current_dir().unwrap().join("incoming"));
/// assert_eq!(lines.directory(), records.directory());
/// ```
pub struct Files<F> {
    files: Directory,
    task_bytes: u64,
    pub(super) format: F,
}

/// What is in the files of a directory.
pub trait FileFormat: Send + 'static {
    /// The records.
    type Item: Record;

    /// The name of the source in checkpoints; see [`DirectSource::kind`].
    fn kind(&self) -> String;

    /// Bytes that hold about `records` records.
    fn bytes_of(&self, records: u64) -> u64;

    /// Parts of a file end at multiples of this many bytes, or with the file.
    fn grain_bytes(&self) -> u64 {
        1
    }

    /// Whether a new file can be read.
    ///
    /// # Errors
    /// When it cannot; the job stops with the error, before anything of the file is taken.
    fn check(&self, _path: &Path, _stamp: FileStamp) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether the contents of a file can have this number of bytes. Those of a compressed file are counted when it is decompressed.
    ///
    /// # Errors
    /// When they cannot.
    fn check_length(&self, _path: &Path, _bytes: u64) -> Result<(), SourceError> {
        Ok(())
    }

    /// Reads ranges of the files of a directory.
    fn reader(&self, directory: PathBuf) -> Arc<dyn RangeReader<Item = Self::Item, Range = FileRange>>;
}

impl<F> Files<F> {
    pub(super) fn of(directory: impl Into<PathBuf>, format: F) -> Self {
        Self { files: Directory::new(directory), task_bytes: TASK_BYTES, format }
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.files.set_clock(clock);
        self
    }

    /// Takes at most `files` files in one batch (default 1,000; at least 1).
    #[must_use]
    pub fn max_files_per_batch(mut self, files: usize) -> Self {
        self.files.set_max_files_per_batch(files);
        self
    }

    /// Whether a file with other contents under a name that was taken before is read as a new file (default `false`: it is
    /// not read, counted in [`Status::files`](crate::Status::files), and reported once).
    ///
    /// Files that were reported as replaced before this was set are read, too. A file whose name was gone from 16 listings in turn is
    /// forgotten, and one that comes under it is new in any case.
    #[must_use]
    pub fn read_replaced_files(mut self, read: bool) -> Self {
        self.files.set_reads_replaced(read);
        self
    }

    /// Whether the job goes on without files that were planned and cannot be read any more: that are gone, have another size or
    /// other contents, or cannot be decompressed (default `false`: a start is refused, and names the file and the batch).
    ///
    /// The records of such a file that no checkpoint holds yet are lost, also where the results of their batch were published
    /// before. It is decided when the job starts, and stands in the log and then in the checkpoints: every later start decides alike,
    /// and a file that was given up is not read later, unless its name was forgotten. A file that was taken in part, and is missing for 16
    /// offers in turn or has other contents, is given up as well.
    #[must_use]
    pub fn go_on_without_files(mut self, go_on: bool) -> Self {
        self.files.set_goes_on_without(go_on);
        self
    }

    /// Reads files in pieces of about `bytes` bytes, each on one worker (default 1 MiB; at least 1, and at least one record).
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
}

impl<F: FileFormat> DirectSource for Files<F> {
    type Item = F::Item;
    type Range = FileRange;
    type Position = FilesPosition;

    fn offer(&mut self, position: &FilesPosition, limits: &OfferLimits) -> Result<Vec<FileRange>, SourceError> {
        let Self { files, task_bytes, format } = self;
        let budget_bytes = limits.bytes.min(format.bytes_of(limits.records));
        let pieces = Pieces { budget_bytes, task_bytes: *task_bytes, grain_bytes: format.grain_bytes() };
        files.offer(position, pieces, |path, stamp| format.check(path, stamp))
    }

    fn advance(position: &mut FilesPosition, range: &FileRange) {
        position.advance(range);
    }

    fn kind(&self) -> String {
        self.format.kind()
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = F::Item, Range = FileRange>> {
        self.format.reader(self.files.path().to_path_buf())
    }

    fn prune(&mut self, position: &mut FilesPosition) -> Result<(), SourceError> {
        self.files.prune(position);
        Ok(())
    }

    fn memory(&mut self) -> Option<&mut dyn SourceMemory<FileRange, FilesPosition>> {
        Some(&mut self.files)
    }

    fn check(&self, range: &FileRange, before: &Before, deeply: bool) -> Result<(), SourceError> {
        let length = check_range(self.files.path(), range, before, deeply)?;
        length.map_or(Ok(()), |bytes| self.format.check_length(&range.name.in_directory(self.files.path()), bytes))
    }

    fn goes_on_without(&self) -> bool {
        self.files.goes_on_without()
    }

    fn files_status(&self) -> Option<FilesStatus> {
        Some(self.files.status().clone())
    }
}

impl<F: fmt::Debug> fmt::Debug for Files<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, task_bytes, format } = self;
        f.debug_struct("Files")
            .field("directory", files)
            .field("task_bytes", task_bytes)
            .field("format", format)
            .finish()
    }
}
