//! Chunks: what moves between the stages of a dataflow, instead of single records.
//!
//! A chunk knows where it came from (its [`Origin`]), so that the receiving partition can restore the order of the source,
//! however threads interleaved (I-3). Its records keep their type while they stay in one process and are encoded only when
//! they leave it.

use std::any::Any;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use floodmark_base::codec::{Record, decode, encode};

/// The place of a unit among all units of its stream: the units of a stream are ordered by it, and no two have the same.
///
/// For a source that is the task's position in the batch's plan, behind a shuffle the partition's number. Streams that are put
/// together from others add a step in front: a union the side, a window the time of the batch that a unit came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Origin(SmallVec<[u64; 3]>);

impl Origin {
    pub fn of(unit: u32) -> Self {
        Self(smallvec![u64::from(unit)])
    }

    /// This place within one part of a stream that is put together from several.
    pub fn within(&self, part: u64) -> Self {
        let mut steps = SmallVec::with_capacity(self.0.len() + 1);
        steps.push(part);
        steps.extend_from_slice(&self.0);
        Self(steps)
    }
}

/// Some records on their way to one partition.
#[derive(Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub origin: Origin,
    /// Orders the chunks of one origin.
    pub sequence: u32,
    /// Which input of the receiving operator it is for (a join has two).
    pub side: u32,
    /// The partition that receives it.
    pub partition: u32,
    pub records: Records,
}

/// Records with their type erased.
pub(crate) enum Records {
    /// A `Vec<T>` of this process.
    Typed(Box<dyn ErasedRecords>),
    /// A `Vec<T>` that came from another process, still encoded.
    Encoded(Vec<u8>),
}

/// A `Vec<T>` whose type only the operators on both ends know.
pub(crate) trait ErasedRecords: Send {
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn encode(&self) -> Vec<u8>;
}

impl<T: Record> ErasedRecords for Vec<T> {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn encode(&self) -> Vec<u8> {
        encode(self).expect("a record encodes")
    }
}

impl Records {
    pub fn new<T: Record>(records: Vec<T>) -> Self {
        Self::Typed(Box::new(records))
    }

    /// The records as what they are.
    ///
    /// # Panics
    /// When they are of another type: the graph connects typed streams only, so this is a bug of ours.
    pub fn into_typed<T: Record>(self) -> Vec<T> {
        match self {
            Self::Typed(records) => *records.into_any().downcast().expect("both ends of a stream agree on its type"),
            Self::Encoded(bytes) => decode(&bytes).expect("both ends of a stream agree on its encoding"),
        }
    }
}

impl Serialize for Records {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Typed(records) => records.encode().serialize(serializer),
            Self::Encoded(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_ordered_before_the_units_in_them() {
        let units = [Origin::of(0), Origin::of(7)];
        let parts: Vec<Origin> = (1..3).flat_map(|part| units.iter().map(move |unit| unit.within(part))).collect();
        assert!(parts.is_sorted_by(|a, b| a < b), "{parts:?}");
        assert!(units.is_sorted_by(|a, b| a < b), "{units:?}");
    }

    #[test]
    fn records_that_left_the_process_come_back_as_what_they_were() {
        let chunk = Chunk {
            origin: Origin::default(),
            sequence: 0,
            side: 0,
            partition: 3,
            records: Records::new(vec![(1_u64, "a".to_string())]),
        };
        let travelled: Chunk = decode(&encode(&chunk).unwrap()).unwrap();
        assert_eq!(travelled.records.into_typed::<(u64, String)>(), [(1, "a".to_string())]);
    }
}
