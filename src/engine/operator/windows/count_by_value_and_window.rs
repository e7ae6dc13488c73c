//! `count_by_value_and_window`: how often each record stands in a window.

use std::time::Duration;

use crate::dstream::DStream;
use floodmark_base::codec::Key;

impl<'c, T: Key> DStream<'c, T> {
    /// Each distinct record of the last `length` with how often it came, every `slide`. Spark: `DStream.countByValueAndWindow`.
    /// See [`window`](Self::window) for what a window covers and when it yields.
    ///
    /// Wide: counted once per task before the shuffle. Keeps a number per distinct record and batch of the window; a window costs
    /// the records that entered or left.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let (length, slide) = (Duration::from_millis(200), Duration::from_millis(100));
    /// let mut job = TestJob::new(move |context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     (words, stream.count_by_value_and_window("recent", length, slide).collect("out"))
    /// })?;
    /// let (words, counts) = job.handles();
    /// for word in ["a", "b", "b"] {
    ///     words.push(vec![word.into()])?;
    ///     job.run_batch()?;
    /// }
    /// assert_eq!(counts.last(), [("b".to_string(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_by_value_and_window(&self, uid: &str, length: Duration, slide: Duration) -> DStream<'c, (T, u64)> {
        self.map(|record| (record, 1_u64)).reduce_by_key_and_window_filtered(
            uid,
            |one, other| one + other,
            |all, left| all - left,
            length,
            slide,
            |_, count| *count > 0,
        )
    }
}
