//! The writer: one thread that takes what waits as one group, writes it, syncs once, and acknowledges (I-1).
//!
//! A full disk is not a failed write: the kernel says so before anything is promised. The writer gives up the reserve and goes
//! on in a new segment that begins at the first sequence that was not acknowledged, which supersedes whatever part of the group
//! reached the old one. Blocks are refused from then on; events pass, so that batches can end and a checkpoint can cut the log.
//!
//! Only this thread gives the reserve up and makes it again, and only it takes blocks again: a truncation asks for that through the
//! queue. So a block that was queued behind a refused one is refused, too, whatever the truncation frees meanwhile. Without that a
//! source's later block would be durable, and its position would cover the refused one.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::WalError;
use super::frame::{FRAME_HEADER_LEN, FrameHeader};
use super::queue::{Done, Request, SummedFrame};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader, segment_path};
use super::settings::Effort;
use super::shared::{Segment, Shared, full, give_up_reserve, is_full};
use super::{FrameAt, FrameKind, WalVersion};
use floodmark_base::disk::{DiskFile, Step};
use floodmark_base::id::{Epoch, SegmentNumber, Sequence};
use floodmark_base::planted::PlantedBug;

/// A body up to this size is copied next to its header: cheaper than a slice of its own.
const COPIED_BODY_BYTES: usize = 1024;

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub epoch: Epoch,
    pub segment: SegmentNumber,
    pub file: Box<dyn DiskFile>,
    /// Where the next frame stands.
    pub offset: u64,
    /// The sequence of the next frame.
    pub next: Sequence,
    /// Every frame below this one is synced; the header of each frame says so.
    pub synced_through: Sequence,
    /// The log ends with a closing mark: another one would prove nothing more.
    pub ends_with_mark: bool,
    /// Headers, heads and small bodies of the group under way.
    pub scratch: Vec<u8>,
}

/// Why a group was not written.
enum Failure {
    /// No space: known before anything was promised.
    Full(WalError),
    /// What is on disk is unknown.
    Broken(WalError),
}

