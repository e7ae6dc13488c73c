//! What a stopped job has stored, looked at from outside: nothing that is referred to is missing, and the inspection says what
//! the next start does.

use std::path::Path;

use floodmark::BatchId;
use floodmark::testing::{Inspection, inspect};

use super::oracle::{Divergence, Oracle};

/// Looks at a stored job; nothing where there is none yet. No crash and no error of the disk makes a checkpoint unusable, or
/// cuts the log off from one that is kept.
pub(super) fn check(state: &Path) -> Result<Option<Inspection>, Divergence> {
    if !state.exists() {
        return Ok(None);
    }
    let inspection = inspect(state)
        .map_err(|error| Divergence::new(Oracle::Survives, format!("the stored job is refused: {error}")))?;
    if let Some((sequence, reason)) = inspection.rejected().first() {
        let what = format!("manifest {sequence} refers to what is not there: {reason}");
        return Err(Divergence::new(Oracle::Retention, what));
    }
    if let Some(damage) = inspection.unneeded_damage().first() {
        return Err(Divergence::new(Oracle::Retention, format!("something kept is damaged: {damage}")));
    }
    if let Some((batch, needed, first)) = inspection.cut_off() {
        let what =
            format!("the checkpoint of batch {batch} needs the log from frame {needed} on, which begins at {first}");
        return Err(Divergence::new(Oracle::Retention, what));
    }
    Ok(Some(inspection))
}

/// Whether a start has done what the inspection before it said.
pub(super) fn compare(said: &Inspection, done: &str) -> Result<(), Divergence> {
    // A start that is over says so, and how long it took, on a clock that stands still.
    let said = said.to_string().replacen("recovering", "recovered", 1).replacen("to replay", "replayed", 1).replacen(
        "to publish",
        "published",
        1,
    );
    let done = done.replace(", 0 ms", "");
    if said == done {
        return Ok(());
    }
    Err(Divergence::new(Oracle::Verify, format!("the inspection said \"{said}\", the start then \"{done}\"")))
}

/// Whether the log, as a power cut would leave it at this moment, knows that this batch is committed (I-2, I-4).
pub(super) fn knows_commit(state: &Path, batch: BatchId) -> Result<(), Divergence> {
    let unknown =
        |what: String| Divergence::new(Oracle::Order, format!("batch {batch} is about to be published, but {what}"));
    let inspection =
        inspect(state).map_err(|error| unknown(format!("after a power cut the job would be refused: {error}")))?;
    let newest = inspection.committed().last().copied().max(inspection.checkpoint());
    if newest >= Some(batch) {
        return Ok(());
    }
    let planned = inspection.replay().last().copied().max(inspection.checkpoint()).unwrap_or_default();
    Err(unknown(format!(
        "after a power cut the log would know plans up to {planned}, and commits up to {}",
        newest.unwrap_or_default()
    )))
}
