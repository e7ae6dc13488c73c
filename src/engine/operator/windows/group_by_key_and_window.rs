//! `group_by_key_and_window`: the values of each key in a window.

use std::time::Duration;

use crate::dstream::DStream;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// The values of each key in the last `length`, every `slide`, older batches first, each in the order of the source. Spark:
    /// `PairDStreamFunctions.groupByKeyAndWindow`. See [`window`](Self::window) for what a window covers and when it yields.
    ///
    /// Wide. Keeps every value of the window in state; a result costs a copy of all of them. Where values can be merged, prefer
    /// [`reduce_by_key_and_window`](Self::reduce_by_key_and_window).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let (length, slide) = (Duration::from_millis(200), Duration::from_millis(100));
    /// let mut job = TestJob::new(move |context| {
    ///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
    ///     (words, stream.group_by_key_and_window("recent", length, slide).collect("out"))
    /// })?;
    /// let (words, grouped) = job.handles();
    /// for n in [1, 2, 3] {
    ///     words.push(vec![("a".into(), n), ("a".into(), n * 10)])?;
    ///     job.run_batch()?;
    /// }
    /// assert_eq!(grouped.last(), [("a".to_string(), vec![2, 20, 3, 30])]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_by_key_and_window(&self, uid: &str, length: Duration, slide: Duration) -> DStream<'c, (K, Vec<V>)> {
        let concatenate = |mut earlier: Vec<V>, mut later: Vec<V>| {
            earlier.append(&mut later);
            earlier
        };
        self.map_values(|value| vec![value]).reduce_by_key_and_window(uid, concatenate, length, slide)
    }
}
