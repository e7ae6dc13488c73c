//! `update_state_by_key`: a state per key, updated for every key in every batch.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::batch::event::Digest;
use crate::codec::{Key, KeyHash, Record, encode, encode_into};
use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, SharedReduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, LocalPush, ShufflePush};
use crate::dstream::DStream;
use crate::id::BatchTime;
use crate::operator::group::Groups;
use crate::state::FrozenRun;
use crate::state::State;
use crate::state::descriptor::{StateDescriptor, initial_run, survives_encoding};
use crate::state::spec::StateSpec;
use crate::state::{Slot, StateTable};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Keeps a state per key. In every batch the function is called for **every** key that has state or values, with the
    /// values of the batch in the order of the source (none where none came) and the state so far; it returns the new state,
    /// or `None` to remove the key. Spark: `PairDStreamFunctions.updateStateByKey`.
    ///
    /// The first argument is the uid, or a [`StateSpec`] with an initial state, a version and migrations. The result is the
    /// whole state after every batch, in the order (hash, encoded key); what nobody downstream wants is not even read.
    ///
    /// Wide; costs the function per key in every batch; a checkpoint holds every key, and writes those that changed: the keys
    /// that had values, and the keys whose state the function changed without.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     let counts = stream.map(|word| (word, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
    ///         Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
    ///     });
    ///     (words, counts.collect("all counts"))
    /// })?;
    /// let (words, counts) = job.handles();
    /// words.push(vec!["a".into(), "b".into()])?;
    /// job.run_batch()?;
    /// words.push(vec!["a".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(counts.last_sorted(), [("a".to_string(), 2), ("b".to_string(), 1)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_state_by_key<S: State>(
        &self,
        spec: impl Into<StateSpec<K, S>>,
        update: impl Fn(&[V], Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> DStream<'c, (K, S)> {
        self.update_state_by_key_and_time(spec, move |_time, _key, values, state| update(values, state))
    }

    /// As [`update_state_by_key`](Self::update_state_by_key), with the time of the batch and the key. Spark:
    /// `updateStateByKey` with the function over `(Time, K, Seq[V], Option[S])`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (events, stream) = context.queue_stream::<(String, u64)>("events");
    ///     let last_seen = stream.update_state_by_key_and_time("last seen", |time, _user, events: &[u64], seen| {
    ///         if events.is_empty() { seen } else { Some(time.0) }
    ///     });
    ///     (events, last_seen.collect("users"))
    /// })?;
    /// let (events, users) = job.handles();
    /// events.push(vec![("ann".into(), 7)])?;
    /// let batch = job.run_batch()?;
    /// assert_eq!(users.last(), [("ann".to_string(), batch.time.0)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_state_by_key_and_time<S: State>(
        &self,
        spec: impl Into<StateSpec<K, S>>,
        update: impl Fn(BatchTime, &K, &[V], Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> DStream<'c, (K, S)> {
        let spec = spec.into();
        let uid = spec.uid.clone();
        self.stateful(&uid, UpdateStateByKey { spec, update: Arc::new(update), types: PhantomData::<fn(V)> })
    }
}

struct UpdateStateByKey<K, V, S, F> {
    spec: StateSpec<K, S>,
    update: Arc<F>,
    types: PhantomData<fn(V)>,
}

