//! Reads one frame again from where it stands.

use std::path::Path;

use byteview::ByteView;

use super::FrameAt;
use super::damage::{Lost, WalDamage};
use super::error::WalError;
use super::frame::{FRAME_HEADER_LEN, Frame, FrameFault, FrameHeader};
use super::segment::segment_path;
use crate::disk::Disk;
use crate::id::LogId;

/// The head and the body of a durable frame, checked.
///
/// # Errors
/// [`WalError::Damage`] when the bytes are not that frame any more; [`WalError::Io`].
pub fn read_frame(disk: &dyn Disk, directory: &Path, log: LogId, at: FrameAt) -> Result<(Vec<u8>, ByteView), WalError> {
    let file = segment_path(directory, at.segment);
    let len = FRAME_HEADER_LEN + at.head_len as usize + at.body_len as usize;
    let bytes = disk.read_at(&file, at.offset, len).map_err(|error| WalError::io(&file, at.offset, error))?;
    let frame = decode_at(&bytes, log, at).map_err(|fault| {
        let (expected, found) = fault.expected_and_found();
        let lost = Lost::Frames { first: at.sequence, last: at.sequence };
        WalDamage { file, offset: at.offset, expected, found, lost }
    })?;
    Ok((frame.head.to_vec(), ByteView::new(frame.body)))
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
