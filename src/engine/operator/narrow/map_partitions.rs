//! `map_partitions`: a function over all records of a partition at once.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Narrow, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dstream::DStream;
use floodmark_base::codec::Record;

impl<'c, T: Record> DStream<'c, T> {
    /// Applies a function to an iterator over each partition. Spark: `DStream.mapPartitions`.
    ///
    /// A partition is a block or a planned range before the first shuffle, and a range of keys after it; neither depends on
    /// the number of workers. Narrow; holds one partition in memory; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.map_partitions(|numbers| [numbers.sum::<u64>()]).collect("sums"))
    /// })?;
    /// let (numbers, sums) = job.handles();
    /// numbers.push(vec![1, 2])?; // a block each
    /// numbers.push(vec![3, 4])?;
    /// job.run_batch()?;
    /// assert_eq!(sums.last(), [3, 7]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_partitions<U, I>(
        &self,
        function: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<'c, U>
    where
        U: Record,
        I: IntoIterator<Item = U>,
    {
        self.narrow("map_partitions", MapPartitions { function: Arc::new(function), types: PhantomData::<fn(T) -> U> })
    }
}

struct MapPartitions<T, U, F> {
    function: Arc<F>,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, I, F> Narrow for MapPartitions<T, U, F>
where
    T: Record,
    U: Record,
    I: IntoIterator<Item = U>,
    F: Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
{
    fn lower(&self, _side: u32, context: &WorkerContext, downstream: Downstream) -> ErasedPush {
        let name = context.name.clone();
        let emit = Emit::new(name.clone(), downstream.into_typed::<U>());
        ErasedPush::new(MapPartitionsPush { name, function: self.function.clone(), partition: Vec::<T>::new(), emit })
    }
}

struct MapPartitionsPush<T, U, F> {
    name: Arc<str>,
    function: Arc<F>,
    partition: Vec<T>,
    emit: Emit<U>,
}

impl<T, U, I, F> Push<T> for MapPartitionsPush<T, U, F>
where
    I: IntoIterator<Item = U>,
    F: Fn(std::vec::IntoIter<T>) -> I,
{
    fn begin(&mut self, unit: &Unit) {
        self.emit.begin(unit);
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.partition.append(run);
    }

    fn end(&mut self) {
        blame::enter(&self.name);
        for result in (self.function)(std::mem::take(&mut self.partition).into_iter()) {
            self.emit.emit(result);
        }
        self.emit.end();
    }
}
