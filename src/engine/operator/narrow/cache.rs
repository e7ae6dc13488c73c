//! `cache`: there is nothing to do, and why.

use crate::dstream::DStream;

impl<T> DStream<'_, T> {
    /// The stream itself: a stream is computed once per batch, however many operators and outputs consume it, and no batch is
    /// ever computed again for a later one. Spark: `DStream.cache` and `persist`, without which Spark computes a stream once
    /// per output.
    ///
    /// It is here so that programs that come from Spark read as they did. Costs nothing; keeps nothing in a checkpoint. A second
    /// consumer costs a clone per record.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     let squares = stream.map(|n| n * n).cache(); // each square is computed once
    ///     (numbers, squares.count().collect("how many"), squares.collect("squares"))
    /// })?;
    /// let (numbers, how_many, squares) = job.handles();
    /// numbers.push(vec![2, 3])?;
    /// job.run_batch()?;
    /// assert_eq!((how_many.last(), squares.last()), (vec![2], vec![4, 9]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache(&self) -> Self {
        *self
    }
}
