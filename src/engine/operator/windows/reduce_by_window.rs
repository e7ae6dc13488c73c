//! `reduce_by_window`: all records of a window, merged into one.

use std::time::Duration;

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Merges all records of the last `length`, every `slide`, by an associative function; no record where the window is empty.
    /// Spark: `DStream.reduceByWindow`. See [`window`](Self::window) for what a window covers and when it yields.
    ///
    /// Wide, but only one record per task is shuffled. Keeps one record per batch of the window.
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
    ///     (numbers, stream.reduce_by_window("largest", u64::max, length, slide).collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for n in [7, 1, 2] {
    ///     job.handles().0.push(vec![n])?;
    ///     job.run_batch()?;
    ///     results.extend(job.handles().1.last());
    /// }
    /// assert_eq!(results, [7, 7, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_window(
        &self,
        uid: &str,
        reduce: impl Fn(T, T) -> T + Send + Sync + 'static,
        length: Duration,
        slide: Duration,
    ) -> DStream<'c, T> {
        self.map(|record| ((), record)).reduce_by_key_and_window(uid, reduce, length, slide).map(|((), value)| value)
    }

    /// As [`reduce_by_window`](Self::reduce_by_window), by way of the window before: what entered is merged in by `reduce`, what
    /// left is taken out by `inverse`. Once there was a record there is a result for every window. Spark: `reduceByWindow` with
    /// an inverse function.
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
    ///     let sums = stream.reduce_by_window_inverse("sum", |a, b| a + b, |a, b| a - b, length, slide);
    ///     (numbers, sums.collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for n in [1, 10, 100] {
    ///     job.handles().0.push(vec![n])?;
    ///     job.run_batch()?;
    ///     results.extend(job.handles().1.last());
    /// }
    /// assert_eq!(results, [1, 11, 110]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_window_inverse(
        &self,
        uid: &str,
        reduce: impl Fn(T, T) -> T + Send + Sync + 'static,
        inverse: impl Fn(T, T) -> T + Send + Sync + 'static,
        length: Duration,
        slide: Duration,
    ) -> DStream<'c, T> {
        self.map(|record| ((), record))
            .reduce_by_key_and_window_inverse(uid, reduce, inverse, length, slide)
            .map(|((), value)| value)
    }
}