impl<K, V, S, F> Wide for UpdateStateByKey<K, V, S, F>
where
    K: Key,
    V: Record,
    S: State,
    F: Fn(BatchTime, &K, &[V], Option<S>) -> Option<S> + Send + Sync + 'static,
{
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<(K, V)>(ShufflePush::new(port, context.partitions))
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
        let partitions = context.owned().map(|number| {
            let mut table = StateTable::new();
            context.loader.load(&self.spec, number, context.partitions, &mut table)?;
            Ok(Partition { number, table })
        });
        Ok(Box::new(UpdateReduce::<K, V, S, F> {
            name: context.name.clone(),
            update: self.update.clone(),
            partitions: partitions.collect::<Result<_, crate::Error>>()?,
            groups: Groups::new(),
            digest: Digest::default(),
            scratch: Vec::new(),
            unchecked_states: CHECKED_STATES,
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        Some(StateDescriptor::of("update_state_by_key", &self.spec))
    }

    fn initial_state(&self) -> Option<FrozenRun> {
        initial_run(&self.spec)
    }
}

/// How many states are checked to survive their own encoding, on each worker.
const CHECKED_STATES: u32 = 64;

struct Partition<K, S> {
    number: u32,
    table: StateTable<K, S>,
}

struct UpdateReduce<K, V, S, F> {
    name: Arc<str>,
    update: Arc<F>,
    partitions: Vec<Partition<K, S>>,
    groups: Groups<V>,
    digest: Digest,
    scratch: Vec<u8>,
    /// The first states are encoded and decoded to see whether they come back.
    unchecked_states: u32,
    emit: Emit<(K, S)>,
}

impl<K, V, S, F> UpdateReduce<K, V, S, F>
where
    K: Key,
    V: Record,
    S: State,
    F: Fn(BatchTime, &K, &[V], Option<S>) -> Option<S>,
{
    fn table(&self, partition: u32) -> Option<&StateTable<K, S>> {
        self.partitions.iter().find(|owned| owned.number == partition).map(|owned| &owned.table)
    }
}

impl<K, V, S, F> Reduce for UpdateReduce<K, V, S, F>
where
    K: Key,
    V: Record,
    S: State,
    F: Fn(BatchTime, &K, &[V], Option<S>) -> Option<S>,
{
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let owned = self.partitions.iter_mut().find(|owned| owned.number == partition);
        let table = &mut owned.expect("chunks arrive where their partition is owned").table;
        self.groups.clear();
        for chunk in chunks {
            for record in chunk.records.into_typed::<Keyed<K, V>>() {
                let slot = table.slot_or_vacant(record.hash(), &record.key);
                self.groups.add(slot.place(), record.value);
            }
        }
        self.groups.settle(table.slots());
        blame::enter(&self.name);
        for place in 0..table.slots() {
            let slot = Slot::at(place);
            let values = self.groups.of(place);
            if values.is_empty() && table.value(slot).is_none() {
                continue; // removed earlier, and not yet folded away
            }
            let old = table.take(slot);
            let (key, hash, _) = table.entry(slot);
            // A key without values has changed only if the function says so; what it is compared with must outlive the call.
            let before = if values.is_empty() { old.clone() } else { None };
            let new = (self.update)(unit.time, key, values, old);
            let changed = !values.is_empty() || new != before;
            if changed {
                if self.unchecked_states > 0 {
                    self.unchecked_states -= 1;
                    assert!(
                        new.as_ref().is_none_or(survives_encoding),
                        "the state of \"{}\" does not survive its own encoding: serde attributes such as skip_serializing_if \
                         cannot be used in stored state",
                        self.name
                    );
                }
                self.scratch.clear();
                self.scratch.extend_from_slice(&hash.0.to_le_bytes());
                encode_into(&new, &mut self.scratch).expect("a state encodes");
                self.digest.add(KeyHash::of_encoded(&self.scratch).0);
            }
            table.put(slot, new, changed);
        }
        table.settle();
        self.emit.begin(unit);
        if self.emit.wants_more() {
            table.for_each_in_order(|key, _hash, state| {
                self.emit.emit((key.clone(), state.clone()));
                if self.emit.wants_more() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        self.emit.end();
    }

    fn take_digest(&mut self) -> Option<Digest> {
        Some(std::mem::take(&mut self.digest))
    }

    fn freeze(&mut self) -> Vec<FrozenRun> {
        self.partitions.iter_mut().map(|owned| owned.table.freeze()).collect()
    }

    fn entries(&self) -> u64 {
        self.partitions.iter().map(|owned| owned.table.len() as u64).sum()
    }

    fn get(&self, partition: u32, hash: KeyHash, key: &[u8]) -> Option<Vec<u8>> {
        let table = self.table(partition)?;
        let slot = table.slot(hash, &crate::codec::decode(key).ok()?)?;
        table.value(slot).map(|state| encode(state).expect("a state encodes"))
    }

    fn scan(&self, visit: &mut dyn FnMut(KeyHash, Vec<u8>, Vec<u8>)) {
        for owned in &self.partitions {
            owned.table.for_each_in_order(|key, hash, state| {
                visit(hash, encode(key).expect("a key encodes"), encode(state).expect("a state encodes"));
                ControlFlow::Continue(())
            });
        }
    }
}
