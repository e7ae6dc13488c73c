//! The identifiers of Floodmark: newtypes, so that two bare `u64`s never stand side by side.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The number that follows this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of a batch: 1, 2, 3, … without holes within one lineage. 0 stands for "before the first batch".
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::BatchId(1).next(), floodmark::BatchId(2));
    /// ```
    BatchId
}
number! {
    /// The time of a batch in milliseconds since the Unix epoch, a multiple of the batch interval.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::BatchTime(1_500).to_string(), "1500");
    /// ```
    BatchTime
}
number! {
    /// The position of a frame in the one order that the log gives to blocks and batch events; the first is 1.
    Sequence
}
number! {
    /// The number of one life of the driver; a larger one fences all smaller ones.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert!(floodmark::Epoch(2) > floodmark::Epoch(1));
    /// ```
    Epoch
}
number! {
    /// The number of a log segment, which is also its file name.
    SegmentNumber
}
number! {
    /// The number of a manifest in its chain, which is also its file name.
    ManifestSequence
}
number! {
    /// A position in an external source, as that source counts: everything before it has been taken.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert!(floodmark::Position(10) < floodmark::Position(11));
    /// ```
    Position
}

/// The name of a type by the XXH3 hash of its text, as manifests write it: what a block or a range says of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TypeHash(pub u64);

impl TypeHash {
    /// The hash of a type's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl $name {
            /// Draws a new one.
            #[must_use]
            #[allow(clippy::disallowed_methods)] // the door itself
            pub fn random() -> Self {
                Self(rand::random())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    };
}

random_id! {
    /// The random id of one unbroken history of batches.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_ne!(floodmark::Lineage::random(), floodmark::Lineage::random());
    /// ```
    Lineage
}
random_id! {
    /// The random id of one log; every frame's checksum covers it, so that a frame of another log is never taken for ours.
    LogId
}

random_id! {
    /// The random number by which the writer of a manifest knows its own, drawn once per life of a driver.
    WriterNonce
}

/// The user's name for a stateful operator, a source or a sink: unique in a job, and the only link between the code and
/// what is stored (I-9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(Arc<str>);

impl Uid {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Uid {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which batch an `Rdd` is.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Batch, BatchId, BatchTime};
/// let batch = Batch { id: BatchId(3), time: BatchTime(1_500) };
/// assert_eq!(batch.id.next(), BatchId(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number: the key by which a receiver of the batch can tell that it has it already.
    pub id: BatchId,
    /// Its time, the same on every replay.
    pub time: BatchTime,
}
