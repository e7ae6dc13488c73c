//! `map_with_state`: a state per key, used by the records of that key, and forgotten when it is idle for too long.

use std::marker::PhantomData;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Narrow, Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dataflow::tables::{Fingerprint, OperatorState, Tables};
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use crate::operator::state::keyed_state::KeyedState;
use floodmark_base::codec::{Key, KeyHash, Record, encode};
use floodmark_base::error::Result;
use floodmark_base::id::BatchTime;
use floodmark_store::state::descriptor::{StateDescriptor, initial_problem, initial_run};
use floodmark_store::state::spec::{StateSpec, Timed};
use floodmark_store::state::{Calendar, FrozenRun, Slot, State, StateTable};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Keeps a state per key. The function is called once for **every record**, in the order of the source, with the key, the
    /// value and the state of the key, which it may read, update or remove; what it returns is the stream. Spark:
    /// `PairDStreamFunctions.mapWithState`.
    ///
    /// The first argument is the uid, or a [`StateSpec`] with an initial state, a version, migrations and a
    /// [timeout](StateSpec::timeout). A key that had no record for longer than the timeout is handed to the function once more,
    /// without a value and marked as [timing out](KeyedState::is_timing_out), and forgotten. That happens in the first batch whose
    /// time is later than its last batch's by more than the timeout, behind the records of that batch, in the order (hash,
    /// encoded key). (Spark looks for such keys at checkpoints only.) A key of the initial state counts as used at the zero time.
    ///
    /// Wide; costs the function per record and per key that times out, whatever the number of keys; a checkpoint holds every key,
    /// and writes those that were used. A function that updates or removes the state of a key that times out, or updates a
    /// state that it has removed, panics.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{KeyedState, testing::TestJob};
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     let counted = stream.map(|word| (word, ())).map_with_state("counts", |word, _, count: &mut KeyedState<u64>| {
    ///         let so_far = count.get().unwrap_or(&0) + 1;
    ///         count.update(so_far);
    ///         (word.clone(), so_far)
    ///     });
    ///     (words, counted.collect("counted"))
    /// })?;
    /// let (words, counted) = job.handles();
    /// words.push(vec!["a".into(), "a".into()])?;
    /// job.run_batch()?;
    /// assert_eq!(counted.last(), [("a".to_string(), 1), ("a".to_string(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_with_state<S: State, U: Record>(
        &self,
        spec: impl Into<StateSpec<K, S>>,
        map: impl Fn(&K, Option<V>, &mut KeyedState<S>) -> U + Send + Sync + 'static,
    ) -> MapWithStateDStream<'c, K, S, U> {
        self.map_with_state_and_time(spec, move |_time, key, value, state| Some(map(key, value, state)))
    }

    /// As [`map_with_state`](Self::map_with_state), with the time of the batch; what is `None` is not in the stream. Spark:
    /// `mapWithState` with the function over `(Time, K, Option[V], State[S])`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::{BatchTime, KeyedState, StateSpec, testing::TestJob};
    /// use std::time::Duration;
    ///
    /// // Sessions: what a user did, put out when nothing came for longer than 200 ms.
    /// let mut job = TestJob::new(|context| {
    ///     let (clicks, stream) = context.queue_stream::<(String, u64)>("clicks");
    ///     let spec = StateSpec::new("sessions").timeout(Duration::from_millis(200));
    ///     let sessions = stream.map_with_state_and_time(spec, |_time, user, click, session: &mut KeyedState<u64>| {
    ///         if session.is_timing_out() {
    ///             return session.get().map(|clicks| (user.clone(), *clicks));
    ///         }
    ///         session.update(session.get().unwrap_or(&0) + click.unwrap_or(0));
    ///         None
    ///     });
    ///     (clicks, sessions.collect("sessions out"))
    /// })?;
    /// job.handles().0.push(vec![("ann".into(), 3), ("ann".into(), 4)])?;
    /// for _ in 0..4 {
    ///     job.run_batch()?; // every 100 ms
    /// }
    /// assert_eq!(job.handles().1.last(), [("ann".to_string(), 7)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_with_state_and_time<S: State, U: Record>(
        &self,
        spec: impl Into<StateSpec<K, S>>,
        map: impl Fn(BatchTime, &K, Option<V>, &mut KeyedState<S>) -> Option<U> + Send + Sync + 'static,
    ) -> MapWithStateDStream<'c, K, S, U> {
        let spec = spec.into().timed();
        let uid = spec.uid.clone();
        if let Some(timeout) = spec.timeout.filter(|timeout| is_fractional(*timeout)) {
            self.graph.report_problem(format!("the timeout of \"{uid}\" is {timeout:?}: expected whole milliseconds"));
        }
        let operator = Shuffled(MapWithState { spec, map: Arc::new(map), types: PhantomData::<fn(V) -> U> });
        MapWithStateDStream { mapped: self.stateful(&uid, operator), types: PhantomData }
    }
}

