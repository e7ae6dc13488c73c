//! `reduce_by_key_and_window`: the values of each key in a window, merged into one.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::blame;
use crate::dataflow::chunk::Chunk;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::shuffle::Keyed;
use crate::dataflow::tables::{OperatorState, Tables};
use crate::dstream::DStream;
use crate::operator::shapes::by_key::{ByKey, Shuffled};
use crate::operator::windows::panes::{Panes, drop_through, fold};
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;
use floodmark_base::id::{BatchTime, Uid};
use floodmark_store::batch::timing::Window;
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::spec::StateSpec;
use floodmark_store::state::{Slot, StateTable};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Merges the values of each key in the last `length`, every `slide`, by an associative function. Spark:
    /// `PairDStreamFunctions.reduceByKeyAndWindow`. See [`window`](Self::window) for what a window covers and when it yields.
    ///
    /// Values are merged in the order of time, so the function need not be commutative. Keys without a value in the window are
    /// not in the result, which leaves in the order (hash, encoded key).
    ///
    /// Wide. Keeps one merged value per key and batch, in state and in checkpoints; a batch costs the keys that it brings, a
    /// result all values that are kept. Where what leaves can be subtracted,
    /// [`reduce_by_key_and_window_inverse`](Self::reduce_by_key_and_window_inverse) is cheaper.
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
    ///     (words, stream.reduce_by_key_and_window("recent", |a, b| a + b, length, slide).collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for n in [1, 10, 100] {
    ///     job.handles().0.push(vec![("a".to_string(), n)])?;
    ///     job.run_batch()?;
    ///     results.push(job.handles().1.last()[0].1);
    /// }
    /// assert_eq!(results, [1, 11, 110]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce_by_key_and_window(
        &self,
        uid: &str,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
        length: Duration,
        slide: Duration,
    ) -> DStream<'c, (K, V)> {
        let reduce = Arc::new(reduce);
        let of_batch = reduce.clone();
        self.reduce_by_key(move |one, other| of_batch(one, other)).fold_panes(uid, reduce, length, slide)
    }

    /// A window over a stream that has one value per key and batch.
    pub(crate) fn fold_panes<F>(
        &self,
        uid: &str,
        reduce: Arc<F>,
        length: Duration,
        slide: Duration,
    ) -> DStream<'c, (K, V)>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let uid = Uid::from(uid);
        let window = self.window_of(&uid, length, slide);
        let spec = StateSpec::new(uid.as_str());
        self.sliding(&uid, window.slide, Shuffled(ReduceWindow::<K, V, F> { spec, window, reduce, types: PhantomData }))
    }
}

struct ReduceWindow<K, V, F> {
    spec: StateSpec<K, Panes<V>>,
    window: Window,
    reduce: Arc<F>,
    types: PhantomData<fn(V)>,
}

impl<K: Key, V: Record, F: Fn(V, V) -> V + Send + Sync + 'static> ByKey for ReduceWindow<K, V, F> {
    type Key = K;
    type Value = V;

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(ReduceWindowReduce::<K, V, F> {
            name: context.name.clone(),
            window: self.window,
            reduce: self.reduce.clone(),
            tables: Tables::load(context, &self.spec)?,
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        Some(StateDescriptor::of("reduce_by_key_and_window", &self.spec).of_window(self.window))
    }
}

struct ReduceWindowReduce<K, V, F> {
    name: Arc<str>,
    window: Window,
    reduce: Arc<F>,
    tables: Tables<K, Panes<V>>,
    emit: Emit<(K, V)>,
}

impl<K: Key, V: Record, F: Fn(V, V) -> V> Reduce for ReduceWindowReduce<K, V, F> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        blame::enter(&self.name);
        let (table, fingerprint) = self.tables.of(partition);
        for chunk in chunks {
            for record in chunk.records.into_typed::<Keyed<K, V>>() {
                fingerprint.note(record.hash(), &record.value);
                let slot = table.slot_or_vacant(record.hash(), &record.key);
                let mut panes = table.take(slot).unwrap_or_default();
                panes.push_back((unit.time, record.value));
                table.put(slot, Some(panes), true);
            }
        }
        if let Some(boundary) = unit.batch.timing.due(self.window.slide) {
            self.emit.begin(&Unit::of_partition(partition, boundary, unit.batch.clone()));
            if self.emit.wants_more() {
                let after = self.window.before(boundary);
                table.for_each_in_order(|key, _, panes| {
                    if let Some(value) = fold(panes, after, boundary, &*self.reduce) {
                        self.emit.emit((key.clone(), value));
                    }
                    if self.emit.wants_more() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
            }
            self.emit.end();
            forget(table, self.window.never_again(boundary));
        }
        table.settle();
    }

    fn state(&self) -> Option<&dyn OperatorState> {
        Some(&self.tables)
    }

    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        Some(&mut self.tables)
    }
}

/// Drops the panes that no later window covers, and the keys that have none left.
fn forget<K: Key, V: Record>(table: &mut StateTable<K, Panes<V>>, through: BatchTime) {
    for place in 0..table.slots() {
        let slot = Slot::at(place);
        if let Some(mut panes) = table.take(slot) {
            let changed = drop_through(&mut panes, through);
            table.put(slot, Some(panes).filter(|panes| !panes.is_empty()), changed);
        }
    }
}
