//! Room for a start on a full disk.
//!
//! A life that ended because the disk was full leaves no room for the live directory and the claim of the next one. The reserve of
//! the log is for this, too. It is removed before the step is repeated; a crash after that leaves a log without a reserve, which
//! the next start creates again or, as long as there is no room for it, does without (blocks are refused then).

use std::error::Error as StdError;
use std::io;

use crate::driver::settings::JobSettings;
use floodmark_store::recovery::facts::WAL;
use floodmark_store::wal::{give_up_reserve, is_full};

/// Runs a step of a start. If the disk is full, gives up the reserve of the log and runs the step once more. The step must leave
/// nothing behind when it fails.
pub(super) fn with_room<T, E: StdError + 'static>(
    settings: &JobSettings,
    mut step: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    match step() {
        Err(error) if says_full(&error) => match give_up_reserve(&*settings.disk, &settings.location.join(WAL)) {
            Ok(true) => {
                tracing::warn!(%error, "the disk is full: the start goes on in the room of the log's reserve");
                step()
            }
            Ok(false) => Err(error),
            Err(reserve) => {
                tracing::error!(error = %reserve, "the disk is full, and the reserve of the log cannot be removed");
                Err(error)
            }
        },
        outcome => outcome,
    }
}

/// Returns whether an error, or what caused it, says that there is no space on the disk.
fn says_full(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_system = error.downcast_ref::<io::Error>().is_some_and(is_full);
        // RocksDB has no other way to say it.
        let of_store = error.is::<rocksdb::Error>() && error.to_string().contains("No space left on device");
        if of_system || of_store {
            return true;
        }
        cause = error.source();
    }
    false
}
