//! A task: the smallest piece of a plan, as a worker gets it.

use std::sync::Arc;

use byteview::ByteView;
use serde::{Deserialize, Serialize};

use crate::dataflow::graph::NodeId;
use floodmark_base::error::Result;
use floodmark_store::wal::FrameAt;

/// One block or range to be turned into records.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub source: NodeId,
    /// The place in the plan of its source: orders its records among those of other tasks (I-3).
    pub index: u32,
    pub payload: TaskPayload,
    /// What is known of a range before it is read.
    pub before: Before,
    pub filter: RecordFilter,
}

/// What a planned task is read from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TaskPayload {
    /// Blocks, one after the other: mostly one.
    Blocks(Vec<BlockPayload>),
    /// A range, as its direct source encodes it.
    Range(Vec<u8>),
}

/// What a block is read from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum BlockPayload {
    /// Memory, which still holds it.
    Memory(ByteView),
    /// The log.
    Logged(FrameAt),
}

/// What is known of a range before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// It was just planned: all must be as it was then.
    #[default]
    Planned,
    /// It was planned in an earlier life of the job, and its input may have been restored since.
    Restored,
    /// It was read, and gave this receipt.
    Read(Vec<u8>),
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

/// Takes the payload of a block.
type Visit<'v> = dyn FnMut(ByteView) -> Result<()> + 'v;

/// Reads blocks of the log.
type ReadLog = dyn Fn(&[FrameAt], &mut Visit<'_>) -> Result<()> + Send + Sync;

/// Reads the payloads of blocks, from the log where memory does not hold them any more. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BlockReader(Arc<ReadLog>);

impl BlockReader {
    /// `read_log` reads blocks of the log, in the order given.
    pub fn new(read_log: impl Fn(&[FrameAt], &mut Visit<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read_log))
    }

    /// Hands each payload to `visit`, in order. Blocks that come from the log one after the other are read together.
    ///
    /// # Errors
    /// When the log cannot be read, and those of `visit`.
    pub fn read(&self, payloads: &[BlockPayload], visit: &mut Visit<'_>) -> Result<()> {
        let is_logged = |payload: &BlockPayload| matches!(payload, BlockPayload::Logged(_));
        for alike in payloads.chunk_by(|one, other| is_logged(one) == is_logged(other)) {
            let mut places = Vec::new();
            for payload in alike {
                match payload {
                    BlockPayload::Memory(bytes) => visit(bytes.clone())?,
                    BlockPayload::Logged(at) => places.push(*at),
                }
            }
            if !places.is_empty() {
                (self.0)(&places, visit)?;
            }
        }
        Ok(())
    }
}

/// What a task gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskReport {
    pub records: u64,
    /// Records that could not be decoded; they were reported and are not in the stream.
    pub failed: u64,
    /// What the source's reader notes of a range; empty where it notes nothing.
    pub receipt: Vec<u8>,
}

/// A task whose input could not be had.
#[derive(Debug)]
pub(crate) struct SourceFailure(pub floodmark_base::error::Error);
