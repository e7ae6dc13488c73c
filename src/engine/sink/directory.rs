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
#![allow(clippy::disallowed_methods)] // locks a directory

//!
//! Every durable step passes the door to the disk ([`Step::SinkFence`], [`Step::SinkPublish`]); the lock does not, since it means
//! nothing to whoever comes after a crash.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Layout;
use super::part::{PartFormat, write_part};
use super::summary::{BatchSummary, PartSummary};
use super::{Fence, PublishedBatch, Sink, SinkError};
use floodmark_base::disk::{Disk, DiskFile, LocalDisk, Step};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};
use floodmark_base::place::{absolute, url_problem};

/// The file that says what a batch is made of.
pub(super) const SUMMARY: &str = "_batch";

/// A sink that writes each batch as a directory. A batch is written under a hidden name, synced, and renamed as a whole; it
/// is created once and never changed. One that is already there is compared with what would have been written.
#[derive(Clone, Debug)]
pub(crate) struct BatchDirectories<F> {
    directory: PathBuf,
    layout: Layout,
    format: F,
    disk: Arc<dyn Disk>,
}

impl<T, F: PartFormat<T>> Sink<T> for BatchDirectories<F> {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        if let Some(problem) = url_problem(&self.directory) {
            return Err(SinkError::io("create", &self.directory)(io::Error::new(ErrorKind::InvalidInput, problem)));
        }
        self.disk.create_dir_all(Step::SinkFence, &self.directory).map_err(SinkError::io("create", &self.directory))?;
        let _lock = self.lock()?;
        let held = self.read_fence()?;
        Fence::admit(&self.place(), held, epoch)?;
        let fence = Fence { epoch, lineage };
        if held == Some(fence) {
            // A second try: the first may have failed in its last sync.
            self.sync_names(Step::SinkFence)?;
        } else {
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
        if self.is_there(&visible)? {
            self.compare(&visible, batch)?;
        } else {
            let unfinished = self.directory.join(Layout::unfinished(&name, batch.epoch));
            self.write_unfinished(&unfinished, batch)?;
            // The batch becomes visible, as a whole.
            self.disk
                .rename(Step::SinkPublish, &unfinished, &visible)
                .map_err(SinkError::io("rename into place", &visible))?;
        }
        // Also when it was there: the life that renamed it may have died before this sync.
        self.sync_names(Step::SinkPublish)
    }
}

impl<F> BatchDirectories<F> {
    /// A sink in this directory, which is created, with its parents, by the first fence. A relative path is relative to the current
    /// directory of this moment.
    pub fn new(directory: PathBuf, layout: Layout, format: F) -> Self {
        Self { directory: absolute(directory), layout, format, disk: Arc::new(LocalDisk) }
    }

