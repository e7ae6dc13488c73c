//! `reduce`: the records of a batch, merged into one.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::{Chunk, Origin, Records};
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dstream::DStream;
use floodmark_base::codec::Record;
use floodmark_base::error::Result;

/// The partition that holds the one result.
const RESULT_PARTITION: u32 = 0;

impl<'c, T: Record> DStream<'c, T> {
    /// Merges the records of each batch into one by an associative function; an empty batch gives no record. Spark:
    /// `DStream.reduce`.
    ///
    /// Records are merged in the order of the source, so the function need not be commutative, and the result is the same on
    /// every replay (I-3). The result is a batch of one partition. Wide, but only one record per task is shuffled; keeps nothing
    /// in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.reduce(u64::max).collect("largest"))
    /// })?;
    /// let (numbers, largest) = job.handles();
    /// numbers.push(vec![3, 9, 4])?;
    /// job.run_batch()?;
    /// assert_eq!(largest.last(), [9]);
    /// job.run_batch()?;
    /// assert!(largest.last().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce(&self, combine: impl Fn(T, T) -> T + Send + Sync + 'static) -> DStream<'c, T> {
        self.wide("reduce", ReduceAll { combine: Arc::new(combine), types: PhantomData::<fn(T)> })
    }
}

struct ReduceAll<T, F> {
    combine: Arc<F>,
    types: PhantomData<fn(T)>,
}

impl<T: Record, F: Fn(T, T) -> T + Send + Sync + 'static> Wide for ReduceAll<T, F> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<T>(ReducePush {
            name: context.name.clone(),
            combine: self.combine.clone(),
            port,
            origin: Origin::default(),
            merged: None,
        })
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(MergeReduce {
            name: context.name.clone(),
            combine: self.combine.clone(),
            emit: Emit::<T>::new(context.name.clone(), downstream.into_typed()),
        }))
    }
}

/// Merges within one task, and sends what that gives.
struct ReducePush<T, F> {
    name: Arc<str>,
    combine: Arc<F>,
    port: Port,
    origin: Origin,
    merged: Option<T>,
}

impl<T: Record, F: Fn(T, T) -> T> Push<T> for ReducePush<T, F> {
    fn begin(&mut self, unit: &Unit) {
        self.origin = unit.origin.clone();
    }

    fn push(&mut self, run: &mut Vec<T>) {
        blame::enter(&self.name);
        self.merged = self.merged.take().into_iter().chain(run.drain(..)).reduce(&*self.combine);
    }

    fn end(&mut self) {
        if let Some(merged) = self.merged.take() {
            self.port.send(&self.origin, 0, RESULT_PARTITION, Records::new(vec![merged]));
        }
    }
}

struct MergeReduce<T, F> {
    name: Arc<str>,
    combine: Arc<F>,
    emit: Emit<T>,
}

impl<T: Record, F: Fn(T, T) -> T> Reduce for MergeReduce<T, F> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        if partition != RESULT_PARTITION {
            return;
        }
        blame::enter(&self.name);
        let records = chunks.into_iter().flat_map(|chunk| chunk.records.into_typed::<T>());
        let merged = records.reduce(&*self.combine);
        self.emit.begin(unit);
        merged.into_iter().for_each(|merged| self.emit.emit(merged));
        self.emit.end();
    }
}
