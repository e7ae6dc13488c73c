//! Observes a log: reads its segments, checks every frame that is needed, and says how the log ends.
//!
//! Reading is not judging: nothing is written, and a log that is being written can be read; what its writer has not finished
//! then shows as an interrupted tail.
//!
//! The chain of segments: numbers without holes, one log id, epochs and first sequences that never fall. In a segment that has a
//! successor, frames from the successor's first sequence on are superseded: recovery carried them over or cut them, and
//! whatever stands there is ignored.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::damage::{Lost, WalDamage};
use super::error::WalError;
use super::frame::{Frame, FrameFault};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader, segment_number, segment_path};
use super::tail::{Beyond, Tail, look_beyond};
use super::{FrameAt, FrameKind};
use floodmark_base::disk::Disk;
use floodmark_base::id::{Epoch, LogId, SegmentNumber, Sequence};

/// Takes every valid frame in the order of the log: where it stands, its kind, head and body.
pub type Visit<'v> = dyn FnMut(FrameAt, FrameKind, &[u8], &[u8]) + 'v;

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalScan {
    pub log_id: LogId,
    /// All segments, from the oldest to the newest; never empty.
    pub segments: Vec<SegmentSummary>,
    /// The sequence that the next frame gets.
    pub next_sequence: Sequence,
    /// Every frame up to this one is proven to have been synced.
    pub proven_synced_through: Sequence,
    /// Whole frames after that at the end of the log; recovery makes them durable before it believes them (I-7).
    pub whole_frames_beyond_proven: u64,
    /// How the log ends.
    pub tail: Tail,
    /// The bytes of the newest segment that recovery carries over.
    pub(super) carry: Carry,
}

/// A segment, as its header and its file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    pub number: SegmentNumber,
    pub epoch: Epoch,
    pub first_sequence: Sequence,
    /// Length of the file.
    pub bytes: u64,
}

/// Whole frames beyond what is proven, in the newest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carry {
    pub first_sequence: Sequence,
    pub offset: u64,
    pub len: usize,
}

impl WalScan {
    /// The newest segment.
    pub fn newest(&self) -> SegmentSummary {
        *self.segments.last().expect("a scan has a segment")
    }

    /// The same, as if everything were proven to be synced: for [`TrustTheTail`](floodmark_base::planted::PlantedBug::TrustTheTail).
    pub(super) fn trusted(&self) -> Self {
        let carry = Carry { first_sequence: self.next_sequence, len: 0, ..self.carry };
        Self { carry, ..self.clone() }
    }
}

/// Reads the log in `directory` from `oldest_needed` on (from its beginning without one), and gives every frame to `visit`.
///
/// `Ok(None)` means that there is no log: no such directory, or no segment in it. Absent is not unreadable (I-6): everything
/// else that cannot be read is an error. Frames that were visited before an error are what could still be read.
///
/// The cost is one read of every segment that may hold a needed frame, a segment at a time.
///
/// # Errors
/// [`WalError::Damage`] when a durable byte is not what it was, or a segment is missing; [`WalError::Io`].
#[cfg(any(test, feature = "testing"))]
pub fn observe(
    disk: &dyn Disk,
    directory: &Path,
    oldest_needed: Option<Sequence>,
    visit: &mut Visit<'_>,
) -> Result<Option<WalScan>, WalError> {
    observe_with(disk, directory, oldest_needed, Reading::Whole, visit)
}

/// How much of the segments before the newest one is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Every byte, checked.
    Whole,
    /// Heads of frames, and events; the bodies of blocks are left out, and given as empty. For a quick look, never for a start.
    Heads,
    /// As `Heads`, of the newest segment, too: for who has read everything already.
    AllHeads,
}

