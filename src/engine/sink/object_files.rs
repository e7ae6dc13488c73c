//! Object files: the records of a partition in their encoding, with the schema of their type and checksums.
//!
//! The bytes are those of `docs/formats/object-files.md`: a head that is the same in every version, so that a whole file of
//! a newer version is told from a damaged one; each record with its length before it; and the XXH3 of everything. Not a
//! CRC-32: that of a file which ends in its own CRC-32 is the same for every file, and `_batch` would tell none from another.
//! The files of a batch are read by [`read_object_files`](super::read_object_files).

use std::io::{self, ErrorKind, Write};
use std::marker::PhantomData;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::object_reader::ObjectFileError;
use super::part::PartFormat;
use floodmark_base::codec::{Record, decode, encode_into};
use floodmark_store::state::schema::Schema;

const MAGIC: &[u8; 8] = b"FLDMOBJS";
const VERSION: u32 = 1;
/// Magic, version, length of the rest of the head, and its CRC.
const PREFIX_LEN: usize = 20;
/// The number of records, before the schema's text.
const COUNT_LEN: usize = 8;
/// A record's length, and the CRC of the head.
const NUMBER_LEN: usize = 4;
/// The XXH3 at the end.
const HASH_LEN: usize = 8;

/// How records of `T` stand in an object file.
#[derive(Clone, Debug)]
pub(crate) struct ObjectFormat<T> {
    schema: String,
    /// What a file may say of its records.
    accepted: Schema,
    types: PhantomData<fn(T)>,
}

impl<T: Record> ObjectFormat<T> {
    /// The format, or why `T` has no schema that can be stored.
    pub fn new() -> Result<Self, String> {
        let schema = Schema::of::<T>();
        let text = schema.text().map(str::to_string).map_err(str::to_string)?;
        Ok(Self { schema: text, accepted: schema, types: PhantomData })
    }

    /// Everything before the first record.
    fn head(&self, records: usize) -> Vec<u8> {
        let rest_len = (COUNT_LEN + self.schema.len()) as u32;
        let mut head = Vec::with_capacity(PREFIX_LEN + rest_len as usize);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&rest_len.to_le_bytes());
        head.extend_from_slice(&[0; NUMBER_LEN]);
        head.extend_from_slice(&(records as u64).to_le_bytes());
        head.extend_from_slice(self.schema.as_bytes());
        let crc32 = crc_of_head(&head);
        head[16..PREFIX_LEN].copy_from_slice(&crc32.to_le_bytes());
        head
    }

    /// The records of a part file; `path` is for the error.
    pub fn read(&self, path: &Path, bytes: &[u8]) -> Result<Vec<T>, ObjectFileError> {
        let (count, schema, records_at) = read_head(path, bytes)?;
        if !self.accepted.is(schema) {
            let (path, expected, found) = (path.to_path_buf(), self.schema.clone(), schema.to_string());
            return Err(ObjectFileError::OtherType { path, expected, found });
        }
        self.read_records(path, check_all(path, bytes, records_at)?, records_at, count)
    }

    fn read_records(
        &self,
        path: &Path,
        bytes: &[u8],
        records_at: usize,
        count: u64,
    ) -> Result<Vec<T>, ObjectFileError> {
        let mut records = Vec::new();
        let mut at = records_at;
        for number in 0..count {
            let record = number_at(bytes, at).and_then(|len| bytes[at + NUMBER_LEN..].get(..len as usize));
            let Some(record) = record else {
                let (expected, left) = (format!("record {number} of {count}, whole"), bytes.len() - at);
                return Err(damaged(path, at, expected, format!("{left} bytes before the hash at the end")));
            };
            let value = decode(record).map_err(|error| {
                damaged(path, at + NUMBER_LEN, format!("record {number} as a {}", self.schema), error.to_string())
            })?;
            records.push(value);
            at += NUMBER_LEN + record.len();
        }
        if at < bytes.len() {
            let expected = format!("the end after {count} records");
            return Err(damaged(path, at, expected, format!("{} bytes more", bytes.len() - at)));
        }
        Ok(records)
    }
}

