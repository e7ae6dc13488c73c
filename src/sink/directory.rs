//! A directory in which batches become visible, each as a directory of part files: what all sinks to files share.
//!
//! # Layout
//! ```text
//! out/
//!   batch-00000000000000000012/   one batch, visible as a whole
//!     part-00000, part-00003      its records; a partition without records has no file
//!     _batch                      what the batch is made of: lineage, time, sizes and CRCs
//!     _SUCCESS                    empty; only where batches are named by their time
//!   .fence                        the newest driver that was let in
//!   .lock                         held while a driver fences or publishes
//!   .batch-…-<epoch>              unfinished work of a driver that died; removed by the next fence
//!   .fence-unfinished             the same
//! ```
//! The names are those of a [`Layout`], the bytes of part files those of a [`PartFormat`]. Names that begin with `.` or `_`
//! are not taken by file sources, so the output of one job can be the input of the next.
//!
//! # What a crash leaves
//! | after | there is | the next life |
//! |---|---|---|
//! | writing part files | `.batch-…`, perhaps torn | removes it, writes the batch anew |
//! | syncing them, before the rename | `.batch-…`, whole | the same |
//! | the rename, before the directory's sync | the batch, or after a power cut `.batch-…` | finds the batch equal and syncs the directory; or writes it anew |
//! | the directory's sync | the batch | finds it equal, changes nothing |

use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::part::{PartFormat, write_part};
use super::summary::{BatchSummary, PartSummary};
use super::{Fence, PublishedBatch, Sink, SinkError};
use crate::id::{BatchId, BatchTime, Epoch, Lineage};

/// The file that says what a batch is made of.
pub(super) const SUMMARY: &str = "_batch";

/// A sink that writes each batch as a directory. A batch is written under a hidden name, synced, and renamed as a whole; it
/// is created once and never changed. One that is already there is compared with what would have been written.
#[derive(Clone, Debug)]
pub(crate) struct BatchDirectories<F> {
    directory: PathBuf,
    layout: Layout,
    format: F,
}

impl<T, F: PartFormat<T>> Sink<T> for BatchDirectories<F> {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        create_directories(&self.directory)?;
        let _lock = self.lock()?;
        let held = self.read_fence()?;
        Fence::admit(&self.place(), held, epoch)?;
        let fence = Fence { epoch, lineage };
        if held != Some(fence) {
            self.write_fence(fence)?;
        }
        self.remove_unfinished()?;
        self.last_batch(lineage)
    }

    fn publish(&mut self, batch: &PublishedBatch<T>) -> Result<(), SinkError> {
        let _lock = self.lock()?;
        Fence::check(&self.place(), self.read_fence()?, batch)?;
        let name = self.layout.visible(batch.batch, batch.time);
        let visible = self.directory.join(&name);
        if fs::exists(&visible).map_err(SinkError::io("look for", &visible))? {
            self.compare(&visible, batch)?;
        } else {
            let unfinished = self.directory.join(Layout::unfinished(&name, batch.epoch));
            self.write_unfinished(&unfinished, batch)?;
            // The batch becomes visible, as a whole.
            fs::rename(&unfinished, &visible).map_err(SinkError::io("rename into place", &visible))?;
        }
        // Also when it was there: the life that renamed it may have died before this sync.
        sync_directory(&self.directory)
    }
}

impl<F> BatchDirectories<F> {
    /// A sink in this directory, which is created, with its parents, by the first fence.
    pub fn new(directory: PathBuf, layout: Layout, format: F) -> Self {
        Self { directory, layout, format }
    }

    /// The directory under which a batch is visible.
    pub fn visible(&self, batch: BatchId, time: BatchTime) -> PathBuf {
        self.directory.join(self.layout.visible(batch, time))
    }

    fn place(&self) -> String {
        self.layout.place(&self.directory)
    }