    /// The same sink behind another door to the disk.
    pub fn on_disk(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
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
        match self.disk.read(&path) {
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
        let text = fence.to_text();
        self.disk
            .replace_whole(Step::SinkFence, &path, &unfinished, text.as_bytes())
            .map_err(SinkError::io("replace", &path))
    }

    /// Removes what drivers that died have left unfinished. It was never visible, and its driver is locked out by now.
    fn remove_unfinished(&self) -> Result<(), SinkError> {
        for name in self.names()? {
            if self.layout.is_unfinished(&name) || name == self.layout.unfinished_fence() {
                let path = self.directory.join(&name);
                self.disk.remove(Step::SinkPublish, &path).map_err(SinkError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The last batch of a lineage. The largest numbers come first, so that usually one file is read.
    fn last_batch(&self, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        let names = self.names()?.into_iter();
        let mut batches: Vec<(u64, String)> =
            names.filter_map(|name| Some((self.layout.number_in(&name)?, name))).collect();
        batches.sort_unstable_by(|a, b| b.cmp(a));
        for (_, name) in batches {
            let summary = self.read_summary(&self.directory.join(name))?;
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
        let found = self.read_summary(visible)?;
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
            self.check_part(&visible.join(part_name(part.partition)), part)?;
        }
        if let Some(mark) = self.layout.mark() {
            let path = visible.join(mark);
            let size = self.disk.len(&path).map_err(SinkError::io("read", &path))?;
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
        if self.is_there(unfinished)? {
            self.disk.remove(Step::SinkPublish, unfinished).map_err(SinkError::io("remove", unfinished))?;
        }
        self.disk.create_dir(Step::SinkPublish, unfinished).map_err(SinkError::io("create", unfinished))?;
        let mut parts = Vec::new();
        for (partition, records) in occupied(batch) {
            let path = unfinished.join(part_name(partition));
            let part = self.write_part_file(&path, partition, records);
            parts.push(part.map_err(SinkError::io("write", &path))?);
        }
        let summary = summary_of(batch, parts).to_text();
        self.write_synced(&unfinished.join(SUMMARY), summary.as_bytes())?;
        if let Some(mark) = self.layout.mark() {
            self.write_synced(&unfinished.join(mark), b"")?;
        }
        self.disk.sync_directory(Step::SinkPublish, unfinished).map_err(SinkError::io("sync", unfinished))
    }

    fn write_part_file<T>(&self, path: &Path, partition: usize, records: &[T]) -> io::Result<PartSummary>
    where
        F: PartFormat<T>,
    {
        let mut file = Appended(self.disk.create(Step::SinkPublish, path)?);
        let part = write_part(&self.format, partition, records, &mut file)?;
        file.0.sync(Step::SinkPublish)?;
        Ok(part)
    }
}

/// What reads and writes, whatever the records are.
impl<F> BatchDirectories<F> {
    fn is_there(&self, path: &Path) -> Result<bool, SinkError> {
        match self.disk.kind(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SinkError::io("look for", path)(error)),
        }
    }

    fn names(&self) -> Result<Vec<String>, SinkError> {
        self.disk.list(&self.directory).map_err(SinkError::io("list", &self.directory))
    }

    fn sync_names(&self, step: Step) -> Result<(), SinkError> {
        self.disk.sync_directory(step, &self.directory).map_err(SinkError::io("sync", &self.directory))
    }

    fn read_summary(&self, batch: &Path) -> Result<BatchSummary, SinkError> {
        let path = batch.join(SUMMARY);
        let text = self.disk.read(&path).map_err(SinkError::io("read", &path))?;
        // Bytes that are no text are replaced, which its checksum finds.
        BatchSummary::parse(&String::from_utf8_lossy(&text)).map_err(|error| damaged(&path, &error))
    }

    /// Reads a part file of a visible batch and compares it with what its batch says of it.
    fn check_part(&self, path: &Path, expected: &PartSummary) -> Result<(), SinkError> {
        let bytes = self.disk.read(path).map_err(SinkError::io("read", path))?;
        let (found_bytes, found_crc32) = (bytes.len() as u64, crc32fast::hash(&bytes));
        let PartSummary { bytes, crc32, .. } = *expected;
        if (found_bytes, found_crc32) == (bytes, crc32) {
            return Ok(());
        }
        let reason =
            format!("expected {bytes} bytes with crc32 {crc32:08x}, found {found_bytes} with {found_crc32:08x}");
        Err(damaged(path, &reason))
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
        let write = || {
            let mut file = Appended(self.disk.create(Step::SinkPublish, path)?);
            if !bytes.is_empty() {
                file.write_all(bytes)?;
            }
            file.0.sync(Step::SinkPublish)
        };
        write().map_err(SinkError::io("write", path))
    }
}

/// A file of a batch, to be written at its end.
struct Appended(Box<dyn DiskFile>);

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(Step::SinkPublish, &mut [IoSlice::new(bytes)])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

fn damaged(path: &Path, reason: &dyn Display) -> SinkError {
    SinkError::Damaged { place: path.display().to_string(), reason: reason.to_string() }
}