/// One piece of a group, in the order of the file.
enum Piece {
    /// So many bytes of the scratch buffer.
    Scratch(usize),
    /// The body of a frame: request, frame.
    Body(usize, usize),
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        // Should this thread ever end by a panic, nobody may wait for it.
        let _guard = EndOfThread(Arc::clone(&self.shared));
        while let Some(group) = self.next_group() {
            self.serve(group);
        }
    }

    fn next_group(&self) -> Option<Vec<Request>> {
        let settings = &self.shared.settings;
        self.shared.queue.take_group(settings.group_bytes, settings.group_interval)
    }

    fn serve(&mut self, group: Vec<Request>) {
        if let Err(error) = self.shared.queue.poison.check() {
            return refuse(group, &error);
        }
        if group.iter().any(|request| request.frees_blocks) {
            return self.free_blocks(group);
        }
        if self.ends_with_mark && group.iter().all(Request::is_mark) {
            return acknowledge(group.into_iter().map(|request| (request.done, Vec::new())));
        }
        let mut group = match self.shared.refusal() {
            Some(refusal) => without_blocks(group, &refusal),
            None => group,
        };
        if group.is_empty() {
            return;
        }
        match self.write(&mut group) {
            Ok(places) => acknowledge(group.into_iter().map(|request| request.done).zip(places)),
            Err(Failure::Broken(error)) => self.poison(group, &error),
            Err(Failure::Full(error)) => self.make_room(group, &error),
        }
    }

    /// Writes and syncs a group; nothing of this writer changes unless all of it is durable.
    fn write(&mut self, group: &mut [Request]) -> Result<Vec<Vec<FrameAt>>, Failure> {
        if self.offset >= self.shared.settings.segment_bytes && self.shared.settings.effort != Effort::Nothing {
            self.roll()?;
        }
        let (places, pieces, bytes) = self.lay_out(group);
        self.append(group, &pieces)?;
        if self.shared.settings.planted.has_bug(PlantedBug::AckBeforeSync) {
            acknowledge_blocks(group, &places);
        }
        self.sync()?;
        let written = places.iter().map(Vec::len).sum::<usize>() as u64;
        self.offset += bytes;
        self.next = Sequence(self.next.0 + written);
        self.synced_through = Sequence(self.next.0 - 1);
        self.ends_with_mark = group.iter().all(Request::is_mark);
        self.shared.grown(bytes);
        self.shared.counters.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.shared.counters.groups.fetch_add(1, Ordering::Relaxed);
        Ok(places)
    }

    /// Gives every frame its sequence and its place, and encodes the headers.
    fn lay_out(&mut self, group: &[Request]) -> (Vec<Vec<FrameAt>>, Vec<Piece>, u64) {
        self.scratch.clear();
        let (mut offset, mut sequence) = (self.offset, self.next);
        let (mut pieces, mut in_scratch) = (Vec::new(), 0);
        let mut places = Vec::with_capacity(group.len());
        for (request_index, request) in group.iter().enumerate() {
            let mut of_request = Vec::with_capacity(request.frames.len());
            for (frame_index, frame) in request.frames.iter().enumerate() {
                let header = self.header(frame, sequence);
                of_request.push(FrameAt::of(&header, self.segment, offset));
                self.scratch.extend_from_slice(&header.encode(self.shared.log));
                self.scratch.extend_from_slice(&frame.head);
                if frame.body.len() <= COPIED_BODY_BYTES {
                    self.scratch.extend_from_slice(&frame.body);
                } else {
                    pieces.push(Piece::Scratch(self.scratch.len() - in_scratch));
                    pieces.push(Piece::Body(request_index, frame_index));
                    in_scratch = self.scratch.len();
                }
                offset += header.frame_len();
                sequence = sequence.next();
            }
            places.push(of_request);
        }
        pieces.push(Piece::Scratch(self.scratch.len() - in_scratch));
        (places, pieces, offset - self.offset)
    }

    fn header(&self, frame: &SummedFrame, sequence: Sequence) -> FrameHeader {
        FrameHeader {
            kind: frame.kind,
            version: WalVersion::CURRENT,
            // Checked when the frame was taken.
            head_len: frame.head.len() as u32,
            body_len: frame.body.len() as u32,
            payload_checksum: frame.payload_checksum,
            sequence,
            synced_through: self.synced_through,
            epoch: self.epoch,
        }
    }

    /// Appends the pieces.
    fn append(&mut self, group: &[Request], pieces: &[Piece]) -> Result<(), Failure> {
        if self.shared.settings.effort == Effort::Nothing {
            return Ok(());
        }
        let mut scratch = &self.scratch[..];
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            slices.push(IoSlice::new(match *piece {
                Piece::Body(request, frame) => &group[request].frames[frame].body,
                Piece::Scratch(len) => {
                    let (part, rest) = scratch.split_at(len);
                    scratch = rest;
                    part
                }
            }));
        }
        let file = segment_path(&self.shared.directory, self.segment);
        if let Err(error) = self.file.append(Step::WalAppend, &mut slices) {
            let no_space = is_full(&error);
            let error = WalError::io(&file, self.offset, error);
            return Err(if no_space { Failure::Full(error) } else { Failure::Broken(error) });
        }
        Ok(())
    }

    /// Syncs what was appended, once. A failed sync is never retried (I-7).
    fn sync(&mut self) -> Result<(), Failure> {
        if self.shared.settings.effort == Effort::WriteAndSync {
            let file = segment_path(&self.shared.directory, self.segment);
            self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
            let synced = self.file.sync(Step::WalSync);
            synced.map_err(|error| Failure::Broken(WalError::io(&file, self.offset, error)))?;
        }
        Ok(())
    }

    /// Goes on in a new segment that begins at the next sequence. Everything below it is synced.
    fn roll(&mut self) -> Result<(), Failure> {
        let header = SegmentHeader {
            version: WalVersion::CURRENT,
            log: self.shared.log,
            number: self.segment.next(),
            epoch: self.epoch,
            first_sequence: self.next,
            durable_through: self.synced_through,
        };
        let path = segment_path(&self.shared.directory, header.number);
        let failed = |error: io::Error| {
            let no_space = is_full(&error);
            let error = WalError::io(&path, 0, error);
            if no_space { Failure::Full(error) } else { Failure::Broken(error) }
        };
        self.shared.disk.create_whole(Step::WalRoll, &path, &header.encode()).map_err(failed)?;
        self.file = self.shared.disk.open_append(&path).map_err(failed)?;
        self.segment = header.number;
        self.offset = SEGMENT_HEADER_LEN as u64;
        self.shared.rolled(Segment { number: header.number, first_sequence: self.next, bytes: self.offset });
        Ok(())
    }

    /// The disk is full: blocks are refused, the reserve is given up, and events go on in a new segment.
    fn make_room(&mut self, group: Vec<Request>, error: &WalError) {
        tracing::warn!(%error, "the disk is full: the log refuses blocks until a checkpoint has made room");
        self.shared.set_disk_full();
        let given_up = give_up_reserve(&*self.shared.disk, &self.shared.directory);
        let rolled = given_up.map_err(Failure::Broken).and_then(|_| self.roll());
        if let Err(Failure::Full(error) | Failure::Broken(error)) = rolled {
            return self.poison(group, &error);
        }
        // Only now are the refused blocks known to be superseded, should a part of them have reached the old segment.
        let mut group = without_blocks(group, &full("no space on the disk until a checkpoint has made room"));
        if group.is_empty() {
            return;
        }
        match self.write(&mut group) {
            Ok(places) => acknowledge(group.into_iter().map(|request| request.done).zip(places)),
            Err(Failure::Full(error) | Failure::Broken(error)) => self.poison(group, &error),
        }
    }

    /// A truncation has made room. Whatever was queued before it was asked for is refused by now.
    fn free_blocks(&self, group: Vec<Request>) {
        let freed = self.shared.free_blocks().map(|_has_room| Vec::new());
        for request in group {
            (request.done)(freed.clone());
        }
    }

    fn poison(&self, group: Vec<Request>, cause: &WalError) {
        let error = self.shared.queue.poison(&cause.to_string());
        refuse(group, &error);
    }
}

