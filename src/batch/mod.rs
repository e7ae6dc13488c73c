//! Batches: what the ticks of the batch interval cut the input into.

pub mod event;
