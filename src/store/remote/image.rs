//! One segment of the log, as the objects of the log say it is, beside the one of the working copy.
//!
//! Pieces come in order. Between two of them may be the body of a block, which the bucket does not have: it is taken from the working
//! copy, wherever in its segment the block stands, if it is still what its checksum says. Where it is not there, an absent frame
//! takes the block's place ([`absent_frame`]).

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;

use super::RemoteError;
use super::envelope::{Piece, damaged};
use super::log::object_name;
use super::outline::Outline;
use crate::wal::{FRAME_HEADER_LEN, Frame, FrameHeader, FrameKind, SEGMENT_HEADER_LEN, SegmentHeader, absent_frame};
use floodmark_base::id::Sequence;

/// A segment while it is read.
pub(super) struct SegmentImage {
    pub header: SegmentHeader,
    /// What the segment shall be.
    pub built: Vec<u8>,
    /// Up to here the bucket knows it, by the offsets of who wrote it.
    pub end: u64,
    /// The sequence that comes next.
    pub next: Sequence,
    /// The header and the head of a block whose body is not in the bucket, and where it stands.
    open: Option<(u64, FrameHeader, Bytes)>,
    /// The working copy's, which may be another.
    local: Vec<u8>,
    /// So far the working copy's has all of it, at the same places.
    pub is_same: bool,
    /// Blocks that are nowhere.
    pub absent: u64,
    /// Where the working copy's frames stand, once that is asked for.
    places: Option<HashMap<Sequence, usize>>,
}

/// What follows in the working copy behind what the bucket knows.
pub(super) struct LocalTail {
    /// Blocks, which were acknowledged by the local log.
    pub blocks: Vec<u8>,
    /// Behind them stands an event that was not put: it and what follows was never acknowledged.
    pub is_cut: bool,
}

impl SegmentImage {
    /// A segment that begins with these bytes, and so with this header; `local` is what the working copy has under its name.
    pub fn new(header: SegmentHeader, bytes: &[u8], local: Vec<u8>) -> Self {
        let bytes = &bytes[..SEGMENT_HEADER_LEN];
        Self {
            header,
            built: bytes.to_vec(),
            end: SEGMENT_HEADER_LEN as u64,
            next: header.first_sequence,
            open: None,
            is_same: local.starts_with(bytes),
            local,
            absent: 0,
            places: None,
        }
    }

    /// One that the working copy is known to have up to `end`; nothing where its frames do not say the same.
    pub fn known(header: SegmentHeader, local: Vec<u8>, end: u64) -> Option<Self> {
        let mut image = Self::new(header, &header.encode(), local);
        let known = image.local.get(..end as usize)?;
        while (image.end as usize) < known.len() {
            let frame = Frame::decode_expected(&known[image.end as usize..], header.log, header.epoch, image.next);
            image.end += frame.ok()?.header.frame_len();
            image.next = image.next.next();
        }
        image.built = known.to_vec();
        (image.end == end).then_some(image)
    }

    /// Takes the next piece, of the object of this number.
    pub fn take(&mut self, number: u64, piece: &Piece) -> Result<(), RemoteError> {
        let mut bytes = piece.bytes.clone();
        let mut offset = piece.offset;
        if offset == 0 {
            (bytes, offset) = (bytes.slice(SEGMENT_HEADER_LEN..), SEGMENT_HEADER_LEN as u64);
        }
        let expected = self.open.as_ref().map_or(self.end, |(at, header, _)| at + header.frame_len());
        if offset != expected {
            let expected = format!("bytes of segment {} from {expected} on", piece.segment);
            return Err(damaged(&object_name(number), expected, format!("from {offset} on")));
        }
        self.close();
        while !bytes.is_empty() {
            let frame = self.take_frame(&mut bytes).map_err(|found| {
                let expected = format!("frame {} of segment {} at byte {}", self.next, piece.segment, self.end);
                damaged(&object_name(number), expected, found)
            })?;
            self.next = frame.sequence.next();
        }
        Ok(())
    }

    /// Takes a frame off the front, or the front of one whose body is not there.
    fn take_frame(&mut self, bytes: &mut Bytes) -> Result<FrameHeader, String> {
        let header = FrameHeader::decode(bytes, self.header.log).map_err(|fault| fault.to_string())?;
        if header.sequence != self.next {
            return Err(format!("frame {}", header.sequence));
        }
        let (whole, front) = (header.frame_len(), FRAME_HEADER_LEN as u64 + u64::from(header.head_len));
        if bytes.len() as u64 >= whole {
            self.append(&bytes.split_to(whole as usize));
        } else if header.kind == FrameKind::Block && bytes.len() as u64 == front {
            self.open = Some((self.end, header, std::mem::take(bytes)));
        } else {
            return Err(format!("{} of its {whole} bytes", bytes.len()));
        }
        Ok(header)
    }

