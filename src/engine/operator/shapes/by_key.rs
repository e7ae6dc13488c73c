//! The common shape of operators by key: they want all pairs of a key in its partition, as they are.

use crate::dataflow::graph::{Reduce, SharedReduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{LocalPush, ShufflePush};
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::Result;
use floodmark_base::types::as_key;
use floodmark_store::state::FrozenRun;
use floodmark_store::state::descriptor::StateDescriptor;

/// An operator over pairs, by key. Its [`Reduce`] gets chunks of [`Keyed`](crate::dataflow::shuffle::Keyed) pairs.
pub(crate) trait ByKey: Send + Sync + 'static {
    type Key: Key;
    type Value: Record;
    /// Whether what it puts out is in the partitions of its keys again.
    const KEEPS_KEYS: bool = true;

    /// As [`Wide::reduce_side`].
    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>>;

    /// As [`Wide::state`].
    fn state(&self) -> Option<StateDescriptor> {
        None
    }

    /// As [`Wide::begins_partial`].
    fn begins_partial(&self) -> bool {
        false
    }

    /// As [`Wide::keeps_within_budget`].
    fn keeps_within_budget(&self) -> bool {
        self.begins_partial()
    }

    /// Why its initial state cannot be stored.
    fn initial_problem(&self) -> Option<String> {
        None
    }

    /// As [`Wide::initial_state`].
    fn initial_state(&self) -> Option<FrozenRun> {
        None
    }
}

/// Shuffles pairs by key to an operator, unless they are in the partitions of their keys already.
pub(crate) struct Shuffled<O>(pub O);

impl<O: ByKey> Wide for Shuffled<O> {
    fn map_side(&self, _side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        ErasedPush::new::<(O::Key, O::Value)>(ShufflePush::new(port, context.partitions))
    }

    fn local_side(&self, reduce: SharedReduce) -> ErasedPush {
        ErasedPush::new::<(O::Key, O::Value)>(LocalPush::new(reduce))
    }

    fn takes_keys(&self) -> bool {
        true
    }

    fn is_partitioned_by_key(&self) -> bool {
        O::KEEPS_KEYS
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        self.0.reduce_side(context, downstream)
    }

    fn type_problem(&self) -> Option<String> {
        as_key::<O::Key>().problem.or_else(|| self.0.initial_problem())
    }

    fn state(&self) -> Option<StateDescriptor> {
        self.0.state()
    }

    fn begins_partial(&self) -> bool {
        self.0.begins_partial()
    }

    fn keeps_within_budget(&self) -> bool {
        self.0.keeps_within_budget()
    }

    fn initial_state(&self) -> Option<FrozenRun> {
        self.0.initial_state()
    }
}
