//! `update_state_by_key`: a state per key, updated for every key in every batch.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dataflow::tables::{OperatorState, Tables};
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use crate::operator::shapes::group::Groups;
use floodmark_base::codec::{Key, KeyHash, Record};
use floodmark_base::error::Result;
use floodmark_base::id::BatchTime;
use floodmark_store::state::FrozenRun;
use floodmark_store::state::Slot;
use floodmark_store::state::State;
use floodmark_store::state::descriptor::{StateDescriptor, initial_problem, initial_run};
use floodmark_store::state::spec::StateSpec;

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
        if spec.timeout.is_some() {
            let problem = format!("\"{uid}\" has a timeout: update_state_by_key knows none, use map_with_state");
            self.graph.report_problem(problem);
        }
        self.stateful(&uid, Shuffled(UpdateStateByKey { spec, update: Arc::new(update), types: PhantomData::<fn(V)> }))
    }
}

struct UpdateStateByKey<K, V, S, F> {
    spec: StateSpec<K, S>,
    update: Arc<F>,
    types: PhantomData<fn(V)>,
}

impl<K, V, S, F> ByKey for UpdateStateByKey<K, V, S, F>
where
    K: Key,
    V: Record,
    S: State,
    F: Fn(BatchTime, &K, &[V], Option<S>) -> Option<S> + Send + Sync + 'static,
{
    type Key = K;
    type Value = V;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(UpdateReduce::<K, V, S, F> {
            name: context.name.clone(),
            update: self.update.clone(),
            tables: Tables::load_within(context, &self.spec)?,
            slots: Vec::new(),
            groups: Groups::new(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        Some(StateDescriptor::of("update_state_by_key", &self.spec))
    }

    fn keeps_within_budget(&self) -> bool {
        true
    }

    fn initial_problem(&self) -> Option<String> {
        initial_problem(&self.spec)
    }

    fn initial_state(&self) -> Option<FrozenRun> {
        initial_run(&self.spec)
    }
}

struct UpdateReduce<K, V, S, F> {
    name: Arc<str>,
    update: Arc<F>,
    tables: Tables<K, S>,
    /// Where the records of a chunk have their states.
    slots: Vec<Slot>,
    groups: Groups<V>,
    emit: Emit<(K, S)>,
}

impl<K, V, S, F> UpdateReduce<K, V, S, F>
where
    K: Key,
    V: Record,
    S: State,
    F: Fn(BatchTime, &K, &[V], Option<S>) -> Option<S>,
{
    /// Of a table within a budget: the keys that are only in the store, which are without values in this batch.
    fn update_absent(&mut self, partition: u32, time: BatchTime) {
        let Self { update, tables, .. } = self;
        let mut changes: Vec<(KeyHash, Option<S>)> = Vec::new();
        tables.visit_absent(partition, |hash, key, old| {
            let new = update(time, key, &[], Some(old.clone()));
            (new.as_ref() != Some(&old)).then(|| {
                changes.push((hash, new.clone()));
                new
            })
        });
        let (_, fingerprint) = tables.of(partition);
        changes.iter().for_each(|(hash, new)| fingerprint.note(*hash, new));
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
        let chunks: Vec<Vec<Keyed<K, V>>> = chunks.into_iter().map(|chunk| chunk.records.into_typed()).collect();
        self.tables.bring(partition, chunks.iter().flatten().map(|record| (record.hash(), &record.key)));
        let (table, fingerprint) = self.tables.of(partition);
        self.groups.clear();
        for records in chunks {
            table.slots_or_vacant(records.iter().map(|record| (record.hash(), &record.key)), &mut self.slots);
            for (record, slot) in records.into_iter().zip(&self.slots) {
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
                fingerprint.note(hash, &new);
            }
            // What equals the state before may differ in its encoding (−0.0 and 0.0, for one). It is not stored, so it is not kept.
            table.put(slot, if changed { new } else { before }, changed);
        }
        self.update_absent(partition, unit.time);
        self.tables.settle(partition);
        self.emit.begin(unit);
        if self.emit.wants_more() {
            self.tables.for_each_in_order(partition, |key, state| {
                self.emit.emit((key.clone(), state.clone()));
                if self.emit.wants_more() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        self.emit.end();
    }

    fn state(&self) -> Option<&dyn OperatorState> {
        Some(&self.tables)
    }

    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        Some(&mut self.tables)
    }
}
