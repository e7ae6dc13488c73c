//! `reduce_by_key`: the values of each key in a batch, merged into one.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::codec::{Key, KeyHasher, Record};
use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::combine::Combiner;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, SharedReduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, LocalPush, Shuffle};
use crate::dstream::DStream;

/// After so many records of a task it is decided whether combining pays in it.
const TRIAL_RECORDS: usize = 4_096;
/// Combining pays while fewer than this many of 16 records are new keys.
const WORTH_SIXTEENTHS: usize = 13;

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Merges the values of each key within a batch by an associative function. Spark: `PairDStreamFunctions.reduceByKey`.
    ///
    /// Wide: merged once per task before the shuffle (unless the task's first few thousand records show that keys hardly
    /// repeat), then once per partition. The order of merging follows the order of the source, so the function need not be
    /// commutative, and results are the same on every replay (I-3). Keyed output leaves in the order (hash, encoded key). Keeps
    /// nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     (words, stream.map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b).collect("counts"))
    /// })?;
    /// let (words, counts) = job.handles();
    /// words.push(vec!["a".into(), "b".into(), "a".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(counts.last_sorted(), [("a".to_string(), 2), ("b".to_string(), 1)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_key(&self, combine: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<'c, (K, V)> {
        self.wide("reduce_by_key", ReduceByKey { combine: Arc::new(combine), types: PhantomData::<fn(K, V)> })
    }
}

struct ReduceByKey<K, V, F> {
    combine: Arc<F>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Key, V: Record, F: Fn(V, V) -> V + Send + Sync + 'static> Wide for ReduceByKey<K, V, F> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<(K, V)>(CombinePush {
            name: context.name.clone(),
            combine: self.combine.clone(),
            hasher: KeyHasher::default(),
            combiner: Combiner::new(),
            shuffle: Shuffle::new(port, context.partitions),
            seen: 0,
            pays: true,
        })
    }

    fn local_side(&self, reduce: SharedReduce) -> ErasedPush {
        ErasedPush::new::<(K, V)>(LocalPush::new(reduce))
    }

    fn takes_keys(&self) -> bool {
        true
    }

    fn is_partitioned_by_key(&self) -> bool {
        true
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>, crate::Error> {
        Ok(Box::new(CombineReduce {
            name: context.name.clone(),
            combine: self.combine.clone(),
            combiner: Combiner::<K, V>::new(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }
}

/// Merges within one task, then shuffles.
struct CombinePush<K, V, F> {
    name: Arc<str>,
    combine: Arc<F>,
    hasher: KeyHasher,
    combiner: Combiner<K, V>,
    shuffle: Shuffle<K, V>,
    seen: usize,
    pays: bool,
}

impl<K: Key, V: Record, F: Fn(V, V) -> V> CombinePush<K, V, F> {
    fn flush(&mut self) {
        for record in self.combiner.drain() {
            self.shuffle.send(record);
        }
    }
}

impl<K: Key, V: Record, F: Fn(V, V) -> V> Push<(K, V)> for CombinePush<K, V, F> {
    fn begin(&mut self, unit: &Unit) {
        self.shuffle.begin(&unit.origin);
        self.seen = 0;
        self.pays = true;
    }

    fn push(&mut self, run: &mut Vec<(K, V)>) {
        blame::enter(&self.name);
        // The decision depends on the task's own records only, so a replay decides the same (I-3).
        let trial = self.seen < TRIAL_RECORDS;
        self.seen += run.len();
        for (key, value) in run.drain(..) {
            let record = Keyed { hash: self.hasher.hash(&key).0, key, value };
            if self.pays {
                self.combiner.add(record, &*self.combine);
            } else {
                self.shuffle.send(record);
            }
        }
        if trial && self.seen >= TRIAL_RECORDS && self.combiner.len() * 16 >= self.seen * WORTH_SIXTEENTHS {
            self.pays = false;
            self.flush();
        }
    }

    fn end(&mut self) {
        self.flush();
        self.shuffle.end();
    }
}

/// Merges what all tasks sent to one partition.
struct CombineReduce<K, V, F> {
    name: Arc<str>,
    combine: Arc<F>,
    combiner: Combiner<K, V>,
    emit: Emit<(K, V)>,
}

impl<K: Key, V: Record, F: Fn(V, V) -> V> Reduce for CombineReduce<K, V, F> {
    fn run(&mut self, _partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        for chunk in chunks {
            for record in chunk.records.into_typed::<Keyed<K, V>>() {
                self.combiner.add(record, &*self.combine);
            }
        }
        self.combiner.sort();
        self.emit.begin(unit);
        for record in self.combiner.drain() {
            self.emit.emit((record.key, record.value));
        }
        self.emit.end();
    }
}
