//! Takes a log over: the newest segment's frames that nothing proves to be synced go, durably, into a new segment (I-7).
//!
//! The new segment gets its name only when the carried frames in it are synced, and its first sequence is the first of theirs,
//! which supersedes them where they stood. So a crash at any point leaves either the old log or the whole new one.
//!
//! The new segment is of the current version whatever the old one is. The heads of carried frames are not encoded again: each frame
//! says in which version its head is.

use std::collections::HashMap;
use std::path::Path;

use super::damage::{Lost, WalDamage};
use super::error::WalError;
use super::frame::{Frame, FrameHeader};
use super::scan::WalScan;
use super::segment::{SegmentHeader, segment_path};
use super::tail::Tail;
use super::version::WalVersion;
use super::{FrameAt, FrameKind};
use floodmark_base::disk::{Disk, Step, TEMPORARY_SUFFIX};
use floodmark_base::id::{Epoch, Sequence};

/// The new newest segment.
pub(super) struct Carried {
    pub segment: SegmentHeader,
    pub bytes: u64,
    /// Where the carried frames stand now; whoever has seen them in the old segment asks here.
    pub places: HashMap<Sequence, FrameAt>,
    pub ends_with_mark: bool,
}

/// Creates the next segment, with everything in it that must not be lost.
pub(super) fn carry(disk: &dyn Disk, directory: &Path, scan: &WalScan, epoch: Epoch) -> Result<Carried, WalError> {
    let newest = scan.newest();
    if newest.epoch > epoch {
        let file = segment_path(directory, newest.number);
        return Err(WalError::Fenced { file, ours: epoch, found: newest.epoch });
    }
    let segment = SegmentHeader {
        version: WalVersion::CURRENT,
        log: scan.log_id,
        number: newest.number.next(),
        epoch,
        first_sequence: scan.carry.first_sequence,
        durable_through: Sequence(scan.next_sequence.0 - 1),
    };
    let mut bytes = segment.encode().to_vec();
    let (mut places, mut ends_with_mark) = (HashMap::new(), false);
    for (header, payload) in old_frames(disk, directory, scan)? {
        let header = FrameHeader { epoch, synced_through: scan.proven_synced_through, ..header };
        places.insert(header.sequence, FrameAt::of(&header, segment.number, bytes.len() as u64));
        bytes.extend_from_slice(&header.encode(scan.log_id));
        bytes.extend_from_slice(&payload);
        ends_with_mark = header.kind == FrameKind::Mark;
    }
    let file = segment_path(directory, segment.number);
    disk.create_whole(Step::WalRoll, &file, &bytes).map_err(|error| WalError::io(&file, 0, error))?;
    report(scan, &segment);
    remove_left_overs(disk, directory)?;
    Ok(Carried { segment, bytes: bytes.len() as u64, places, ends_with_mark })
}

/// Reads the frames to be carried once more and checks them again: what is believed is what is written.
fn old_frames(disk: &dyn Disk, directory: &Path, scan: &WalScan) -> Result<Vec<(FrameHeader, Vec<u8>)>, WalError> {
    let (newest, carry) = (scan.newest(), scan.carry);
    let file = segment_path(directory, newest.number);
    let bytes =
        disk.read_at(&file, carry.offset, carry.len).map_err(|error| WalError::io(&file, carry.offset, error))?;
    let (mut frames, mut at, mut sequence) = (Vec::new(), 0, carry.first_sequence);
    while at < bytes.len() {
        let frame = Frame::decode_expected(&bytes[at..], scan.log_id, newest.epoch, sequence).map_err(|fault| {
            let (expected, found) = fault.expected_and_found();
            let lost = Lost::Frames { first: sequence, last: Sequence(scan.next_sequence.0 - 1) };
            WalDamage { file: file.clone(), offset: carry.offset + at as u64, expected, found, lost }
        })?;
        frames.push((frame.header, [frame.head, frame.body].concat()));
        at += frame.header.frame_len() as usize;
        sequence = sequence.next();
    }
    assert_eq!(sequence, scan.next_sequence, "the scan carries every frame up to its end");
    Ok(frames)
}

fn report(scan: &WalScan, segment: &SegmentHeader) {
    let (carried, number, next) = (scan.whole_frames_beyond_proven, segment.number.0, scan.next_sequence.0);
    match &scan.tail {
        Tail::Clean => {
            tracing::info!(segment = number, next_sequence = next, carried, "the log goes on in a new segment")
        }
        Tail::Interrupted { segment: old, offset, bytes, reason, whole_frames_cut, .. } => tracing::warn!(
            segment = number,
            next_sequence = next,
            carried,
            "the log ended in an interrupted write, which was never acknowledged and is cut: segment {old}, byte {offset}: \
             {reason}; {bytes} bytes with {whole_frames_cut} whole frames"
        ),
    }
}

/// Removes temporary files that a crash has left: they never got a name, so nothing in them counts.
fn remove_left_overs(disk: &dyn Disk, directory: &Path) -> Result<(), WalError> {
    let names = disk.list(directory).map_err(|error| WalError::io(directory, 0, error))?;
    for name in names.iter().filter(|name| name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX)) {
        let file = directory.join(name);
        disk.remove(Step::WalTruncate, &file).map_err(|error| WalError::io(&file, 0, error))?;
    }
    Ok(())
}
