//! Reads frames again from where they stand.

use std::path::Path;

use byteview::ByteView;

use super::FrameAt;
use super::damage::{Lost, WalDamage};
use super::error::WalError;
use super::frame::{FRAME_HEADER_LEN, Frame, FrameFault, FrameHeader};
use super::segment::segment_path;
use floodmark_base::disk::Disk;
use floodmark_base::id::LogId;

/// Bytes that several frames are read in at once, at most; a larger frame is read alone.
const SPAN: u64 = 1 << 20;

/// Bytes between two frames that are read and dropped, at most, rather than reading twice.
const HOLE: u64 = 16 << 10;

/// The head and the body of a durable frame, checked.
///
/// # Errors
/// [`WalError::Damage`] when the bytes are not that frame any more; [`WalError::Io`].
pub fn read_frame(disk: &dyn Disk, directory: &Path, log: LogId, at: FrameAt) -> Result<(Vec<u8>, ByteView), WalError> {
    let file = segment_path(directory, at.segment);
    let len = frame_len(at) as usize;
    let bytes = disk.read_at(&file, at.offset, len).map_err(|error| WalError::io(&file, at.offset, error))?;
    let frame = decode_at(&bytes, log, at).map_err(|fault| damaged(&file, at, fault))?;
    Ok((frame.head.to_vec(), ByteView::new(frame.body)))
}

/// Hands the body of each of these frames to `visit`, checked. Neighbours are read together, as far as they fit into [`SPAN`].
///
/// # Errors
/// As [`read_frame`], and those of `visit`.
pub(super) fn read_bodies<E: From<WalError>>(
    disk: &dyn Disk,
    directory: &Path,
    log: LogId,
    places: &[FrameAt],
    visit: &mut dyn FnMut(ByteView) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = places;
    while let [first, ..] = rest {
        let (span, others) = rest.split_at(neighbours(rest));
        let end = span.last().map_or(first.offset, |last| last.offset + frame_len(*last));
        let file = segment_path(directory, first.segment);
        let bytes = disk
            .read_at(&file, first.offset, (end - first.offset) as usize)
            .map_err(|error| WalError::io(&file, first.offset, error))?;
        for at in span {
            let from = (at.offset - first.offset) as usize;
            let bytes = &bytes[from..from + frame_len(*at) as usize];
            let frame = decode_at(bytes, log, *at).map_err(|fault| WalError::from(damaged(&file, *at, fault)))?;
            visit(ByteView::new(frame.body))?;
        }
        rest = others;
    }
    Ok(())
}

/// How many of the first of these frames are read at once.
fn neighbours(places: &[FrameAt]) -> usize {
    let first = places[0];
    let follows = |pair: &&[FrameAt]| {
        let (before, next) = (pair[0], pair[1]);
        let end = before.offset + frame_len(before);
        let is_near = next.segment == first.segment && (end..=end + HOLE).contains(&next.offset);
        is_near && next.offset + frame_len(next) - first.offset <= SPAN
    };
    1 + places.windows(2).take_while(follows).count()
}

fn frame_len(at: FrameAt) -> u64 {
    FRAME_HEADER_LEN as u64 + u64::from(at.head_len) + u64::from(at.body_len)
}

fn damaged(file: &Path, at: FrameAt, fault: FrameFault) -> WalDamage {
    let (expected, found) = fault.expected_and_found();
    let lost = Lost::Frames { first: at.sequence, last: at.sequence };
    WalDamage { file: file.to_path_buf(), offset: at.offset, expected, found, lost }
}

fn decode_at(bytes: &[u8], log: LogId, at: FrameAt) -> Result<Frame<'_>, FrameFault> {
    let header = FrameHeader::decode(bytes, log)?;
    if header.sequence != at.sequence {
        return Err(FrameFault::Sequence { expected: at.sequence, found: header.sequence });
    }
    if (header.head_len, header.body_len) != (at.head_len, at.body_len) {
        return Err(FrameFault::Meaning("the lengths that the frame had when it was written"));
    }
    Frame::with_header(header, &bytes[FRAME_HEADER_LEN..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::WalVersion;
    use floodmark_base::id::{SegmentNumber, Sequence};

    fn frames(bodies: &[(u64, u32)]) -> Vec<FrameAt> {
        let place = |(at, (offset, body_len)): (usize, &(u64, u32))| FrameAt {
            sequence: Sequence(at as u64),
            segment: SegmentNumber(1),
            offset: *offset,
            head_len: 0,
            body_len: *body_len,
            version: WalVersion::V2,
        };
        bodies.iter().enumerate().map(place).collect()
    }

    #[test]
    fn small_frames_next_to_each_other_are_read_at_once() {
        let header = FRAME_HEADER_LEN as u64;
        let next_to_each_other: Vec<(u64, u32)> = (0..100_000).map(|at| (64 + at * (header + 10), 10)).collect();
        let frames_in_span = (SPAN / (header + 10)) as usize;
        assert_eq!(neighbours(&frames(&next_to_each_other)), frames_in_span);
        assert_eq!(neighbours(&frames(&[(64, 10), (64 + header + 10 + HOLE, 10)])), 2);
        assert_eq!(neighbours(&frames(&[(64, 10), (64 + header + 11 + HOLE, 10)])), 1, "too far away");
        assert_eq!(neighbours(&frames(&[(900, 10), (64, 10)])), 1, "in front of it");
        assert_eq!(neighbours(&frames(&[(64, 2 << 20), (64 + header + (2 << 20), 10)])), 1, "large enough alone");
    }
}
