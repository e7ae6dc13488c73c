//! A task: the smallest piece of a plan, as a worker gets it.

use std::sync::Arc;

use crate::dataflow::graph::NodeId;
use crate::source::TaskPayload;

/// One block or range to be turned into records.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub source: NodeId,
    /// The place in the plan of its source: orders its records among those of other tasks (I-3).
    pub index: u32,
    pub payload: TaskPayload,
    pub filter: RecordFilter,
}

/// Which records of a task take part; all of them, unless records were set aside or a culprit is being looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordFilter {
    /// Records that were set aside, sorted.
    pub skip: Arc<[u64]>,
    /// Only the first so many take part.
    pub first: Option<u64>,
}

impl RecordFilter {
    pub fn takes_all(&self) -> bool {
        self.skip.is_empty() && self.first.is_none()
    }

    pub fn takes(&self, record: u64) -> bool {
        self.first.is_none_or(|first| record < first) && self.skip.binary_search(&record).is_err()
    }
}

/// What a task gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TaskReport {
    pub records: u64,
    /// Records that could not be decoded; they were reported and are not in the stream.
    pub failed: u64,
}

/// A task whose input could not be had.
#[derive(Debug)]
pub(crate) struct SourceFailure(pub crate::Error);