/// As `observe`, reading as much as is said.
///
/// # Errors
/// As `observe`.
pub fn observe_with(
    disk: &dyn Disk,
    directory: &Path,
    oldest_needed: Option<Sequence>,
    reading: Reading,
    visit: &mut Visit<'_>,
) -> Result<Option<WalScan>, WalError> {
    let headers = read_headers(disk, directory)?;
    let Some((first, _)) = headers.first() else { return Ok(None) };
    let oldest = oldest_needed.unwrap_or(first.first_sequence);
    check_chain(disk, directory, &headers, oldest)?;
    let start = headers.iter().rposition(|(header, _)| header.first_sequence <= oldest).unwrap_or(0);

    let (last, _) = headers[headers.len() - 1];
    let mut proven = last.durable_through.0.max(last.first_sequence.0.saturating_sub(1));
    for pair in headers[start..].windows(2) {
        let (header, until) = (&pair[0].0, pair[1].0.first_sequence);
        if reading != Reading::Whole && visit_heads(disk, directory, &pair[0], until, oldest, visit)? {
            continue;
        }
        let bytes = read_segment(disk, directory, header)?;
        let walked = walk(&bytes, header, Some(until), |frame, at| {
            if at.sequence >= oldest {
                visit(at, frame.header.kind, frame.head, frame.body);
            }
        });
        if let Some(fault) = walked.fault {
            return Err(damage(directory, header, &bytes, &walked, fault, until.0 - 1).into());
        }
    }

    if reading == Reading::AllHeads
        && let Some(scan) = scan_heads(disk, directory, &headers, (proven, oldest), visit)?
    {
        return Ok(Some(scan));
    }
    let bytes = read_segment(disk, directory, &last)?;
    let mut unproven = VecDeque::new();
    let walked = walk(&bytes, &last, None, |frame, at| {
        proven = proven.max(frame.header.synced_through.0);
        unproven.push_back((at.sequence, at.offset));
        while unproven.front().is_some_and(|(sequence, _)| sequence.0 <= proven) {
            unproven.pop_front();
        }
        if at.sequence >= oldest {
            visit(at, frame.header.kind, frame.head, frame.body);
        }
    });
    let mut beyond = Beyond::default();
    if let Some(fault) = walked.fault {
        beyond = look_beyond(&bytes, walked.offset, walked.next, &last);
        if beyond.proof.is_some() || walked.next.0 <= proven {
            return Err(damage(directory, &last, &bytes, &walked, fault, proven).into());
        }
        proven = proven.max(beyond.synced_through.0);
        unproven.retain(|(sequence, _)| sequence.0 > proven);
    }
    let (first_sequence, offset) = unproven.front().copied().unwrap_or((walked.next, walked.offset as u64));
    let whole_frames_beyond_proven = unproven.len() as u64;
    let tail = match walked.fault {
        None => Tail::Clean,
        Some(reason) => Tail::Interrupted {
            segment: last.number,
            offset: walked.offset as u64,
            bytes: (bytes.len() - walked.offset) as u64,
            sequence: walked.next,
            reason,
            whole_frames_beyond_proven,
            whole_frames_cut: beyond.whole_frames,
        },
    };
    Ok(Some(WalScan {
        log_id: last.log,
        segments: headers.iter().map(|(header, bytes)| summary(header, *bytes)).collect(),
        next_sequence: walked.next,
        proven_synced_through: Sequence(proven),
        whole_frames_beyond_proven,
        tail,
        carry: Carry { first_sequence, offset, len: walked.offset - offset as usize },
    }))
}

/// Gives the heads of a segment's frames to `visit`, all of them or, where something is not as it should be, none.
fn visit_heads(
    disk: &dyn Disk,
    directory: &Path,
    (header, bytes): &(SegmentHeader, u64),
    until: Sequence,
    oldest: Sequence,
    visit: &mut Visit<'_>,
) -> Result<bool, WalError> {
    let file = segment_path(directory, header.number);
    let mut heads = Vec::new();
    let whole = super::heads::walk_heads(disk, &file, *bytes, header, Some(until), |at, found, head| {
        if at.sequence >= oldest {
            heads.push((at, found.kind, head.to_vec()));
        }
    })?;
    if whole {
        heads.iter().for_each(|(at, kind, head)| visit(*at, *kind, head, &[]));
    }
    Ok(whole)
}

