//! `join_reference`: a stream joined with reference data, by key.

use crate::dstream::DStream;
use crate::operator::reference::Reference;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Joins every record with the values that its key has in reference data; records whose key is not there are left out. Spark:
    /// `transform` with a `join` of each batch with an RDD, but a change of the data is planned with a batch, and a replay
    /// sees what the batch saw.
    ///
    /// A version of the data holds from the batch on with which it is planned, that batch included. A key with several values gives a
    /// record for each, in the loader's order. Records leave by partition of their keys, and within a partition in the order of
    /// the stream's source.
    ///
    /// Wide; a look-up per record; a new version costs a pass over the entries of the old and the new one. A checkpoint keeps
    /// the version that holds, under the uid, and writes the keys whose values changed. Queries see the values of a key as a
    /// `Vec<W>`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let mut version = Some(vec![("ann".to_string(), 7_u64), ("bob".to_string(), 8)]);
    ///     let ages = context.reference_data("ages", move || Ok(version.take()));
    ///     let (names, stream) = context.queue_stream::<(String, char)>("names");
    ///     (names, stream.join_reference("aged", &ages).collect("output"))
    /// })?;
    /// let (names, aged) = job.handles();
    /// names.push(vec![("ann".into(), 'x'), ("eve".into(), 'y')])?;
    /// job.run_batch()?;
    /// assert_eq!(aged.last(), [("ann".to_string(), ('x', 7))]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn join_reference<W: Record>(&self, uid: &str, reference: &Reference<'c, K, W>) -> DStream<'c, (K, (V, W))> {
        self.look_up(uid, reference, |key, value, values: &[W], emit| {
            let Some((last, others)) = values.split_last() else { return };
            for other in others {
                emit.emit((key.clone(), (value.clone(), other.clone())));
            }
            emit.emit((key, (value, last.clone())));
        })
    }
}
