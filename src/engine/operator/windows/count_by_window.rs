//! `count_by_window`: how many records a window has.

use std::time::Duration;

use crate::dstream::DStream;
use crate::rdd::Rdd;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// The number of records of the last `length`, every `slide`, as a stream of one record a window; 0 for an empty window.
    /// Spark: `DStream.countByWindow`, which yields nothing before the first record. See [`window`](Self::window) for what a
    /// window covers and when it yields.
    ///
    /// Wide, but only one number per task is shuffled. Keeps one number per batch of the window.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let (length, slide) = (Duration::from_millis(200), Duration::from_millis(100));
    /// let mut job = TestJob::new(move |context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.count_by_window("how many", length, slide).collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for records in [vec![], vec![7, 8], vec![9], vec![], vec![]] {
    ///     job.handles().0.push(records)?;
    ///     job.run_batch()?;
    ///     results.extend(job.handles().1.last());
    /// }
    /// assert_eq!(results, [0, 2, 3, 1, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_by_window(&self, uid: &str, length: Duration, slide: Duration) -> DStream<'c, u64> {
        let counts =
            self.count().reduce_by_window_inverse(uid, |one, other| one + other, |all, left| all - left, length, slide);
        // Where ticks merged, a window may cover no batch at all: then there is no number to add, and it has 0 records still.
        counts.transform(|_time, counts| Rdd::new(vec![vec![counts.iter().sum()]]))
    }
}