impl<T: Record> PartFormat<T> for ObjectFormat<T> {
    fn write(&self, records: &[T], out: &mut impl Write) -> io::Result<()> {
        let mut hash = Xxh3::new();
        let mut bytes = self.head(records.len());
        for record in records {
            hash.update(&bytes);
            out.write_all(&bytes)?;
            bytes.clear();
            bytes.extend_from_slice(&[0; NUMBER_LEN]);
            encode_into(record, &mut bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let len = u32::try_from(bytes.len() - NUMBER_LEN).map_err(|_| {
                let text = format!("a record of {} bytes is longer than {} bytes", bytes.len(), u32::MAX);
                io::Error::new(ErrorKind::InvalidData, text)
            })?;
            bytes[..NUMBER_LEN].copy_from_slice(&len.to_le_bytes());
        }
        hash.update(&bytes);
        out.write_all(&bytes)?;
        out.write_all(&hash.digest().to_le_bytes())
    }
}

/// The number of records, the schema's text, and where the records begin.
fn read_head<'a>(path: &Path, bytes: &'a [u8]) -> Result<(u64, &'a str, usize), ObjectFileError> {
    if !bytes.starts_with(MAGIC) {
        let found = bytes[..bytes.len().min(MAGIC.len())].escape_ascii().to_string();
        return Err(damaged(path, 0, MAGIC.escape_ascii().to_string(), found));
    }
    let (version, rest_len, expected) = match (number_at(bytes, 8), number_at(bytes, 12), number_at(bytes, 16)) {
        (Some(version), Some(rest_len), Some(crc32)) => (version, rest_len, crc32),
        _ => return Err(damaged(path, 8, "a head of 20 bytes".to_string(), format!("{} bytes", bytes.len()))),
    };
    let Some(rest) = bytes[PREFIX_LEN..].get(..rest_len as usize) else {
        let found = format!("{} bytes up to the end of the file", bytes.len() - PREFIX_LEN);
        return Err(damaged(path, PREFIX_LEN, format!("{rest_len} bytes of head"), found));
    };
    let records_at = PREFIX_LEN + rest.len();
    let found = crc_of_head(&bytes[..records_at]);
    if found != expected {
        return Err(damaged(path, 16, format!("crc32 {expected:08x} of the head"), format!("{found:08x}")));
    }
    if version != VERSION {
        return Err(ObjectFileError::Version { path: path.to_path_buf(), expected: VERSION, found: version });
    }
    let count = rest.first_chunk().map(|count| u64::from_le_bytes(*count));
    let schema = rest.get(COUNT_LEN..).and_then(|text| std::str::from_utf8(text).ok());
    match (count, schema) {
        (Some(count), Some(schema)) => Ok((count, schema, records_at)),
        _ => {
            let found = rest.escape_ascii().to_string();
            Err(damaged(path, PREFIX_LEN, "a number of records and a schema".to_string(), found))
        }
    }
}

/// All bytes but the hash at the end, if it is theirs.
fn check_all<'a>(path: &Path, bytes: &'a [u8], records_at: usize) -> Result<&'a [u8], ObjectFileError> {
    let Some((_, hash)) = bytes[records_at..].split_last_chunk::<HASH_LEN>() else {
        let found = format!("{} bytes after the head", bytes.len() - records_at);
        return Err(damaged(path, records_at, "records and a hash of 8 bytes".to_string(), found));
    };
    let (checked, expected) = (&bytes[..bytes.len() - HASH_LEN], u64::from_le_bytes(*hash));
    let found = xxh3_64(checked);
    if found != expected {
        let expected = format!("xxh3 {expected:016x} of all bytes before it");
        return Err(damaged(path, checked.len(), expected, format!("{found:016x}")));
    }
    Ok(checked)
}

/// Over the version, the length and the rest: not over the magic, nor over itself.
fn crc_of_head(head: &[u8]) -> u32 {
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&head[8..16]);
    crc32.update(&head[PREFIX_LEN..]);
    crc32.finalize()
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number))
}

