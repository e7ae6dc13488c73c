//! `FileSink`: text files, a directory for each batch, named by its number, and a file for each partition. Layout and
//! crashes: [`directory`](super::directory).

use std::fmt::Display;
use std::path::PathBuf;

use super::directory::BatchDirectories;
use super::layout::Layout;
use super::part::Lines;
use super::{PublishedBatch, Sink, SinkError};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};

/// Writes each batch as a directory of text files, a line per record: exactly once, also across crashes.
///
/// A batch is written under a hidden name, synced, and renamed as a whole; it is created once and never changed. A batch
/// that is already there is compared with what would have been written, and left alone. Each batch costs a sync for
/// each partition that has records, and three more. A record whose text contains a line end becomes several lines.
///
/// ```
/// use floodmark::{BatchId, BatchTime, Epoch, FileSink, Lineage, PublishedBatch, Sink};
///
/// let directory = tempfile::tempdir()?;
/// let mut sink = FileSink::new(directory.path());
/// Sink::<&str>::fence(&mut sink, Epoch(1), Lineage(7))?;
/// sink.publish(&PublishedBatch {
///     lineage: Lineage(7),
///     batch: BatchId(1),
///     time: BatchTime(500),
///     epoch: Epoch(1),
///     partitions: vec![vec!["to be"], vec!["or not"]],
/// })?;
///
/// let batch = directory.path().join("batch-00000000000000000001");
/// assert_eq!(std::fs::read_to_string(batch.join("part-00001"))?, "or not\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileSink {
    batches: BatchDirectories<Lines>,
}

impl FileSink {
    /// A sink in this directory, which is created, with its parents, when the job starts.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { batches: BatchDirectories::new(directory.into(), Layout::by_batch(), Lines) }
    }

    /// The same sink behind another door to the disk, for fault injection.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn on_disk(self, disk: std::sync::Arc<dyn floodmark_base::disk::Disk>) -> Self {
        Self { batches: self.batches.on_disk(disk) }
    }

    /// The directory under which a batch is visible.
    #[must_use]
    pub fn batch_directory(&self, batch: BatchId) -> PathBuf {
        // Its time is no part of the name.
        self.batches.visible(batch, BatchTime(0))
    }
}

impl<T: Display> Sink<T> for FileSink {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        Sink::<T>::fence(&mut self.batches, epoch, lineage)
    }

    fn publish(&mut self, batch: &PublishedBatch<T>) -> Result<(), SinkError> {
        self.batches.publish(batch)
    }
}
