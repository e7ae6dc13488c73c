//! `count_by_value`: how often each record occurs in a batch.

use crate::dstream::DStream;
use crate::operator::wide::reduce_by_key::Merge;
use floodmark_base::codec::Key;

impl<'c, T: Key> DStream<'c, T> {
    /// How often each distinct record occurs in a batch; nothing for an empty batch. Spark: `DStream.countByValue`.
    ///
    /// Wide, as [`reduce_by_key`](DStream::reduce_by_key) over `(record, 1)`: counted once per task before the shuffle. Keyed
    /// output leaves in the order (hash, encoded record). Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (colours, stream) = context.queue_stream::<String>("colours");
    ///     (colours, stream.count_by_value().collect("counts"))
    /// })?;
    /// let (colours, counts) = job.handles();
    /// colours.push(vec!["red".into(), "blue".into(), "red".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(counts.last_sorted(), [("blue".to_string(), 1), ("red".to_string(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_by_value(&self) -> DStream<'c, (T, u64)> {
        let ones = self.per_run("count_by_value", |run, emit| emit.extend(run.drain(..).map(|record| (record, 1))));
        ones.aggregate("count_by_value", Merge(|one: u64, other: u64| one + other))
    }
}
