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
pub(crate) mod descriptor;
mod error;
pub(crate) mod files;
mod frozen;
mod key;
pub(crate) mod loader;
mod pace;
mod reader;
pub(crate) mod rest;
pub(crate) mod schema;
#[cfg(feature = "cli")]
pub(crate) mod shape;
pub(crate) mod spec;
mod store;
mod table;
#[cfg(feature = "cli")]
pub(crate) mod view;

#[cfg(test)]
mod tests;

pub(crate) use background::{BackgroundLoad, LoadTasks, Unverified};
pub(crate) use calendar::Calendar;
pub(crate) use error::StateError;
pub(crate) use frozen::FrozenRun;
pub(crate) use key::OperatorNumber;
pub(crate) use pace::Held;
#[cfg(feature = "cli")]
pub(crate) use reader::StateScan;
pub(crate) use reader::{StateReader, decode_entries};
pub(crate) use rest::{CacheCounts, Rest, StateFailure};
pub(crate) use store::StateStore;
pub(crate) use table::{Pressure, Slot, StateTable};

use crate::codec::Record;

/// What can be kept per key: a record that can tell whether it changed.
///
/// `==` is asked for keys without values in a batch: a state that equals the one before is not a change, and the one before
/// stays. What is kept is the encoding, so a NaN is a value as any other, and fields with `#[serde(skip)]` have their default
/// after a restart. A type that holds a hash map or a `BinaryHeap`, whose order a restart would change, is refused when the job
/// starts.
///
/// ```
/// fn keeps_state<S: floodmark::State>(_: S) {}
/// keeps_state(3_u64);
/// ```
pub trait State: Record + PartialEq {}
impl<S: Record + PartialEq> State for S {}
