//! The jobs by which Floodmark proves itself: one with everything that keeps state, and some that are broken on purpose.

mod broken;
mod everything;
mod hurried;
mod overlapping;
mod upgrade;

pub use broken::{appending_sink, clock_in_a_map};
pub use everything::{BATCHES, everything, everything_in_object_storage, everything_with};
pub use overlapping::overlapping_calls;
pub use upgrade::upgrade_from_version_1;
