//! Blocks of typed records.
//!
//! # Format
//! The records' encodings one after the other (see [`crate::codec`]), then their number as 8 bytes, little-endian: so that a
//! block tells its own end also where records have no bytes at all.

use std::marker::PhantomData;

use byteview::ByteView;

use crate::codec::{self, Record};
use crate::source::error::SourceError;
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, unexpected};

/// Bytes of the number at the end.
const COUNT_BYTES: usize = 8;

/// A block in the making.
#[derive(Debug, Default)]
pub(crate) struct RecordBlock {
    bytes: Vec<u8>,
    /// Where the last whole record ends.
    end: usize,
    records: u64,
}

impl RecordBlock {
    /// Adds a record; when that fails, or its own code panics, the block is as it was.
    pub fn push<T: Record>(&mut self, record: &T) -> Result<(), String> {
        // What a record that panicked has left.
        self.bytes.truncate(self.end);
        codec::encode_into(record, &mut self.bytes).map_err(|error| error.to_string())?;
        self.end = self.bytes.len();
        self.records += 1;
        Ok(())
    }

    /// Takes back the record that was added last, which began when the block had so many [`bytes`](Self::bytes).
    pub fn take_back(&mut self, bytes: usize) {
        self.end = bytes - COUNT_BYTES;
        self.records -= 1;
    }

    /// Adds the records of another block behind these.
    pub fn append(&mut self, other: &Self) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(&other.bytes[..other.end]);
        self.end = self.bytes.len();
        self.records += other.records;
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that the payload will have.
    pub fn bytes(&self) -> usize {
        self.end + COUNT_BYTES
    }

    /// The payload; the block is empty afterwards and keeps its room.
    pub fn finish(&mut self) -> ByteView {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(&self.records.to_le_bytes());
        let payload = ByteView::new(&self.bytes);
        self.bytes.clear();
        (self.end, self.records) = (0, 0);
        payload
    }
}

/// Reads blocks of typed records.
pub(crate) struct RecordsReader<T>(PhantomData<fn() -> T>);

impl<T> Default for RecordsReader<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Record> TaskReader<T> for RecordsReader<T> {
    fn read(&self, bytes: TaskBytes<'_>, emit: &mut dyn FnMut(T)) -> Result<ReadSummary, SourceError> {
        match bytes {
            TaskBytes::Block(block) => read_records(&block, emit),
            TaskBytes::Range(_) => Err(unexpected("a block of records")),
        }
    }
}

/// Hands every record of a block's payload to `emit`, in order.
pub(crate) fn read_records<T: Record>(block: &[u8], emit: &mut dyn FnMut(T)) -> Result<ReadSummary, SourceError> {
    let Some((mut rest, count)) = block.split_last_chunk::<COUNT_BYTES>() else {
        return Err(undecodable::<T>(format!("{} bytes are too few for a count", block.len())));
    };
    let records = u64::from_le_bytes(*count);
    let whole = rest.len();
    for index in 0..records {
        let (record, taken) = codec::decode_prefix(rest)
            .map_err(|error| undecodable::<T>(format!("record {index} at byte {}: {error}", whole - rest.len())))?;
        rest = &rest[taken..];
        emit(record);
    }
    if rest.is_empty() {
        Ok(ReadSummary { records, failed: 0 })
    } else {
        Err(undecodable::<T>(format!("{} bytes left over after {records} records", rest.len())))
    }
}

fn undecodable<T>(cause: String) -> SourceError {
    SourceError::Decode { what: format!("a block of {}", std::any::type_name::<T>()), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Record>(payload: ByteView) -> Result<Vec<T>, SourceError> {
        let mut records = Vec::new();
        RecordsReader::default().read(TaskBytes::Block(payload), &mut |record| records.push(record))?;
        Ok(records)
    }

    #[test]
    fn a_block_of_records_is_pinned_by_its_bytes() {
        let mut block = RecordBlock::default();
        block.push(&("a".to_string(), 7_u64)).unwrap();
        assert_eq!(block.bytes(), 11);
        let payload = block.finish();
        assert_eq!(&*payload, b"\x01a\x07\x01\0\0\0\0\0\0\0");
        assert_eq!(read::<(String, u64)>(payload).unwrap(), [("a".to_string(), 7)]);
        assert_eq!(block.records(), 0);
    }

    #[test]
    fn records_without_bytes_are_counted() {
        let mut block = RecordBlock::default();
        (0..3).for_each(|_| block.push(&()).unwrap());
        assert_eq!(read::<()>(block.finish()).unwrap().len(), 3);
    }

    #[test]
    fn a_block_of_another_type_is_an_error() {
        let mut block = RecordBlock::default();
        block.push(&300_u64).unwrap();
        let error = read::<u8>(block.finish()).unwrap_err().to_string();
        assert!(error.starts_with("a block of u8 cannot be decoded: "), "{error}");
        assert!(read::<u8>(ByteView::from("short")).is_err());
    }
}
