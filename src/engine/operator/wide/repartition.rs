//! `repartition`: the same records in another number of partitions.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Deals the records of each batch out evenly to exactly so many partitions. Spark: `DStream.repartition`.
    ///
    /// More partitions spread the work after a source with few large blocks over the workers; the number may be larger or
    /// smaller than the job's own, and so many partitions there are in an empty batch too. Records go round robin from each
    /// partition of this stream, beginning at a place that depends on the time and on that partition's own place, so the result
    /// does not depend on the number of workers and is the same on every replay (I-3). In each new partition records are in
    /// the order of this stream.
    ///
    /// Wide: every record is shuffled; keeps nothing in a checkpoint. With 0 partitions the job does not start.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.repartition(3).glom().map(|partition| partition.len()).collect("sizes"))
    /// })?;
    /// let (numbers, sizes) = job.handles();
    /// numbers.push((0..30).collect())?;
    /// job.run_batch()?;
    /// assert_eq!(sizes.last(), [10, 10, 10]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn repartition(&self, partitions: usize) -> DStream<'c, T> {
        self.deal("repartition", partitions, move |turn, _record| turn % partitions)
    }
}