/// What [`DStream::map_with_state`] puts out: a [`DStream`] of what the function returned, and the state as a stream of its own.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::{KeyedState, testing::TestJob};
///
/// let mut job = TestJob::new(|context| {
///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
///     let sums = stream.map_with_state("sums", |_, value, sum: &mut KeyedState<u64>| {
///         sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
///     });
///     (words, sums.count().collect("records"), sums.state_snapshots().collect("all sums"))
/// })?;
/// let (words, records, sums) = job.handles();
/// words.push(vec![("a".into(), 1), ("a".into(), 2)])?;
/// job.run_batch()?;
/// assert_eq!(records.last(), [2]);
/// assert_eq!(sums.last(), [("a".to_string(), 3)]);
/// # Ok(())
/// # }
/// ```
pub struct MapWithStateDStream<'c, K, S, U> {
    mapped: DStream<'c, U>,
    types: PhantomData<fn() -> (K, S)>,
}

impl<'c, K, S, U> Deref for MapWithStateDStream<'c, K, S, U> {
    type Target = DStream<'c, U>;

    fn deref(&self) -> &Self::Target {
        &self.mapped
    }
}

impl<'c, K: Key, S: State, U> MapWithStateDStream<'c, K, S, U> {
    /// The state of every key after each batch, in the order (hash, encoded key). Spark: `stateSnapshots`.
    ///
    /// Costs a copy of the whole state in every batch; without it a batch costs only the keys that it uses.
    #[must_use]
    pub fn state_snapshots(&self) -> DStream<'c, (K, S)> {
        self.mapped.snapshots(Snapshots(PhantomData::<fn(K) -> S>))
    }
}

struct Snapshots<K, S>(PhantomData<fn(K) -> S>);

impl<K: Key, S: State> Narrow for Snapshots<K, S> {
    fn lower(&self, _side: u32, _context: &WorkerContext, downstream: Downstream) -> ErasedPush {
        ErasedPush::of(downstream.into_typed::<(K, S)>())
    }
}

/// Returns whether a time-out is no whole number of milliseconds; one that is longer than time itself is none at all.
fn is_fractional(timeout: Duration) -> bool {
    u64::try_from(timeout.as_millis()).is_ok_and(|ms| Duration::from_millis(ms) != timeout)
}

struct MapWithState<K, V, S, U, F> {
    spec: StateSpec<K, Timed<S>>,
    map: Arc<F>,
    types: PhantomData<fn(V) -> U>,
}

