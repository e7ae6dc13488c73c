//! `map_values`: a function over the values, the keys as they are.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, K: Record, V: Record> DStream<'c, (K, V)> {
    /// Applies a function to the value of every pair. Spark: `PairDStreamFunctions.mapValues`.
    ///
    /// Narrow; costs the function per record; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (pairs, stream) = context.queue_stream::<(String, u64)>("pairs");
    ///     (pairs, stream.map_values(|n| n + 1).collect("next"))
    /// })?;
    /// let (pairs, next) = job.handles();
    /// pairs.push(vec![("a".into(), 1)])?;
    /// job.run_batch()?;
    /// assert_eq!(next.last(), [("a".to_string(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_values<W: Record>(&self, function: impl Fn(V) -> W + Send + Sync + 'static) -> DStream<'c, (K, W)> {
        self.per_run_keeping_keys("map_values", move |run, emit| {
            emit.extend(run.drain(..).map(|(key, value)| (key, function(value))));
        })
    }
}
