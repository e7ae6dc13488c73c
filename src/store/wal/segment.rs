//! A segment of the log: its name, its header, and nothing of its frames.
//!
//! ```text
//! wal/<20 digits>.log
//!
//! offset  size  field            little-endian
//!      0     8  magic            "FLOODWAL"
//!      8     4  format version   2; 1 is read, too
//!     12     4  checksum         CRC-32 over the header's other 60 bytes
//!     16    16  log id
//!     32     8  segment number   as in the name
//!     40     8  epoch            of all frames in this segment
//!     48     8  first sequence   of the first frame, when there is one
//!     56     8  durable through  every frame up to this one was synced when the segment got its name
//! ```
//!
//! A segment gets its name only when its header, and the frames that recovery carried into it, are durable
//! (`Disk::create_whole`). So a bad header is damage, never an interrupted write, and so is a bad frame up to `durable
//! through`. Magic, version and checksum stand at these places in every version.

use std::path::{Path, PathBuf};

use super::damage::{Lost, WalDamage};
use super::frame::{u32_at, u64_at};
use super::version::WalVersion;
use floodmark_base::id::{Epoch, LogId, SegmentNumber, Sequence};

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"FLOODWAL";
const EXTENSION: &str = ".log";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: WalVersion,
    pub log: LogId,
    pub number: SegmentNumber,
    pub epoch: Epoch,
    pub first_sequence: Sequence,
    pub durable_through: Sequence,
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.version.number().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first_sequence.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.durable_through.0.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads and checks the header at the beginning of the segment `file`, whose name says `number`.
    ///
    /// # Errors
    /// Every fault is damage: a segment is named only when its header is durable.
    pub fn decode(bytes: &[u8], file: &Path, number: SegmentNumber) -> Result<Self, WalDamage> {
        let damage = |offset: u64, expected: String, found: String| WalDamage {
            file: file.to_path_buf(),
            offset,
            expected,
            found,
            lost: Lost::Segment(number),
        };
        let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_LEN>() else {
            let expected = format!("a segment header of {SEGMENT_HEADER_LEN} bytes");
            return Err(damage(0, expected, format!("{} bytes", bytes.len())));
        };
        if &header[..8] != MAGIC {
            return Err(damage(0, format!("the magic {:?}", show(MAGIC)), format!("{:?}", show(&header[..8]))));
        }
        let (expected, found) = (checksum(header), u32_at(header, 12));
        if expected != found {
            return Err(damage(12, format!("header checksum {expected:08x}"), format!("{found:08x}")));
        }
        let number_of_version = u32_at(header, 8);
        let Some(version) = WalVersion::from_number(number_of_version) else {
            let expected = "format version 1 or 2, which this build reads".to_string();
            let found = format!("version {number_of_version}");
            return Err(WalDamage { lost: Lost::Nothing, ..damage(8, expected, found) });
        };
        let found = SegmentNumber(u64_at(header, 32));
        if found != number {
            return Err(damage(32, format!("segment number {number}"), format!("{found}")));
        }
        Ok(Self {
            version,
            log: LogId(u128::from_le_bytes(header[16..32].try_into().expect("sixteen bytes"))),
            number,
            epoch: Epoch(u64_at(header, 40)),
            first_sequence: Sequence(u64_at(header, 48)),
            durable_through: Sequence(u64_at(header, 56)),
        })
    }
}

/// The file of a segment.
pub fn segment_path(directory: &Path, number: SegmentNumber) -> PathBuf {
    directory.join(format!("{:020}{EXTENSION}", number.0))
}

/// The number in a segment's name, or nothing when the name is not a segment's.
pub fn segment_number(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_suffix(EXTENSION)?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok().map(SegmentNumber)).flatten()
}

fn checksum(header: &[u8; SEGMENT_HEADER_LEN]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..]);
    hasher.finalize()
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            version: WalVersion::V2,
            log: LogId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
            number: SegmentNumber(9),
            epoch: Epoch(4),
            first_sequence: Sequence(300),
            durable_through: Sequence(301),
        }
    }

    #[test]
    fn a_segment_header_is_these_exact_bytes() {
        let bytes = header().encode();
        let mut expected = b"FLOODWAL\x02\0\0\0".to_vec();
        expected.extend(&bytes[12..16]);
        expected.extend(0..16);
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([44, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([45, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.to_vec(), expected);
        let covered = [&expected[..12], &expected[16..]].concat();
        assert_eq!(u32_at(&bytes, 12), crc32fast::hash(&covered));
        assert_eq!(SegmentHeader::decode(&bytes, Path::new("x"), SegmentNumber(9)).unwrap(), header());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_damage_with_its_place() {
        let bytes = header().encode();
        for at in 0..bytes.len() * 8 {
            let mut rotten = bytes;
            rotten[at / 8] ^= 1 << (at % 8);
            let damage = SegmentHeader::decode(&rotten, Path::new("x"), SegmentNumber(9)).unwrap_err();
            assert_eq!(damage.offset, if at < 64 { 0 } else { 12 }, "bit {at}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_its_number() {
        let mut bytes = header().encode();
        bytes[8] = 3;
        let sum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        let damage = SegmentHeader::decode(&bytes, Path::new("wal/1.log"), SegmentNumber(9)).unwrap_err();
        assert_eq!(
            damage.to_string(),
            "wal/1.log: at byte 8: expected format version 1 or 2, which this build reads, found version 3; nothing is lost"
        );
    }

    #[test]
    fn only_twenty_digits_name_a_segment() {
        let path = segment_path(Path::new("wal"), SegmentNumber(42));
        assert_eq!(path, Path::new("wal/00000000000000000042.log"));
        assert_eq!(segment_number("00000000000000000042.log"), Some(SegmentNumber(42)));
        for name in [
            "42.log",
            "00000000000000000042.log.tmp",
            ".00000000000000000042.log.tmp",
            "reserve",
            "0000000000000000004x.log",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
        assert_eq!(segment_number("99999999999999999999.log"), None, "more than a number holds");
    }
}
