//! The job with everything, whose store format version 1 wrote: every step of its upgrade, and of the lives after it.

use std::path::Path;

use super::everything::{counts_once, inputs, job};
use crate::sweep::{Restart, Sweep};

/// Batches that the job was through when it died: a checkpoint of batch 8, a batch to recompute; and block 10 was acknowledged.
const BEFORE: u64 = 9;
/// Two checkpoints more make everything of version 1 unneeded.
const BATCHES: u64 = 16;

/// A sweep over the job that goes on with a store of format version 1; faults, seed and pairs are the caller's.
///
/// The first life upgrades the store and is stopped gracefully; the second one finds both versions; after the third nothing is left
/// of version 1.
pub fn upgrade_from_version_1() -> Sweep {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite/version-1");
    inputs(Sweep::new("upgrade", |env| job(env, &|_, builder| builder)), BATCHES)
        .begins_with(store, BEFORE)
        .restarts([Restart::Graceful(12), Restart::Kill(14)])
        .check("every record counts once", |run| counts_once(run, BATCHES))
}
