//! Floodmark: stateful stream jobs that survive anything.
#![forbid(unsafe_code)]
#![allow(dead_code)] // while the skeleton grows

mod clock;
mod codec;
mod error;
mod id;
mod text;

mod disk;

mod source;
mod block;
mod wal;
mod batch;
mod dataflow;
mod operator;
mod state;
mod checkpoint;
mod sink;
mod recovery;
mod driver;

pub use codec::{Key, Record};
pub use error::{Error, ErrorKind, Result};
pub use id::{BatchId, BatchTime, Epoch, Lineage, Position, Uid};
pub use sink::{FileSink, MemorySink, PublishedBatch, Sink, SinkError};
pub use text::Text;

/// What tests of a job, or of a sink, need.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::sink::conformance::{SinkPlace, check_sink};
}
