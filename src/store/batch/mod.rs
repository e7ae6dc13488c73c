//! Batches: what the ticks of the batch interval cut the input into.

pub mod event;
pub mod runs;
pub mod ticker;
pub mod timing;
mod v1;
