//! The decoders of what sinks write, for feeding them what was never written: see [`crate::testing::decoders`].

use std::fmt::Debug;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

use super::Fence;
use super::object_files::ObjectFormat;
use super::part::PartFormat;
use super::summary::{BatchSummary, PartSummary};
use floodmark_base::codec::Record;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};

/// `_batch`; its encoding is the only one.
pub(crate) fn summary(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let summary = BatchSummary::parse(&text).map_err(|error| error.to_string())?;
    assert_eq!(summary.to_text(), text, "a summary is decoded whose encoding is another");
    Ok(())
}

/// `.fence`; its encoding is the only one.
pub(crate) fn fence(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let fence = Fence::parse(&text).map_err(|error| error.to_string())?;
    assert_eq!(fence.to_text(), text, "a fence is decoded whose encoding is another");
    Ok(())
}

/// An object file of records of this type.
pub(crate) fn object_file<T: Record + PartialEq + Debug>(bytes: &[u8]) -> Result<(), String> {
    let format = ObjectFormat::<T>::new()?;
    let records = format.read(Path::new("part"), bytes).map_err(|error| error.to_string())?;
    let mut again = Vec::new();
    format.write(&records, &mut again).expect("records that were decoded are encoded");
    assert!(again.len() <= bytes.len(), "{} bytes became {}", bytes.len(), again.len());
    assert_eq!(format.read(Path::new("part"), &again).expect("what was written"), records);
    Ok(())
}

/// Puts the checksum in the last line of a text right.
pub(crate) fn seal_text(bytes: &mut [u8]) {
    const LAST_LINE_LEN: usize = "crc32 01234567\n".len();
    let Some(body_len) = bytes.len().checked_sub(LAST_LINE_LEN) else { return };
    let (body, last) = bytes.split_at_mut(body_len);
    last.copy_from_slice(format!("crc32 {:08x}\n", crc32fast::hash(body)).as_bytes());
}

/// Puts the checksums of an object file right, and the length of its head where that leads beyond the end.
pub(crate) fn seal_object_file(bytes: &mut [u8]) {
    let Some(rest) = bytes.len().checked_sub(28) else { return };
    let len = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]).min(rest as u32);
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    let crc32 = crc32fast::hash(&[&bytes[8..16], &bytes[20..20 + len as usize]].concat());
    bytes[16..20].copy_from_slice(&crc32.to_le_bytes());
    let end = bytes.len() - 8;
    let hash = xxh3_64(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash.to_le_bytes());
}

pub(crate) fn sample_summary(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let partitions = rng.random_range(0..20);
    let parts = (0..partitions).filter(|_| rng.random()).collect::<Vec<_>>();
    let parts = parts.into_iter().map(|partition| PartSummary {
        partition,
        records: rng.random(),
        bytes: rng.random(),
        crc32: rng.random(),
    });
    let parts = parts.collect();
    let (lineage, batch, time) = (Lineage(rng.random()), BatchId(rng.random()), BatchTime(rng.random()));
    BatchSummary { lineage, batch, time, partitions, parts }.to_text().into_bytes()
}

pub(crate) fn sample_fence(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    Fence { epoch: Epoch(rng.random()), lineage: Lineage(rng.random()) }.to_text().into_bytes()
}

/// The object file that holds these records.
pub(crate) fn encode_object_file<T: Record>(records: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = ObjectFormat::new().expect("a sample's type has a schema");
    format.write(records, &mut bytes).expect("samples are encoded");
    bytes
}
