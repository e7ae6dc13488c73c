//! The common shape of operators that merge the values of each key: within every task before the shuffle, then per partition.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::combine::Combiner;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, SharedReduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, LocalPush, Shuffle};
use crate::dstream::DStream;
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;
use floodmark_base::types::{Keys, as_key};

/// After so many records of a task it is decided whether combining pays in it.
const TRIAL_RECORDS: usize = 4_096;
/// Combining pays while fewer than this many of 16 records are new keys.
const WORTH_SIXTEENTHS: usize = 13;

/// The side of chunks that were combined within their task.
const COMBINED: u32 = 0;
/// The side of a chunk of values that were in their partition already.
const VALUES: u32 = 1;

/// How the values of a key become one. The functions are called in the order of the source, but it is open which values meet
/// before the shuffle and which after it.
pub(crate) trait Aggregate<V>: Send + Sync + 'static {
    type Combined: Record;

    /// What one value alone is.
    fn create(&self, value: V) -> Self::Combined;

    /// A value added to those before it.
    fn add(&self, combined: Self::Combined, value: V) -> Self::Combined;

    /// The values of two runs, one after the other.
    fn merge(&self, combined: Self::Combined, later: Self::Combined) -> Self::Combined;
}

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Adds a wide operator that merges the values of each key.
    pub(crate) fn aggregate<A: Aggregate<V>>(&self, name: &str, aggregate: A) -> DStream<'c, (K, A::Combined)> {
        self.wide(name, ByKey { aggregate: Arc::new(aggregate), types: PhantomData::<fn(K, V)> })
    }
}

struct ByKey<K, V, A> {
    aggregate: Arc<A>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Key, V: Record, A: Aggregate<V>> Wide for ByKey<K, V, A> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<(K, V)>(CombinePush {
            name: context.name.clone(),
            aggregate: self.aggregate.clone(),
            keys: Keys::new(),
            run: Vec::new(),
            combiner: Combiner::new(),
            shuffle: Shuffle::new(port, context.partitions),
            seen: 0,
            pays: true,
        })
    }

    fn local_side(&self, reduce: SharedReduce) -> ErasedPush {
        ErasedPush::new::<(K, V)>(LocalPush::on_side(reduce, VALUES))
    }

    fn takes_keys(&self) -> bool {
        true
    }

    fn is_partitioned_by_key(&self) -> bool {
        true
    }

    fn type_problem(&self) -> Option<String> {
        as_key::<K>().problem
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(CombineReduce {
            name: context.name.clone(),
            aggregate: self.aggregate.clone(),
            combiner: Combiner::<K, A::Combined>::new(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
            types: PhantomData::<fn(V)>,
        }))
    }
}

/// Merges within one task, then shuffles.
struct CombinePush<K, V, A, C> {
    name: Arc<str>,
    aggregate: Arc<A>,
    keys: Keys<K>,
    run: Vec<Keyed<K, V>>,
    combiner: Combiner<K, C>,
    shuffle: Shuffle<K, C>,
    seen: usize,
    pays: bool,
}

impl<K: Key, V, A, C: Record> CombinePush<K, V, A, C> {
    fn flush(&mut self) {
        for record in self.combiner.drain() {
            self.shuffle.send(record);
        }
    }
}

impl<K: Key, V: Record, A: Aggregate<V>> Push<(K, V)> for CombinePush<K, V, A, A::Combined> {
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
        let (keys, aggregate) = (&mut self.keys, &*self.aggregate);
        self.run.extend(run.drain(..).map(|(key, value)| Keyed::of(keys.take(key), value)));
        let create = |value| aggregate.create(value);
        if self.pays {
            self.combiner.fold_run(&mut self.run, create, |combined, value| aggregate.add(combined, value));
        } else {
            for Keyed { hash, key, value } in self.run.drain(..) {
                self.shuffle.send(Keyed { hash, key, value: create(value) });
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
struct CombineReduce<K, V, A: Aggregate<V>> {
    name: Arc<str>,
    aggregate: Arc<A>,
    combiner: Combiner<K, A::Combined>,
    emit: Emit<(K, A::Combined)>,
    types: PhantomData<fn(V)>,
}

impl<K: Key, V: Record, A: Aggregate<V>> Reduce for CombineReduce<K, V, A> {
    fn run(&mut self, _partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        let aggregate = &*self.aggregate;
        for chunk in chunks {
            if chunk.side == COMBINED {
                let mut run = chunk.records.into_typed::<Keyed<K, A::Combined>>();
                self.combiner.fold_run(
                    &mut run,
                    |combined| combined,
                    |combined, later| aggregate.merge(combined, later),
                );
            } else {
                let mut run = chunk.records.into_typed::<Keyed<K, V>>();
                let create = |value| aggregate.create(value);
                self.combiner.fold_run(&mut run, create, |combined, value| aggregate.add(combined, value));
            }
        }
        self.combiner.put_out(unit, &mut self.emit);
    }
}
