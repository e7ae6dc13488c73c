//! The graph that the user declares: nodes and the four things a node can be.
//!
//! A node is a *source*, a *narrow* operator (works on records where they are), a *wide* operator (needs all records of a
//! key in one place, so records are shuffled to it) or an *output*. Sources and wide operators are the roots of *stages*;
//! the narrow operators after a root run inside its stage. A new operator is one file that implements one of the traits.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::dataflow::chunk::Chunk;
use crate::dataflow::push::{Downstream, ErasedPush, Unit};
use crate::dataflow::report::{OutputTray, Port};
use crate::dataflow::tables::OperatorState;
use crate::dataflow::task::{BlockReader, SourceFailure, Task, TaskPayload, TaskReport};
use crate::sink::SinkError;
use floodmark_base::error::Result;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, Uid};
use floodmark_store::batch::timing::Slide;
use floodmark_store::recovery::descriptor::SourceDescriptor;
use floodmark_store::state::FrozenRun;
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::loader::StateLoader;

/// The place of a node in its graph. Parents come before their children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub u32);

/// The declared job: frozen when it starts, shared by the driver and all workers.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
}

#[derive(Clone)]
pub(crate) struct Node {
    /// The uid where the node has one, else the operator's name and number.
    pub name: Arc<str>,
    pub parents: Vec<NodeId>,
    /// How often the stream behind it yields.
    pub slide: Slide,
    pub operator: Operator,
}

#[derive(Clone)]
pub(crate) enum Operator {
    Source(Arc<dyn Source>),
    Narrow(Arc<dyn Narrow>),
    Wide(Arc<dyn Wide>),
    /// The state of the wide operator before it, as a keyed stream of its own.
    Snapshots(Arc<dyn Narrow>),
    Output(Arc<dyn Output>),
}

/// What an operator may know about the worker that it is built on.
pub(crate) struct WorkerContext {
    pub name: Arc<str>,
    pub worker: u32,
    pub workers: u32,
    pub partitions: u32,
    pub loader: StateLoader,
    pub blocks: BlockReader,
}

impl WorkerContext {
    /// The partitions that this worker owns: a contiguous range.
    pub fn owned(&self) -> impl Iterator<Item = u32> + use<> {
        let (worker, workers, partitions) = (self.worker, self.workers, self.partitions);
        (0..partitions).filter(move |&partition| owner(partition, workers, partitions) == worker)
    }
}

/// The worker that owns a partition.
pub(crate) fn owner(partition: u32, workers: u32, partitions: u32) -> u32 {
    (u64::from(partition) * u64::from(workers) / u64::from(partitions)) as u32
}

/// Where records come from: turns planned tasks into records, on the workers.
pub(crate) trait Source: Send + Sync {
    /// What is compared with what is stored of it.
    fn descriptor(&self) -> &SourceDescriptor;

    fn uid(&self) -> &Uid {
        &self.descriptor().uid
    }

    fn stage(&self, context: &WorkerContext, downstream: Downstream) -> Box<dyn RunTask>;

    /// The encoding of one record of a task, read again.
    fn record(&self, payload: &TaskPayload, record: u64, blocks: &BlockReader) -> Result<Vec<u8>>;
}

/// The first stage of a dataflow on one worker.
pub(crate) trait RunTask {
    fn run(&mut self, task: &Task, unit: &Unit) -> Result<TaskReport, SourceFailure>;
}

/// An operator that needs no shuffle.
pub(crate) trait Narrow: Send + Sync {
    /// The way in for its input of this number; the side is 0 for all but operators with several inputs.
    fn lower(&self, side: u32, context: &WorkerContext, downstream: Downstream) -> ErasedPush;

    /// Whether records keep their keys, so that a stream that was partitioned by key still is.
    fn keeps_keys(&self) -> bool {
        false
    }
}

/// An operator that receives its records by partition.
pub(crate) trait Wide: Send + Sync {
    /// The end of the stage before: combines and cuts records into chunks by partition.
    fn map_side(&self, side: u32, context: &WorkerContext, port: Port) -> ErasedPush;

    /// The root of the stage after: the operator itself, for all partitions of one worker, with its state loaded.
    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>>;

    /// The way in when its records are in their partitions already (they come from an operator by the same key): no shuffle,
    /// the partition is handed to `reduce` as it is. Only for an operator that [takes keys](Self::takes_keys).
    fn local_side(&self, _reduce: SharedReduce) -> ErasedPush {
        unreachable!("an operator that takes keys has a way in without a shuffle")
    }

    /// Whether it has one input, whose records it wants in the partitions of their keys.
    fn takes_keys(&self) -> bool {
        false
    }

    /// Whether its output leaves in the partitions of its keys.
    fn is_partitioned_by_key(&self) -> bool {
        false
    }

    /// Why it cannot work with its types of keys. Its types of state are in [`state`](Self::state).
    fn type_problem(&self) -> Option<String> {
        None
    }

