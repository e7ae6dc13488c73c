//! A source in the header of an export.

use serde::{Deserialize, Serialize};

use crate::block::KeyedPosition;
use crate::checkpoint::{SourceEntry, SourcePosition};
use crate::state::shape::{from_hex, to_hex};

/// What a source is, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub uid: String,
    /// The name of its method; empty where it is not known.
    pub kind: String,
    /// The types of its records, its position and its ranges; empty where there is none, or where it is not known.
    pub record_type: String,
    pub position_type: String,
    pub range_type: String,
    /// Where it stood; nothing where nothing was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<ExportedPosition>,
}

/// A position, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportedPosition {
    /// Of a receiver: keys and positions.
    Keyed(Vec<(String, String)>),
    /// Of a direct source, as it encodes it.
    Direct(String),
    /// Of a store that version 1 wrote, and that no start has taken up since.
    Version1(String),
}

impl From<&SourceEntry> for Source {
    fn from(source: &SourceEntry) -> Self {
        let keyed = |it: &KeyedPosition| (to_hex(&it.key), to_hex(&it.position));
        Self {
            uid: source.uid.to_string(),
            kind: source.kind.clone(),
            record_type: source.record_type.clone(),
            position_type: source.position_type.clone(),
            range_type: source.range_type.clone(),
            position: match &source.position {
                SourcePosition::None => None,
                SourcePosition::Keyed(keys) => Some(ExportedPosition::Keyed(keys.iter().map(keyed).collect())),
                SourcePosition::Direct(bytes) => Some(ExportedPosition::Direct(to_hex(bytes))),
                SourcePosition::Version1(bytes) => Some(ExportedPosition::Version1(to_hex(bytes))),
            },
        }
    }
}

impl Source {
    /// The source as a manifest lists it; nothing where the position is not hex.
    pub fn entry(&self) -> Option<SourceEntry> {
        let keyed = |(key, position): &(String, String)| {
            Some(KeyedPosition { key: from_hex(key)?, position: from_hex(position)? })
        };
        let position = match &self.position {
            None => SourcePosition::None,
            Some(ExportedPosition::Keyed(keys)) => {
                SourcePosition::Keyed(keys.iter().map(keyed).collect::<Option<_>>()?)
            }
            Some(ExportedPosition::Direct(hex)) => SourcePosition::Direct(from_hex(hex)?),
            Some(ExportedPosition::Version1(hex)) => SourcePosition::Version1(from_hex(hex)?),
        };
        Some(SourceEntry {
            uid: self.uid.as_str().into(),
            kind: self.kind.clone(),
            record_type: self.record_type.clone(),
            position_type: self.position_type.clone(),
            range_type: self.range_type.clone(),
            position,
        })
    }
}
