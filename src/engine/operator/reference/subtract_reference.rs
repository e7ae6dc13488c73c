//! `subtract_reference`: the records whose key is not in reference data.

use crate::dstream::DStream;
use crate::operator::reference::Reference;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Keeps the records whose key is not in reference data: a blacklist. Spark: `transform` with a `subtractByKey` of each batch
    /// and an RDD.
    ///
    /// Versions, order, cost and what a checkpoint keeps are as with [`join_reference`](Self::join_reference). To keep the records
    /// whose key is in it, join and map.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let mut version = Some(vec![("mallory".to_string(), ())]);
    ///     let blacklist = context.reference_data("blacklist", move || Ok(version.take()));
    ///     let (messages, stream) = context.queue_stream::<(String, String)>("messages");
    ///     (messages, stream.subtract_reference("let through", &blacklist).collect("output"))
    /// })?;
    /// let (messages, passed) = job.handles();
    /// messages.push(vec![("ann".into(), "hello".into()), ("mallory".into(), "buy".into())])?;
    /// job.run_batch()?;
    /// assert_eq!(passed.last(), [("ann".to_string(), "hello".to_string())]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subtract_reference<W: Record>(&self, uid: &str, reference: &Reference<'c, K, W>) -> DStream<'c, (K, V)> {
        self.look_up(uid, reference, |key, value, values: &[W], emit| {
            if values.is_empty() {
                emit.emit((key, value));
            }
        })
    }
}