/// As the end of [`observe_with`], by the heads of the newest segment; nothing where something is not as it should be.
fn scan_heads(
    disk: &dyn Disk,
    directory: &Path,
    headers: &[(SegmentHeader, u64)],
    (mut proven, oldest): (u64, Sequence),
    visit: &mut Visit<'_>,
) -> Result<Option<WalScan>, WalError> {
    let (last, bytes) = headers[headers.len() - 1];
    let (mut heads, mut next) = (Vec::new(), last.first_sequence);
    let file = segment_path(directory, last.number);
    let whole = super::heads::walk_heads(disk, &file, bytes, &last, None, |at, found, head| {
        proven = proven.max(found.synced_through.0);
        next = at.sequence.next();
        heads.push((at, found.kind, head.to_vec()));
    })?;
    if !whole {
        return Ok(None);
    }
    heads.iter().filter(|(at, ..)| at.sequence >= oldest).for_each(|(at, kind, head)| visit(*at, *kind, head, &[]));
    let first = heads.iter().find(|(at, ..)| at.sequence.0 > proven);
    let (first_sequence, offset) = first.map_or((next, bytes), |(at, ..)| (at.sequence, at.offset));
    Ok(Some(WalScan {
        log_id: last.log,
        segments: headers.iter().map(|(header, bytes)| summary(header, *bytes)).collect(),
        next_sequence: next,
        proven_synced_through: Sequence(proven),
        whole_frames_beyond_proven: next.0 - first_sequence.0,
        tail: Tail::Clean,
        carry: Carry { first_sequence, offset, len: (bytes - offset) as usize },
    }))
}

/// How far a segment could be read.
struct Walked {
    /// The sequence that would come next.
    next: Sequence,
    /// Where it would stand.
    offset: usize,
    /// Why it does not, unless the segment ends there or what follows is superseded.
    fault: Option<FrameFault>,
}

/// Walks a segment's frames up to `until`, which it must reach, or else to its end.
fn walk(
    bytes: &[u8],
    segment: &SegmentHeader,
    until: Option<Sequence>,
    mut found: impl FnMut(&Frame<'_>, FrameAt),
) -> Walked {
    let mut walked = Walked { next: segment.first_sequence, offset: SEGMENT_HEADER_LEN, fault: None };
    loop {
        let ended = match until {
            Some(until) => walked.next >= until,
            None => walked.offset == bytes.len(),
        };
        if ended {
            return walked;
        }
        match Frame::decode_expected(&bytes[walked.offset..], segment.log, segment.epoch, walked.next) {
            Ok(frame) => {
                found(&frame, FrameAt::of(&frame.header, segment.number, walked.offset as u64));
                walked.next = walked.next.next();
                walked.offset += frame.header.frame_len() as usize;
            }
            Err(fault) => {
                walked.fault = Some(fault);
                return walked;
            }
        }
    }
}

/// The damage that a bad frame is; every frame up to `durable_through` was durable.
fn damage(
    directory: &Path,
    segment: &SegmentHeader,
    bytes: &[u8],
    walked: &Walked,
    fault: FrameFault,
    durable_through: u64,
) -> WalDamage {
    damage_at(directory, segment, bytes, (walked.next, walked.offset), fault, durable_through)
}

/// As [`damage`], of the frame that should stand at this offset.
pub(super) fn damage_at(
    directory: &Path,
    segment: &SegmentHeader,
    bytes: &[u8],
    (sequence, offset): (Sequence, usize),
    fault: FrameFault,
    durable_through: u64,
) -> WalDamage {
    let beyond = look_beyond(bytes, offset, sequence, segment);
    let (expected, mut found) = fault.expected_and_found();
    let mut last = durable_through;
    if let Some(proof) = beyond.proof {
        found += &format!(
            " (frame {} at byte {} was written after frame {sequence} was synced)",
            proof.sequence, proof.offset
        );
        last = last.max(proof.synced_through.0);
    }
    if let Some(next) = beyond.next_whole {
        last = last.min(next.sequence.0 - 1);
    }
    let lost = Lost::Frames { first: sequence, last: Sequence(last.max(sequence.0)) };
    let file = segment_path(directory, segment.number);
    WalDamage { file, offset: offset as u64, expected, found, lost }
}

/// The headers of all segments with the lengths of their files, in the order of their numbers.
fn read_headers(disk: &dyn Disk, directory: &Path) -> Result<Vec<(SegmentHeader, u64)>, WalError> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| WalError::io(directory, 0, error))?,
    };
    let mut headers = Vec::new();
    for number in names.iter().filter_map(|name| segment_number(name)) {
        let file = segment_path(directory, number);
        let len = match disk.len(&file) {
            // A live log was truncated since its names were listed; only the oldest go.
            Err(error) if error.kind() == io::ErrorKind::NotFound && headers.is_empty() => continue,
            other => other.map_err(|error| WalError::io(&file, 0, error))?,
        };
        let present = len.min(SEGMENT_HEADER_LEN as u64) as usize;
        let bytes = disk.read_at(&file, 0, present).map_err(|error| WalError::io(&file, 0, error))?;
        headers.push((SegmentHeader::decode(&bytes, &file, number)?, len));
    }
    Ok(headers)
}

