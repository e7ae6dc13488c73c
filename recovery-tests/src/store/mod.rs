//! A simulated object store for sweeps.
//!
//! It behaves as the stores of the clouds do now: a put is whole or not there, creating a name and exchanging a version are
//! decided by the store, and what was answered is read at once. A list may be behind. What it holds outlives the lives of a
//! driver; each life has a handle, [`SimulatedStore::through`] the life's door, so that a sweep strikes at every put, delete and
//! list, and after its death a handle answers with errors only. Reads are no steps: a sweep does not strike at them.
//!
//! [`StrikingStore`] is for tests of a client alone: by a script, any request of any store fails, before or after it was done, or is
//! never answered.

mod contents;
mod simulated;
mod striking;
#[cfg(test)]
mod tests;
mod upload;

pub use simulated::SimulatedStore;
pub use striking::{Refusal, Request, Strike, StrikingStore};
