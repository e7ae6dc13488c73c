//! The heads of blocks as version 1 of the log had them.

use serde::Deserialize;

use super::head;
use floodmark_base::id::{Position, Uid};

/// A head without a record type, and with a number for a position.
#[derive(Deserialize)]
pub(super) struct BlockHead {
    source: Uid,
    position: Option<Position>,
    records: u64,
}

/// A block that is gone with its machine.
#[derive(Deserialize)]
pub(super) struct AbsentHead {
    head: BlockHead,
    bytes: u64,
}

impl From<BlockHead> for head::BlockHead {
    fn from(old: BlockHead) -> Self {
        let BlockHead { source, position, records } = old;
        Self { source, position, records, record_type: None }
    }
}

impl From<AbsentHead> for head::AbsentHead {
    fn from(old: AbsentHead) -> Self {
        Self { head: old.head.into(), bytes: old.bytes }
    }
}
