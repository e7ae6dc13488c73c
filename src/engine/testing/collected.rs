//! `collect`: what a stream put out, batch by batch, in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dstream::DStream;
use crate::rdd::Rdd;
use floodmark_base::codec::Record;
use floodmark_base::id::{Batch, BatchId};

impl<T: Record> DStream<'_, T> {
    /// Keeps every batch of the stream in memory, for a test to look at. Batches that come again after a crash replace
    /// themselves. Not for production: nothing is ever forgotten.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.collect("all"))
    /// })?;
    /// let (numbers, all) = job.handles();
    /// numbers.push(vec![1, 2])?;
    /// job.run_batch()?;
    /// assert_eq!(all.last(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn collect(&self, uid: &str) -> Collected<T> {
        let collected = Collected(Arc::default());
        let target = collected.clone();
        self.named_foreach(uid, move |batch, rdd| target.take(batch, rdd));
        collected
    }
}

/// What [`DStream::collect`] kept; clones share it.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// # use floodmark::testing::TestJob;
/// let mut job = TestJob::new(|context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     (numbers, stream.collect("all"))
/// })?;
/// job.run_batch()?;
/// assert!(job.handles().1.last().is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Collected<T>(Arc<Mutex<Batches<T>>>);

/// Batches in the order in which they were published.
type Batches<T> = Vec<(Batch, Rdd<T>)>;

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Collected<T> {
    fn take(&self, batch: Batch, rdd: Rdd<T>) {
        let mut batches = self.batches();
        batches.retain(|(known, _)| known.id != batch.id);
        batches.push((batch, rdd));
    }

    fn batches(&self) -> MutexGuard<'_, Batches<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of the newest batch, partition by partition; none before the first batch.
    #[must_use]
    pub fn last(&self) -> Vec<T> {
        self.batches().last().map(|(_, rdd)| rdd.clone().collect()).unwrap_or_default()
    }

    /// As [`last`](Self::last), sorted: keyed output leaves in the order of the keys' hashes.
    #[must_use]
    pub fn last_sorted(&self) -> Vec<T>
    where
        T: Ord,
    {
        let mut records = self.last();
        records.sort();
        records
    }

    /// The partitions of one batch, if it was published since the job started.
    #[must_use]
    pub fn batch(&self, id: BatchId) -> Option<Rdd<T>> {
        self.batches().iter().find(|(batch, _)| batch.id == id).map(|(_, rdd)| rdd.clone())
    }

    /// All batches that were published since the job started, in order.
    #[must_use]
    pub fn all(&self) -> Vec<(Batch, Rdd<T>)> {
        self.batches().clone()
    }
}
