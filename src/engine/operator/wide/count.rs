//! `count`: how many records a batch has.

use crate::dataflow::chunk::{Chunk, Records};
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
    /// The number of records of each batch, as a stream of one record a batch; 0 for an empty batch. Spark: `DStream.count`.
    ///
    /// Wide, but only one number per task is shuffled; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.count().collect("how many"))
    /// })?;
    /// let (numbers, how_many) = job.handles();
    /// job.run_batch()?;
    /// assert_eq!(how_many.last(), [0]);
    /// numbers.push(vec![7, 8, 9])?;
    /// job.run_batch()?;
    /// assert_eq!(how_many.last(), [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count(&self) -> DStream<'c, u64> {
        self.wide("count", Count::<T>(std::marker::PhantomData))
    }
}

struct Count<T>(std::marker::PhantomData<fn(T)>);

impl<T: Record> Wide for Count<T> {
    fn map_side(&self, _side: u32, _context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<T>(CountPush { port, unit: None, count: 0 })
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(CountReduce { emit: Emit::new(context.name.clone(), downstream.into_typed()) }))
    }
}

struct CountPush {
    port: Port,
    unit: Option<Unit>,
    count: u64,
}

impl<T> Push<T> for CountPush {
    fn begin(&mut self, unit: &Unit) {
        self.unit = Some(unit.clone());
        self.count = 0;
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.count += run.len() as u64;
        run.clear();
    }

    fn end(&mut self) {
        let unit = self.unit.take().expect("a unit began");
        self.port.send(&unit.origin, 0, RESULT_PARTITION, Records::new(vec![self.count]));
    }
}

struct CountReduce {
    emit: Emit<u64>,
}

impl Reduce for CountReduce {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        self.emit.begin(unit);
        if partition == RESULT_PARTITION {
            self.emit.emit(chunks.into_iter().flat_map(|chunk| chunk.records.into_typed::<u64>()).sum());
        }
        self.emit.end();
    }
}
