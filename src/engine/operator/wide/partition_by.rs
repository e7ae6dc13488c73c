//! `partition_by`: pairs brought to the partitions of their keys.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::combine::compare_keys;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Brings every pair to the partition of its key. What follows by the same key (`reduce_by_key`, `group_by_key`,
    /// `update_state_by_key`, …), also after `map_values`, `flat_map_values`, `filter` and `inspect`, then needs no shuffle.
    /// Spark: `partitionBy` with a `HashPartitioner`; in Floodmark the number of partitions is fixed in the job, and the hash
    /// is the pinned hash of the encoded key.
    ///
    /// It pays where several operators by key follow on one stream. Pairs leave in the order (hash, encoded key), those of one
    /// key in the order of the source. Wide: every record is shuffled once, then sorted within its partition, which is held in
    /// memory; keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (clicks, stream) = context.queue_stream::<(String, u64)>("clicks");
    ///     let by_user = stream.partition_by(); // the only shuffle
    ///     (clicks, by_user.reduce_by_key(u64::max).collect("last"), by_user.group_by_key().collect("all"))
    /// })?;
    /// let (clicks, last, all) = job.handles();
    /// clicks.push(vec![("ann".into(), 3), ("bob".into(), 1), ("ann".into(), 2)])?;
    /// job.run_batch()?;
    /// assert_eq!(last.last_sorted(), [("ann".to_string(), 3), ("bob".to_string(), 1)]);
    /// assert_eq!(all.last_sorted(), [("ann".to_string(), vec![3, 2]), ("bob".to_string(), vec![1])]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn partition_by(&self) -> DStream<'c, (K, V)> {
        self.wide("partition_by", Shuffled(PartitionBy(PhantomData::<fn(K, V)>)))
    }

    /// Brings every pair to one of so many partitions, to that which the function names for its key: 0 to `partitions` − 1.
    /// Spark: `partitionBy` with a `Partitioner` of one's own.
    ///
    /// For outputs and [`map_partitions`](Self::map_partitions) that want certain keys together. In each partition pairs are in
    /// the order of this stream. What follows by key is shuffled again, since these are not the partitions in which the job
    /// keeps its keys. The function must depend on nothing but the key (I-3).
    ///
    /// Wide: every record is shuffled; keeps nothing in a checkpoint. A number of partition that does not exist is treated as a
    /// panic of the function is; with 0 partitions the job does not start.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (events, stream) = context.queue_stream::<(u64, char)>("events");
    ///     (events, stream.partition_by_function(2, |hour| usize::from(*hour >= 12)).glom().collect("halves"))
    /// })?;
    /// let (events, halves) = job.handles();
    /// events.push(vec![(9, 'a'), (17, 'b'), (11, 'c')])?;
    /// job.run_batch()?;
    /// assert_eq!(halves.last(), [vec![(9, 'a'), (11, 'c')], vec![(17, 'b')]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn partition_by_function(
        &self,
        partitions: usize,
        partition_of: impl Fn(&K) -> usize + Send + Sync + 'static,
    ) -> DStream<'c, (K, V)> {
        self.deal("partition_by_function", partitions, move |_turn, (key, _): &(K, V)| partition_of(key))
    }
}

struct PartitionBy<K, V>(PhantomData<fn(K, V)>);

impl<K: Key, V: Record> ByKey for PartitionBy<K, V> {
    type Key = K;
    type Value = V;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        let emit = Emit::new(context.name.clone(), downstream.into_typed());
        Ok(Box::new(PartitionReduce::<K, V> { name: context.name.clone(), records: Vec::new(), emit }))
    }
}

struct PartitionReduce<K, V> {
    name: Arc<str>,
    records: Vec<Keyed<K, V>>,
    emit: Emit<(K, V)>,
}

impl<K: Key, V: Record> Reduce for PartitionReduce<K, V> {
    fn run(&mut self, _partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        for chunk in chunks {
            self.records.append(&mut chunk.records.into_typed());
        }
        self.records.sort_by(compare_keys); // stable: the values of a key stay in their order
        self.emit.begin(unit);
        for record in self.records.drain(..) {
            self.emit.emit((record.key, record.value));
        }
        self.emit.end();
    }
}
