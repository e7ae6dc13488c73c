//! `reduce_by_key_and_window_inverse`: a window that adds what enters and subtracts what leaves.

use std::ops::ControlFlow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dataflow::tables::{Fingerprint, OperatorState, Tables};
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use crate::operator::windows::panes::{Panes, drop_through, fold};
use floodmark_base::codec::{Key, KeyHash, Record, encode};
use floodmark_base::error::Result;
use floodmark_base::id::{BatchTime, Uid};
use floodmark_store::batch::timing::Window;
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::spec::StateSpec;
use floodmark_store::state::{Calendar, Slot, StateTable};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// As [`reduce_by_key_and_window`](Self::reduce_by_key_and_window), by way of the window before: what entered is merged
    /// in by `reduce`, what left is taken out by `inverse`. Spark: `reduceByKeyAndWindow` with an inverse function.
    ///
    /// The new value of a key is `reduce(inverse(value before, merged values that left), merged values that entered)`. A key
    /// whose last value has left keeps what `inverse` made of it (a zero, for sums) and stays; use
    /// [`reduce_by_key_and_window_filtered`](Self::reduce_by_key_and_window_filtered) to let it go.
    ///
    /// What `inverse` cannot take out stays: a NaN or an infinity that was merged in once leaves such a sum of floats at NaN for
    /// good, also after it has left the window, as in Spark. Use [`reduce_by_key_and_window`](Self::reduce_by_key_and_window) where
    /// such values may come.
    ///
    /// Wide. Keeps a value per key, and one per key and batch in the window, in state and in checkpoints. A window costs the keys
    /// that entered or left, not those in it; only handing the result on costs all keys, if somebody downstream reads them.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let (length, slide) = (Duration::from_millis(200), Duration::from_millis(100));
    /// let mut job = TestJob::new(move |context| {
    ///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
    ///     let sums = stream.reduce_by_key_and_window_inverse("recent", |a, b| a + b, |a, b| a - b, length, slide);
    ///     (words, sums.collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for n in [1, 10, 100, 0, 0] {
    ///     job.handles().0.push(vec![("a".to_string(), n)])?;
    ///     job.run_batch()?;
    ///     results.push(job.handles().1.last()[0].1);
    /// }
    /// assert_eq!(results, [1, 11, 110, 100, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_key_and_window_inverse(
        &self,
        uid: &str,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        length: Duration,
        slide: Duration,
    ) -> DStream<'c, (K, V)> {
        self.reduce_by_key_and_window_filtered(uid, reduce, inverse, length, slide, |_, _| true)
    }

    /// As [`reduce_by_key_and_window_inverse`](Self::reduce_by_key_and_window_inverse); a key whose new value `keep` refuses
    /// goes, with all that is kept of it. Spark: `reduceByKeyAndWindow` with `filterFunc`.
    ///
    /// Where Spark forgets the value only and fails when the batches behind it leave the window, here they are forgotten with it.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let once = Duration::from_millis(100);
    /// let mut job = TestJob::new(move |context| {
    ///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
    ///     let sums = stream
    ///         .reduce_by_key_and_window_filtered("recent", |a, b| a + b, |a, b| a - b, once, once, |_word, sum| *sum > 0);
    ///     (words, sums.collect("out"))
    /// })?;
    /// job.handles().0.push(vec![("a".to_string(), 1)])?;
    /// job.run_batch()?;
    /// assert_eq!(job.handles().1.last(), [("a".to_string(), 1)]);
    /// job.run_batch()?;
    /// assert!(job.handles().1.last().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_key_and_window_filtered(
        &self,
        uid: &str,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        length: Duration,
        slide: Duration,
        keep: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> DStream<'c, (K, V)> {
        let uid = Uid::from(uid);
        let window = self.window_of(&uid, length, slide);
        let spec = StateSpec::new(uid.as_str());
        let reduce = Arc::new(reduce);
        let of_batch = reduce.clone();
        let functions = Functions { reduce, inverse: Arc::new(inverse), keep: Arc::new(keep) };
        self.reduce_by_key(move |one, other| of_batch(one, other)).sliding(
            &uid,
            window.slide,
            Shuffled(InverseWindow { spec, window, functions }),
        )
    }
}

