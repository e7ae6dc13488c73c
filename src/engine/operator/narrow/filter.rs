//! `filter`: the records that a function selects.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Keeps the records for which the function says true. Spark: `DStream.filter`.
    ///
    /// Narrow; costs the function per record; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.filter(|n| n % 2 == 1).collect("odd"))
    /// })?;
    /// let (numbers, odd) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// assert_eq!(odd.last(), [1, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter(&self, select: impl Fn(&T) -> bool + Send + Sync + 'static) -> DStream<'c, T> {
        self.per_run_keeping_keys("filter", move |run, emit| {
            for record in run.drain(..) {
                if select(&record) {
                    emit.emit(record);
                }
            }
        })
    }
}
