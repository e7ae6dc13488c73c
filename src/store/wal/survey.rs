//! Surveys a log: every segment by itself, beyond damage, as far as anything in it can be read. For those who look, never for a
//! start, which stops at the first damage that matters ([`scan`](super::scan)).
//!
//! What is damage, and what an interrupted append, is judged by the same functions as at a start. Behind damage the survey goes on
//! with the next whole frame, so that all damage is told and all that is left is seen.
//!
//! Segments are read in pieces: the memory that is taken does not grow with them, unless one is damaged.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::damage::WalDamage;
use super::error::WalError;
use super::frame::{FRAME_HEADER_LEN, Frame, FrameFault, FrameHeader};
use super::scan::{check_front, check_pair, damage_at};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader, segment_number, segment_path};
use super::tail::look_beyond;
use super::{FrameAt, Tail};
use floodmark_base::disk::Disk;
use floodmark_base::id::{LogId, SegmentNumber, Sequence};

/// Bytes that are read at a time; they stay in the processor's cache until they are checked.
const PIECE: usize = 1 << 20;

/// The segments of a log, as their names and headers tell.
#[derive(Clone, Debug, Default)]
pub struct LogSurvey {
    directory: PathBuf,
    /// In the order of their numbers.
    pub segments: Vec<SurveyedSegment>,
    /// What is wrong with headers, and with the chain of segments.
    pub damage: Vec<WalDamage>,
    /// Segments that are listed and cannot be read.
    pub unreadable: Vec<WalError>,
}

/// A segment by its header, or by its first frame where the header is damaged.
#[derive(Clone, Debug)]
pub struct SurveyedSegment {
    pub file: PathBuf,
    pub header: SegmentHeader,
    /// Length of the file.
    pub bytes: u64,
    /// Frames from this one on are superseded: the first sequence of the segment behind it.
    pub until: Option<Sequence>,
    pub is_newest: bool,
}

/// What is met in a segment.
#[derive(Debug)]
pub enum Seen<'b> {
    /// A whole frame: where it stands, its header, head and body.
    Frame(FrameAt, &'b FrameHeader, &'b [u8], &'b [u8]),
    /// A durable frame that is not what it was, with those that are lost by it.
    Damage(WalDamage),
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The sequence after the last frame that was read.
    pub next: Sequence,
    /// Where what was read ends.
    pub offset: u64,
    /// Every frame up to this one is proven to have been synced, as far as this segment tells.
    pub proven: Sequence,
    /// Of the newest segment; [`Tail::Clean`] for all others.
    pub tail: Tail,
}

