//! Batches: what the ticks of the batch interval cut the input into.

pub(crate) mod event;
pub(crate) mod runs;
pub(crate) mod ticker;
pub(crate) mod timing;
mod v1;
