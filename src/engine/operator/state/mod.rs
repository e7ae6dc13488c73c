//! Operators that keep a state for each key from batch to batch.

pub(crate) mod keyed_state;
pub(crate) mod map_with_state;
mod update_state_by_key;
