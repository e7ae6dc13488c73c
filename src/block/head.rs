//! What the log knows of a block besides its payload.
//!
//! # Format
//! A frame of kind `Block` has as its head, in the standard encoding (see [`crate::codec`]):
//!
//! | field | encoding |
//! |---|---|
//! | source | string: the receiver's uid |
//! | position | 0, or 1 and a varint: the source's position after this block |
//! | records | varint |
//!
//! Its body is the payload: the bytes that came in, for text, or encoded records (see [`crate::source`]).

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{Position, Uid};
use crate::wal::FrameAt;

/// The head of a block's frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockHead {
    pub source: Uid,
    /// Everything before it has been taken, once this block is logged.
    pub position: Option<Position>,
    pub records: u64,
}

impl BlockHead {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self).expect("a string and two numbers encode")
    }

    #[cfg(test)]
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes)
    }
}

/// The head of the frame that stands for a block whose body is gone with the machine that took it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AbsentHead {
    pub head: BlockHead,
    /// Bytes of the payload that was.
    pub bytes: u64,
}

/// What a block takes in memory beside its payload, at most, in bytes: on its way to the log, and while it waits for a batch. With
/// this it counts in every bound of what is received, so that many small blocks take no more memory than a few large ones.
pub(crate) const BLOCK_COST: u64 = 300;

/// A block that stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRef {
    pub source: Uid,
    pub position: Option<Position>,
    pub records: u64,
    /// Bytes of the payload.
    pub bytes: u64,
    pub at: FrameAt,
}

impl BlockRef {
    pub fn new(head: BlockHead, at: FrameAt) -> Self {
        let BlockHead { source, position, records } = head;
        Self { source, position, records, bytes: u64::from(at.body_len), at }
    }

    pub fn absent(head: AbsentHead, at: FrameAt) -> Self {
        Self { bytes: head.bytes, ..Self::new(head.head, at) }
    }

    /// What it takes while it waits: its payload, and what is kept of it beside.
    pub fn cost(&self) -> u64 {
        self.bytes + BLOCK_COST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_pinned_by_its_bytes() {
        let head = BlockHead { source: Uid::from("lines"), position: Some(Position(300)), records: 7 };
        assert_eq!(head.encode(), b"\x05lines\x01\xfb\x2c\x01\x07");
        assert_eq!(BlockHead::decode(&head.encode()).unwrap(), head);
        let without = BlockHead { position: None, ..head };
        assert_eq!(without.encode(), b"\x05lines\x00\x07");
    }

    #[test]
    fn a_head_with_bytes_left_over_is_refused() {
        assert!(BlockHead::decode(b"\x05lines\x00\x07\x00").is_err());
    }
}
