//! The narrow part of a stage: operators that hand small runs of records to the next, depth first.
//!
//! A run is a few hundred records in a reused `Vec`, so that it stays in the cache while the chain of operators works on
//! it, nothing is allocated per record, and the cost of a dynamic call is shared by the run. One pass from `begin` to `end`
//! is one *unit*: a planned task in the first stage, a partition in later ones.

use std::any::Any;
use std::rc::Rc;

use crate::dataflow::chunk::Origin;
use floodmark_base::id::BatchTime;
use floodmark_store::batch::timing::Timing;

/// How many records a run holds at about the most.
pub(crate) const RUN: usize = 512;

/// What all units of a batch share.
#[derive(Clone, Debug)]
pub(crate) struct BatchContext {
    /// The number of this run of the dataflow: timely's timestamp.
    pub execution: u64,
    pub timing: Timing,
    /// State is frozen for a checkpoint at the end of this batch.
    pub freeze: bool,
    /// The store holds all that was frozen in earlier batches.
    pub stored: bool,
}

/// A task of the plan, or a partition, in one batch.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub origin: Origin,
    /// The partition, behind a shuffle.
    pub partition: u32,
    /// The time of the result that it belongs to: that of the batch, or for a stream that slides a boundary that it passed.
    pub time: BatchTime,
    pub batch: Rc<BatchContext>,
}

impl Unit {
    /// The unit of a partition, behind a shuffle.
    pub fn of_partition(partition: u32, time: BatchTime, batch: Rc<BatchContext>) -> Self {
        Self { origin: Origin::of(partition), partition, time, batch }
    }
}

/// The receiving end of a narrow operator.
pub(crate) trait Push<T> {
    /// A unit begins.
    fn begin(&mut self, unit: &Unit);

    /// Takes all records out of the run; the caller keeps the empty `Vec`.
    fn push(&mut self, run: &mut Vec<T>);

    /// The unit ends: what was held back goes on.
    fn end(&mut self);

    /// Whether more records of this unit would have any effect.
    fn wants_more(&self) -> bool {
        true
    }
}

/// A [`Push`] whose record type only its neighbours know.
pub(crate) struct ErasedPush(Box<dyn Any>);

impl ErasedPush {
    pub fn new<T: 'static>(push: impl Push<T> + 'static) -> Self {
        Self::of(Box::new(push) as Box<dyn Push<T>>)
    }

    pub fn of<T: 'static>(push: Box<dyn Push<T>>) -> Self {
        Self(Box::new(push))
    }

    /// # Panics
    /// When the type is another: the graph connects typed streams only, so this is a bug of ours.
    pub fn into_typed<T: 'static>(self) -> Box<dyn Push<T>> {
        *self.0.downcast().expect("both ends of a stream agree on its type")
    }
}

/// What follows a node inside its stage: none, one, or several receivers.
#[derive(Default)]
pub(crate) struct Downstream {
    pub records: Vec<ErasedPush>,
    /// Those that want the state of the operator instead of the records that it puts out.
    pub snapshots: Vec<ErasedPush>,
}

impl Downstream {
    /// One receiver for all of them; records are cloned for every receiver but the last.
    pub fn into_typed<T: Clone + 'static>(self) -> Box<dyn Push<T>> {
        tee(self.records)
    }

    /// As [`into_typed`](Self::into_typed), for an operator that also puts out its state.
    pub fn into_both<T: Clone + 'static, S: Clone + 'static>(self) -> (Box<dyn Push<T>>, Box<dyn Push<S>>) {
        (tee(self.records), tee(self.snapshots))
    }
}

fn tee<T: Clone + 'static>(receivers: Vec<ErasedPush>) -> Box<dyn Push<T>> {
    let mut receivers: Vec<Box<dyn Push<T>>> = receivers.into_iter().map(ErasedPush::into_typed).collect();
    match receivers.len() {
        1 => receivers.remove(0),
        _ => Box::new(Tee { receivers, copy: Vec::new() }),
    }
}

struct Tee<T> {
    receivers: Vec<Box<dyn Push<T>>>,
    copy: Vec<T>,
}

impl<T: Clone> Push<T> for Tee<T> {
    fn begin(&mut self, unit: &Unit) {
        self.receivers.iter_mut().for_each(|receiver| receiver.begin(unit));
    }

    fn push(&mut self, run: &mut Vec<T>) {
        if let Some((last, others)) = self.receivers.split_last_mut() {
            for receiver in others {
                self.copy.extend_from_slice(run);
                receiver.push(&mut self.copy);
            }
            last.push(run);
        }
        run.clear();
    }

    fn end(&mut self) {
        self.receivers.iter_mut().for_each(|receiver| receiver.end());
    }

    fn wants_more(&self) -> bool {
        self.receivers.iter().any(|receiver| receiver.wants_more())
    }
}
