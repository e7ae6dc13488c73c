//! Operators over the records of several batches.

mod count_by_value_and_window;
mod count_by_window;
mod group_by_key_and_window;
pub(super) mod panes;
mod reduce_by_key_and_window;
pub(super) mod reduce_by_key_and_window_inverse;
mod reduce_by_window;
pub(crate) mod remember;
pub(crate) mod window;