/// What a key has in an inverse window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sliding<V> {
    /// The value of the newest window; none before the first one that covers the key.
    pub value: Option<V>,
    pub panes: Panes<V>,
}

struct Functions<R, I, P> {
    reduce: Arc<R>,
    inverse: Arc<I>,
    keep: Arc<P>,
}

impl<R, I, P> Clone for Functions<R, I, P> {
    fn clone(&self) -> Self {
        Self { reduce: self.reduce.clone(), inverse: self.inverse.clone(), keep: self.keep.clone() }
    }
}

struct InverseWindow<K, V, R, I, P> {
    spec: StateSpec<K, Sliding<V>>,
    window: Window,
    functions: Functions<R, I, P>,
}

impl<K, V, R, I, P> ByKey for InverseWindow<K, V, R, I, P>
where
    K: Key,
    V: Record,
    R: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
    P: Fn(&K, &V) -> bool + Send + Sync + 'static,
{
    type Key = K;
    type Value = V;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        let seen = |state: &Sliding<V>| state.value.as_ref().map(encode);
        let tables = Tables::load_seen_as(context, &self.spec, seen)?;
        let calendars = tables.iter().map(|(partition, table)| (partition, Calendar::of(entries_of(table)))).collect();
        Ok(Box::new(InverseReduce::<K, V, R, I, P> {
            name: context.name.clone(),
            window: self.window,
            functions: self.functions.clone(),
            tables,
            calendars,
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        let descriptor = StateDescriptor::of("reduce_by_key_and_window_inverse", &self.spec);
        Some(descriptor.seen_as::<V>().of_window(self.window))
    }
}

/// When which keys got a value.
fn entries_of<K: Key, V: Record>(table: &StateTable<K, Sliding<V>>) -> impl Iterator<Item = (BatchTime, KeyHash)> + '_ {
    (0..table.slots()).flat_map(|place| {
        let (_, hash, state) = table.entry(Slot::at(place));
        state.into_iter().flat_map(|state| &state.panes).map(move |(time, _)| (*time, hash))
    })
}

struct InverseReduce<K, V, R, I, P> {
    name: Arc<str>,
    window: Window,
    functions: Functions<R, I, P>,
    tables: Tables<K, Sliding<V>>,
    calendars: Vec<(u32, Calendar)>,
    emit: Emit<(K, V)>,
}

/// The change from one window to the next: the times that leave it and those that enter it.
struct Change {
    left: RangeInclusive<BatchTime>,
    entered: RangeInclusive<BatchTime>,
}

impl<K, V, R, I, P> InverseReduce<K, V, R, I, P>
where
    K: Key,
    V: Record,
    R: Fn(V, V) -> V,
    I: Fn(V, V) -> V,
    P: Fn(&K, &V) -> bool,
{
    /// Brings the keys that entered or left from the window at `last` to that at `boundary`.
    fn slide(&mut self, partition: u32, last: BatchTime, boundary: BatchTime) {
        let before = self.window.before(boundary);
        let (table, fingerprint) = self.tables.of(partition);
        let calendar = &mut self.calendars.iter_mut().find(|(number, _)| *number == partition).expect("owned").1;
        let after = |time: BatchTime| BatchTime(time.0 + 1);
        let mut hashes = calendar.take_before(after(before));
        hashes.extend(calendar.on(after(last.max(before))..=boundary));
        hashes.sort_unstable();
        hashes.dedup();
        let change = Change { left: BatchTime(0)..=before.min(last), entered: after(last.max(before))..=boundary };
        // First all of them, so that the processor fetches the next states while it waits for one.
        let slots: Vec<Slot> = hashes.into_iter().flat_map(|hash| table.slots_of(hash)).collect();
        for slot in slots {
            apply(table, slot, before, &change, &self.functions, fingerprint);
        }
    }
}

/// Brings one key to the next window.
fn apply<K, V, R, I, P>(
    table: &mut StateTable<K, Sliding<V>>,
    slot: Slot,
    before: BatchTime,
    change: &Change,
    functions: &Functions<R, I, P>,
    fingerprint: &mut Fingerprint,
) where
    K: Key,
    V: Record,
    R: Fn(V, V) -> V,
    I: Fn(V, V) -> V,
    P: Fn(&K, &V) -> bool,
{
    let Some(Sliding { value, mut panes }) = table.take(slot) else { return };
    if !panes.iter().any(|(time, _)| *time <= before || change.entered.contains(time)) {
        // The calendar still had a batch that was forgotten when a filter refused the key: the key does not change. A table
        // that was loaded knows nothing of that batch, so nothing may be noted of it (I-3).
        table.put(slot, Some(Sliding { value, panes }), false);
        return;
    }
    let merged = |times: &RangeInclusive<BatchTime>| {
        let after = BatchTime(times.start().0.saturating_sub(1));
        fold(&panes, after, *times.end(), &*functions.reduce)
    };
    let (left, entered) = (merged(&change.left), merged(&change.entered));
    let remaining = match (value, left) {
        (Some(value), Some(left)) => Some((functions.inverse)(value, left)),
        (value, _) => value,
    };
    let value = match (remaining, entered) {
        (Some(value), Some(entered)) => Some((functions.reduce)(value, entered)),
        (remaining, entered) => remaining.or(entered),
    };
    drop_through(&mut panes, before);
    let (key, hash, _) = table.entry(slot);
    let kept = value.filter(|value| (functions.keep)(key, value));
    if kept.is_none() {
        // What it was made of goes with it; what belongs to a later window stays.
        drop_through(&mut panes, *change.entered.end());
    }
    fingerprint.note(hash, &kept);
    let gone = kept.is_none() && panes.is_empty();
    table.put(slot, (!gone).then_some(Sliding { value: kept, panes }), true);
}

impl<K, V, R, I, P> Reduce for InverseReduce<K, V, R, I, P>
where
    K: Key,
    V: Record,
    R: Fn(V, V) -> V,
    I: Fn(V, V) -> V,
    P: Fn(&K, &V) -> bool,
{
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        let (table, fingerprint) = self.tables.of(partition);
        let calendar = &mut self.calendars.iter_mut().find(|(number, _)| *number == partition).expect("owned").1;
        for chunk in chunks {
            let records = chunk.records.into_typed::<Keyed<K, V>>();
            let mut slots = Vec::new();
            table.slots_or_vacant(records.iter().map(|record| (record.hash(), &record.key)), &mut slots);
            for (record, slot) in records.into_iter().zip(slots) {
                fingerprint.note(record.hash(), &record.value);
                calendar.enter(unit.time, record.hash());
                let mut state = table.take(slot).unwrap_or(Sliding { value: None, panes: Panes::new() });
                state.panes.push_back((unit.time, record.value));
                table.put(slot, Some(state), true);
            }
        }
        let timing = unit.batch.timing;
        if let Some(boundary) = timing.due(self.window.slide) {
            self.slide(partition, timing.last_boundary(self.window.slide), boundary);
            self.emit.begin(&Unit::of_partition(partition, boundary, unit.batch.clone()));
            if self.emit.wants_more() {
                let (table, _) = self.tables.of(partition);
                table.for_each_in_order(|key, _, state| {
                    if let Some(value) = &state.value {
                        self.emit.emit((key.clone(), value.clone()));
                    }
                    if self.emit.wants_more() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
            }
            self.emit.end();
        }
        let (table, _) = self.tables.of(partition);
        table.settle();
        let calendar = &mut self.calendars.iter_mut().find(|(number, _)| *number == partition).expect("owned").1;
        // Keys that a filter has refused leave their entries behind.
        calendar.rebuild(table.slots(), || entries_of(table));
    }

    fn state(&self) -> Option<&dyn OperatorState> {
        Some(&self.tables)
    }

    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        Some(&mut self.tables)
    }
}
