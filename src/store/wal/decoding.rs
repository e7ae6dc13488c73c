//! The decoders of the log, for feeding them what was never written: see `testing::decoders` of the engine.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::frame::{FRAME_HEADER_LEN, Frame, FrameHeader, payload_checksum, u32_at};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader, segment_path};
use super::{FrameKind, Tail, WalVersion, observe, read_frame};
use floodmark_base::disk::MemoryDisk;
use floodmark_base::id::{Epoch, LogId, SegmentNumber, Sequence};

const LOG: LogId = LogId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const FIRST: SegmentNumber = SegmentNumber(1);

/// A frame at the beginning of `bytes`; its encoding is the only one.
pub fn frame(bytes: &[u8]) -> Result<(), String> {
    let header = FrameHeader::decode(bytes, LOG).map_err(|fault| fault.to_string())?;
    let frame = Frame::with_header(header, &bytes[FRAME_HEADER_LEN..]).map_err(|fault| fault.to_string())?;
    let again = [&frame.header.encode(LOG), frame.head, frame.body].concat();
    assert!(bytes.starts_with(&again), "a frame is decoded whose encoding is another: {:?}", frame.header);
    Ok(())
}

/// A log of one segment, read as recovery reads it.
pub fn segment(bytes: &[u8]) -> Result<(), String> {
    let (disk, directory) = (MemoryDisk::default(), Path::new("wal"));
    disk.put(&segment_path(directory, FIRST), bytes.to_vec());
    let mut frames = Vec::new();
    let scan = observe(&disk, directory, None, &mut |at, kind, head, body| {
        frames.push((at, kind, head.to_vec(), body.to_vec()));
    });
    let scan = scan.map_err(|error| error.to_string())?.expect("there is a segment");
    let header = SegmentHeader::decode(bytes, Path::new("segment"), FIRST).expect("the scan has read it");
    assert!(bytes.starts_with(&header.encode()), "a segment header is decoded whose encoding is another");
    let (mut offset, mut sequence) = (SEGMENT_HEADER_LEN as u64, header.first_sequence);
    for (at, _, head, body) in &frames {
        assert_eq!((at.offset, at.sequence), (offset, sequence), "frames follow each other");
        let (head_again, body_again) = read_frame(&disk, directory, header.log, *at).expect("a frame that was scanned");
        assert!((&head_again, &*body_again) == (head, body), "frame {sequence} reads otherwise than it was scanned");
        offset += (FRAME_HEADER_LEN + head.len() + body.len()) as u64;
        sequence = sequence.next();
    }
    assert_eq!(scan.next_sequence, sequence, "the next sequence after {} frames", frames.len());
    match scan.tail {
        Tail::Clean => assert_eq!(offset, bytes.len() as u64, "a clean tail ends with the file"),
        Tail::Interrupted { offset: cut, bytes: len, .. } => {
            assert_eq!((cut, cut + len), (offset, bytes.len() as u64), "an interrupted tail is what is left");
        }
    }
    Ok(())
}

/// Puts the checksums of a frame right, and its length where that leads beyond the end.
pub fn seal_frame(bytes: &mut [u8]) {
    seal_frame_at(bytes, 0, LOG);
}

/// Puts the checksums of a segment's header and of all its frames right.
pub fn seal_segment(bytes: &mut [u8]) {
    if bytes.len() < SEGMENT_HEADER_LEN {
        return;
    }
    let log = LogId(u128::from_le_bytes(bytes[16..32].try_into().expect("sixteen bytes")));
    let sum = crc32fast::hash(&[&bytes[..12], &bytes[16..SEGMENT_HEADER_LEN]].concat());
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    let mut at = SEGMENT_HEADER_LEN;
    while let Some(len) = seal_frame_at(bytes, at, log) {
        at += len;
    }
}

/// The length of the whole frame, if a frame fits there.
fn seal_frame_at(bytes: &mut [u8], at: usize, log: LogId) -> Option<usize> {
    let frame = bytes.get_mut(at..).filter(|frame| frame.len() >= FRAME_HEADER_LEN)?;
    let len = (u32_at(frame, 0) as usize).min(frame.len() - FRAME_HEADER_LEN);
    let sum = payload_checksum(&frame[FRAME_HEADER_LEN..FRAME_HEADER_LEN + len], b"");
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    frame[8..12].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&[&log.0.to_le_bytes(), &frame[..12], &frame[16..FRAME_HEADER_LEN]].concat());
    frame[12..16].copy_from_slice(&sum.to_le_bytes());
    Some(FRAME_HEADER_LEN + len)
}

/// A frame with anything in it.
pub fn sample_frame(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let sequence = Sequence(rng.random_range(1..u64::MAX));
    let synced_through = Sequence(rng.random_range(0..sequence.0));
    let epoch = Epoch(rng.random());
    encode_frame(&mut rng, LOG, sequence, synced_through, epoch)
}

/// A segment that a writer could have written.
pub fn sample_segment(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let first = rng.random_range(1..1_000_u64);
    let frames = rng.random_range(0..12_u64);
    let durable = rng.random_range(first - 1..first + frames.max(1));
    let header = SegmentHeader {
        version: version(&mut rng),
        log: LogId(rng.random()),
        number: FIRST,
        epoch: Epoch(rng.random()),
        first_sequence: Sequence(first),
        durable_through: Sequence(if frames == 0 { first - 1 } else { durable }),
    };
    let mut bytes = header.encode().to_vec();
    let mut synced = header.durable_through.0;
    for sequence in first..first + frames {
        synced = rng.random_range(synced.min(sequence - 1)..sequence);
        bytes.extend(encode_frame(&mut rng, header.log, Sequence(sequence), Sequence(synced), header.epoch));
    }
    bytes
}

/// Either version.
fn version(rng: &mut StdRng) -> WalVersion {
    [WalVersion::V1, WalVersion::V2][rng.random_range(0..2)]
}

fn encode_frame(rng: &mut StdRng, log: LogId, sequence: Sequence, synced_through: Sequence, epoch: Epoch) -> Vec<u8> {
    let mut payload = [vec![0; rng.random_range(0..40)], vec![0; rng.random_range(0..200)]];
    payload.iter_mut().for_each(|part| rng.fill_bytes(part));
    let [head, body] = payload;
    let kind = [FrameKind::Block, FrameKind::Event, FrameKind::Mark, FrameKind::Absent][rng.random_range(0..4)];
    let header = FrameHeader {
        kind,
        version: version(rng),
        head_len: head.len() as u32,
        body_len: body.len() as u32,
        payload_checksum: payload_checksum(&head, &body),
        sequence,
        synced_through,
        epoch,
    };
    [&header.encode(log)[..], &head, &body].concat()
}