/// Checks that the segments are one chain which reaches back to the oldest needed frame.
fn check_chain(
    disk: &dyn Disk,
    directory: &Path,
    headers: &[(SegmentHeader, u64)],
    oldest: Sequence,
) -> Result<(), WalError> {
    check_front(directory, &headers[0].0, oldest)?;
    headers.windows(2).try_for_each(|pair| check_pair(disk, directory, &pair[0].0, &pair[1].0))
}

/// Checks that the oldest segment reaches back to the oldest needed frame.
pub(super) fn check_front(directory: &Path, first: &SegmentHeader, oldest: Sequence) -> Result<(), WalDamage> {
    if first.first_sequence <= oldest {
        return Ok(());
    }
    Err(WalDamage {
        file: segment_path(directory, SegmentNumber(first.number.0.saturating_sub(1))),
        offset: 0,
        expected: format!("a segment with frame {oldest}, which is still needed"),
        found: format!("no such file; the oldest segment begins with frame {}", first.first_sequence),
        lost: Lost::Frames { first: oldest, last: Sequence(first.first_sequence.0 - 1) },
    })
}

/// Checks that a segment continues the one before it.
pub(super) fn check_pair(
    disk: &dyn Disk,
    directory: &Path,
    older: &SegmentHeader,
    newer: &SegmentHeader,
) -> Result<(), WalError> {
    let broken = |offset: u64, expected: String, found: String| WalDamage {
        file: segment_path(directory, newer.number),
        offset,
        expected,
        found,
        lost: Lost::Nothing,
    };
    if newer.log != older.log {
        let expected = format!("log id {}, as in segment {}", older.log, older.number);
        return Err(broken(16, expected, format!("{}: two logs are mixed", newer.log)).into());
    }
    if newer.number != older.number.next() {
        return Err(missing(disk, directory, older, newer)?.into());
    }
    if newer.epoch < older.epoch {
        let expected = format!("an epoch of at least {}, as in segment {}", older.epoch, older.number);
        return Err(broken(40, expected, newer.epoch.to_string()).into());
    }
    if newer.first_sequence < older.first_sequence {
        let expected = format!("a first sequence of at least {}, as in segment {}", older.first_sequence, older.number);
        return Err(broken(48, expected, newer.first_sequence.to_string()).into());
    }
    Ok(())
}

/// A hole in the numbers of the segments: the last frame before it is where the older segment stops making sense.
fn missing(
    disk: &dyn Disk,
    directory: &Path,
    older: &SegmentHeader,
    newer: &SegmentHeader,
) -> Result<WalDamage, WalError> {
    let bytes = read_segment(disk, directory, older)?;
    let first = walk(&bytes, older, None, |_, _| {}).next;
    let last = Sequence(newer.first_sequence.0.saturating_sub(1));
    Ok(WalDamage {
        file: segment_path(directory, older.number.next()),
        offset: 0,
        expected: format!("a segment between {} and {}", older.number, newer.number),
        found: "no such file".into(),
        lost: if first <= last { Lost::Frames { first, last } } else { Lost::Nothing },
    })
}

fn read_segment(disk: &dyn Disk, directory: &Path, segment: &SegmentHeader) -> Result<Vec<u8>, WalError> {
    let file = segment_path(directory, segment.number);
    let bytes = disk.read(&file).map_err(|error| WalError::io(&file, 0, error))?;
    // Read again with the frames, so that what is walked is what was checked.
    SegmentHeader::decode(&bytes, &file, segment.number)?;
    Ok(bytes)
}

fn summary(header: &SegmentHeader, bytes: u64) -> SegmentSummary {
    SegmentSummary { number: header.number, epoch: header.epoch, first_sequence: header.first_sequence, bytes }
}
