//! `MemorySink`: keeps batches in memory, for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fence, PublishedBatch, Sink, SinkError};
use floodmark_base::id::{BatchId, Epoch, Lineage};

const PLACE: &str = "the memory sink";

/// Keeps what is published in memory, behind a handle that can be cloned: give one to the job, look into the other.
///
/// It outlives the jobs that publish to it, so it shows what a restart published again: nothing that was there, if all is
/// well. A batch that comes again must be equal to the one that is held. Batches of different lineages are kept apart.
///
/// ```
/// use floodmark::{BatchId, BatchTime, Epoch, Lineage, MemorySink, PublishedBatch, Sink};
///
/// let seen = MemorySink::new();
/// let mut sink = seen.clone();
/// sink.fence(Epoch(1), Lineage(7))?;
/// let batch = PublishedBatch {
///     lineage: Lineage(7),
///     batch: BatchId(1),
///     time: BatchTime(500),
///     epoch: Epoch(1),
///     partitions: vec![vec!["apple"], vec!["pear"]],
/// };
/// sink.publish(&batch)?;
/// sink.publish(&batch)?; // after a crash, say
/// assert_eq!(seen.contents(), ["apple", "pear"]);
/// assert_eq!(seen.repetitions(), 1);
/// # Ok::<(), floodmark::SinkError>(())
/// ```
pub struct MemorySink<T> {
    held: Arc<Mutex<Held<T>>>,
}

struct Held<T> {
    batches: Vec<PublishedBatch<T>>,
    /// Every driver that was let in, oldest first; the last one holds the sink.
    fences: Vec<Fence>,
    repetitions: u64,
}

impl<T> MemorySink<T> {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        Self { held: Arc::new(Mutex::new(Held { batches: Vec::new(), fences: Vec::new(), repetitions: 0 })) }
    }

    /// All records: batch by batch in the order of publication, partition by partition.
    #[must_use]
    pub fn contents(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.held().batches.iter().flat_map(PublishedBatch::records).cloned().collect()
    }

    /// All batches in the order of publication.
    #[must_use]
    pub fn batches(&self) -> Vec<PublishedBatch<T>>
    where
        T: Clone,
    {
        self.held().batches.clone()
    }

    /// Every driver that was let in, oldest first.
    #[must_use]
    pub fn fences(&self) -> Vec<(Epoch, Lineage)> {
        self.held().fences.iter().map(|fence| (fence.epoch, fence.lineage)).collect()
    }

    /// How often a batch came that was already held, and was left alone.
    #[must_use]
    pub fn repetitions(&self) -> u64 {
        self.held().repetitions
    }

    /// A panic in a test's own thread while it looked says nothing about what is held.
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + PartialEq + Send + 'static> Sink<T> for MemorySink<T> {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        let mut held = self.held();
        let newest = held.fences.last().copied();
        Fence::admit(PLACE, newest, epoch)?;
        let fence = Fence { epoch, lineage };
        if newest != Some(fence) {
            held.fences.push(fence);
        }
        Ok(held.batches.iter().filter(|batch| batch.lineage == lineage).map(|batch| batch.batch).max())
    }

    fn publish(&mut self, batch: &PublishedBatch<T>) -> Result<(), SinkError> {
        let mut held = self.held();
        Fence::check(PLACE, held.fences.last().copied(), batch)?;
        let there = held.batches.iter().find(|there| (there.lineage, there.batch) == (batch.lineage, batch.batch));
        match there {
            None => held.batches.push(batch.clone()),
            Some(there) if (there.time, &there.partitions) == (batch.time, &batch.partitions) => held.repetitions += 1,
            Some(there) => {
                let describe = |batch: &PublishedBatch<T>| format!("{} records of time {}", batch.len(), batch.time);
                return Err(SinkError::Conflict {
                    place: PLACE.to_string(),
                    batch: batch.batch,
                    expected: describe(batch),
                    found: format!("{} that differ", describe(there)),
                });
            }
        }
        Ok(())
    }
}

impl<T> Clone for MemorySink<T> {
    /// Another handle to the same contents.
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held) }
    }
}

impl<T> Default for MemorySink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> std::fmt::Debug for MemorySink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySink({} batches)", self.held().batches.len())
    }
}
