//! `remember`: the last batches of a stream, to be looked at while the job runs.

use std::marker::PhantomData;
use std::time::Duration;

use crate::dstream::DStream;
use floodmark_base::codec::Record;
use floodmark_base::id::Uid;

impl<T: Record> DStream<'_, T> {
    /// Keeps the batches of the last `duration` of this stream, so that [`Remembered::slice`] can look at them while the job
    /// runs. Spark: `StreamingContext.remember` and `DStream.slice`.
    ///
    /// At least as much is kept as [`StreamingContextBuilder::remember`](crate::StreamingContextBuilder::remember) asks for; the
    /// duration is rounded up to a multiple of the stream's slide. As state under the uid, it is in checkpoints and outlives a
    /// crash; the records are kept in memory and written once. Wide.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.remember("recent", Duration::from_secs(60)))
    /// })?;
    /// let (numbers, recent) = job.handles();
    /// numbers.push(vec![1, 2])?;
    /// let first = job.run_batch()?;
    /// numbers.push(vec![3])?;
    /// let second = job.run_batch()?;
    ///
    /// let slices = recent.slice(job.running(), first.time..=second.time)?;
    /// assert_eq!(slices.len(), 2);
    /// assert_eq!(slices[1].1.iter().copied().collect::<Vec<_>>(), [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn remember(&self, uid: &str, duration: Duration) -> Remembered<T> {
        let uid = Uid::from(uid);
        self.kept(uid.clone(), self.remembered_window(duration));
        Remembered { uid, types: PhantomData }
    }
}

/// A stream whose last batches are kept; see [`DStream::remember`].
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// # use floodmark::testing::TestJob;
/// # use std::time::Duration;
/// let mut job = TestJob::new(|context| {
///     let (_, stream) = context.queue_stream::<u64>("numbers");
///     stream.remember("recent", Duration::from_secs(60))
/// })?;
/// let batch = job.run_batch()?;
/// assert!(job.handles().slice(job.running(), batch.time..=batch.time)?.is_empty()); // it had no block, so no partition
/// # Ok(())
/// # }
/// ```
pub struct Remembered<T> {
    pub(crate) uid: Uid,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for Remembered<T> {
    fn clone(&self) -> Self {
        Self { uid: self.uid.clone(), types: PhantomData }
    }
}
