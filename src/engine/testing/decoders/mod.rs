//! Every decoder of stored bytes, for feeding it what was never written.
//!
//! A [`Decoder`] decodes as the engine does; where that works it encodes again and compares, and panics where the two differ.
//! Checksums keep nearly all strange bytes from what lies behind them, so each has a function that puts them right: what is
//! behind is then tried as a forger could try it.
//!
//! ```
//! for decoder in floodmark::testing::decoders::ALL {
//!     let valid = (decoder.sample)(7);
//!     assert_eq!((decoder.decode)(&valid), Ok(()), "{}", decoder.name);
//!     decoder.feed(b"whatever");
//! }
//! ```

mod samples;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sink::decoding as sinks;
use crate::source::{FilesPosition, RecordsReader, TaskBytes, TaskReader};
use floodmark_base::codec;
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::block::BlockHead;
use floodmark_store::checkpoint::Manifest;
use floodmark_store::wal::{WalVersion, decoding as log};

pub use samples::Sample;

/// A decoder, and what is needed to try it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What it decodes.
    pub name: &'static str,
    /// Decodes, and where that works, encodes again and compares; or says why the bytes are refused.
    ///
    /// # Panics
    /// When what was decoded is encoded as something else.
    pub decode: fn(&[u8]) -> Result<(), String>,
    /// Puts lengths and checksums right, as far as the bytes have any.
    pub seal: fn(&mut [u8]),
    /// Valid bytes, others for each seed.
    pub sample: fn(u64) -> Vec<u8>,
}

/// All decoders.
pub const ALL: [Decoder; 11] = [
    Decoder { name: "frame", decode: log::frame, seal: log::seal_frame, sample: log::sample_frame },
    Decoder { name: "segment", decode: log::segment, seal: log::seal_segment, sample: log::sample_segment },
    Decoder { name: "event", decode: event, seal: unsealed, sample: samples::event },
    Decoder { name: "block_head", decode: block_head, seal: unsealed, sample: samples::block_head },
    Decoder { name: "records", decode: records, seal: unsealed, sample: samples::records },
    Decoder { name: "manifest", decode: manifest, seal: seal_manifest, sample: samples::manifest },
    Decoder { name: "position", decode: position, seal: unsealed, sample: samples::position },
    Decoder { name: "state", decode: state, seal: unsealed, sample: samples::state },
    Decoder {
        name: "object_file",
        decode: sinks::object_file::<Sample>,
        seal: sinks::seal_object_file,
        sample: samples::object_file,
    },
    Decoder { name: "summary", decode: sinks::summary, seal: sinks::seal_text, sample: sinks::sample_summary },
    Decoder { name: "fence", decode: sinks::fence, seal: sinks::seal_text, sample: sinks::sample_fence },
];

impl Decoder {
    /// The decoder of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        ALL.into_iter().find(|decoder| decoder.name == name).unwrap_or_else(|| panic!("no decoder is named {name}"))
    }

    /// Decodes the bytes as they are, and with their checksums put right; says which of the two were taken.
    ///
    /// # Panics
    /// When what was decoded is encoded as something else.
    pub fn feed(&self, bytes: &[u8]) -> [bool; 2] {
        let mut sealed = bytes.to_vec();
        (self.seal)(&mut sealed);
        [bytes, &sealed].map(|bytes| (self.decode)(bytes).is_ok())
    }
}

/// There are no checksums: what holds these bytes has them.
fn unsealed(_: &mut [u8]) {}

/// A value in the standard encoding. A number may stand in more bytes than it needs, so what was decoded may be encoded in
/// fewer; it must be the same value, and not take more.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Result<(), String> {
    let value: T = codec::decode(bytes).map_err(|error| error.to_string())?;
    let again = codec::encode(&value).expect("what was decoded is encoded");
    assert!(again.len() <= bytes.len(), "{} bytes became {}: {value:?}", bytes.len(), again.len());
    assert_eq!(codec::decode::<T>(&again).expect("what was encoded is decoded"), value);
    Ok(())
}

fn event(bytes: &[u8]) -> Result<(), String> {
    if let Ok(event) = BatchEvent::decode(WalVersion::V1, bytes) {
        assert_eq!(BatchEvent::decode(WalVersion::V2, &event.encode()).expect("what was encoded is decoded"), event);
    }
    survives::<BatchEvent>(bytes)
}

fn block_head(bytes: &[u8]) -> Result<(), String> {
    if let Ok(head) = BlockHead::decode(WalVersion::V1, bytes) {
        assert_eq!(BlockHead::decode(WalVersion::V2, &head.encode()).expect("what was encoded is decoded"), head);
    }
    survives::<BlockHead>(bytes)
}

/// How far files were taken: a set, which a checkpoint's bytes may repeat a name in.
fn position(bytes: &[u8]) -> Result<(), String> {
    survives::<FilesPosition>(bytes)
}

/// A key and a state, as the store holds them one behind the other.
fn state(bytes: &[u8]) -> Result<(), String> {
    let (_, taken) = codec::decode_prefix::<String>(bytes).map_err(|error| error.to_string())?;
    let (key, state) = bytes.split_at(taken);
    survives::<String>(key)?;
    survives::<Sample>(state)
}

/// The payload of a block of typed records.
fn records(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| {
        let mut records: Vec<Sample> = Vec::new();
        let read = RecordsReader::default().read(TaskBytes::Block(bytes.into()), &mut |record| records.push(record));
        read.map(|summary| (records, summary)).map_err(|error| error.to_string())
    };
    let (records, summary) = read(bytes)?;
    assert_eq!(summary.records, records.len() as u64);
    assert_eq!(read(&samples::block(&records))?.0, records, "records read otherwise when they are stored again");
    Ok(())
}

fn manifest(bytes: &[u8]) -> Result<(), String> {
    let manifest = Manifest::from_bytes(bytes).map_err(|damage| damage.to_string())?;
    let again = manifest.to_bytes().expect("what was decoded is encoded");
    let is_current = bytes[8..12] == again[8..12];
    assert!(!is_current || again.len() <= bytes.len(), "{} bytes became {}", bytes.len(), again.len());
    assert_eq!(Manifest::from_bytes(&again).expect("what was encoded is decoded"), manifest);
    Ok(())
}

fn seal_manifest(bytes: &mut [u8]) {
    let Some(len) = bytes.len().checked_sub(20) else { return };
    bytes[12..16].copy_from_slice(&(len as u32).to_le_bytes());
    let crc32 = crc32fast::hash(&[&bytes[8..16], &bytes[20..]].concat());
    bytes[16..20].copy_from_slice(&crc32.to_le_bytes());
}
