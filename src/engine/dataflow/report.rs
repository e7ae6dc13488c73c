//! What a worker hands back: chunks for the next stage while a batch runs, and a report when it is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::dataflow::chunk::{Chunk, Origin, Records};
use crate::dataflow::graph::NodeId;
use floodmark_store::batch::event::Digest;
use floodmark_store::state::{CacheCounts, Pressure};

/// Where a stage leaves chunks for one side of a wide operator.
#[derive(Clone)]
pub(crate) struct Port {
    pub side: u32,
    chunks: Rc<RefCell<Vec<Chunk>>>,
}

impl Port {
    pub fn new(side: u32) -> Self {
        Self { side, chunks: Rc::default() }
    }

    pub fn send(&self, origin: &Origin, sequence: u32, partition: u32, records: Records) {
        self.chunks.borrow_mut().push(Chunk { origin: origin.clone(), sequence, side: self.side, partition, records });
    }

    pub fn drain(&self) -> Vec<Chunk> {
        std::mem::take(&mut self.chunks.borrow_mut())
    }
}

/// What one worker did in one batch.
#[derive(Default)]
pub(crate) struct WorkerReport {
    /// Records and failed records per source.
    pub records: Vec<(NodeId, u64, u64)>,
    /// What the readers of ranges note of them: source, place in the plan, receipt.
    pub receipts: Vec<(NodeId, u32, Vec<u8>)>,
    pub digests: Vec<(NodeId, Digest)>,
    pub outputs: Vec<OutputPart>,
    /// Keys with state per operator; only the sum over all workers counts.
    pub entries: Vec<(NodeId, i64)>,
    /// How the tables did that do not hold all of their keys.
    pub cache: CacheCounts,
    /// What the fullest of them wants.
    pub pressure: Pressure,
}

/// One partition of one output.
pub(crate) struct OutputPart {
    pub node: NodeId,
    pub origin: Origin,
    pub records: Records,
}

/// The reports of the batches that are under way, by execution.
#[derive(Clone, Default)]
pub(crate) struct Reports(Rc<RefCell<BTreeMap<u64, WorkerReport>>>);

impl Reports {
    pub fn update(&self, execution: u64, change: impl FnOnce(&mut WorkerReport)) {
        change(self.0.borrow_mut().entry(execution).or_default());
    }

    pub fn take(&self, execution: u64) -> WorkerReport {
        self.0.borrow_mut().remove(&execution).unwrap_or_default()
    }
}

/// Where a stage leaves what an output will deliver.
#[derive(Clone)]
pub(crate) struct OutputTray {
    pub node: NodeId,
    pub reports: Reports,
}

impl OutputTray {
    pub fn put(&self, execution: u64, origin: Origin, records: Records, digest: Option<Digest>) {
        self.reports.update(execution, |report| {
            report.outputs.push(OutputPart { node: self.node, origin, records });
            report.digests.extend(digest.map(|digest| (self.node, digest)));
        });
    }
}
