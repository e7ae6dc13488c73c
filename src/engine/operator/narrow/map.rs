//! `map`: one record out for one record in.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Applies a function to every record. Spark: `DStream.map`.
    ///
    /// Narrow; costs the function per record; keeps nothing in a checkpoint. The function must depend on nothing but its
    /// argument (I-3).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.map(|n| n * 2).collect("doubled"))
    /// })?;
    /// let (numbers, doubled) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// assert_eq!(doubled.last(), [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<U: Record>(&self, function: impl Fn(T) -> U + Send + Sync + 'static) -> DStream<'c, U> {
        self.per_run("map", move |run, emit| emit.extend(run.drain(..).map(&function)))
    }
}