    fn append(&mut self, frame: &[u8]) {
        let at = self.end as usize;
        self.is_same &= self.local.get(at..at + frame.len()) == Some(frame);
        self.built.extend_from_slice(frame);
        self.end += frame.len() as u64;
    }

    /// The body of the block that waits for it is where it is, or nowhere.
    fn close(&mut self) {
        let Some((at, header, front)) = self.open.take() else { return };
        let (from, len) = (at as usize, header.frame_len() as usize);
        self.end = at + header.frame_len();
        let local = self.local.get(from..from + len).filter(|local| local.starts_with(&front));
        // At its place it is believed for now: whoever reads the log checks it.
        if let Some(local) = local.filter(|_| self.is_same) {
            self.built.extend_from_slice(local);
            return;
        }
        self.is_same = false;
        match self.find(&header) {
            Some(frame) => {
                let body = self.local[frame..frame + len][front.len()..].to_vec();
                self.built.extend_from_slice(&front);
                self.built.extend_from_slice(&body);
            }
            None => {
                self.absent += 1;
                let head = &front[FRAME_HEADER_LEN..];
                self.built.extend_from_slice(&absent_frame(&header, head, self.header.log));
            }
        }
    }

    /// Where the working copy has this block, whole.
    fn find(&mut self, block: &FrameHeader) -> Option<usize> {
        let at = *self.places().get(&block.sequence)?;
        let payload = self.local.get(at + FRAME_HEADER_LEN..)?;
        let is_like = |found: &FrameHeader| {
            (found.kind, found.head_len, found.body_len, found.payload_checksum)
                == (block.kind, block.head_len, block.body_len, block.payload_checksum)
        };
        let found = FrameHeader::decode(&self.local[at..], self.header.log).ok().filter(is_like)?;
        Frame::with_header(found, payload).ok().map(|_| at)
    }

    /// Where the working copy's frames stand, as far as they follow each other.
    fn places(&mut self) -> &HashMap<Sequence, usize> {
        let (local, log) = (&self.local, self.header.log);
        self.places.get_or_insert_with(|| {
            let (mut places, mut at) = (HashMap::new(), SEGMENT_HEADER_LEN);
            while let Some(Ok(header)) = local.get(at..).map(|bytes| FrameHeader::decode(bytes, log)) {
                places.insert(header.sequence, at);
                at = at.saturating_add(header.frame_len() as usize);
            }
            places
        })
    }

    /// What the working copy has behind the end of all pieces.
    pub fn local_tail(&mut self) -> LocalTail {
        self.close();
        let mut tail = LocalTail { blocks: Vec::new(), is_cut: false };
        if !self.local.starts_with(&self.header.encode()) {
            return tail;
        }
        let (next, end) = (self.next, self.end as usize);
        let mut at = if self.is_same { end } else { self.places().get(&next).copied().unwrap_or(self.local.len()) };
        let mut expected = next;
        while at < self.local.len() {
            let here = &self.local[at..];
            let frame = Frame::decode_expected(here, self.header.log, self.header.epoch, expected);
            let Ok(frame) = frame else { break }; // whoever reads the log says what that is
            if frame.header.kind != FrameKind::Block {
                tail.is_cut = true;
                break;
            }
            let len = frame.header.frame_len() as usize;
            tail.blocks.extend_from_slice(&here[..len]);
            at += len;
            expected = expected.next();
        }
        tail
    }

    /// The pieces that tell of the blocks in the tail, to be put with what comes next.
    pub fn outline_of(&self, tail: &LocalTail, bodies: bool) -> Outline {
        let blocks = std::iter::once(&tail.blocks[..]).filter(|blocks| !blocks.is_empty());
        if bodies && !tail.blocks.is_empty() {
            return Outline::whole(self.header.number, self.end, blocks);
        }
        let outline = Outline::without_bodies(self.header.number, self.header.log, self.end, blocks);
        outline.expect("these frames were just decoded")
    }

    /// Ends the segment where the pieces end.
    pub fn finish(&mut self) {
        self.close();
    }

    /// Bytes that the working copy has under its name.
    pub fn local(&self) -> &[u8] {
        &self.local
    }
}

/// The header of the segment that a piece begins.
pub(super) fn header_of(number: u64, piece: &Piece) -> Result<SegmentHeader, RemoteError> {
    SegmentHeader::decode(&piece.bytes, Path::new(&object_name(number)), piece.segment)
        .map_err(|damage| damaged(&object_name(number), format!("the beginning of segment {}", piece.segment), damage))
}
