//! Reads the heads of a segment's frames and leaves the bodies of blocks out: for a quick look at a long log.
//!
//! Headers and events are checked by their checksums; the head of a block is believed, since its checksum covers the body, too.
//! Where anything is not as it should be, the caller reads the segment as a whole, which tells what it is.

use std::path::Path;

use super::error::WalError;
use super::frame::{FRAME_HEADER_LEN, Frame, FrameHeader};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use super::{FrameAt, FrameKind};
use floodmark_base::disk::Disk;
use floodmark_base::id::Sequence;

/// Bytes that are read at a time.
const WINDOW: usize = 16 << 10;

/// Walks the frames of a segment up to `until`, without one to the end of the file; whether it got there.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn walk_heads(
    disk: &dyn Disk,
    file: &Path,
    bytes: u64,
    segment: &SegmentHeader,
    until: Option<Sequence>,
    mut found: impl FnMut(FrameAt, &FrameHeader, &[u8]),
) -> Result<bool, WalError> {
    let mut window = Window { disk, file, bytes, start: 0, held: Vec::new() };
    let (mut sequence, mut offset) = (segment.first_sequence, SEGMENT_HEADER_LEN as u64);
    while until.map_or(offset < bytes, |until| sequence < until) {
        let Some(header) = window.at(offset, FRAME_HEADER_LEN)? else { return Ok(false) };
        let Ok(header) = FrameHeader::decode(header, segment.log) else { return Ok(false) };
        if header.sequence != sequence || header.epoch != segment.epoch {
            return Ok(false);
        }
        // An event's body is empty, so it is checked whole.
        let payload = match header.kind {
            FrameKind::Block => header.head_len as usize,
            FrameKind::Event | FrameKind::Mark | FrameKind::Absent => {
                header.head_len as usize + header.body_len as usize
            }
        };
        let Some(payload) = window.at(offset + FRAME_HEADER_LEN as u64, payload)? else { return Ok(false) };
        let head = match header.kind {
            FrameKind::Block => payload,
            FrameKind::Event | FrameKind::Mark | FrameKind::Absent => match Frame::with_header(header, payload) {
                Ok(frame) => frame.head,
                Err(_) => return Ok(false),
            },
        };
        found(FrameAt::of(&header, segment.number, offset), &header, head);
        sequence = sequence.next();
        offset += header.frame_len();
    }
    Ok(offset <= bytes)
}

/// A part of the file that is held in memory.
struct Window<'f> {
    disk: &'f dyn Disk,
    file: &'f Path,
    /// Length of the file.
    bytes: u64,
    start: u64,
    held: Vec<u8>,
}

impl Window<'_> {
    /// The bytes at a place, or `None` where the file ends before them.
    fn at(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, WalError> {
        let end = offset + len as u64;
        if end > self.bytes {
            return Ok(None);
        }
        if offset < self.start || end > self.start + self.held.len() as u64 {
            let wanted = (len.max(WINDOW) as u64).min(self.bytes - offset) as usize;
            let read = self.disk.read_at(self.file, offset, wanted);
            self.held = read.map_err(|error| WalError::io(self.file, offset, error))?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.held[from..from + len]))
    }
}
