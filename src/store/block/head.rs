//! What the log knows of a block besides its payload.
//!
//! # Format
//! A frame of kind `Block` has as its head, in the standard encoding (see [`floodmark_base::codec`]):
//!
//! | field | encoding |
//! |---|---|
//! | source | string: the receiver's uid |
//! | position | 0, or 1, a key and the source's position after this block: both bytes with their length |
//! | records | varint |
//! | record type | 0, or 1 and a varint: the hash of the text of the payload's type |
//!
//! Its body is the payload: the bytes that came in, for text, or encoded records (see [`floodmark_engine::source`]). Version 1 of the log had
//! a varint for the position, and no record type: [`v1`](super::v1).

use serde::{Deserialize, Serialize};

use super::v1;
use crate::wal::{FrameAt, WalVersion};
use floodmark_base::codec::{self, DecodeError};
use floodmark_base::id::{Position, TypeHash, Uid};

/// The head of a block's frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHead {
    pub source: Uid,
    /// Everything before it has been taken, once this block is logged.
    #[serde(with = "super::position::option")]
    pub position: Option<Position>,
    pub records: u64,
    /// The type of the payload, by its text; `None` where it is not known: in a log of version 1.
    pub record_type: Option<TypeHash>,
}

impl BlockHead {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self).expect("strings, bytes and numbers encode")
    }

    /// Reads a head that is encoded in this version.
    ///
    /// # Errors
    /// When the bytes are not a head.
    pub fn decode(version: WalVersion, bytes: &[u8]) -> Result<Self, DecodeError> {
        match version {
            WalVersion::V1 => codec::decode::<v1::BlockHead>(bytes).map(Self::from),
            WalVersion::V2 => codec::decode(bytes),
        }
    }
}

/// The head of the frame that stands for a block whose body is gone with the machine that took it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentHead {
    pub head: BlockHead,
    /// Bytes of the payload that was.
    pub bytes: u64,
}

impl AbsentHead {
    /// Reads a head that is encoded in this version.
    ///
    /// # Errors
    /// When the bytes are not a head.
    pub fn decode(version: WalVersion, bytes: &[u8]) -> Result<Self, DecodeError> {
        match version {
            WalVersion::V1 => codec::decode::<v1::AbsentHead>(bytes).map(Self::from),
            WalVersion::V2 => codec::decode(bytes),
        }
    }
}

/// What a block takes in memory beside its payload, at most, in bytes: on its way to the log, and while it waits for a batch. With
/// this it counts in every bound of what is received, so that many small blocks take no more memory than a few large ones.
pub const BLOCK_COST: u64 = 300;

/// A block that stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    pub source: Uid,
    pub position: Option<Position>,
    pub records: u64,
    /// Bytes of the payload.
    pub bytes: u64,
    /// The type of the payload, where it is known.
    pub record_type: Option<TypeHash>,
    pub at: FrameAt,
}

impl BlockRef {
    pub fn new(head: BlockHead, at: FrameAt) -> Self {
        let BlockHead { source, position, records, record_type } = head;
        Self { source, position, records, bytes: u64::from(at.body_len), record_type, at }
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

    fn head() -> BlockHead {
        BlockHead {
            source: Uid::from("lines"),
            position: Some(Position(300)),
            records: 7,
            record_type: Some(TypeHash(5)),
        }
    }

    #[test]
    fn the_head_is_pinned_by_its_bytes() {
        let head = head();
        assert_eq!(head.encode(), b"\x05lines\x01\x00\x08\x00\x00\x00\x00\x00\x00\x01\x2c\x07\x01\x05");
        assert_eq!(BlockHead::decode(WalVersion::V2, &head.encode()).unwrap(), head);
        let without = BlockHead { position: None, record_type: None, ..head };
        assert_eq!(without.encode(), b"\x05lines\x00\x07\x00");
    }

    #[test]
    fn heads_of_version_1_are_read() {
        let expected = BlockHead { record_type: None, ..head() };
        assert_eq!(BlockHead::decode(WalVersion::V1, b"\x05lines\x01\xfb\x2c\x01\x07").unwrap(), expected);
        let without = BlockHead { position: None, ..expected };
        assert_eq!(BlockHead::decode(WalVersion::V1, b"\x05lines\x00\x07").unwrap(), without);
        let absent = AbsentHead { head: without, bytes: 9 };
        assert_eq!(AbsentHead::decode(WalVersion::V1, b"\x05lines\x00\x07\x09").unwrap(), absent);
    }

    #[test]
    fn a_head_with_bytes_left_over_is_refused() {
        assert!(BlockHead::decode(WalVersion::V2, b"\x05lines\x00\x07\x00\x00").is_err());
        assert!(BlockHead::decode(WalVersion::V1, b"\x05lines\x00\x07\x00").is_err());
    }
}
