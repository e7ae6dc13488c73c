//! The one judgement of the log: is a bad frame an interrupted write or damage?
//!
//! A group of frames is written, then synced, then acknowledged, and only then the next group is written. A crash within a
//! group may leave any part of it. So after a bad frame *s* the rest of the segment is searched, byte by byte, for headers
//! of later frames: one whose `synced_through` is *s* or more was written when *s* was already durable, so *s* was damaged
//! since. Without such a proof everything from *s* on was never acknowledged, even if some of it is whole.
//!
//! What remains ambiguous: damage in the last synced group with nothing written after it looks like an interrupted write. A
//! closing mark narrows it, as does a manifest that knows a later sequence.

use super::FrameKind;
use super::frame::{FRAME_HEADER_LEN, Frame, FrameFault, FrameHeader};
use super::segment::SegmentHeader;
use super::version::WalVersion;
use floodmark_base::id::{SegmentNumber, Sequence};

/// How the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole frame, or with a segment that has none yet.
    Clean,
    /// With bytes that were never acknowledged; recovery cuts them off.
    Interrupted {
        segment: SegmentNumber,
        /// Where the first bad frame stands.
        offset: u64,
        /// From there to the end of the file.
        bytes: u64,
        /// The sequence that the first bad frame has, or should have.
        sequence: Sequence,
        /// Why it is bad.
        reason: FrameFault,
        /// Whole frames before it that nothing proves to be synced; they may have been acknowledged, so recovery keeps them.
        whole_frames_beyond_proven: u64,
        /// Whole frames after it; none was acknowledged, and they are cut with it.
        whole_frames_cut: u64,
    },
}

/// A header found after a bad frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Later {
    pub offset: u64,
    pub sequence: Sequence,
    pub synced_through: Sequence,
}

/// What is found after a bad frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// A later frame that was written when the bad one was already synced. The search ends with it.
    pub proof: Option<Later>,
    /// The first later frame that is whole.
    pub next_whole: Option<Later>,
    /// Whole frames after the bad one, up to the proof.
    pub whole_frames: u64,
    /// The highest `synced_through` seen below the bad frame.
    pub synced_through: Sequence,
}

/// Searches a segment's bytes for frames after the bad one, which stands at `offset` and should have been `sequence`.
///
/// The search begins at the bad place itself: what stands there may be the whole frame of a later sequence. It is linear:
/// a cheap look at the kind, the version and the zeros after them rules out nearly every position.
pub(super) fn look_beyond(bytes: &[u8], offset: usize, sequence: Sequence, segment: &SegmentHeader) -> Beyond {
    let mut beyond = Beyond::default();
    let mut at = offset;
    while at + FRAME_HEADER_LEN <= bytes.len() {
        let Some(header) = later_header(&bytes[at..], (at - offset) as u64, sequence, segment) else {
            at += 1;
            continue;
        };
        let later = Later { offset: at as u64, sequence: header.sequence, synced_through: header.synced_through };
        let whole = Frame::with_header(header, &bytes[at + FRAME_HEADER_LEN..]).is_ok();
        if whole {
            beyond.whole_frames += 1;
            beyond.next_whole.get_or_insert(later);
        }
        if header.synced_through >= sequence {
            beyond.proof = Some(later);
            return beyond;
        }
        beyond.synced_through = beyond.synced_through.max(header.synced_through);
        // A whole frame's payload is the user's bytes, not ours.
        at += if whole { header.frame_len() as usize } else { 1 };
    }
    beyond
}

/// The header at the beginning of `bytes`, if it can be one that was written after the bad frame, `distance` bytes before.
fn later_header(bytes: &[u8], distance: u64, bad: Sequence, segment: &SegmentHeader) -> Option<FrameHeader> {
    FrameKind::from_byte(bytes[40])?;
    WalVersion::from_frame_byte(bytes[41])?;
    if bytes[42..FRAME_HEADER_LEN] != [0; 6] {
        return None;
    }
    let header = FrameHeader::decode(bytes, segment.log).ok()?;
    // Every frame between has a header, which bounds how far the sequence can have come.
    let furthest = bad.0.saturating_add(distance / FRAME_HEADER_LEN as u64).saturating_add(SLACK);
    (header.epoch == segment.epoch && header.sequence > bad && header.sequence.0 <= furthest).then_some(header)
}

/// How many sequences may be missing altogether, as when bytes were cut out of a file.
const SLACK: u64 = 1 << 20;