    /// What is known of its state, if it keeps any.
    fn state(&self) -> Option<StateDescriptor> {
        None
    }

    /// Whether it can begin without its state in memory, since it looks up the keys that it touches.
    fn begins_partial(&self) -> bool {
        false
    }

    /// Whether it does with a part of its state in memory, as long as it runs.
    fn keeps_within_budget(&self) -> bool {
        self.begins_partial()
    }

    /// The state that is there before the first batch, sorted, if the user gave one.
    fn initial_state(&self) -> Option<FrozenRun> {
        None
    }
}

/// A [`Reduce`] that the stage which runs it and the worker's loop share.
pub(crate) type SharedReduce = Rc<RefCell<Box<dyn Reduce>>>;

/// A wide operator on one worker.
pub(crate) trait Reduce {
    /// Runs one partition of one batch: `chunks` are in the order of the source (I-3).
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>);

    /// What it keeps from batch to batch.
    fn state(&self) -> Option<&dyn OperatorState> {
        None
    }

    /// As [`state`](Self::state), to be changed.
    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        None
    }
}

/// Where records leave the job: collected on the workers, delivered by the driver after the commit.
pub(crate) trait Output: Send + Sync {
    /// The end of a stage: keeps what the delivery will need.
    fn collect(&self, context: &WorkerContext, tray: OutputTray) -> ErasedPush;

    /// Why it cannot put out records of its type.
    fn type_problem(&self) -> Option<String> {
        None
    }

    /// The other half, on the driver; taken once, when the job starts.
    fn delivery(&self) -> Box<dyn Deliver>;
}

/// A committed batch on its way out of the job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub lineage: Lineage,
    pub epoch: Epoch,
    pub batch: BatchId,
    pub time: BatchTime,
}

/// The driver's half of an output.
pub(crate) trait Deliver: Send {
    /// Tells the target who owns it now, and asks for the last batch it holds.
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError>;

    /// Makes the batch visible as a whole; `partitions` are in their order.
    fn publish(
        &mut self,
        delivery: Delivery,
        partitions: Vec<crate::dataflow::chunk::Records>,
    ) -> Result<(), SinkError>;
}

impl Graph {
    pub fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph has fewer than four billion nodes"));
        self.nodes.push(node);
        id
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// The children of a node, each with the side of the child that this node feeds.
    pub fn children(&self, parent: NodeId) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.iter().flat_map(move |(id, node)| {
            let sides = node.parents.iter().enumerate().filter(move |(_, candidate)| **candidate == parent);
            sides.map(move |(side, _)| (id, side as u32))
        })
    }

    /// Whether a node is a wide operator whose only input is already partitioned by the same key: then it runs inside of the
    /// stage that it follows.
    pub fn runs_in_place(&self, id: NodeId) -> bool {
        match (&self.node(id).operator, self.node(id).parents.as_slice()) {
            (Operator::Wide(wide), [parent]) => wide.takes_keys() && self.is_partitioned_by_key(*parent),
            _ => false,
        }
    }

    /// How often the input of a node yields.
    pub fn input_slide(&self, id: NodeId) -> Slide {
        let node = self.node(id);
        node.parents.first().map_or(node.slide, |parent| self.node(*parent).slide)
    }

    fn is_partitioned_by_key(&self, id: NodeId) -> bool {
        match (&self.node(id).operator, self.node(id).parents.as_slice()) {
            (Operator::Wide(wide), _) => wide.is_partitioned_by_key(),
            (Operator::Snapshots(_), _) => true,
            (Operator::Narrow(narrow), [parent]) => narrow.keeps_keys() && self.is_partitioned_by_key(*parent),
            _ => false,
        }
    }

    pub fn sources(&self) -> impl Iterator<Item = (NodeId, &Arc<dyn Source>)> {
        self.iter().filter_map(|(id, node)| match &node.operator {
            Operator::Source(source) => Some((id, source)),
            _ => None,
        })
    }

    pub fn outputs(&self) -> impl Iterator<Item = (NodeId, &Arc<dyn Output>)> {
        self.iter().filter_map(|(id, node)| match &node.operator {
            Operator::Output(output) => Some((id, output)),
            _ => None,
        })
    }

    /// The operators that keep state.
    pub fn stateful(&self) -> impl Iterator<Item = (NodeId, &Arc<dyn Wide>, StateDescriptor)> {
        self.iter().filter_map(|(id, node)| match &node.operator {
            Operator::Wide(wide) => wide.state().map(|state| (id, wide, state)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_ranges_are_contiguous() {
        for workers in 1..=5 {
            let owners: Vec<u32> = (0..8).map(|partition| owner(partition, workers, 8)).collect();
            assert!(owners.is_sorted(), "{owners:?}");
            assert_eq!((owners[0], owners[7]), (0, workers - 1));
        }
    }
}
