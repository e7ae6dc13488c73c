//! The one exception that the documentation makes: damage in the last synced group of the log, with nothing written after
//! it, cannot be told from an interrupted append, and is cut as one.
//!
//! This is the judge's own opinion of where that is, from the frames of the undamaged log. The engine searches the damaged
//! bytes for proofs; the judge knows where all frames stood, and asks which of them are still there.

use std::ops::Range;

use floodmark::testing::wal::{FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader, Sequence};

use super::case::Case;
use super::kind::FileKind;
use super::store::Store;

/// The newest segment of an undamaged log.
#[derive(Debug)]
pub(super) struct NewestSegment {
    name: String,
    bytes: Vec<u8>,
    durable_through: Sequence,
    frames: Vec<FramePlace>,
    /// What a manifest knows to come next in the log, so that everything before was durable.
    known_next: Option<Sequence>,
}

#[derive(Clone, Debug)]
struct FramePlace {
    bytes: Range<usize>,
    sequence: Sequence,
    synced_through: Sequence,
}

/// What a damage does to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing, as far as the exception goes: if it is damage, it must be refused, or not matter.
    NotConcerned,
    /// The first bad frame was durable, and what is left proves it: it must be refused.
    Proven,
    /// Nothing that is left proves that anything was there from this byte on: it is cut. `is_silent` where not a byte is left of
    /// what is cut, so that there is nothing to report.
    Ambiguous { offset: usize, is_silent: bool },
}

impl NewestSegment {
    /// Reads the frames of the newest segment; `None` where there is no log, or its newest segment is not whole.
    pub fn of(store: &Store, known_next: Option<Sequence>) -> Option<Self> {
        let file = store.newest_segment()?;
        let number = file.path.file_stem()?.to_str()?.parse().ok()?;
        let number = floodmark::testing::wal::SegmentNumber(number);
        let header = SegmentHeader::decode(&file.bytes, &file.path, number).ok()?;
        let mut frames = Vec::new();
        let mut at = SEGMENT_HEADER_LEN;
        while at < file.bytes.len() {
            let frame = FrameHeader::decode(&file.bytes[at..], header.log).ok()?;
            let bytes = at..at + frame.frame_len() as usize;
            at = bytes.end;
            frames.push(FramePlace { bytes, sequence: frame.sequence, synced_through: frame.synced_through });
        }
        let durable_through = header.durable_through;
        Some(Self { name: file.name.clone(), bytes: file.bytes.clone(), durable_through, frames, known_next })
    }

    /// What a damage does to the end of the log.
    pub fn end_after(&self, case: &Case) -> End {
        if case.kind != FileKind::NewestSegment || case.target != self.name {
            return End::NotConcerned;
        }
        let Some(damaged) = case.change.bytes(&self.bytes) else { return End::NotConcerned };
        let is_left = |range: Range<usize>| damaged.get(range.clone()) == Some(&self.bytes[range]);
        if !is_left(0..SEGMENT_HEADER_LEN) {
            return End::NotConcerned;
        }
        let Some(bad) = self.frames.iter().find(|frame| !is_left(frame.bytes.clone())) else {
            return End::NotConcerned;
        };
        let header_of = |frame: &FramePlace| frame.bytes.start..frame.bytes.start + FRAME_HEADER_LEN;
        let later = self.frames.iter().filter(|frame| frame.sequence > bad.sequence);
        let proven = later.filter(|frame| is_left(header_of(frame))).any(|frame| frame.synced_through >= bad.sequence)
            || self.durable_through >= bad.sequence
            || self.known_next.is_some_and(|next| next > bad.sequence);
        match proven {
            true => End::Proven,
            false => End::Ambiguous { offset: bad.bytes.start, is_silent: damaged.len() == bad.bytes.start },
        }
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that are ambiguous when one of them is flipped.
    pub fn ambiguous_bytes(&self) -> Range<usize> {
        let first = self.frames.iter().find(|bad| {
            let mut later = self.frames.iter().filter(|frame| frame.sequence > bad.sequence);
            !later.any(|frame| frame.synced_through >= bad.sequence)
                && self.durable_through < bad.sequence
                && self.known_next.is_none_or(|next| next <= bad.sequence)
        });
        first.map_or(self.bytes.len(), |frame| frame.bytes.start)..self.bytes.len()
    }
}
