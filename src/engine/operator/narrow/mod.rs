//! Operators that take a run of records to what comes of it, in place.

mod cache;
mod filter;
mod flat_map;
mod flat_map_values;
mod glom;
mod inspect;
mod map;
mod map_partitions;
mod map_values;
pub(crate) mod union;
