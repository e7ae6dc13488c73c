//! Blocks: what receivers took in, logged before it counts.
//!
//! A finished block goes to the [`Intake`], which appends it to the log; after the log's acknowledgement (I-1) the block
//! stands in the [`BlockTracker`] until a batch is planned with it. The [`Gate`] bounds how much may stand there.

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

#[cfg(test)]
pub(crate) mod memory_log;

pub use error::StoreError;
pub(crate) use gate::{ReceiveLimits, Room, Turn};
#[cfg(test)]
pub(crate) use head::BLOCK_COST;
pub(crate) use head::{AbsentHead, BlockHead, BlockRef};
pub(crate) use intake::{Answer, BlockLog, Intake, NewBlock, Offered, SourceIntake, Stored};
pub(crate) use line::Line;
pub(crate) use map::BlockMap;
pub(crate) use position::KeyedPosition;
#[cfg(test)]
pub(crate) use tracker::Pending;
pub(crate) use tracker::{BatchLimits, BlockTracker};
