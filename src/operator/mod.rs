//! The operators: one file each, with its method on [`DStream`](crate::DStream), its documentation, its lowering, and what it
//! keeps in state. To add one, read a neighbour of its kind: `map` (narrow), `map_partitions` (narrow, whole partitions),
//! `reduce_by_key` (wide), `update_state_by_key` (wide, with state), `sink` (output).

mod aggregate;
mod by_key;
mod cache;
mod cogroup;
mod collect_output;
mod combine_by_key;
mod count;
mod count_by_value;
mod count_by_value_and_window;
mod count_by_window;
mod deal;
mod filter;
mod flat_map;
mod flat_map_values;
pub(crate) mod foreach_rdd;
mod gather;
mod glom;
mod group;
mod group_by_key;
mod group_by_key_and_window;
mod inspect;
mod join;
mod join_reference;
pub(crate) mod keyed_state;
mod left_outer_join_reference;
mod map;
mod map_partitions;
mod map_values;
pub(crate) mod map_with_state;
mod panes;
mod partition_by;
mod per_run;
mod print;
mod reduce;
mod reduce_by_key;
mod reduce_by_key_and_window;
mod reduce_by_key_and_window_inverse;
mod reduce_by_window;
pub(crate) mod reference;
pub(crate) mod remember;
mod repartition;
mod save_as_object_files;
mod save_as_text_files;
mod sink;
mod subtract_reference;
mod transform;
pub(crate) mod union;
mod update_state_by_key;
mod window;

#[cfg(test)]
mod tests;