impl<K, V, S, U, F> ByKey for MapWithState<K, V, S, U, F>
where
    K: Key,
    V: Record,
    S: State,
    U: Record,
    F: Fn(BatchTime, &K, Option<V>, &mut KeyedState<S>) -> Option<U> + Send + Sync + 'static,
{
    type Key = K;
    type Value = V;
    const KEEPS_KEYS: bool = false;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        let seen = |timed: &Timed<S>| Some(encode(&timed.state));
        // A timeout wants to know of every key when it was used, a snapshot wants every state: then all of it is read at once.
        let touches_all = !self.begins_partial() || !downstream.snapshots.is_empty();
        let begin = if touches_all { Tables::load_seen_as } else { Tables::begin_seen_as };
        let tables = begin(context, &self.spec, seen)?;
        let timeouts = self.spec.timeout.map(|timeout| {
            let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let calendar = |table| Calendar::of(entries_of(table, timeout_ms, BatchTime(0)));
            let calendars = tables.iter().map(|(partition, table)| (partition, calendar(table)));
            Timeouts { timeout_ms, calendars: calendars.collect() }
        });
        let (records, snapshots) = downstream.into_both::<U, (K, S)>();
        let calls = Calls {
            name: context.name.clone(),
            map: self.map.clone(),
            timeouts,
            used: Vec::new(),
            emit: Emit::new(context.name.clone(), records),
            types: PhantomData,
        };
        let snapshots = Emit::new(context.name.clone(), snapshots);
        Ok(Box::new(MapReduce::<K, V, S, U, F> { tables, calls, slots: Vec::new(), snapshots, types: PhantomData }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        Some(StateDescriptor::of("map_with_state", &self.spec).seen_as::<S>())
    }

    fn begins_partial(&self) -> bool {
        self.spec.timeout.is_none()
    }

    fn initial_problem(&self) -> Option<String> {
        initial_problem(&self.spec)
    }

    fn initial_state(&self) -> Option<FrozenRun> {
        initial_run(&self.spec)
    }
}

/// When which keys may have been idle for too long. A key stands in it at the earliest time at which it could; whether it was used
/// since then is asked when that time comes. What keys leave behind that are removed before is dropped by a rebuild.
struct Timeouts {
    timeout_ms: u64,
    calendars: Vec<(u32, Calendar)>,
}

impl Timeouts {
    fn calendar(&mut self, partition: u32) -> &mut Calendar {
        &mut self.calendars.iter_mut().find(|(number, _)| *number == partition).expect("it is owned").1
    }
}

/// The last time at which a key that was used then is not idle for too long.
fn due(used: BatchTime, timeout_ms: u64) -> BatchTime {
    BatchTime(used.0.saturating_add(timeout_ms))
}

/// What the calendar of a table has to hold. Every key was used at the zero time, at the latest.
fn entries_of<K: Key, S: State>(
    table: &StateTable<K, Timed<S>>,
    timeout_ms: u64,
    zero: BatchTime,
) -> impl Iterator<Item = (BatchTime, KeyHash)> + '_ {
    (0..table.slots()).filter_map(move |place| {
        let (_, hash, timed) = table.entry(Slot::at(place));
        timed.map(|timed| (due(timed.used.max(zero), timeout_ms), hash))
    })
}

struct MapReduce<K, V, S, U, F> {
    tables: Tables<K, Timed<S>>,
    calls: Calls<S, U, F>,
    /// Where the records of a chunk have their states.
    slots: Vec<Slot>,
    snapshots: Emit<(K, S)>,
    types: PhantomData<fn(V)>,
}

/// The user's function, and what follows from its calls.
struct Calls<S, U, F> {
    name: Arc<str>,
    map: Arc<F>,
    timeouts: Option<Timeouts>,
    /// The slots that the present batch has used.
    used: Vec<Slot>,
    emit: Emit<U>,
    types: PhantomData<fn(S)>,
}

impl<S: State, U: Record, F> Calls<S, U, F> {
    /// One record: the function, and what it did to the state.
    fn map_record<K, V>(&mut self, table: &mut StateTable<K, Timed<S>>, slot: Slot, record: Keyed<K, V>, unit: &Unit)
    where
        K: Key,
        F: Fn(BatchTime, &K, Option<V>, &mut KeyedState<S>) -> Option<U>,
    {
        let (time, hash) = (unit.time, record.hash());
        let (last_used, old) = table.take(slot).map(|timed| (timed.used, timed.state)).unzip();
        let mut state = KeyedState::of(old);
        let mapped = (self.map)(time, table.entry(slot).0, Some(record.value), &mut state);
        // Without a timeout a state that was only read stays as it is; with one it was used now.
        let used = state.is_changed() || (self.timeouts.is_some() && state.exists());
        let new = state.into_inner();
        if used {
            self.used.push(slot);
        }
        let begins = last_used.is_none() && new.is_some();
        let used_at = if used { time } else { last_used.unwrap_or(time) };
        table.put(slot, new.map(|state| Timed { used: used_at, state }), used);
        if begins && let Some(timeouts) = &mut self.timeouts {
            let due = due(time, timeouts.timeout_ms);
            timeouts.calendar(unit.partition).enter(due, hash);
        }
        if let Some(mapped) = mapped {
            self.emit.emit(mapped);
        }
    }

