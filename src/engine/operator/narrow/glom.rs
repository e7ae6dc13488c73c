//! `glom`: each partition as one record.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// The records of each partition as one record, in their order; an empty `Vec` for an empty partition. Spark:
    /// `DStream.glom`.
    ///
    /// A partition is a block or a planned range before the first shuffle, and one of the job's partitions after it; neither
    /// depends on the number of workers. Narrow; holds one partition in memory; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.glom().collect("blocks"))
    /// })?;
    /// let (numbers, blocks) = job.handles();
    /// numbers.push(vec![1, 2])?; // a block each
    /// numbers.push(vec![3])?;
    /// job.run_batch()?;
    /// assert_eq!(blocks.last(), [vec![1, 2], vec![3]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn glom(&self) -> DStream<'c, Vec<T>> {
        self.map_partitions(|records| [records.collect()])
    }
}
