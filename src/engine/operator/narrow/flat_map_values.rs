//! `flat_map_values`: any number of values out for one value in, the keys as they are.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, K: Record, V: Record> DStream<'c, (K, V)> {
    /// Applies a function to the value of every pair and puts out the key with each of its results. Spark:
    /// `PairDStreamFunctions.flatMapValues`.
    ///
    /// Narrow: a stream that was partitioned by key still is. Costs the function per record, and a clone of the key per result
    /// beyond the first; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (pairs, stream) = context.queue_stream::<(String, u64)>("pairs");
    ///     (pairs, stream.flat_map_values(|n| 0..n).collect("counted"))
    /// })?;
    /// let (pairs, counted) = job.handles();
    /// pairs.push(vec![("a".into(), 2), ("b".into(), 0), ("c".into(), 1)])?;
    /// job.run_batch()?;
    /// assert_eq!(counted.last(), [("a".to_string(), 0), ("a".to_string(), 1), ("c".to_string(), 0)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flat_map_values<W, I>(&self, function: impl Fn(V) -> I + Send + Sync + 'static) -> DStream<'c, (K, W)>
    where
        W: Record,
        I: IntoIterator<Item = W>,
    {
        self.per_run_keeping_keys("flat_map_values", move |run, emit| {
            for (key, value) in run.drain(..) {
                let mut results = function(value).into_iter();
                let Some(mut last) = results.next() else { continue };
                for next in results {
                    emit.emit((key.clone(), std::mem::replace(&mut last, next)));
                }
                emit.emit((key, last));
            }
        })
    }
}
