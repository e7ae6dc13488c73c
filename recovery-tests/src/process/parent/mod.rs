//! The victim's parent: kills it, starts it again, and knows what must come out.
//!
//! [`kills()`] kills at random moments, many victims at once; [`points()`] goes through every kind of durable operation, before,
//! within and after it. Both let every victim finish, and then hold against what it left:
//!
//! - every block that was acknowledged is in one batch, once, in order; so is every file;
//! - a block that was acknowledged is stored when the next life begins, and a batch that was told of is visible;
//! - every batch that was ever seen has the same bytes from then on;
//! - the records of every batch, its windows, and the state at the end are what a naive program ([`model`]) makes of the input;
//! - in lockstep, the published files are those of a plain run, byte for byte.
//!
//! A [`Witness`] does that for one victim. What fails is a [`Divergence`], whose directory is kept.

mod check;
mod kills;
mod ledger;
mod life;
pub mod model;
mod output;
mod points;
mod report;
mod sight;
mod witness;

pub use check::Ending;
pub use kills::{Kills, kills};
pub use life::Life;
pub use points::{Points, points};
pub use report::{Divergence, KillReport, LifeRecord, PointReport, Progress, Recoveries};
pub use sight::{Phase, Recovery, Sight};
pub use witness::Witness;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::output::PublishedBatch;
use super::ProcessError;

/// Victims at once for each processor: they wait for the disk most of the time.
const VICTIMS_PER_PROCESSOR: usize = 2;

fn victims_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * VICTIMS_PER_PROCESSOR
}

/// Does something with each of these, on so many threads.
fn in_parallel<T: Sync>(items: &[T], threads: usize, act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(item);
                }
            });
        }
    });
}

/// A fresh directory for a victim, below this one. It goes when it is dropped.
fn scratch(below: &Path) -> Result<tempfile::TempDir, ProcessError> {
    let made = tempfile::Builder::new().prefix("floodmark-victim-").tempdir_in(below);
    made.map_err(ProcessError::file("create a directory in", below))
}
