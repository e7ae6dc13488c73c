//! `left_outer_join_reference`: a stream joined with reference data, by key, that keeps records without a partner.

use crate::dstream::DStream;
use crate::operator::reference::Reference;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Joins every record with the values that its key has in reference data, or with `None` if the key is not there. Spark:
    /// `transform` with a `leftOuterJoin` of each batch with an RDD.
    ///
    /// Versions, several values of a key, order, cost and what a checkpoint keeps are as with
    /// [`join_reference`](Self::join_reference).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let mut version = Some(vec![("ann".to_string(), 7_u64)]);
    ///     let ages = context.reference_data("ages", move || Ok(version.take()));
    ///     let (names, stream) = context.queue_stream::<(String, char)>("names");
    ///     (names, stream.left_outer_join_reference("aged", &ages).collect("output"))
    /// })?;
    /// let (names, aged) = job.handles();
    /// names.push(vec![("ann".into(), 'x'), ("eve".into(), 'y')])?;
    /// job.run_batch()?;
    /// assert_eq!(aged.last_sorted(), [("ann".to_string(), ('x', Some(7))), ("eve".to_string(), ('y', None))]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn left_outer_join_reference<W: Record>(
        &self,
        uid: &str,
        reference: &Reference<'c, K, W>,
    ) -> DStream<'c, (K, (V, Option<W>))> {
        self.look_up(uid, reference, |key, value, values: &[W], emit| {
            let Some((last, others)) = values.split_last() else {
                emit.emit((key, (value, None)));
                return;
            };
            for other in others {
                emit.emit((key.clone(), (value.clone(), Some(other.clone()))));
            }
            emit.emit((key, (value, Some(last.clone()))));
        })
    }
}
