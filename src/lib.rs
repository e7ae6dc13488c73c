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
//!         .install_signal_handlers() // SIGTERM and Ctrl-C stop it gracefully
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
//!     let running = context.start()?;
//!     println!("{}", running.recovery()); // what it found and did
//!     running.await_termination()
//! }
//! ```
//!
//! Everything has its name at the root of the crate, too; the modules say what belongs together, and stand in the order in which
//! data flows. [`prelude`] holds what nearly every job uses.
#![forbid(unsafe_code)]

pub mod prelude;

pub use floodmark_base::{
    Batch, BatchId, BatchTime, Bytes, Epoch, Error, ErrorKind, Key, Lineage, Position, Record, Result, Text, Uid, Words,
};
pub use floodmark_engine::{DStream, Phase, Running, Status, StopHandle, StreamingContext, StreamingContextBuilder};

/// Where records come from: receivers, whose records are logged, direct sources, which are read again, and reference data.
pub mod source {
    #[doc(inline)]
    pub use floodmark_engine::{
        BinaryFiles, DecodeFailure, Decoder, DirectSource, FileRange, FileStamp, Files, FilesPosition, FilesStatus,
        Framing, OfferLimits, Pushed, Queue, RangeReader, RawRecords, ReadSummary, Receiver, ReceiverContext,
        ReceiverError, ReceiverState, ReceiverStatus, Reference, ReferenceFile, ReferenceLoader, SourceCounts,
        SourceError, TextFiles,
    };
    #[doc(inline)]
    pub use floodmark_store::StoreError;
}

/// The records of one batch.
pub mod rdd {
    #[doc(inline)]
    pub use floodmark_engine::Rdd;
}

/// What is kept per key, and how it is asked for.
pub mod state {
    #[doc(inline)]
    pub use floodmark_engine::{KeyedState, MapWithStateDStream, Remembered, StateHandle, StateSnapshot};
    #[doc(inline)]
    pub use floodmark_store::{State, StateSpec};
}

/// Where published batches go.
pub mod sink {
    #[doc(inline)]
    pub use floodmark_engine::{
        FileSink, MemorySink, ObjectFileError, PublishedBatch, Sink, SinkError, read_object_files,
    };
}

/// Who hears what happens.
pub mod listener {
    #[doc(inline)]
    pub use floodmark_engine::{
        BatchCompleted, BatchFailed, BatchStarted, BatchSubmitted, CheckpointCompleted, ClockJumped, EventsMissed,
        FilesReleased, InputInfo, OutputOperationCompleted, OutputOperationStarted, Percentiles, ReceiverReportedError,
        ReceiverStarted, ReceiverStopped, ResultDigest, SourceRecords, StatsReportListener, StreamingListener,
        StreamingStarted, StreamingStopped, UserCodeOverdue, WorkingCopyFetched,
    };
}

/// What a start found and did, what it compares, what was lost, and past batches computed again.
pub mod recovery {
    #[doc(inline)]
    pub use floodmark_engine::{DigestDifference, Replay};
    #[doc(inline)]
    pub use floodmark_store::{
        JobSchema, LostBlocks, MigrationSchema, ObjectStoreHealth, OperatorSchema, RecoveryReport, SourceSchema,
    };
}

/// Time: the system's, and one that tests drive.
pub mod clock {
    #[doc(inline)]
    pub use floodmark_base::{Clock, Interrupt, ManualClock, SystemClock, Waited};
}

#[doc(inline)]
pub use floodmark_engine::testing;

#[doc(no_inline)]
pub use clock::{Clock, Interrupt, ManualClock, SystemClock, Waited};
#[doc(no_inline)]
pub use listener::{
    BatchCompleted, BatchFailed, BatchStarted, BatchSubmitted, CheckpointCompleted, ClockJumped, EventsMissed,
    FilesReleased, InputInfo, OutputOperationCompleted, OutputOperationStarted, Percentiles, ReceiverReportedError,
    ReceiverStarted, ReceiverStopped, ResultDigest, SourceRecords, StatsReportListener, StreamingListener,
    StreamingStarted, StreamingStopped, UserCodeOverdue, WorkingCopyFetched,
};
#[doc(no_inline)]
pub use rdd::Rdd;
#[doc(no_inline)]
pub use recovery::{
    DigestDifference, JobSchema, LostBlocks, MigrationSchema, ObjectStoreHealth, OperatorSchema, RecoveryReport,
    Replay, SourceSchema,
};
#[doc(no_inline)]
pub use sink::{FileSink, MemorySink, ObjectFileError, PublishedBatch, Sink, SinkError, read_object_files};
#[doc(no_inline)]
pub use source::{
    BinaryFiles, DecodeFailure, Decoder, DirectSource, FileRange, FileStamp, Files, FilesPosition, FilesStatus,
    Framing, OfferLimits, Pushed, Queue, RangeReader, RawRecords, ReadSummary, Receiver, ReceiverContext,
    ReceiverError, ReceiverState, ReceiverStatus, Reference, ReferenceFile, ReferenceLoader, SourceCounts, SourceError,
    StoreError, TextFiles,
};
#[doc(no_inline)]
pub use state::{KeyedState, MapWithStateDStream, Remembered, State, StateHandle, StateSnapshot, StateSpec};

/// The README's program is compiled with the documentation's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
