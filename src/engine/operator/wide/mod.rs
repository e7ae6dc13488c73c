//! Operators that bring records together in partitions of their own, within one batch.

mod cogroup;
mod combine_by_key;
mod count;
mod count_by_value;
mod group_by_key;
mod join;
mod partition_by;
mod reduce;
mod reduce_by_key;
mod repartition;
mod transform;
