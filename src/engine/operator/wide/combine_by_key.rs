//! `combine_by_key`: the values of each key in a batch, gathered into something of another type.

use crate::dstream::DStream;
use crate::operator::shapes::aggregate::Aggregate;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Combines the values of each key within a batch into a `C`: `create` makes one of a first value, `merge_value` adds a
    /// value to one, `merge_combiners` joins two, of which the second holds the later values. Spark:
    /// `PairDStreamFunctions.combineByKey`.
    ///
    /// Values and combiners meet in the order of the source, so the functions need not be commutative. Which values are added
    /// within a task and which combiners are merged after the shuffle is open (it follows from the records alone, so it is
    /// the same on every replay, I-3); hence `merge_value(c, v)` must give what `merge_combiners(c, create(v))` gives, and
    /// `merge_combiners` must be associative.
    ///
    /// Wide: combined once per task before the shuffle (unless the task's first few thousand records show that keys hardly
    /// repeat), then once per partition; no shuffle where the stream is in the partitions of its keys already. Keyed output
    /// leaves in the order (hash, encoded key). Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (scores, stream) = context.queue_stream::<(String, u64)>("scores");
    ///     let averages = stream
    ///         .combine_by_key(|score| (score, 1), |(sum, n), score| (sum + score, n + 1), |a, b| (a.0 + b.0, a.1 + b.1))
    ///         .map_values(|(sum, n): (u64, u64)| sum / n);
    ///     (scores, averages.collect("averages"))
    /// })?;
    /// let (scores, averages) = job.handles();
    /// scores.push(vec![("ann".into(), 10), ("bob".into(), 7), ("ann".into(), 20)])?;
    /// job.run_batch()?;
    /// assert_eq!(averages.last_sorted(), [("ann".to_string(), 15), ("bob".to_string(), 7)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn combine_by_key<C: Record>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> DStream<'c, (K, C)> {
        self.aggregate("combine_by_key", Combine { create, merge_value, merge_combiners })
    }
}

/// Combining by the user's three functions.
struct Combine<F, G, H> {
    create: F,
    merge_value: G,
    merge_combiners: H,
}

impl<V, C, F, G, H> Aggregate<V> for Combine<F, G, H>
where
    C: Record,
    F: Fn(V) -> C + Send + Sync + 'static,
    G: Fn(C, V) -> C + Send + Sync + 'static,
    H: Fn(C, C) -> C + Send + Sync + 'static,
{
    type Combined = C;

    #[inline]
    fn create(&self, value: V) -> C {
        (self.create)(value)
    }

    #[inline]
    fn add(&self, combined: C, value: V) -> C {
        (self.merge_value)(combined, value)
    }

    #[inline]
    fn merge(&self, combined: C, later: C) -> C {
        (self.merge_combiners)(combined, later)
    }
}
