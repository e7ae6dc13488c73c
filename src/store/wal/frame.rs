//! One frame of the log: a header of 48 bytes, then head and body. Pure: bytes in, bytes out.
//!
//! ```text
//! offset  size  field              little-endian
//!      0     4  length             bytes of head and body together
//!      4     4  head length        of these, bytes of the head
//!      8     4  payload checksum   CRC-32 over head and body
//!     12     4  header checksum    CRC-32 over the log id (16 bytes) and the header's other 44 bytes
//!     16     8  sequence
//!     24     8  synced through     the highest sequence known to be synced when this frame was written
//!     32     8  epoch
//!     40     1  kind               1 block, 2 event, 3 mark, 4 absent block
//!     41     1  version            of the head's encoding: 0 stands for 1, else the number
//!     42     6  zero
//! ```
//!
//! Two checksums, so that the expensive one is computed by the thread that appends, before the frame has a sequence, and so
//! that a search for later frames after a bad one looks at headers only. The log id is in the checksum, not in the frame: a
//! frame of another log never passes for ours.

use std::fmt;

use crc32fast::Hasher;

use super::FrameKind;
use super::version::WalVersion;
use floodmark_base::id::{Epoch, LogId, Sequence};

/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 48;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    /// The version in which the head is encoded.
    pub version: WalVersion,
    pub head_len: u32,
    pub body_len: u32,
    pub payload_checksum: u32,
    pub sequence: Sequence,
    pub synced_through: Sequence,
    pub epoch: Epoch,
}

/// A frame that was checked as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// Why bytes are not the frame that should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The file ends within the header.
    ShortHeader { present: usize },
    /// Zeros, as a file system leaves them where bytes were never written.
    Zeros { bytes: usize },
    /// Not a header of this log, or not any more.
    HeaderChecksum { expected: u32, found: u32 },
    /// The file ends within head or body.
    BeyondEnd { claimed: u64, present: usize },
    /// The header is right, what follows is not.
    PayloadChecksum { expected: u32, found: u32 },
    /// A frame of this log that does not belong here.
    Sequence { expected: Sequence, found: Sequence },
    /// A frame of another life.
    Epoch { expected: Epoch, found: Epoch },
    /// A header whose checksum is right says what no header of this version says.
    Meaning(&'static str),
}

impl FrameFault {
    /// What should be there, and what is.
    pub fn expected_and_found(&self) -> (String, String) {
        match self {
            Self::ShortHeader { present } => {
                (format!("a frame header of {FRAME_HEADER_LEN} bytes"), format!("{present} bytes"))
            }
            Self::Zeros { bytes } => ("a frame header".into(), format!("{bytes} zero bytes")),
            Self::HeaderChecksum { expected, found } => {
                (format!("header checksum {expected:08x}"), format!("{found:08x}"))
            }
            Self::BeyondEnd { claimed, present } => {
                (format!("{claimed} bytes after the frame header"), format!("{present}"))
            }
            Self::PayloadChecksum { expected, found } => {
                (format!("payload checksum {expected:08x}"), format!("{found:08x}"))
            }
            Self::Sequence { expected, found } => (format!("frame {expected}"), format!("frame {found}")),
            Self::Epoch { expected, found } => (format!("a frame of epoch {expected}"), format!("epoch {found}")),
            Self::Meaning(expected) => ((*expected).into(), "something else under a right checksum".into()),
        }
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found) = self.expected_and_found();
        write!(f, "expected {expected}, found {found}")
    }
}

impl std::error::Error for FrameFault {}

impl FrameKind {
    /// The kind that a byte stands for.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Block, Self::Event, Self::Mark, Self::Absent].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The checksum of head and body.
pub fn payload_checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER_LEN as u64 + u64::from(self.head_len) + u64::from(self.body_len)
    }

    /// The header's bytes.
    pub fn encode(&self, log: LogId) -> [u8; FRAME_HEADER_LEN] {
        assert!(self.synced_through < self.sequence, "a frame cannot be synced before it is written");
        let length = self.head_len.checked_add(self.body_len).expect("the length was checked when the frame was taken");
        let mut bytes = [0; FRAME_HEADER_LEN];
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.head_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced_through.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[40] = self.kind as u8;
        bytes[41] = self.version.frame_byte();
        let checksum = header_checksum(&bytes, log);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads and checks a header; what follows it is not looked at.
    ///
    /// # Errors
    /// When the bytes are too few, all zero, fail the checksum, or say what no header can say.
    pub fn decode(bytes: &[u8], log: LogId) -> Result<Self, FrameFault> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_LEN>() else {
            return Err(FrameFault::ShortHeader { present: bytes.len() });
        };
        if header.iter().all(|byte| *byte == 0) {
            return Err(FrameFault::Zeros { bytes: bytes.iter().take_while(|byte| **byte == 0).count() });
        }
        let (expected, found) = (header_checksum(header, log), u32_at(header, 12));
        if expected != found {
            return Err(FrameFault::HeaderChecksum { expected, found });
        }
        let (length, head_len) = (u32_at(header, 0), u32_at(header, 4));
        let body_len = length.checked_sub(head_len).ok_or(FrameFault::Meaning("a head within the frame"))?;
        let kind = FrameKind::from_byte(header[40]).ok_or(FrameFault::Meaning("a known kind"))?;
        let version = WalVersion::from_frame_byte(header[41]).ok_or(FrameFault::Meaning("a known version"))?;
        if header[42..].iter().any(|byte| *byte != 0) {
            return Err(FrameFault::Meaning("zeros at the end"));
        }
        let (sequence, synced_through) = (Sequence(u64_at(header, 16)), Sequence(u64_at(header, 24)));
        if synced_through >= sequence {
            return Err(FrameFault::Meaning("synced_through below the sequence"));
        }
        if sequence.0 == u64::MAX {
            return Err(FrameFault::Meaning("a sequence that another can follow"));
        }
        let (payload_checksum, epoch) = (u32_at(header, 8), Epoch(u64_at(header, 32)));
        Ok(Self { kind, version, head_len, body_len, payload_checksum, sequence, synced_through, epoch })
    }
}

