//! `inspect`: what recovery would do with a stored job, without doing it and without the job's program.

use std::fmt;
use std::path::Path;

use floodmark_base::disk::{Disk, LocalDisk};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::{BatchId, Epoch, ManifestSequence, Sequence};
use floodmark_store::recovery::decide::Decision;
use floodmark_store::recovery::facts::observe;
use floodmark_store::recovery::look::decide_as_a_start;
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::recovery::report::RecoveryReport;
use floodmark_store::recovery::rollback;
use floodmark_store::wal::Tail;

/// What a start of the stored job would decide, for the program that wrote it.
///
/// It displays as the recovery report of that start, before the replay.
#[derive(Debug)]
pub struct Inspection {
    decision: Decision,
    report: RecoveryReport,
    next_sequence: Option<Sequence>,
    proven_synced_through: Option<Sequence>,
    known_next_sequence: Option<Sequence>,
    cut_off: Option<(BatchId, Sequence, Sequence)>,
}

/// Observes a stored job and decides as a start would; writes nothing. The job may be running: what its driver has not
/// finished then shows as an interrupted append.
///
/// What only the program knows is not compared: types, versions, and operators and sources that it may have lost.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::BatchId;
/// use floodmark::testing::{TestJob, inspect};
///
/// let mut job = TestJob::new(|context| {
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     stream.count().collect("how many");
///     numbers
/// })?;
/// job.handles().push(vec![1, 2, 3])?;
/// job.run_batch()?;
/// job.crash();
/// let inspection = inspect(job.directory())?;
/// assert_eq!(inspection.replay(), [BatchId(1)]);
/// assert!(inspection.interrupted_tail().is_none());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The refusal, where a start would refuse.
pub fn inspect(job: &Path) -> Result<Inspection, Error> {
    inspect_on(&LocalDisk, job)
}

/// As [`inspect`], with log and manifests on another disk.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: &dyn Disk, job: &Path) -> Result<Inspection, Error> {
    let facts = observe(disk, job)?;
    let decision = decide_as_a_start(job, &facts)?;
    let scan = facts.log.as_ref().map(|log| &log.scan);
    let first = scan.and_then(|scan| Some((scan.log_id, scan.segments.first()?.first_sequence)));
    let cut_off = first.and_then(|(log, first)| {
        let of_this_log = facts.candidates.iter().filter(|candidate| candidate.point.log.log == log);
        let mut cut =
            of_this_log.filter(|candidate| candidate.damage.is_none() && candidate.point.log.oldest_needed < first);
        cut.next().map(|candidate| (candidate.point.batch, candidate.point.log.oldest_needed, first))
    });
    Ok(Inspection {
        cut_off,
        report: RecoveryReport::new(&decision),
        next_sequence: scan.map(|scan| scan.next_sequence),
        proven_synced_through: scan.map(|scan| scan.proven_synced_through),
        known_next_sequence: facts.candidates.iter().map(|candidate| candidate.point.log.next).max(),
        decision,
    })
}

/// Takes a stored job that nobody runs back to its checkpoint of this batch, through this door to the disk.
///
/// # Errors
/// When there is no such checkpoint, what is stored cannot be read, or the disk refuses.
pub fn roll_back(disk: &dyn Disk, job: &Path, to: BatchId) -> Result<(), Error> {
    let facts = observe(disk, job)?;
    let target = rollback::target(&facts.chain, to).cloned();
    let target = target.ok_or_else(|| Error::new(ErrorKind::Past, format!("there is no checkpoint of batch {to}")))?;
    let opened = facts.log.as_ref().and_then(|log| log.opened);
    rollback::roll_back(disk, job, facts.chain, &target, opened).map(drop).map_err(|error| Refusal::from(error).into())
}

impl Inspection {
    /// The report that the start would begin with.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Whether there is nothing, so that the start would be a first one.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.decision.from.is_none()
    }

    /// The epoch that the start would claim.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.decision.epoch
    }

    /// The batch whose checkpoint the state would be restored from; `None` for a first start.
    #[must_use]
    pub fn checkpoint(&self) -> Option<BatchId> {
        self.decision.from.as_ref().map(|from| from.point.batch)
    }

    /// The batches that would be recomputed, in order.
    #[must_use]
    pub fn replay(&self) -> Vec<BatchId> {
        self.decision.replay.iter().map(|batch| batch.plan.batch).collect()
    }

    /// Of those, the ones whose commit stands in the log.
    #[must_use]
    pub fn committed(&self) -> Vec<BatchId> {
        let committed = self.decision.replay.iter().filter(|batch| batch.commit.is_some());
        committed.map(|batch| batch.plan.batch).collect()
    }

    /// How many logged blocks wait for the next batch.
    #[must_use]
    pub fn unplanned_blocks(&self) -> usize {
        self.decision.unplanned.len()
    }

    /// Checkpoints that would be rejected: the manifest that names each, and why.
    #[must_use]
    pub fn rejected(&self) -> Vec<(ManifestSequence, &str)> {
        self.decision.rejected.iter().map(|rejected| (rejected.sequence, rejected.reason.as_str())).collect()
    }

    /// What is damaged and not needed, with file and reason.
    #[must_use]
    pub fn unneeded_damage(&self) -> &[String] {
        &self.decision.unneeded_damage
    }

    /// A usable checkpoint whose replay would need a frame that the log does not hold any more: its batch, that frame, and the
    /// first frame of the log.
    #[must_use]
    pub fn cut_off(&self) -> Option<(BatchId, Sequence, Sequence)> {
        self.cut_off
    }

    /// The tail of the log that would be cut, if it does not end with a whole frame.
    #[must_use]
    pub fn interrupted_tail(&self) -> Option<&Tail> {
        self.decision.tail.as_ref().filter(|tail| matches!(tail, Tail::Interrupted { .. }))
    }

    /// The sequence that the next frame of the log would get, where there is a log.
    #[must_use]
    pub fn next_sequence(&self) -> Option<Sequence> {
        self.next_sequence
    }

    /// Every frame up to this one is proven to have been synced, where there is a log.
    #[must_use]
    pub fn proven_synced_through(&self) -> Option<Sequence> {
        self.proven_synced_through
    }

    /// The sequence that a manifest knows to come next: what is before it was durable, and a log that ends before it has lost
    /// something.
    #[must_use]
    pub fn known_next_sequence(&self) -> Option<Sequence> {
        self.known_next_sequence
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}