    /// One driver at a time: between looking at the fence and renaming a batch no other may move the fence.
    fn lock(&self) -> Result<File, SinkError> {
        let path = self.directory.join(self.layout.lock());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(SinkError::io("open the lock", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            // Waiting could take for ever: the holder may be a driver that was paused in the middle of a batch.
            Err(TryLockError::WouldBlock) => {
                let held = io::Error::new(ErrorKind::WouldBlock, "held by another driver that is publishing here");
                Err(SinkError::io("lock", &path)(held))
            }
            Err(TryLockError::Error(error)) => Err(SinkError::io("lock", &path)(error)),
        }
    }

    fn read_fence(&self) -> Result<Option<Fence>, SinkError> {
        let path = self.directory.join(self.layout.fence());
        match fs::read(&path) {
            Ok(text) => {
                // Bytes that are no text are replaced, which its checksum finds.
                Fence::parse(&String::from_utf8_lossy(&text)).map(Some).map_err(|error| damaged(&path, &error))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SinkError::io("read", &path)(error)),
        }
    }

    /// Replaces the fence as a whole. A crash before the rename leaves the old one and a hidden left-over.
    fn write_fence(&self, fence: Fence) -> Result<(), SinkError> {
        let path = self.directory.join(self.layout.fence());
        let unfinished = self.directory.join(self.layout.unfinished_fence());
        write_synced(&unfinished, fence.to_text().as_bytes())?;
        fs::rename(&unfinished, &path).map_err(SinkError::io("rename into place", &path))?;
        sync_directory(&self.directory)
    }

    /// Removes what drivers that died have left unfinished. It was never visible, and its driver is locked out by now.
    fn remove_unfinished(&self) -> Result<(), SinkError> {
        for name in names(&self.directory)? {
            let path = self.directory.join(&name);
            if self.layout.is_unfinished(&name) {
                fs::remove_dir_all(&path).map_err(SinkError::io("remove", &path))?;
            } else if name == self.layout.unfinished_fence() {
                fs::remove_file(&path).map_err(SinkError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The last batch of a lineage. The largest numbers come first, so that usually one file is read.
    fn last_batch(&self, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        let names = names(&self.directory)?.into_iter();
        let mut batches: Vec<(u64, String)> =
            names.filter_map(|name| Some((self.layout.number_in(&name)?, name))).collect();
        batches.sort_unstable_by(|a, b| b.cmp(a));
        for (_, name) in batches {
            let summary = read_summary(&self.directory.join(name))?;
            if summary.lineage == lineage {
                return Ok(Some(summary.batch));
            }
        }
        Ok(None)
    }

    /// A batch is there already: it must be this one, whole.
    fn compare<T>(&self, visible: &Path, batch: &PublishedBatch<T>) -> Result<(), SinkError>
    where
        F: PartFormat<T>,
    {
        let found = read_summary(visible)?;
        let parts =
            occupied(batch).map(|(partition, records)| write_part(&self.format, partition, records, io::sink()));
        let parts = parts.collect::<io::Result<_>>().map_err(SinkError::io("render", visible))?;
        let expected = summary_of(batch, parts);
        if found != expected {
            return Err(SinkError::Conflict {
                place: visible.display().to_string(),
                batch: batch.batch,
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
        for part in &expected.parts {
            check_part(&visible.join(part_name(part.partition)), part)?;
        }
        if let Some(mark) = self.layout.mark() {
            let path = visible.join(mark);
            let size = fs::metadata(&path).map_err(SinkError::io("read", &path))?.len();
            if size > 0 {
                return Err(damaged(&path, &format_args!("expected an empty file, found {size} bytes")));
            }
        }
        Ok(())
    }

    /// Writes the batch under its hidden name, every file and the directory synced.
    fn write_unfinished<T>(&self, unfinished: &Path, batch: &PublishedBatch<T>) -> Result<(), SinkError>
    where
        F: PartFormat<T>,
    {
        match fs::remove_dir_all(unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(SinkError::io("remove", unfinished)(error));
            }
            _ => fs::create_dir(unfinished).map_err(SinkError::io("create", unfinished))?,
        }
        let mut parts = Vec::new();
        for (partition, records) in occupied(batch) {
            let path = unfinished.join(part_name(partition));
            let part = write_part_file(&self.format, &path, partition, records);
            parts.push(part.map_err(SinkError::io("write", &path))?);
        }
        write_synced(&unfinished.join(SUMMARY), summary_of(batch, parts).to_text().as_bytes())?;
        if let Some(mark) = self.layout.mark() {
            write_synced(&unfinished.join(mark), b"")?;
        }
        sync_directory(unfinished)
    }
}

/// The name of the file that has the records of this partition.
pub(super) fn part_name(partition: usize) -> String {
    format!("part-{partition:05}")
}

/// The partitions that have records.
fn occupied<T>(batch: &PublishedBatch<T>) -> impl Iterator<Item = (usize, &[T])> {
    batch.partitions.iter().map(Vec::as_slice).enumerate().filter(|(_, records)| !records.is_empty())
}

fn summary_of<T>(batch: &PublishedBatch<T>, parts: Vec<PartSummary>) -> BatchSummary {
    let &PublishedBatch { lineage, batch: id, time, ref partitions, .. } = batch;
    BatchSummary { lineage, batch: id, time, partitions: partitions.len(), parts }
}

fn read_summary(batch: &Path) -> Result<BatchSummary, SinkError> {
    let path = batch.join(SUMMARY);
    let text = fs::read(&path).map_err(SinkError::io("read", &path))?;
    // Bytes that are no text are replaced, which its checksum finds.
    BatchSummary::parse(&String::from_utf8_lossy(&text)).map_err(|error| damaged(&path, &error))
}

fn damaged(path: &Path, reason: &dyn Display) -> SinkError {
    SinkError::Damaged { place: path.display().to_string(), reason: reason.to_string() }
}

fn write_part_file<T>(
    format: &impl PartFormat<T>,
    path: &Path,
    partition: usize,
    records: &[T],
) -> io::Result<PartSummary> {
    let file = File::create_new(path)?;
    let part = write_part(format, partition, records, &file)?;
    file.sync_all()?;
    Ok(part)
}

/// Reads a part file of a visible batch and compares it with what its batch says of it.
fn check_part(path: &Path, expected: &PartSummary) -> Result<(), SinkError> {
    let bytes = fs::read(path).map_err(SinkError::io("read", path))?;
    let (found_bytes, found_crc32) = (bytes.len() as u64, crc32fast::hash(&bytes));
    if (found_bytes, found_crc32) == (expected.bytes, expected.crc32) {
        return Ok(());
    }
    let PartSummary { bytes, crc32, .. } = expected;
    let reason = format!("expected {bytes} bytes with crc32 {crc32:08x}, found {found_bytes} with {found_crc32:08x}");
    Err(damaged(path, &reason))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(SinkError::io("write", path))
}

fn sync_directory(path: &Path) -> Result<(), SinkError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(SinkError::io("sync", path))
}

/// Creates a directory and its missing parents, each synced into its own parent.
fn create_directories(path: &Path) -> Result<(), SinkError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_directories(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(SinkError::io("create", path)(error));
        }
        _ => {}
    }
    sync_directory(parent)
}

fn names(directory: &Path) -> Result<Vec<String>, SinkError> {
    let list = || -> io::Result<Vec<String>> {
        let entries = fs::read_dir(directory)?;
        // A name that is not UTF-8 is none of ours.
        entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
    };
    list().map_err(SinkError::io("list", directory))
}