impl<'a> Frame<'a> {
    /// Reads and checks the frame at the beginning of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// As [`FrameHeader::decode`], or when head and body are not all there or fail their checksum.
    #[cfg(test)]
    pub fn decode(bytes: &'a [u8], log: LogId) -> Result<Self, FrameFault> {
        Self::with_header(FrameHeader::decode(bytes, log)?, &bytes[FRAME_HEADER_LEN..])
    }

    /// As `decode`, and the frame must be the one that is expected here.
    ///
    /// # Errors
    /// As `decode`, or when sequence or epoch are others.
    pub fn decode_expected(bytes: &'a [u8], log: LogId, epoch: Epoch, sequence: Sequence) -> Result<Self, FrameFault> {
        let header = FrameHeader::decode(bytes, log)?;
        if header.epoch != epoch {
            return Err(FrameFault::Epoch { expected: epoch, found: header.epoch });
        }
        if header.sequence != sequence {
            return Err(FrameFault::Sequence { expected: sequence, found: header.sequence });
        }
        Self::with_header(header, &bytes[FRAME_HEADER_LEN..])
    }

    /// Checks head and body, which begin `payload`, against their header.
    pub fn with_header(header: FrameHeader, payload: &'a [u8]) -> Result<Self, FrameFault> {
        let claimed = header.frame_len() - FRAME_HEADER_LEN as u64;
        if claimed > payload.len() as u64 {
            return Err(FrameFault::BeyondEnd { claimed, present: payload.len() });
        }
        let (head, body) = payload[..claimed as usize].split_at(header.head_len as usize);
        let found = payload_checksum(head, body);
        if found != header.payload_checksum {
            return Err(FrameFault::PayloadChecksum { expected: header.payload_checksum, found });
        }
        Ok(Self { header, head, body })
    }
}

fn header_checksum(header: &[u8; FRAME_HEADER_LEN], log: LogId) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&log.0.to_le_bytes());
    hasher.update(&header[..12]);
    hasher.update(&header[16..]);
    hasher.finalize()
}

/// Four bytes at a fixed place of a header whose length is known.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

/// Eight bytes at a fixed place of a header whose length is known.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: LogId = LogId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Event,
            version: WalVersion::V1,
            head_len: 2,
            body_len: 3,
            payload_checksum: payload_checksum(b"ab", b"cde"),
            sequence: Sequence(7),
            synced_through: Sequence(5),
            epoch: Epoch(3),
        }
    }

    #[test]
    fn a_frame_is_these_exact_bytes() {
        let bytes = header().encode(LOG);
        let mut expected = Vec::new();
        expected.extend([5, 0, 0, 0, 2, 0, 0, 0]);
        expected.extend(crc32fast::hash(b"abcde").to_le_bytes());
        let mut covered: Vec<u8> = (0..16).collect();
        covered.extend(&expected);
        let rest =
            [[7, 0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]];
        covered.extend(rest.concat());
        expected.extend(crc32fast::hash(&covered).to_le_bytes());
        expected.extend(rest.concat());
        assert_eq!(bytes.to_vec(), expected);
        assert_eq!(u32_at(&bytes, 8), 0x8587_d865, "the CRC-32 of zip and Ethernet");
    }

    #[test]
    fn a_frame_says_in_which_version_its_head_is_encoded() {
        let newer = FrameHeader { version: WalVersion::V2, ..header() };
        let (old, new) = (header().encode(LOG), newer.encode(LOG));
        assert_eq!((old[41], new[41]), (0, 2));
        let same = |at: &usize| old[*at] == new[*at];
        assert_eq!((0..FRAME_HEADER_LEN).filter(|at| !same(at)).collect::<Vec<_>>(), [12, 13, 14, 15, 41]);
        assert_eq!(FrameHeader::decode(&new, LOG), Ok(newer));
    }

    #[test]
    fn a_frame_reads_back_and_ignores_what_follows() {
        let bytes = [&header().encode(LOG)[..], b"abcde", b"whatever"].concat();
        let frame = Frame::decode_expected(&bytes, LOG, Epoch(3), Sequence(7)).unwrap();
        assert_eq!((frame.header, frame.head, frame.body), (header(), &b"ab"[..], &b"cde"[..]));
    }

    #[test]
    fn a_frame_of_another_log_epoch_or_sequence_is_told_as_such() {
        let bytes = [&header().encode(LOG)[..], b"abcde"].concat();
        assert!(matches!(Frame::decode(&bytes, LogId(1)), Err(FrameFault::HeaderChecksum { .. })));
        let (expected, found) = (Epoch(4), Epoch(3));
        assert_eq!(
            Frame::decode_expected(&bytes, LOG, Epoch(4), Sequence(7)),
            Err(FrameFault::Epoch { expected, found })
        );
        let (expected, found) = (Sequence(8), Sequence(7));
        assert_eq!(
            Frame::decode_expected(&bytes, LOG, Epoch(3), Sequence(8)),
            Err(FrameFault::Sequence { expected, found })
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = [&header().encode(LOG)[..], b"abcde"].concat();
        for at in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[at / 8] ^= 1 << (at % 8);
            assert!(Frame::decode(&rotten, LOG).is_err(), "bit {at}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..len], LOG).is_err(), "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_a_frame_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Frame::decode(&bytes, LOG).is_err());
        }
    }
}
