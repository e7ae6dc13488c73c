//! What must stay and what may go: pure functions of the chain.
//!
//! The newest usable checkpoints stay, so many as a count says and besides those that are younger than an age, with everything in the chain since the oldest of them; the manifest that
//! first names that one is the boundary. As long as there are fewer, nothing goes. A damaged manifest behind the boundary
//! may name anything, so it holds the boundary where it is until enough newer checkpoints stand (I-6).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ChainFacts, Link, Standing};
use floodmark_base::clock::Clock;
use floodmark_base::id::{BatchId, BatchTime, Epoch, ManifestSequence, WriterNonce};

/// Which checkpoints are kept: what either protects stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest that are usable; at least 1.
    pub count: usize,
    /// And all whose batch is not older than this.
    pub since: BatchTime,
}

impl Keep {
    /// Everything stays.
    pub const ALL: Self = Self::newest(usize::MAX);

    /// So many, whatever their age.
    pub const fn newest(count: usize) -> Self {
        Self { count, since: BatchTime(u64::MAX) }
    }
}

/// How it is decided which checkpoints are kept, whenever one is published.
#[derive(Clone, Debug)]
pub struct KeepRule {
    pub count: usize,
    /// Besides, those of so long, by this clock.
    pub younger_than_ms: Option<(u64, Arc<dyn Clock>)>,
}

impl KeepRule {
    /// What it comes to at this moment.
    pub fn now(&self) -> Keep {
        let since = self.younger_than_ms.as_ref().map(|(age_ms, clock)| clock.epoch_ms().saturating_sub(*age_ms));
        Keep { count: self.count, since: BatchTime(since.unwrap_or(u64::MAX)) }
    }
}

impl From<usize> for KeepRule {
    fn from(count: usize) -> Self {
        Self { count, younger_than_ms: None }
    }
}

/// What stays.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Retained {
    /// The first manifest that counts; it only ever grows.
    pub boundary: ManifestSequence,
    /// The directories that manifests from the boundary on name.
    pub directories: BTreeSet<String>,
}

/// What stays when these usable checkpoints are to.
pub(super) fn retained(facts: &ChainFacts, keep: Keep) -> Retained {
    let boundary = boundary(facts, keep);
    Retained { boundary, directories: facts.directories(boundary).map(str::to_string).collect() }
}

/// The first manifest that counts when these usable checkpoints are to stay.
pub(super) fn boundary(facts: &ChainFacts, keep: Keep) -> ManifestSequence {
    let checkpoints = facts.checkpoints();
    let usable = checkpoints.iter().filter(|checkpoint| checkpoint.standing == Standing::Usable);
    let usable: Vec<_> = usable.map(|it| (it.sequence, it.manifest.point.last_batch_time)).collect();
    // Newest first. As long as there are fewer than the count, nothing goes.
    let young = usable.iter().take_while(|(_, time)| *time >= keep.since).count();
    let oldest_kept = usable.get(keep.count.max(young) - 1).map(|(sequence, _)| *sequence);
    let damaged_since = |from: ManifestSequence| facts.damaged().any(|(sequence, ..)| sequence >= from);
    let current = facts.boundary();
    match oldest_kept {
        Some(oldest) if oldest > current && !damaged_since(oldest) => oldest,
        _ => current,
    }
}

/// Which of the directories on disk may go: those that no counting manifest names and that this epoch or an older one
/// wrote. A name that is not ours is left alone; while a damaged manifest counts, all are.
pub(super) fn garbage(facts: &ChainFacts, keep: Keep, epoch: Epoch, on_disk: &[String]) -> Vec<String> {
    let retained = retained(facts, keep);
    if facts.links.range(retained.boundary..).any(|(_, link)| matches!(link, Link::Damaged { .. })) {
        return Vec::new();
    }
    let unnamed = on_disk.iter().filter(|name| !retained.directories.contains(*name));
    unnamed.filter(|name| parse_directory(name).is_some_and(|(_, written)| written <= epoch)).cloned().collect()
}

/// The directories on disk that the next collection removes, whoever drives it.
pub fn unneeded(facts: &ChainFacts, on_disk: &[String]) -> Vec<String> {
    garbage(facts, Keep::ALL, Epoch(u64::MAX), on_disk)
}

/// The name of a new checkpoint's directory; no name is used twice (I-10).
pub fn directory_name(batch: BatchId, epoch: Epoch, random: WriterNonce) -> String {
    format!("{batch}-{epoch}-{:016x}", random.0 as u64) // the lower half is random enough
}

/// The epoch of the life that wrote a checkpoint, by its directory's name.
pub fn directory_epoch(name: &str) -> Option<Epoch> {
    parse_directory(name).map(|(_, epoch)| epoch)
}

/// The batch and the epoch in a directory's name, also of one that was interrupted (`….tmp`).
fn parse_directory(name: &str) -> Option<(BatchId, Epoch)> {
    let mut parts = name.strip_suffix(".tmp").unwrap_or(name).split('-');
    let (batch, epoch, random) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = parts.next().is_none() && random.len() == 16 && u64::from_str_radix(random, 16).is_ok();
    match (ours, batch.parse(), epoch.parse()) {
        (true, Ok(batch), Ok(epoch)) => Some((BatchId(batch), Epoch(epoch))),
        _ => None,
    }
}
