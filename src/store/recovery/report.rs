//! The report: what recovery found and did, for people and for programs.

use std::fmt;

use crate::recovery::decide::{Changes, Decision, Rejected};
use crate::recovery::loss::{Loss, LostBlocks};
use crate::recovery::sources::SourceChanges;
use crate::wal::Tail;
use floodmark_base::id::{BatchId, Epoch};
use floodmark_base::plural::counted;

/// What recovery found and did.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// use floodmark::RecoveryReport;
///
/// fn describe(recovery: &RecoveryReport) -> String {
///     if recovery.is_fresh() {
///         return "started fresh".to_string();
///     }
///     format!("{} batches were computed again", recovery.batches_replayed())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RecoveryReport {
    epoch: Epoch,
    checkpoint: Option<BatchId>,
    fresh: bool,
    replayed: u64,
    republished: u64,
    /// Batches that a rollback has taken back.
    taken_back: u64,
    unplanned_blocks: u64,
    deaths: u64,
    rejected: Vec<Rejected>,
    unneeded_damage: Vec<String>,
    changes: Changes,
    sources: SourceChanges,
    tail: Tail,
    new_lineage: bool,
    /// Which is rare, so it takes little room where reports travel as events.
    loss: Box<Loss>,
    /// Once it is done.
    milliseconds: Option<u64>,
}

impl RecoveryReport {
    #[doc(hidden)] // for Floodmark's own crates
    pub fn new(decision: &Decision) -> Self {
        Self {
            epoch: decision.epoch,
            checkpoint: decision.from.as_ref().map(|from| from.point.batch),
            fresh: decision.from.is_none(),
            replayed: decision.replay.len() as u64,
            republished: decision.replay.iter().filter(|batch| batch.commit.is_some() && !batch.published).count()
                as u64,
            taken_back: decision.planned_again.len() as u64,
            unplanned_blocks: decision.unplanned.len() as u64,
            deaths: decision.replay.iter().filter(|batch| batch.commit.is_none() && batch.attempts_started > 0).count()
                as u64,
            rejected: decision.rejected.clone(),
            unneeded_damage: decision.unneeded_damage.clone(),
            changes: decision.changes.clone(),
            sources: decision.sources.clone(),
            tail: decision.tail.clone().unwrap_or(Tail::Clean),
            new_lineage: decision.new_lineage,
            loss: Box::new(decision.loss.clone()),
            milliseconds: None,
        }
    }

    #[doc(hidden)] // for Floodmark's own crates
    pub fn took(&mut self, milliseconds: u64) {
        self.milliseconds = Some(milliseconds);
    }

    /// Whether the job started in an empty place.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The number of this life of the driver.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The batch whose checkpoint the state was restored from; 0 for the state before the first batch, `None` for a fresh
    /// start.
    #[must_use]
    pub fn checkpoint(&self) -> Option<BatchId> {
        self.checkpoint
    }

    /// How many batches were to be recomputed from the log.
    #[must_use]
    pub fn batches_replayed(&self) -> u64 {
        self.replayed
    }

    /// The batches that are given up, since what they had read of receivers was lost with another machine: the job goes on from its
    /// checkpoint, as a new lineage.
    #[must_use]
    pub fn batches_lost(&self) -> &[BatchId] {
        &self.loss.batches
    }

    /// What receivers had taken in and is given up, since it was lost with another machine, as far as is known: what these batches had
    /// read, then what no batch had taken.
    pub fn blocks_lost(&self) -> impl Iterator<Item = &LostBlocks> {
        self.loss.planned.iter().chain(&self.loss.unplanned)
    }

    /// From the start of recovery until every batch was recomputed and live input goes on, in milliseconds; 0 while it is not done.
    #[must_use]
    pub fn milliseconds(&self) -> u64 {
        self.milliseconds.unwrap_or_default()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(checkpoint) = self.checkpoint else { return f.write_str("started fresh") };
        match self.milliseconds {
            Some(ms) => {
                write!(
                    f,
                    "recovered: checkpoint of batch {checkpoint}, {} replayed, {ms} ms",
                    counted(self.replayed, "batch")
                )?;
            }
            None => write!(
                f,
                "recovering: checkpoint of batch {checkpoint}, {} to replay",
                counted(self.replayed, "batch")
            )?,
        }
        if self.republished > 0 {
            let done = if self.milliseconds.is_some() { "published" } else { "to publish" };
            write!(f, "; {} {done}", counted(self.republished, "committed batch"))?;
        }
        if self.taken_back > 0 {
            let done = if self.milliseconds.is_some() { "published again" } else { "to publish again" };
            write!(f, "; after a rollback {} {done}, as a new lineage", counted(self.taken_back, "batch"))?;
        }
        if self.deaths > 0 {
            let verb = if self.deaths == 1 { "was" } else { "were" };
            write!(f, "; {} {verb} being computed when the process ended", counted(self.deaths, "batch"))?;
        }
        if self.unplanned_blocks > 0 {
            let verb = if self.unplanned_blocks == 1 { "waits" } else { "wait" };
            write!(f, "; {} {verb} for the next batch", counted(self.unplanned_blocks, "logged block"))?;
        }
        if let Tail::Interrupted {
            segment, offset, bytes, reason, whole_frames_beyond_proven, whole_frames_cut, ..
        } = &self.tail
        {
            write!(
                f,
                "; {bytes} bytes of an interrupted append cut, never acknowledged as far as anything proves: segment {segment}, byte {offset}: {reason} \
                 ({whole_frames_beyond_proven} whole frames before it kept, {whole_frames_cut} after it cut)"
            )?;
        }
        for rejected in &self.rejected {
            write!(
                f,
                "; checkpoint of batch {} (manifest {}) rejected: {}",
                rejected.batch, rejected.sequence, rejected.reason
            )?;
        }
        for damage in &self.unneeded_damage {
            write!(f, "; damaged, but not needed: {damage}")?;
        }
        for uid in &self.changes.started_empty {
            write!(f, "; \"{uid}\" is new and starts empty")?;
        }
        for uid in &self.changes.dropped {
            write!(f, "; the state of \"{uid}\" is dropped")?;
        }
        for (uid, from, to) in &self.changes.migrated {
            write!(f, "; the state of \"{uid}\" is migrated from version {from} to {to}")?;
        }
        for uid in &self.sources.given_up {
            write!(f, "; where source \"{uid}\" was is given up")?;
        }
        for uid in &self.sources.absent {
            write!(f, "; source \"{uid}\" is not in the program, its position is kept")?;
        }
        if !self.loss.is_nothing() {
            write!(f, "; {}", self.loss)?;
        }
        if self.new_lineage {
            f.write_str("; the log is gone: a new lineage begins, what came after the checkpoint is lost")?;
        }
        Ok(())
    }
}
