//! A recovery that ends at a batch of the past, and what it finds to differ from the commits on record.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::listener::events::ResultDigest;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::BatchId;
use floodmark_store::batch::event::{Commit, Digest};
use floodmark_store::recovery::facts::{Candidate, Facts, LogFacts};

/// A recomputed batch of which something is not what the commit on record says: the code is another one, or depends on something
/// besides its arguments.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// # let place = tempfile::tempdir().unwrap();
/// use floodmark::{BatchId, StreamingContext};
///
/// let job = |step: u64| -> floodmark::Result<_> {
///     let context = StreamingContext::builder("job").checkpoint(place.path().join("state")).checkpoint_every(100).build()?;
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     stream.map(move |number| (0_u8, number * step)).update_state_by_key("sum", |new: &[u64], sum: Option<u64>| {
///         Some(sum.unwrap_or(0) + new.iter().sum::<u64>())
///     });
///     Ok((context, numbers))
/// };
/// let (context, numbers) = job(1)?;
/// let running = context.start()?;
/// numbers.push(vec![1, 2, 3])?;
/// let batch = running.wait_until(|status| status.records == 3)?.committed;
/// drop(running); // as a crash
///
/// let replay = job(10)?.0.replay(batch)?;
/// assert_eq!(replay.state::<u8, u64>("sum")?.get(&0)?, Some(60));
/// assert!(replay.differences().iter().any(|difference| difference.recorded.uid.as_str() == "sum"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestDifference {
    /// The batch.
    pub batch: BatchId,
    /// What the commit says of an operator or output.
    pub recorded: ResultDigest,
    /// What the replay found.
    pub replayed: ResultDigest,
}

/// What makes a recovery a replay.
#[derive(Clone, Debug)]
pub(crate) struct ReplaySettings {
    pub to: BatchId,
    differences: Arc<Mutex<Vec<DigestDifference>>>,
}

impl ReplaySettings {
    pub fn new(to: BatchId) -> Self {
        Self { to, differences: Arc::default() }
    }

    /// The differences noted so far.
    pub fn differences(&self) -> Vec<DigestDifference> {
        self.differences.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes everything after the batch from what recovery has found.
    ///
    /// # Errors
    /// `Past` and `Configuration` where the batch cannot be had, with the batches that can.
    pub fn limit(&self, mut facts: Facts) -> Result<Facts> {
        let to = self.to;
        let (oldest, newest) = range(&facts, to).ok_or_else(|| {
            Error::new(ErrorKind::Configuration, format!("batch {to} cannot be replayed: nothing is stored here"))
        })?;
        let out_of_range = |kind, why| {
            let can = format!("batches {oldest} to {newest} can be replayed");
            Err(Error::new(kind, format!("batch {to} cannot be replayed: {why}; {can}")))
        };
        if to < oldest {
            return out_of_range(ErrorKind::Past, "no checkpoint at or before it is left");
        }
        if to > newest {
            return out_of_range(ErrorKind::Configuration, "it is not planned yet");
        }
        facts.candidates.retain(|candidate| candidate.point.batch <= to);
        if let Some(LogFacts { batches, blocks, .. }) = &mut facts.log {
            batches.retain(|batch, _| *batch <= to);
            // Blocks that no plan up to here has taken take no part.
            let planned: BTreeSet<_> = batches.values().flat_map(|batch| batch.plan.blocks()).collect();
            blocks.retain(|block| planned.contains(&block.at.sequence));
        }
        Ok(facts)
    }

    /// Notes where a recomputed batch is not what its commit says.
    pub fn compare(&self, recorded: &Commit, replayed: &Commit) {
        let mut differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, before) in &recorded.digests {
            let found = replayed.digests.iter().find(|(other, _)| other == uid);
            let Some((_, after)) = found.filter(|(_, after)| after != before) else { continue };
            let digest =
                |digest: &Digest| ResultDigest { uid: uid.clone(), entries: digest.count, fingerprint: digest.sum };
            differences.push(DigestDifference {
                batch: recorded.batch,
                recorded: digest(before),
                replayed: digest(after),
            });
        }
    }
}

/// The oldest and the newest batch whose state can be computed again. Of checkpoints after the batch asked for a fork has no files.
fn range(facts: &Facts, to: BatchId) -> Option<(BatchId, BatchId)> {
    let is_usable = |candidate: &&Candidate| candidate.damage.is_none() || candidate.point.batch > to;
    let usable = facts.candidates.iter().filter(is_usable);
    let oldest = usable.map(|candidate| candidate.point.batch).min()?;
    let checkpointed = facts.candidates.iter().map(|candidate| candidate.point.batch).max();
    let planned = facts.log.as_ref().and_then(|log| log.batches.keys().next_back().copied());
    Some((oldest, planned.max(checkpointed).unwrap_or(oldest)))
}
