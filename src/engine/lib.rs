//! Everything of Floodmark that runs: jobs, the driver, sources, operators, sinks, listeners, and the test kit.
//!
//! An internal crate of [Floodmark](https://docs.rs/floodmark): what users need of it, the crate `floodmark` exports. Everything
//! else may change in any release.
//!
//! It knows nothing of the command.
#![forbid(unsafe_code)]
// Tests make files and threads of their own; what they test is linted without them.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

// The job: how it is declared, the handle on it while it runs, questions about its state, and its past computed again.
mod job;
mod dstream;
#[cfg(test)]
mod dstream_tests;
// Where records come from.
mod source;
// The declared graph, its operators, and how timely runs them.
mod dataflow;
mod operator;
mod rdd;
// Where published batches go.
mod sink;
// The one place where decisions are taken.
mod driver;
// Who hears what happens.
mod listener;

pub mod testing;

pub use driver::replay::DigestDifference;
pub use driver::status::Status;
pub use driver::stopper::StopHandle;
pub use dstream::DStream;
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
pub use sink::{FileSink, MemorySink, ObjectFileError, PublishedBatch, Sink, SinkError, read_object_files};
pub use source::{
    BinaryFiles, DecodeFailure, Decoder, DirectSource, FileRange, FileStamp, Files, FilesPosition, FilesStatus,
    Framing, OfferLimits, Pushed, Queue, RangeReader, RawRecords, ReadSummary, Receiver, ReceiverContext,
    ReceiverError, ReceiverState, ReceiverStatus, ReferenceFile, ReferenceLoader, SourceCounts, SourceError, TextFiles,
};
