//! `group_by_key`: the values of each key in a batch, side by side.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::combine::Combiner;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// All values of each key within a batch, in the order of the source. Spark: `PairDStreamFunctions.groupByKey`.
    ///
    /// Wide: every record is shuffled, unless the stream is in the partitions of its keys already; holds a partition's records
    /// in memory. To merge values, [`reduce_by_key`](Self::reduce_by_key) and [`combine_by_key`](Self::combine_by_key) move
    /// less. Keyed output leaves in the order (hash, encoded key). Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (clicks, stream) = context.queue_stream::<(String, u64)>("clicks");
    ///     (clicks, stream.group_by_key().collect("by user"))
    /// })?;
    /// let (clicks, by_user) = job.handles();
    /// clicks.push(vec![("ann".into(), 3), ("bob".into(), 1), ("ann".into(), 2)])?;
    /// job.run_batch()?;
    /// assert_eq!(by_user.last_sorted(), [("ann".to_string(), vec![3, 2]), ("bob".to_string(), vec![1])]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_by_key(&self) -> DStream<'c, (K, Vec<V>)> {
        self.wide("group_by_key", Shuffled(GroupByKey(PhantomData::<fn(K, V)>)))
    }
}

struct GroupByKey<K, V>(PhantomData<fn(K, V)>);

impl<K: Key, V: Record> ByKey for GroupByKey<K, V> {
    type Key = K;
    type Value = V;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(GroupReduce {
            name: context.name.clone(),
            groups: Combiner::<K, Vec<V>>::new(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }
}

struct GroupReduce<K, V> {
    name: Arc<str>,
    groups: Combiner<K, Vec<V>>,
    emit: Emit<(K, Vec<V>)>,
}

impl<K: Key, V: Record> Reduce for GroupReduce<K, V> {
    fn run(&mut self, _partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        for chunk in chunks {
            let mut records = chunk.records.into_typed::<Keyed<K, V>>();
            self.groups.fold_run(&mut records, |first| vec![first], pushed);
        }
        self.groups.put_out(unit, &mut self.emit);
    }
}

/// The values with one more.
fn pushed<V>(mut values: Vec<V>, value: V) -> Vec<V> {
    values.push(value);
    values
}
