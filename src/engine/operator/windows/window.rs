//! `window`: the records of the last batches, again.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataflow::chunk::{Chunk, Origin};
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, Shuffle};
use crate::dataflow::tables::{OperatorState, Tables};
use crate::dstream::DStream;
use floodmark_base::codec::{KeyHasher, Record};
use floodmark_base::error::Result;
use floodmark_base::id::{BatchTime, Uid};
use floodmark_store::batch::timing::Window;
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::spec::StateSpec;
use floodmark_store::state::{Slot, StateTable};

impl<'c, T: Record> DStream<'c, T> {
    /// The records of the last `length`, every `slide`: at time t those of the batches with a time in (t − `length`, t]. Spark:
    /// `DStream.window`.
    ///
    /// Both must be multiples of this stream's slide (of the batch interval, unless it slides itself); otherwise the job does not
    /// start. Results come at multiples of `slide` since the first tick minus one interval. The partitions of a result are those
    /// of all its batches, older batches first. A window that is longer than the job has run holds what there is.
    ///
    /// Wide. The records are kept in the operator's state under its uid and written to checkpoints, once each; each result costs
    /// a copy of all records of the window. Where values can be merged, prefer
    /// [`reduce_by_key_and_window`](Self::reduce_by_key_and_window), which keeps one value per key and batch.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// // The batch interval is 100 ms.
    /// let (length, slide) = (Duration::from_millis(300), Duration::from_millis(100));
    /// let mut job = TestJob::new(move |context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     (numbers, stream.window("last three", length, slide).collect("out"))
    /// })?;
    /// let mut results = Vec::new();
    /// for n in 1..=4 {
    ///     job.handles().0.push(vec![n])?;
    ///     job.run_batch()?;
    ///     results.push(job.handles().1.last());
    /// }
    /// assert_eq!(results, [vec![1], vec![1, 2], vec![1, 2, 3], vec![2, 3, 4]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn window(&self, uid: &str, length: Duration, slide: Duration) -> DStream<'c, T> {
        let uid = Uid::from(uid);
        let window = self.window_of(&uid, length, slide);
        self.kept(uid, window)
    }

    /// The units of a window in state, and what of it yields.
    pub(crate) fn kept(&self, uid: Uid, window: Window) -> DStream<'c, T> {
        let spec = StateSpec::new(uid.as_str());
        self.sliding(&uid, window.slide, WindowOperator::<T> { spec, window, types: PhantomData })
    }
}

/// A unit of a batch in the state of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeptUnit {
    pub time: BatchTime,
    pub origin: Origin,
}

struct WindowOperator<T> {
    spec: StateSpec<KeptUnit, Vec<T>>,
    window: Window,
    types: PhantomData<fn(T)>,
}

impl<T: Record> Wide for WindowOperator<T> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<T>(KeepPush {
            unit: None,
            records: Vec::new(),
            hasher: KeyHasher::default(),
            shuffle: Shuffle::new(port, context.partitions),
        })
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(WindowReduce::<T> {
            window: self.window,
            tables: Tables::load(context, &self.spec)?,
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
        }))
    }

    fn state(&self) -> Option<StateDescriptor> {
        Some(StateDescriptor::of("window", &self.spec).of_window(self.window))
    }
}

/// Sends each unit, as one value, to the partition that keeps it: whichever its hash names, so that all share the load.
struct KeepPush<T> {
    unit: Option<Unit>,
    records: Vec<T>,
    hasher: KeyHasher,
    shuffle: Shuffle<KeptUnit, Vec<T>>,
}

impl<T: Record> Push<T> for KeepPush<T> {
    fn begin(&mut self, unit: &Unit) {
        self.shuffle.begin(&unit.origin);
        self.unit = Some(unit.clone());
    }

    fn push(&mut self, run: &mut Vec<T>) {
        self.records.append(run);
    }

    fn end(&mut self) {
        let unit = self.unit.take().expect("a unit began");
        let key = KeptUnit { time: unit.time, origin: unit.origin };
        let value = std::mem::take(&mut self.records);
        self.shuffle.send(Keyed { hash: self.hasher.hash(&key).0, key, value });
        self.shuffle.end();
    }
}

struct WindowReduce<T> {
    window: Window,
    tables: Tables<KeptUnit, Vec<T>>,
    emit: Emit<T>,
}

impl<T: Record> Reduce for WindowReduce<T> {
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let (table, fingerprint) = self.tables.of(partition);
        for chunk in chunks {
            for kept in chunk.records.into_typed::<Keyed<KeptUnit, Vec<T>>>() {
                let slot = table.slot_or_vacant(kept.hash(), &kept.key);
                fingerprint.note(kept.hash(), &kept.value);
                table.put(slot, Some(kept.value), true);
            }
        }
        if let Some(boundary) = unit.batch.timing.due(self.window.slide) {
            put_out(table, self.window, boundary, unit, &mut self.emit);
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

/// The units of the window at `boundary`, each as the unit that it came as.
fn put_out<T: Record>(
    table: &StateTable<KeptUnit, Vec<T>>,
    window: Window,
    boundary: BatchTime,
    unit: &Unit,
    emit: &mut Emit<T>,
) {
    let entries = (0..table.slots()).map(|place| table.entry(Slot::at(place)));
    let covered = |time: BatchTime| time > window.before(boundary) && time <= boundary;
    let mut units: Vec<(&KeptUnit, &Vec<T>)> = entries
        .filter(|(key, ..)| covered(key.time))
        .filter_map(|(key, _, records)| records.map(|records| (key, records)))
        .collect();
    units.sort_unstable_by_key(|(key, _)| *key);
    for (key, records) in units {
        let origin = key.origin.within(key.time.0);
        emit.begin(&Unit { origin, time: boundary, ..unit.clone() });
        for record in records {
            if !emit.wants_more() {
                break;
            }
            emit.emit(record.clone());
        }
        emit.end();
    }
}

/// Removes what no later window covers.
fn forget<T: Record>(table: &mut StateTable<KeptUnit, Vec<T>>, through: BatchTime) {
    for place in 0..table.slots() {
        let slot = Slot::at(place);
        let (key, _, records) = table.entry(slot);
        if records.is_some() && key.time <= through {
            table.put(slot, None, true);
        }
    }
}
