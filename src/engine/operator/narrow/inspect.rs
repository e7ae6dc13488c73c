//! `inspect`: a look at every record as it passes.

use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Calls a function with every record and hands it on unchanged: for tracing and for counters. Rust: `Iterator::inspect`;
    /// in Spark a `map` that returns its argument.
    ///
    /// The function runs on the workers, several records at a time on several of them, in no order across partitions. It is
    /// **called again** for the same record when a batch is recomputed, after a crash or a panic, so what it counts may be too
    /// much; what must be exact belongs into the stream, or into a [`sink`](Self::sink). Narrow: a stream that was partitioned
    /// by key still is. Costs the function per record; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    ///
    /// let seen = Arc::new(AtomicU64::new(0));
    /// let counter = seen.clone();
    /// let mut job = TestJob::new(move |context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     let counter = counter.clone();
    ///     let looked_at = stream.inspect(move |n| {
    ///         counter.fetch_add(*n, Ordering::Relaxed);
    ///     });
    ///     (numbers, looked_at.collect("all"))
    /// })?;
    /// let (numbers, all) = job.handles();
    /// numbers.push(vec![1, 2, 3])?;
    /// job.run_batch()?;
    /// assert_eq!(all.last(), [1, 2, 3]);
    /// assert_eq!(seen.load(Ordering::Relaxed), 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn inspect(&self, function: impl Fn(&T) + Send + Sync + 'static) -> DStream<'c, T> {
        self.per_run_keeping_keys("inspect", move |run, emit| {
            run.iter().for_each(&function);
            emit.extend(run.drain(..));
        })
    }
}
