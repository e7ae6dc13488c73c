//! What of a segment goes into the bucket: all of it, or, where bodies of blocks stay in the local log, everything but these.
//!
//! Then what is put are pieces with gaps between them. A gap is the body of the block whose header and head stand before it; one at the
//! end is closed by an empty piece behind it. So the bucket knows of every block that a plan names its source, its records and its length.

use bytes::{Bytes, BytesMut};

use super::envelope::Piece;
use crate::wal::{FRAME_HEADER_LEN, FrameFault, FrameHeader, FrameKind};
use floodmark_base::id::{LogId, SegmentNumber};

/// Pieces of a segment that wait to be put.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub pieces: Vec<Piece>,
    /// Anything besides blocks is among them: that is acknowledged only by the bucket.
    pub has_events: bool,
    /// Bytes of the segment that they stand for, gaps included.
    pub len: u64,
}

impl Outline {
    /// The pieces for whole frames that stand in a segment from `offset` on, without the bodies of blocks. A header and its head
    /// are in one slice.
    pub fn without_bodies<'s>(
        segment: SegmentNumber,
        log: LogId,
        offset: u64,
        slices: impl Iterator<Item = &'s [u8]>,
    ) -> Result<Self, FrameFault> {
        let mut outline = Self::default();
        let (mut kept, mut begins, mut skip) = (BytesMut::new(), offset, 0);
        let mut at = offset;
        let piece = |begins, kept: &mut BytesMut| Piece { segment, offset: begins, bytes: kept.split().freeze() };
        for mut slice in slices {
            while !slice.is_empty() {
                if skip > 0 {
                    let skipped = skip.min(slice.len() as u64);
                    (skip, at, slice) = (skip - skipped, at + skipped, &slice[skipped as usize..]);
                    begins = at;
                    continue;
                }
                let header = FrameHeader::decode(slice, log)?;
                let is_block = header.kind == FrameKind::Block;
                let wanted =
                    if is_block { FRAME_HEADER_LEN as u64 + u64::from(header.head_len) } else { header.frame_len() };
                let (taken, rest) = slice
                    .split_at_checked(wanted as usize)
                    .ok_or(FrameFault::BeyondEnd { claimed: wanted, present: slice.len() })?;
                kept.extend_from_slice(taken);
                (at, slice) = (at + wanted, rest);
                outline.has_events |= !is_block;
                if is_block && header.body_len > 0 {
                    outline.pieces.push(piece(begins, &mut kept));
                    skip = u64::from(header.body_len);
                }
            }
        }
        if at > begins || !outline.pieces.is_empty() {
            outline.pieces.push(piece(begins, &mut kept));
        }
        outline.len = at - offset;
        Ok(outline)
    }

    /// One piece that holds all bytes.
    pub fn whole<'s>(segment: SegmentNumber, offset: u64, slices: impl Iterator<Item = &'s [u8]>) -> Self {
        let mut bytes = BytesMut::new();
        slices.for_each(|slice| bytes.extend_from_slice(slice));
        let (len, bytes) = (bytes.len() as u64, bytes.freeze());
        Self { pieces: vec![Piece { segment, offset, bytes }], has_events: true, len }
    }

    /// Puts what follows behind it.
    pub fn extend(&mut self, next: Self) {
        self.pieces.extend(next.pieces);
        self.has_events |= next.has_events;
        self.len += next.len;
    }
}

/// The same pieces, where one begins at the end of another as one.
pub(super) fn joined(pieces: &[Piece]) -> Vec<Piece> {
    let mut joined: Vec<(SegmentNumber, u64, u64, Vec<&Bytes>)> = Vec::new();
    for Piece { segment, offset, bytes } in pieces {
        match joined.last_mut() {
            Some((last, _, end, parts)) if last == segment && end == offset => {
                *end += bytes.len() as u64;
                parts.push(bytes);
            }
            _ => joined.push((*segment, *offset, offset + bytes.len() as u64, vec![bytes])),
        }
    }
    let piece = |(segment, offset, end, parts): (SegmentNumber, u64, u64, Vec<&Bytes>)| {
        let bytes = match &parts[..] {
            [one] => (*one).clone(),
            parts => {
                let mut bytes = BytesMut::with_capacity((end - offset) as usize);
                parts.iter().for_each(|part| bytes.extend_from_slice(part));
                bytes.freeze()
            }
        };
        Piece { segment, offset, bytes }
    };
    joined.into_iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::id::{Epoch, Sequence};

    const LOG: LogId = LogId(9);

    fn frame(sequence: u64, kind: FrameKind, head: &[u8], body: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            kind,
            version: crate::wal::WalVersion::V2,
            head_len: head.len() as u32,
            body_len: body.len() as u32,
            payload_checksum: 0,
            sequence: Sequence(sequence),
            synced_through: Sequence(0),
            epoch: Epoch(1),
        };
        [&header.encode(LOG)[..], head, body].concat()
    }

    #[test]
    fn pieces_and_gaps_are_the_segment_whichever_way_it_is_sliced() {
        let event = frame(1, FrameKind::Event, b"event", b"");
        let block = frame(2, FrameKind::Block, b"head", b"the body");
        let empty = frame(3, FrameKind::Block, b"head", b"");
        let (front, body) = block.split_at(block.len() - 8);
        for slices in [
            vec![[&event[..], &block, &empty].concat()],
            vec![[&event[..], front].concat(), body.to_vec(), empty.clone()],
        ] {
            let slices = slices.iter().map(Vec::as_slice);
            let outline = Outline::without_bodies(SegmentNumber(4), LOG, 64, slices).unwrap();
            assert_eq!((outline.has_events, outline.len), (true, (event.len() + block.len() + empty.len()) as u64));
            let pieces: Vec<_> = outline.pieces.iter().map(|piece| (piece.offset, piece.bytes.to_vec())).collect();
            let behind = 64 + (event.len() + block.len()) as u64;
            assert_eq!(pieces, [(64, [&event[..], front].concat()), (behind, empty.clone())]);
        }
        let last = Outline::without_bodies(SegmentNumber(4), LOG, 64, [&block[..]].into_iter()).unwrap();
        assert!(!last.has_events);
        let end = last.pieces.last().unwrap();
        assert_eq!((end.offset, end.bytes.len()), (64 + block.len() as u64, 0), "the gap is closed");
        let next = Piece { segment: SegmentNumber(4), offset: end.offset, bytes: Bytes::from_static(b"next") };
        let both = joined(&[last.pieces[0].clone(), end.clone(), next.clone()]);
        assert_eq!(both, [last.pieces[0].clone(), next]);
    }
}
