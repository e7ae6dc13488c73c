//! What all of Floodmark stands on: identifiers, encodings, errors, time, the door to the disk.
//!
//! An internal crate of [Floodmark](https://docs.rs/floodmark): what users need of it, the crate `floodmark` exports. Everything
//! else may change in any release.
//!
//! It knows nothing of logs, checkpoints and jobs, and needs neither RocksDB nor a runtime.
#![forbid(unsafe_code)]
// Tests make files and threads of their own; what they test is linted without them.
#![cfg_attr(test, allow(clippy::disallowed_methods))]
// Rules for interfaces that are offered to others.
#![allow(clippy::len_without_is_empty, clippy::new_without_default)]
#![allow(rustdoc::private_intra_doc_links)] // its documentation is for those who work on it

pub mod text;
pub mod plural;
pub mod bytes;
pub mod error;
pub mod clock;
pub mod id;
pub mod codec;
// Bugs that tests plant; nothing of it is in a build without the feature `testing`.
pub mod planted;
// Calls of code of the user, and what its panics said.
pub mod user_code;
pub mod background;
pub mod pursuit;
pub mod place;
pub mod disk;
// What is found out about the types of a job's records, keys and state.
pub mod types;

pub use bytes::Bytes;
pub use clock::{Clock, Interrupt, ManualClock, SystemClock, Waited};
pub use codec::{Key, Record};
pub use error::{Error, ErrorKind, Result};
pub use id::{Batch, BatchId, BatchTime, Epoch, Lineage, Position, Uid};
pub use text::{Text, Words};
