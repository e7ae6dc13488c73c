//! Blocks of typed records.
//!
//! # Format
//! The records' encodings one after the other (see [`floodmark_base::codec`]), then their number as 8 bytes, little-endian: so that a
//! block tells its own end also where records have no bytes at all.

use std::cell::Cell;
use std::marker::PhantomData;

use byteview::ByteView;

use crate::source::error::SourceError;
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, unexpected};
use floodmark_base::codec::{self, Record};

/// Bytes of the number at the end.
const COUNT_BYTES: usize = 8;

/// The largest buffer that a thread keeps for the next record that it encodes.
const MOST_KEPT_BYTES: usize = 64 << 10;

thread_local! {
    /// A buffer for the next record that is encoded on this thread.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A block in the making.
#[derive(Debug, Default)]
pub(crate) struct RecordBlock {
    bytes: Vec<u8>,
    records: u64,
}

impl RecordBlock {
    /// A block of one record. It uses the thread's spare buffer, so nothing is allocated where the block before was
    /// [recycled](Self::recycle).
    pub fn of_one<T: Record>(record: &T) -> Result<Self, String> {
        // Taken out, since the record's own code may store other records.
        let bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        let mut block = Self { bytes, records: 0 };
        block.push(record)?;
        Ok(block)
    }

    /// Gives the buffer back to the thread for its next record.
    pub fn recycle(self) {
        let Self { mut bytes, .. } = self;
        if bytes.capacity() <= MOST_KEPT_BYTES {
            bytes.clear();
            // A thread that is about to end keeps nothing.
            SPARE.try_with(|spare| spare.set(bytes)).ok();
        }
    }

    /// Adds a record; when that fails, the block is as it was. When the record's own code panics, the block may end with a part of the
    /// record and must not be used any more.
    pub fn push<T: Record>(&mut self, record: &T) -> Result<(), String> {
        let end = self.bytes.len();
        codec::encode_into(record, &mut self.bytes).map_err(|error| {
            self.bytes.truncate(end);
            error.to_string()
        })?;
        self.records += 1;
        Ok(())
    }

    /// Adds the records of another block behind these.
    pub fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.records += other.records;
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that the payload will have.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + COUNT_BYTES
    }

    /// The payload; the block is empty afterwards and keeps its room.
    pub fn finish(&mut self) -> ByteView {
        self.bytes.extend_from_slice(&self.records.to_le_bytes());
        let payload = ByteView::new(&self.bytes);
        self.bytes.clear();
        self.records = 0;
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
    fn records_that_are_encoded_one_after_the_other_use_one_buffer() {
        let first = RecordBlock::of_one(&"a long record".to_string()).unwrap();
        let buffer = first.bytes.as_ptr();
        first.recycle();
        let mut second = RecordBlock::of_one(&7_u64).unwrap();
        assert_eq!(second.bytes.as_ptr(), buffer);
        assert_eq!(read::<u64>(second.finish()).unwrap(), [7]);
        RecordBlock::of_one(&vec![7_u8; MOST_KEPT_BYTES + 1]).unwrap().recycle();
        assert_eq!(SPARE.take().capacity(), 0, "a large buffer is not kept");
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
