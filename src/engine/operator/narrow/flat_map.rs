//! `flat_map`: any number of records out for one record in.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Applies a function to every record and puts out all that it returns. Spark: `DStream.flatMap`.
    ///
    /// Narrow; costs the function per record and a move per result; keeps nothing in a checkpoint. An iterator that owns its
    /// record spares the `Vec`: see [`Text::split_words`](floodmark_base::text::Text::split_words).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{Text, testing::TestJob};
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (lines, stream) = context.queue_stream::<Text>("lines");
    ///     (lines, stream.flat_map(|line| line.split_words()).collect("words"))
    /// })?;
    /// let (lines, words) = job.handles();
    /// lines.push(vec!["to be".into(), "or not".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(words.last(), ["to", "be", "or", "not"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flat_map<U, I>(&self, function: impl Fn(T) -> I + Send + Sync + 'static) -> DStream<'c, U>
    where
        U: Record,
        I: IntoIterator<Item = U>,
    {
        self.per_run("flat_map", move |run, emit| {
            for record in run.drain(..) {
                for result in function(record) {
                    emit.emit(result);
                }
            }
        })
    }
}
