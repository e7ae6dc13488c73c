//! `reduce_by_key`: the values of each key in a batch, merged into one.

use crate::dstream::DStream;
use crate::operator::shapes::aggregate::Aggregate;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Merges the values of each key within a batch by an associative function. Spark: `PairDStreamFunctions.reduceByKey`.
    ///
    /// Wide: merged once per task before the shuffle (unless the task's first few thousand records show that keys hardly
    /// repeat), then once per partition. The order of merging follows the order of the source, so the function need not be
    /// commutative, and results are the same on every replay (I-3). Keyed output leaves in the order (hash, encoded key). Keeps
    /// nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     (words, stream.map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b).collect("counts"))
    /// })?;
    /// let (words, counts) = job.handles();
    /// words.push(vec!["a".into(), "b".into(), "a".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(counts.last_sorted(), [("a".to_string(), 2), ("b".to_string(), 1)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_key(&self, combine: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<'c, (K, V)> {
        self.aggregate("reduce_by_key", Merge(combine))
    }
}

/// Merging by one function, where a value alone is what it is.
pub(crate) struct Merge<F>(pub F);

impl<V: Record, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregate<V> for Merge<F> {
    type Combined = V;

    #[inline]
    fn create(&self, value: V) -> V {
        value
    }

    #[inline]
    fn add(&self, combined: V, value: V) -> V {
        (self.0)(combined, value)
    }

    #[inline]
    fn merge(&self, combined: V, later: V) -> V {
        (self.0)(combined, later)
    }
}