impl LogSurvey {
    /// Reads names and headers. Empty where there is no log.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn of(disk: &dyn Disk, directory: &Path, oldest_needed: Option<Sequence>) -> Result<Self, WalError> {
        Self::of_log(disk, directory, oldest_needed, None)
    }

    /// As [`of`](Self::of), where the caller knows which log it is: then the first segments are read, too, although their headers are
    /// damaged.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_log(
        disk: &dyn Disk,
        directory: &Path,
        oldest_needed: Option<Sequence>,
        mut log: Option<LogId>,
    ) -> Result<Self, WalError> {
        let names = match disk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(|error| WalError::io(directory, 0, error))?,
        };
        let mut survey = Self { directory: directory.to_path_buf(), ..Self::default() };
        let numbers: Vec<SegmentNumber> = names.iter().filter_map(|name| segment_number(name)).collect();
        for number in numbers {
            match survey.look_at(disk, number, log) {
                Ok(segment) => {
                    log = log.or(segment.as_ref().map(|segment| segment.header.log));
                    survey.segments.extend(segment);
                }
                // A live log was truncated since its names were listed.
                Err(WalError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && survey.segments.is_empty() => {}
                Err(WalError::Damage(damage)) => survey.damage.push(damage),
                Err(other) => survey.unreadable.push(other),
            }
        }
        survey.check_chain(disk, oldest_needed);
        Ok(survey)
    }

    /// Of a log of which nothing can be read.
    pub fn unreadable(error: WalError) -> Self {
        Self { unreadable: vec![error], ..Self::default() }
    }

    /// Reads a segment from its first frame to its end, or until `visit` fails.
    ///
    /// # Errors
    /// What `visit` fails with; [`WalError::Io`].
    pub fn read<E: From<WalError>>(
        &self,
        disk: &dyn Disk,
        segment: &SurveyedSegment,
        source: impl Read,
        visit: impl FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Ending, E> {
        let start = (segment.header.first_sequence, SEGMENT_HEADER_LEN as u64);
        self.read_from(disk, segment, source, start, visit)
    }

    /// As [`read`](Self::read), for who needs no bodies: they are checked, and given as empty where they are large.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn check<E: From<WalError>>(
        &self,
        disk: &dyn Disk,
        segment: &SurveyedSegment,
        source: impl Read,
        visit: impl FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Ending, E> {
        let start = (segment.header.first_sequence, SEGMENT_HEADER_LEN as u64);
        self.pass(disk, segment, source, start, false, visit)
    }

    /// As [`read`](Self::read), from a frame on: its sequence and its offset, at which `source` stands once the segment's header was
    /// taken from it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from<E: From<WalError>>(
        &self,
        disk: &dyn Disk,
        segment: &SurveyedSegment,
        source: impl Read,
        from: (Sequence, u64),
        visit: impl FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Ending, E> {
        self.pass(disk, segment, source, from, true, visit)
    }

    fn pass<E: From<WalError>>(
        &self,
        disk: &dyn Disk,
        segment: &SurveyedSegment,
        source: impl Read,
        (next, offset): (Sequence, u64),
        bodies: bool,
        visit: impl FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Ending, E> {
        let header = &segment.header;
        let proven = header.durable_through.0.max(header.first_sequence.0.saturating_sub(1));
        let mut walk = Walk { segment, next, offset, proven, visit };
        let failed = |offset: u64, error| WalError::io(&segment.file, offset, error);
        let mut pieces = Pieces::new(source, segment.bytes);
        pieces.skip(offset).map_err(|error| failed(0, error))?;
        loop {
            if walk.is_at_end() {
                return Ok(walk.ending(Tail::Clean));
            }
            let frame = pieces.frame(header.log, bodies).map_err(|error| failed(walk.offset, error))?;
            match walk.step(frame) {
                Ok(()) => {}
                Err(Step::Failed(error)) => return Err(error),
                Err(Step::Fault(_)) => break,
            }
        }
        let mut bytes = disk.read(&segment.file).map_err(|error| failed(0, error))?;
        bytes.truncate(segment.bytes as usize);
        walk.beyond_faults(&self.directory, &bytes)
    }

    fn look_at(
        &mut self,
        disk: &dyn Disk,
        number: SegmentNumber,
        log: Option<LogId>,
    ) -> Result<Option<SurveyedSegment>, WalError> {
        let file = segment_path(&self.directory, number);
        let failed = |error| WalError::io(&file, 0, error);
        let bytes = disk.len(&file).map_err(failed)?;
        let present = bytes.min((SEGMENT_HEADER_LEN + FRAME_HEADER_LEN) as u64) as usize;
        let start = disk.read_at(&file, 0, present).map_err(failed)?;
        let header = match SegmentHeader::decode(&start, &file, number) {
            Ok(header) => header,
            Err(damage) => {
                self.damage.push(damage);
                match guess(&start, number, log) {
                    Some(header) => header,
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(SurveyedSegment { file, header, bytes, until: None, is_newest: true }))
    }

    fn check_chain(&mut self, disk: &dyn Disk, oldest_needed: Option<Sequence>) {
        if let (Some(first), Some(oldest)) = (self.segments.first(), oldest_needed) {
            self.damage.extend(check_front(&self.directory, &first.header, oldest).err());
        }
        let newest = self.segments.last().map(|segment| segment.header.number);
        for index in 1..self.segments.len() {
            let (older, newer) = (self.segments[index - 1].header, self.segments[index].header);
            match check_pair(disk, &self.directory, &older, &newer) {
                Ok(()) => {}
                Err(WalError::Damage(damage)) if !self.damage.iter().any(|known| known.file == damage.file) => {
                    self.damage.push(damage);
                }
                Err(WalError::Damage(_)) => {}
                Err(other) => self.unreadable.push(other),
            }
            let follows = newer.number == older.number.next() && newer.log == older.log;
            let segment = &mut self.segments[index - 1];
            segment.until = follows.then_some(newer.first_sequence);
        }
        for segment in &mut self.segments {
            segment.is_newest = Some(segment.header.number) == newest;
        }
    }
}

/// What the header of a segment was, from its first frame: all but what was durable at its creation.
fn guess(start: &[u8], number: SegmentNumber, log: Option<LogId>) -> Option<SegmentHeader> {
    let log = log?;
    let frame = FrameHeader::decode(start.get(SEGMENT_HEADER_LEN..)?, log).ok()?;
    let (version, epoch, first_sequence) = (frame.version, frame.epoch, frame.sequence);
    Some(SegmentHeader { version, log, number, epoch, first_sequence, durable_through: Sequence(0) })
}

/// A walk through a segment.
struct Walk<'s, V> {
    segment: &'s SurveyedSegment,
    next: Sequence,
    offset: u64,
    proven: u64,
    visit: V,
}

/// Why a walk does not take a frame.
enum Step<E> {
    Fault(FrameFault),
    Failed(E),
}

impl<E: From<WalError>, V: FnMut(Seen<'_>) -> Result<(), E>> Walk<'_, V> {
    fn is_at_end(&self) -> bool {
        match self.segment.until {
            Some(until) => self.next >= until,
            None => self.offset == self.segment.bytes,
        }
    }

    /// Takes the frame that stands here, if it is the right one.
    fn step(&mut self, frame: Result<Frame<'_>, FrameFault>) -> Result<(), Step<E>> {
        let header = self.segment.header;
        let frame = frame.map_err(Step::Fault)?;
        let (expected, found) = (header.epoch, frame.header.epoch);
        if expected != found {
            return Err(Step::Fault(FrameFault::Epoch { expected, found }));
        }
        let (expected, found) = (self.next, frame.header.sequence);
        if expected != found {
            return Err(Step::Fault(FrameFault::Sequence { expected, found }));
        }
        let at = FrameAt::of(&frame.header, header.number, self.offset);
        (self.visit)(Seen::Frame(at, &frame.header, frame.head, frame.body)).map_err(Step::Failed)?;
        self.proven = self.proven.max(frame.header.synced_through.0);
        self.next = self.next.next();
        self.offset += frame.header.frame_len();
        Ok(())
    }

    /// Goes on in memory from a bad frame, behind each that is damage, to the end.
    fn beyond_faults(mut self, directory: &Path, bytes: &[u8]) -> Result<Ending, E> {
        let header = self.segment.header;
        // A file that was cut since its length was taken ends within a frame.
        let here = |offset: u64| bytes.get(offset as usize..).unwrap_or_default();
        while !self.is_at_end() {
            let frame = Frame::decode_expected(here(self.offset), header.log, header.epoch, self.next);
            let fault = match self.step(frame) {
                Ok(()) => continue,
                Err(Step::Failed(error)) => return Err(error),
                Err(Step::Fault(fault)) => fault,
            };
            let offset = (self.offset as usize).min(bytes.len());
            let beyond = look_beyond(bytes, offset, self.next, &header);
            if self.segment.is_newest && beyond.proof.is_none() && self.next.0 > self.proven {
                let proven = self.proven.max(beyond.synced_through.0);
                self.proven = proven;
                let tail = Tail::Interrupted {
                    segment: header.number,
                    offset: self.offset,
                    bytes: (bytes.len() - offset) as u64,
                    sequence: self.next,
                    reason: fault,
                    whole_frames_beyond_proven: (self.next.0 - 1).saturating_sub(proven),
                    whole_frames_cut: beyond.whole_frames,
                };
                return Ok(self.ending(tail));
            }
            let Some(until) = self.segment.until.map(|until| until.0).or(self.segment.is_newest.then_some(u64::MAX))
            else {
                // Whether anything had to stand here is not known: the segment behind it is missing or unreadable, and told as that.
                return Ok(self.ending(Tail::Clean));
            };
            let durable = if self.segment.is_newest { self.proven } else { until - 1 };
            let damage = damage_at(directory, &header, bytes, (self.next, offset), fault, durable);
            (self.visit)(Seen::Damage(damage))?;
            let mut later = beyond.next_whole;
            if let (None, Some(proof)) = (later, beyond.proof) {
                // The header of a frame that is itself damaged: what is behind it may be whole.
                later = look_beyond(bytes, proof.offset as usize + 1, self.next, &header).next_whole;
            }
            match later.filter(|later| later.sequence.0 < until) {
                Some(later) => (self.next, self.offset) = (later.sequence, later.offset),
                None => break,
            }
        }
        Ok(self.ending(Tail::Clean))
    }

    fn ending(&self, tail: Tail) -> Ending {
        Ending { next: self.next, offset: self.offset, proven: Sequence(self.proven), tail }
    }
}

/// A file, read in pieces; `held[start..end]` is what stands at the place to which it was taken.
struct Pieces<R> {
    source: R,
    /// Bytes of the file that were not read yet.
    left: u64,
    held: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the frame that was given last.
    given: usize,
    /// The head of a frame whose body was not kept.
    head: Vec<u8>,
}

impl<R: Read> Pieces<R> {
    fn new(source: R, bytes: u64) -> Self {
        let held = vec![0; PIECE.min(bytes as usize)];
        Self { source, left: bytes, held, start: 0, end: 0, given: 0, head: Vec::new() }
    }

    /// Goes past so many bytes.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.for_each_piece(bytes, |_| {})
    }

    /// The next frame, checked by itself. Without `bodies` a frame that is larger than a piece passes by.
    fn frame(&mut self, log: LogId, bodies: bool) -> io::Result<Result<Frame<'_>, FrameFault>> {
        self.start += std::mem::take(&mut self.given);
        let held = self.hold(FRAME_HEADER_LEN)?;
        let header = match FrameHeader::decode(&self.held[self.start..self.start + held], log) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let claimed = header.frame_len() - FRAME_HEADER_LEN as u64;
        let present = self.left + (self.end - self.start - FRAME_HEADER_LEN) as u64;
        if claimed > present {
            return Ok(Err(FrameFault::BeyondEnd { claimed, present: present as usize }));
        }
        if !bodies && header.frame_len() > PIECE as u64 && header.head_len < PIECE as u32 / 2 {
            return self.passing(header);
        }
        let held = self.hold(header.frame_len() as usize)?;
        self.given = held;
        Ok(Frame::with_header(header, &self.held[self.start + FRAME_HEADER_LEN..self.start + held]))
    }

    /// Checks a frame piece by piece, while each is in the processor's cache; only the head is kept.
    fn passing(&mut self, header: FrameHeader) -> io::Result<Result<Frame<'_>, FrameFault>> {
        let front = self.hold(FRAME_HEADER_LEN + header.head_len as usize)?;
        self.head.clear();
        self.head.extend_from_slice(&self.held[self.start + FRAME_HEADER_LEN..self.start + front]);
        self.start += front;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.head);
        self.for_each_piece(u64::from(header.body_len), |piece| hasher.update(piece))?;
        let found = hasher.finalize();
        match found == header.payload_checksum {
            true => Ok(Ok(Frame { header, head: &self.head, body: &[] })),
            false => Ok(Err(FrameFault::PayloadChecksum { expected: header.payload_checksum, found })),
        }
    }

    /// Gives the next so many bytes, as far as there are.
    fn for_each_piece(&mut self, mut bytes: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        while bytes > 0 {
            let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(PIECE);
            let held = match self.end - self.start {
                0 => self.hold(wanted)?,
                held => held.min(wanted),
            };
            if held == 0 {
                return Ok(());
            }
            each(&self.held[self.start..self.start + held]);
            self.start += held;
            bytes -= held as u64;
        }
        Ok(())
    }

    /// Has at least so many bytes in memory, unless the file ends before; how many there are.
    fn hold(&mut self, bytes: usize) -> io::Result<usize> {
        while self.end - self.start < bytes && self.left > 0 {
            if self.start > 0 {
                self.held.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.held.len() < bytes {
                self.held.resize(bytes, 0);
            }
            let room = (self.held.len() - self.end).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            match self.source.read(&mut self.held[self.end..self.end + room]) {
                Ok(0) => self.left = 0, // cut since its length was taken
                Ok(read) => (self.end, self.left) = (self.end + read, self.left - read as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.end - self.start).min(bytes))
    }
}
