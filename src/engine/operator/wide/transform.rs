//! `transform` and `transform_with`: a function over whole batches.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::report::Port;
use crate::dstream::DStream;
use crate::operator::shapes::gather::{GATHERED_IN, GatherPush};
use crate::rdd::Rdd;
use floodmark_base::codec::Record;
use floodmark_base::error::Result;
use floodmark_base::id::BatchTime;

impl<'c, T: Record> DStream<'c, T> {
    /// Applies a function to every batch as a whole, with its time: for what [`Rdd`] can do and a stream cannot, such as sorting
    /// a batch, or joining it with data of the program's own. Spark: `DStream.transform`.
    ///
    /// The function is called once per result of this stream, also for an empty batch, which may have no partition at all. The
    /// partitions of the `Rdd` that it gets are those of the stream (blocks and planned ranges, or the job's partitions after a
    /// shuffle); the partitions of the `Rdd` that it returns are those of the result. It must depend on nothing but its
    /// arguments: after a crash it is called again for batches that are recomputed, and must give the same (I-3). Data that it
    /// captures must therefore not change while a batch may still be recomputed.
    ///
    /// Wide, and not parallel: the whole batch goes to one worker and is held in its memory; use the operators of the stream
    /// where they do. Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{Rdd, testing::TestJob};
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     let sorted = stream.transform(|_time, rdd| {
    ///         let mut records = rdd.collect();
    ///         records.sort_unstable();
    ///         Rdd::new(vec![records])
    ///     });
    ///     (numbers, sorted.collect("sorted"))
    /// })?;
    /// let (numbers, sorted) = job.handles();
    /// numbers.push(vec![3, 1])?;
    /// numbers.push(vec![2])?;
    /// job.run_batch()?;
    /// assert_eq!(sorted.last(), [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transform<U: Record>(
        &self,
        function: impl Fn(BatchTime, Rdd<T>) -> Rdd<U> + Send + Sync + 'static,
    ) -> DStream<'c, U> {
        let function = Arc::new(move |time, chunks| function(time, rdd_of(chunks)));
        self.wide("transform", Transform { function, types: PhantomData::<fn(T, ())> })
    }

    /// As [`transform`](Self::transform), over the batches of this stream and of another one. Spark: `DStream.transformWith`.
    ///
    /// Both streams must be of one context and slide alike; otherwise the job does not start.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{Rdd, testing::TestJob};
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, one) = context.queue_stream::<String>("words");
    ///     let (banned, other) = context.queue_stream::<String>("banned");
    ///     let allowed = one.transform_with(&other, |_time, words, banned| {
    ///         Rdd::new(vec![words.into_iter().filter(|word| !banned.iter().any(|ban| ban == word)).collect()])
    ///     });
    ///     ((words, banned), allowed.collect("allowed"))
    /// })?;
    /// let ((words, banned), allowed) = job.handles();
    /// words.push(vec!["tea".into(), "rum".into()])?;
    /// banned.push(vec!["rum".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(allowed.last(), ["tea"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transform_with<W: Record, U: Record>(
        &self,
        other: &DStream<'c, W>,
        function: impl Fn(BatchTime, Rdd<T>, Rdd<W>) -> Rdd<U> + Send + Sync + 'static,
    ) -> DStream<'c, U> {
        let function = Arc::new(move |time, chunks: Vec<Chunk>| {
            let (ones, others) = chunks.into_iter().partition(|chunk| chunk.side == 0);
            function(time, rdd_of(ones), rdd_of(others))
        });
        self.wide_with("transform_with", other, Transform { function, types: PhantomData::<fn(T, W)> })
    }
}

/// A batch whose partitions arrived as chunks.
fn rdd_of<T: Record>(chunks: Vec<Chunk>) -> Rdd<T> {
    Rdd::new(chunks.into_iter().map(|chunk| chunk.records.into_typed()).collect())
}

/// The user's function over all chunks of a batch.
type Function<U> = Arc<dyn Fn(BatchTime, Vec<Chunk>) -> Rdd<U> + Send + Sync>;

struct Transform<T, W, U> {
    function: Function<U>,
    types: PhantomData<fn(T, W)>,
}

impl<T: Record, W: Record, U: Record> Wide for Transform<T, W, U> {
    fn map_side(&self, side: u32, _context: &WorkerContext, port: Port) -> ErasedPush {
        match side {
            0 => ErasedPush::new::<T>(GatherPush::new(port)),
            _ => ErasedPush::new::<W>(GatherPush::new(port)),
        }
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(TransformReduce {
            name: context.name.clone(),
            function: self.function.clone(),
            emit: Emit::<U>::new(context.name.clone(), downstream.into_typed()),
        }))
    }
}

struct TransformReduce<U> {
    name: Arc<str>,
    function: Function<U>,
    emit: Emit<U>,
}

impl<U: Record> Reduce for TransformReduce<U> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        if partition != GATHERED_IN {
            return;
        }
        blame::enter(&self.name);
        let rdd = (self.function)(unit.time, chunks);
        for (index, records) in (0_u32..).zip(rdd.into_partitions()) {
            self.emit.begin(&Unit::of_partition(index, unit.time, unit.batch.clone()));
            records.into_iter().for_each(|record| self.emit.emit(record));
            self.emit.end();
        }
    }
}