/// Refuses the requests that hold blocks and gives back the others.
fn without_blocks(group: Vec<Request>, refusal: &WalError) -> Vec<Request> {
    let (blocks, others): (Vec<_>, Vec<_>) = group.into_iter().partition(Request::has_blocks);
    refuse(blocks, refusal);
    others
}

fn acknowledge(places: impl Iterator<Item = (Done, Vec<FrameAt>)>) {
    for (done, places) in places {
        done(Ok(places));
    }
}

/// Acknowledges the blocks of a group, which then have nobody to answer to: for [`PlantedBug::AckBeforeSync`].
fn acknowledge_blocks(group: &mut [Request], places: &[Vec<FrameAt>]) {
    for (request, places) in group.iter_mut().zip(places).filter(|(request, _)| request.has_blocks()) {
        std::mem::replace(&mut request.done, Box::new(drop))(Ok(places.clone()));
    }
}

fn refuse(group: Vec<Request>, error: &WalError) {
    for request in group {
        (request.done)(Err(error.clone()));
    }
}

/// The payload of a closing mark is empty; its header says everything.
pub(super) fn closing_mark() -> SummedFrame {
    let payload_checksum = super::frame::payload_checksum(&[], &[]);
    SummedFrame { kind: FrameKind::Mark, head: Vec::new(), body: byteview::ByteView::new(&[]), payload_checksum }
}

/// Answers everything that waits when the thread ends, however it ends.
struct EndOfThread(Arc<Shared>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue.poison("the log's thread panicked");
        }
    }
}

const _: () = assert!(
    FRAME_HEADER_LEN.is_multiple_of(8) && SEGMENT_HEADER_LEN.is_multiple_of(8),
    "headers keep their fields aligned"
);
