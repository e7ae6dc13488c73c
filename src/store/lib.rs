//! Everything of a Floodmark job that survives a crash, and how it is read back.
//!
//! An internal crate of [Floodmark](https://docs.rs/floodmark): what users need of it, the crate `floodmark` exports. Everything
//! else may change in any release.
//!
//! It knows nothing of sources, operators, workers and the driver: a stored job can be read, and what a start would do be decided,
//! without the program that wrote it.
#![forbid(unsafe_code)]
// Tests make files and threads of their own; what they test is linted without them.
#![cfg_attr(test, allow(clippy::disallowed_methods))]
// Rules for interfaces that are offered to others.
#![allow(clippy::len_without_is_empty, clippy::new_without_default)]
#![allow(rustdoc::private_intra_doc_links)] // its documentation is for those who work on it

// One log for blocks and batch events, hence one order of everything.
pub mod wal;
// The blocks that receivers make of records.
pub mod block;
// What the ticks of the batch interval cut the input into.
pub mod batch;
// Keyed state in memory and in RocksDB, and its consistent copies.
pub mod state;
pub mod checkpoint;
// What a start decides, and the story of a start.
pub mod recovery;
// Where manifests, checkpoint files and the log are kept when the machine may be lost.
pub mod remote;
pub mod lock;
// The format of exported state.
pub mod export;

pub use block::StoreError;
pub use recovery::loss::LostBlocks;
pub use recovery::report::RecoveryReport;
pub use recovery::schema::{JobSchema, MigrationSchema, OperatorSchema, SourceSchema};
pub use remote::ObjectStoreHealth;
pub use state::State;
pub use state::spec::StateSpec;
