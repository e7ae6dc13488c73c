//! What several operators have in common.

pub(super) mod aggregate;
pub(super) mod by_key;
mod deal;
pub(super) mod gather;
pub(super) mod group;
mod per_run;
