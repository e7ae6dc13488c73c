//! The operators: one file each, with its method on [`DStream`](crate::DStream), its documentation, its lowering, and what it
//! keeps in state. To add one, read a neighbour of its kind: `map` (narrow), `map_partitions` (narrow, whole partitions),
//! `reduce_by_key` (wide), `update_state_by_key` (wide, with state), `sink` (output).

mod collect_output;
mod count;
mod filter;
mod flat_map;
pub(crate) mod foreach_rdd;
mod group;
mod join_reference;
mod left_outer_join_reference;
mod map;
mod map_partitions;
mod map_values;
mod per_run;
mod print;
mod reduce_by_key;
pub(crate) mod reference;
mod sink;
mod subtract_reference;
mod union;
mod update_state_by_key;

#[cfg(test)]
mod reference_tests;
