//! The write-ahead log: one log for blocks and batch events, hence one order of everything.

use byteview::ByteView;
use serde::{Deserialize, Serialize};

use crate::id::{SegmentNumber, Sequence};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A received block: its header, then its payload as it came in.
    Block = 1,
    /// A [`BatchEvent`](crate::batch::event::BatchEvent).
    Event = 2,
    /// A closing mark: proves that everything before it is synced.
    Mark = 3,
}

/// A frame to be appended: a small head, and a body that is written from where it lies.
#[derive(Clone, Debug)]
pub struct NewFrame {
    pub kind: FrameKind,
    pub head: Vec<u8>,
    pub body: ByteView,
}

/// Where a durable frame stands; enough to read its body again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameAt {
    pub sequence: Sequence,
    pub segment: SegmentNumber,
    /// Byte offset of the frame's own header in the segment.
    pub offset: u64,
    pub head_len: u32,
    pub body_len: u32,
}
