//! Floodmark: stateful stream jobs that survive anything.
//!
//! Live input is cut into micro-batches; what receivers take in is logged before it counts; keyed state is checkpointed
//! incrementally; after a crash the job restores, replays and goes on with every logged record counted exactly once.
//!
//! ```no_run
//! use floodmark::{Result, StreamingContext, Text};
//! use std::time::Duration;
//!
//! fn main() -> Result<()> {
//!     let context = StreamingContext::builder("word-count")
//!         .checkpoint("./state")
//!         .batch_interval(Duration::from_secs(1))
//!         .build()?;
//!
//!     context
//!         .socket_text_stream("lines", "127.0.0.1:9999")
//!         .flat_map(Text::split_words)
//!         .map(|word| (word, 1_u64))
//!         .update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
//!             Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
//!         })
//!         .print(10);
//!
//!     context.start()?.await_termination()
//! }
//! ```
//!
//! The modules below are in the order in which data flows.
#![forbid(unsafe_code)]

// The job: how it is declared, the handle on it while it runs, questions about its state, and its past computed again.
mod job;
mod dstream;
#[cfg(test)]
mod dstream_tests;

// What everything stands on: identifiers, encodings, errors, time, threads that give way, the door to the disk, the lock on a
// job's directory, looks at a store in use, and calls of user code.
mod background;
mod bytes;
mod clock;
mod codec;
mod disk;
mod error;
mod id;
mod lock;
mod place;
mod pursuit;
mod text;
// What is found out about the types of a job's records, keys and state.
mod types;
mod user_code;
// Bugs that tests plant; nothing of it is in a build without the feature `testing`.
mod planted;

// Where records come from, and the blocks that receivers make of them.
mod source;
mod block;
// One log for blocks and batch events, hence one order of everything.
mod wal;
// What the ticks of the batch interval cut the input into.
mod batch;
// The declared graph, its operators, and how timely runs them.
mod dataflow;
mod operator;
mod rdd;
// Keyed state in memory and in RocksDB, and its consistent copies.
mod state;
mod checkpoint;
// Where manifests, checkpoint files and the log are kept when the machine may be lost.
#[cfg_attr(not(any(test, feature = "testing")), allow(dead_code, unused_imports))] // some of it is for tests, so far
mod remote;
// Where published batches go.
mod sink;
// The one place where decisions are taken, and the story of a start.
mod driver;
mod recovery;
// Who hears what happens.
mod listener;

// The command.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
// The format of exported state.
#[cfg(feature = "cli")]
mod export;

pub mod testing;

pub use block::StoreError;
pub use bytes::Bytes;
pub use clock::{Clock, Interrupt, ManualClock, SystemClock, Waited};
pub use codec::{Key, Record};
pub use driver::replay::DigestDifference;
pub use driver::status::Status;
pub use driver::stopper::StopHandle;
pub use dstream::DStream;
pub use error::{Error, ErrorKind, Result};
pub use id::{Batch, BatchId, BatchTime, Epoch, Lineage, Position, Uid};
pub use job::context::{StreamingContext, StreamingContextBuilder};
pub use job::query::{StateHandle, StateSnapshot};
pub use job::replay::Replay;
pub use job::running::{Phase, Running};
pub use listener::events::{
    BatchCompleted, BatchFailed, BatchStarted, BatchSubmitted, CheckpointCompleted, ClockJumped, EventsMissed,
    FilesReleased, InputInfo, OutputOperationCompleted, OutputOperationStarted, ReceiverReportedError, ReceiverStarted,
    ReceiverStopped, ResultDigest, SourceRecords, StreamingStarted, StreamingStopped, UserCodeOverdue,
    WorkingCopyFetched,
};
pub use listener::{Percentiles, StatsReportListener, StreamingListener};
pub use operator::reference::Reference;
pub use operator::state::keyed_state::KeyedState;
pub use operator::state::map_with_state::MapWithStateDStream;
pub use operator::windows::remember::Remembered;
pub use rdd::Rdd;
pub use recovery::loss::LostBlocks;
pub use recovery::report::RecoveryReport;
pub use recovery::schema::{JobSchema, MigrationSchema, OperatorSchema, SourceSchema};
pub use remote::ObjectStoreHealth;
pub use sink::{FileSink, MemorySink, ObjectFileError, PublishedBatch, Sink, SinkError, read_object_files};
pub use source::{
    BinaryFiles, DecodeFailure, Decoder, DirectSource, FileRange, FileStamp, Files, FilesPosition, FilesStatus,
    Framing, OfferLimits, Pushed, Queue, RangeReader, RawRecords, ReadSummary, Receiver, ReceiverContext,
    ReceiverError, ReceiverState, ReceiverStatus, ReferenceFile, ReferenceLoader, SourceCounts, SourceError, TextFiles,
};
pub use state::{State, spec::StateSpec};
pub use text::{Text, Words};

/// The README's program is compiled with the documentation's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
