//! `remember`: the last batches of a stream, to be looked at while the job runs.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::codec::Record;
use crate::dataflow::chunk::Origin;
use crate::dstream::DStream;
use crate::error::Result;
use crate::id::{BatchTime, Uid};
use crate::operator::window::KeptUnit;
use crate::rdd::Rdd;
use crate::running::Running;

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
    uid: Uid,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for Remembered<T> {
    fn clone(&self) -> Self {
        Self { uid: self.uid.clone(), types: PhantomData }
    }
}

impl<T: Record> Remembered<T> {
    /// The batches with a time in this range, in order, as of the newest committed batch; those without any partition are left
    /// out. Spark: `DStream.slice`. Answered between batches, from any thread; costs a copy of what is kept.
    ///
    /// # Errors
    /// `Stopped` when the job has ended; `Configuration` when it is another job than the stream's.
    pub fn slice(&self, running: &Running, times: RangeInclusive<BatchTime>) -> Result<Vec<(BatchTime, Rdd<T>)>> {
        let mut batches: BTreeMap<BatchTime, BTreeMap<Origin, Vec<T>>> = BTreeMap::new();
        for (unit, records) in running.state::<KeptUnit, Vec<T>>(self.uid.as_str())?.iter()? {
            if times.contains(&unit.time) {
                batches.entry(unit.time).or_default().insert(unit.origin, records);
            }
        }
        Ok(batches.into_iter().map(|(time, units)| (time, Rdd::new(units.into_values().collect()))).collect())
    }
}
