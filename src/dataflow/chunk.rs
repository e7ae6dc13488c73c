//! Chunks: what moves between the stages of a dataflow, instead of single records.
//!
//! A chunk knows where it came from (its [`Origin`]), so that the receiving partition can restore the order of the source,
//! however threads interleaved (I-3). Its records keep their type while they stay in one process and are encoded only when
//! they leave it.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::codec::{Record, decode, encode};

/// The place of the task (or partition) that produced a chunk: first the stage, in the order of the graph, then the task's
/// position in the batch's plan, or the partition's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub stage: u32,
    pub unit: u32,
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