    /// Hands the keys that were idle for too long to the function, and forgets them.
    fn time_out<K, V>(&mut self, table: &mut StateTable<K, Timed<S>>, unit: &Unit)
    where
        K: Key,
        F: Fn(BatchTime, &K, Option<V>, &mut KeyedState<S>) -> Option<U>,
    {
        let Some(timeouts) = &mut self.timeouts else { return };
        let timeout_ms = timeouts.timeout_ms;
        let zero = unit.batch.timing.zero;
        let calendar = timeouts.calendar(unit.partition);
        for hash in calendar.take_before(unit.time) {
            for slot in table.slots_of(hash) {
                let Some(timed) = table.take(slot) else { continue };
                let due = due(timed.used.max(zero), timeout_ms);
                if due >= unit.time {
                    calendar.enter(due, hash);
                    table.put(slot, Some(timed), false);
                    continue;
                }
                let mut state = KeyedState::timing_out(timed.state);
                let mapped = (self.map)(unit.time, table.entry(slot).0, None, &mut state);
                table.put(slot, None, true);
                self.used.push(slot);
                if let Some(mapped) = mapped {
                    self.emit.emit(mapped);
                }
            }
        }
        calendar.rebuild(table.slots(), || entries_of(table, timeout_ms, zero));
    }

    /// Takes what the batch changed into the fingerprint, each key once.
    fn note_changes<K: Key>(&mut self, table: &StateTable<K, Timed<S>>, fingerprint: &mut Fingerprint) {
        self.used.sort_unstable();
        self.used.dedup();
        for slot in self.used.drain(..) {
            let (_, hash, timed) = table.entry(slot);
            fingerprint.note(hash, &timed.map(|timed| &timed.state));
        }
    }
}

impl<K, V, S, U, F> Reduce for MapReduce<K, V, S, U, F>
where
    K: Key,
    V: Record,
    S: State,
    U: Record,
    F: Fn(BatchTime, &K, Option<V>, &mut KeyedState<S>) -> Option<U>,
{
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let Self { tables, calls, slots, snapshots, .. } = self;
        blame::enter(&calls.name);
        calls.emit.begin(unit);
        let chunks: Vec<Vec<Keyed<K, V>>> = chunks.into_iter().map(|chunk| chunk.records.into_typed()).collect();
        // All of the batch at once: keys that are neighbours in the store are read together.
        tables.bring(partition, chunks.iter().flatten().map(|record| (record.hash(), &record.key)));
        let (table, fingerprint) = tables.of(partition);
        for records in chunks {
            // First all of them, so that the processor fetches the next states while it waits for one.
            table.slots_or_vacant(records.iter().map(|record| (record.hash(), &record.key)), slots);
            for (record, slot) in records.into_iter().zip(&*slots) {
                calls.map_record(table, *slot, record, unit);
            }
        }
        calls.time_out::<K, V>(table, unit);
        calls.emit.end();
        calls.note_changes(table, fingerprint);
        tables.settle(partition);
        snapshots.begin(unit);
        if snapshots.wants_more() {
            let (table, _) = tables.of(partition);
            table.for_each_in_order(|key, _hash, timed| {
                snapshots.emit((key.clone(), timed.state.clone()));
                if snapshots.wants_more() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        snapshots.end();
    }

    fn state(&self) -> Option<&dyn OperatorState> {
        Some(&self.tables)
    }

    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        Some(&mut self.tables)
    }
}
