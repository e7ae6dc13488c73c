//! Blocks: what receivers took in, logged before it counts.
//!
//! A finished block goes to the [`Intake`], which appends it to the log; after the log's acknowledgement (I-1) the block
//! stands in the [`BlockTracker`] until a batch is planned with it. The `Gate` bounds how much may stand there.

mod error;
mod gate;
mod head;
mod intake;
mod line;
mod map;
mod position;
mod positions;
mod tracker;
mod v1;

#[cfg(any(test, feature = "testing"))]
pub mod memory_log;

pub use error::StoreError;
pub use gate::{ReceiveLimits, Room, Turn};
pub use head::{AbsentHead, BLOCK_COST, BlockHead, BlockRef};
pub use intake::{Answer, BlockLog, Intake, NewBlock, Offered, SourceIntake, Stored};
pub use line::Line;
pub use map::BlockMap;
pub use position::KeyedPosition;
#[cfg(any(test, feature = "testing"))]
pub use tracker::Pending;
pub use tracker::{BatchLimits, BlockTracker};