fn damaged(path: &Path, offset: usize, expected: String, found: String) -> ObjectFileError {
    ObjectFileError::Damaged { path: path.to_path_buf(), offset: offset as u64, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (String, u64);

    fn format() -> ObjectFormat<Pair> {
        ObjectFormat::new().unwrap()
    }

    fn records() -> Vec<Pair> {
        vec![("to".to_string(), 1), ("be".to_string(), 300)]
    }

    fn written(records: &[Pair]) -> Vec<u8> {
        let mut bytes = Vec::new();
        format().write(records, &mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Pair>, ObjectFileError> {
        format().read(Path::new("part-00000"), bytes)
    }

    /// The bytes with the checksums that they should have, so that what lies behind them is tried.
    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let rest_len = number_at(&bytes, 12).unwrap() as usize;
        let crc32 = crc_of_head(&bytes[..PREFIX_LEN + rest_len]);
        bytes[16..PREFIX_LEN].copy_from_slice(&crc32.to_le_bytes());
        let at = bytes.len() - HASH_LEN;
        let hash = xxh3_64(&bytes[..at]);
        bytes[at..].copy_from_slice(&hash.to_le_bytes());
        bytes
    }

    #[test]
    fn an_object_file_is_pinned_by_its_bytes() {
        let mut expected = b"FLDMOBJS\x01\0\0\0\x12\0\0\0".to_vec();
        let rest = b"\x02\0\0\0\0\0\0\0(str, u64)";
        expected.extend(crc32fast::hash(&[b"\x01\0\0\0\x12\0\0\0", &rest[..]].concat()).to_le_bytes());
        expected.extend(rest);
        expected.extend(b"\x04\0\0\0\x02to\x01");
        expected.extend(b"\x06\0\0\0\x02be\xfb\x2c\x01");
        expected.extend(xxh3_64(&expected).to_le_bytes());
        assert_eq!(written(&records()).escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(expected[16..20], 0x38fb_5ae5_u32.to_le_bytes());
    }

    #[test]
    fn what_was_written_is_read_back() {
        for records in [vec![], records(), (0..5_000).map(|n| (format!("word {n}"), n)).collect()] {
            assert_eq!(read(&written(&records)).unwrap(), records);
        }
        let mut units = Vec::new();
        let format = ObjectFormat::<()>::new().unwrap();
        format.write(&[(), ()], &mut units).unwrap();
        assert_eq!(format.read(Path::new("part-00000"), &units).unwrap(), [(), ()]);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_end_is_refused_with_file_and_offset() {
        let whole = written(&records());
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let text = read(&bytes).expect_err(&format!("bit {bit} of byte {at} flipped")).to_string();
                assert!(
                    text.starts_with("part-00000 is damaged at byte ") && text.contains("expected"),
                    "{at}: {text}"
                );
            }
            let text = read(&whole[..at]).expect_err(&format!("cut at {at}")).to_string();
            assert!(text.starts_with("part-00000 is damaged at byte ") && text.contains("found"), "{at}: {text}");
        }
        let longer = [&whole[..], b"\0"].concat();
        assert!(read(&longer).is_err());
    }

    #[test]
    fn files_of_other_records_have_other_crcs() {
        let crc32 = |word: &str| crc32fast::hash(&written(&[(word.to_string(), 1)]));
        assert_ne!(crc32("one"), crc32("two"));
    }

    #[test]
    fn another_version_is_refused_with_both_versions() {
        let mut bytes = written(&records());
        bytes[8] = 2;
        let refused = read(&resealed(bytes)).unwrap_err();
        assert_eq!(refused.to_string(), "part-00000 is an object file of version 2; this build reads version 1");
    }

    #[test]
    fn records_of_another_type_are_refused_with_both_schemas() {
        let path = Path::new("part-00000");
        let refused = ObjectFormat::<(u64, u64)>::new().unwrap().read(path, &written(&records())).unwrap_err();
        assert_eq!(refused.to_string(), "part-00000 holds records of the type (str, u64), expected (u64, u64)");
    }

    #[test]
    fn what_checksums_cannot_find_is_refused_too() {
        let whole = written(&records());
        // One record more than there are, one less, and a length that leads beyond the end.
        for (at, value, expected) in
            [(20, 3, "record 2 of 3, whole"), (20, 1, "the end after 1 records"), (38, 0xff, "record 0 of 2, whole")]
        {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let text = read(&resealed(bytes)).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
        // A string that is not UTF-8.
        let mut bytes = whole;
        bytes[43] = 0xff;
        let text = read(&resealed(bytes)).unwrap_err().to_string();
        assert!(text.contains("at byte 42: expected record 0 as a (str, u64)"), "{text}");
    }

    #[test]
    fn a_type_without_a_schema_is_refused_with_a_reason() {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Word(String),
        }
        assert!(ObjectFormat::<Either>::new().is_err_and(|reason| !reason.is_empty()));
    }
}
