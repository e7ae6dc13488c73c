//! Keyed state: typed tables in memory, and the store under them.
//!
//! A [`StateTable`] holds the keyed state of one operator in one partition. What a table changed since the last checkpoint
//! leaves it as a [`FrozenRun`]: sorted, encoded, cheap to hand to another thread. The [`StateStore`], one RocksDB directory
//! per job, takes runs in as sorted files and hands them back, in the same order, to tables that load.
//!
//! One order everywhere: by key hash, then by encoded key. A partition is a contiguous range of hashes, so it is a
//! contiguous range of the table, of a run and of the store.

mod background;
mod calendar;
mod directory;
pub mod descriptor;
mod error;
pub mod files;
mod frozen;
mod key;
pub mod loader;
mod pace;
mod reader;
pub mod rest;
pub mod schema;
pub mod shape;
pub mod spec;
mod store;
mod table;
pub mod view;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod types_tests;

pub use background::{BackgroundLoad, LoadTasks, Unverified};
pub use calendar::Calendar;
pub use error::StateError;
pub use frozen::FrozenRun;
pub use key::OperatorNumber;
pub use pace::Held;
pub use reader::StateScan;
pub use reader::{StateReader, decode_entries};
pub use rest::{CacheCounts, Rest, StateFailure};
pub use store::StateStore;
pub use table::{Pressure, Slot, StateTable};

use floodmark_base::codec::Record;

/// What can be kept per key: a record that can tell whether it changed.
///
/// `==` is asked for keys without values in a batch: a state that equals the one before is not a change, and the one before
/// stays. What is kept is the encoding, so a NaN is a value as any other, and fields with `#[serde(skip)]` have their default
/// after a restart. A type that holds a hash map or a `BinaryHeap`, whose order a restart would change, is refused when the job
/// starts.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn keeps_state<S: floodmark::State>(_: S) {}
/// keeps_state(3_u64);
/// ```
pub trait State: Record + PartialEq {}
impl<S: Record + PartialEq> State for S {}
