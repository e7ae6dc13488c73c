//! What can be read of a log that a start refuses, and what is lost of it, as seen from a checkpoint.
#![allow(clippy::disallowed_methods)] // reads a stored file, which the verb never changes

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use floodmark_base::disk::Disk;
use floodmark_base::id::{BatchId, Lineage, LogId, Sequence};
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::checkpoint::Manifest;
use floodmark_store::recovery::facts::Fold;
use floodmark_store::wal::{FrameAt, FrameKind, LogSurvey, Seen, WalError};

/// A run of frames, both ends included.
pub(crate) type Frames = (Sequence, Sequence);

/// What is left of a log behind a checkpoint.
pub(crate) struct Salvage {
    /// Where it lies.
    pub directory: PathBuf,
    /// The log that is left; `None` where nothing of the checkpoint's log is.
    pub log: Option<LogId>,
    /// The frames that the new log gets, in their order.
    pub frames: Vec<Salvaged>,
    /// Frames that are needed and cannot be read.
    pub lost: Vec<Frames>,
    /// The batches after the checkpoint that are recomputed from their plans.
    pub kept: Vec<BatchId>,
    /// Batches that were planned, and whose plans are given up: their blocks go into new batches.
    pub given_up: Vec<BatchId>,
    /// Blocks that plans name and that are lost.
    pub lost_blocks: BTreeSet<Sequence>,
    /// Records in the blocks that are kept.
    pub records: u64,
    /// No plan can be lost, so batch numbers mean what they meant.
    pub keeps_lineage: bool,
}

/// A frame that is kept.
pub(crate) struct Salvaged {
    pub at: FrameAt,
    /// What it says, where it is an event; a block otherwise.
    pub event: Option<BatchEvent>,
}

impl Salvage {
    /// Reads all of a log that can be read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn of(disk: &dyn Disk, directory: &Path, from: &Manifest, lineage: Lineage) -> Result<Self> {
        let point = &from.point.log;
        let (log, found, ends_at) = read(disk, directory, point.log)?;
        // What is there, from the oldest frame that the checkpoint needs on.
        let needed: BTreeMap<Sequence, Found> =
            found.into_iter().filter(|(at, _)| *at >= point.oldest_needed).collect();
        let mut fold = Fold::default();
        needed.values().for_each(|found| fold.take(found.at, found.kind, &found.head));
        // A checkpoint knows what came before it to have been durable.
        let end = ends_at.max(point.next);
        let lost = holes(needed.keys().copied(), point.oldest_needed, end);
        let lost_blocks: BTreeSet<Sequence> = fold
            .batches
            .range(from.point.batch.next()..)
            .flat_map(|(_, batch)| batch.plan.blocks())
            .filter(|block| !fold.blocks.contains(*block))
            .collect();

        let (mut kept, mut last_plan) = (Vec::new(), point.next);
        let mut expected = from.point.batch.next();
        for (id, batch) in fold.batches.range(expected..) {
            if *id != expected || batch.plan.blocks().any(|block| lost_blocks.contains(&block)) {
                break;
            }
            kept.push(*id);
            last_plan = last_plan.max(batch.planned_at);
            expected = expected.next();
        }
        let given_up: Vec<BatchId> = fold.batches.range(expected..).map(|(id, _)| *id).collect();
        let behind_plans = |(_, last): &Frames| *last > last_plan || (kept.is_empty() && *last >= point.next);
        let keeps_lineage = given_up.is_empty() && !lost.iter().any(behind_plans) && fold.lineage_is(lineage);

        let covered = fold.batches.range(..=from.point.batch);
        let consumed: BTreeSet<Sequence> = covered.flat_map(|(_, batch)| batch.plan.blocks()).collect();
        let is_kept = |batch: BatchId| kept.contains(&batch);
        let mut frames = Vec::new();
        let mut records = 0;
        for (sequence, found) in needed {
            match found.kind {
                FrameKind::Mark | FrameKind::Absent => {}
                FrameKind::Block => {
                    // Blocks of batches that the checkpoint covers stand before its oldest unplanned one, or in its last plan.
                    // What was given up is not in the fold.
                    if consumed.contains(&sequence) || !fold.blocks.contains(sequence) {
                        continue;
                    }
                    records += fold.blocks.get(sequence).map_or(0, |block| block.records);
                    frames.push(Salvaged { at: found.at, event: None });
                }
                FrameKind::Event => {
                    let Ok(event) = BatchEvent::decode(found.at.version, &found.head) else { continue };
                    let counts = match &event {
                        BatchEvent::Opened { .. } => keeps_lineage,
                        BatchEvent::GivenUp { .. } => false,
                        // It may have been made for any of the batches that follow.
                        BatchEvent::SourceDecided { .. } => true,
                        BatchEvent::Planned(plan) => is_kept(plan.batch),
                        BatchEvent::AttemptStarted { batch, .. }
                        | BatchEvent::AttemptFailed { batch, .. }
                        | BatchEvent::DeadLettered { batch, .. }
                        | BatchEvent::Published { batch } => keeps_lineage && is_kept(*batch),
                        BatchEvent::Committed(commit) => keeps_lineage && is_kept(commit.batch),
                    };
                    if counts {
                        frames.push(Salvaged { at: found.at, event: Some(event) });
                    }
                }
            }
        }
        let directory = directory.to_path_buf();
        Ok(Self { directory, log, frames, lost, kept, given_up, lost_blocks, records, keeps_lineage })
    }
}

struct Found {
    at: FrameAt,
    kind: FrameKind,
    head: Vec<u8>,
}

/// Every whole frame of the log by its sequence, and the sequence that would come next.
fn read(
    disk: &dyn Disk,
    directory: &Path,
    wanted: LogId,
) -> Result<(Option<LogId>, BTreeMap<Sequence, Found>, Sequence)> {
    let survey = LogSurvey::of(disk, directory, None)?;
    if let Some(error) = survey.unreadable.first() {
        return Err(Failure::from(error.clone()));
    }
    let mut found: BTreeMap<Sequence, Found> = BTreeMap::new();
    let (mut log, mut end) = (None, Sequence(0));
    for segment in survey.segments.iter().filter(|segment| segment.header.log == wanted) {
        log = Some(wanted);
        // What an older segment says from here on is superseded.
        drop(found.split_off(&segment.header.first_sequence));
        let file = File::open(&segment.file).map_err(|error| Failure::io("read", &segment.file, &error))?;
        let ending = survey.read(disk, segment, file, |seen| -> Result<(), WalError> {
            if let Seen::Frame(at, header, head, _) = seen {
                found.insert(at.sequence, Found { at, kind: header.kind, head: head.to_vec() });
            }
            Ok(())
        })?;
        end = end.max(ending.next).max(Sequence(ending.proven.0 + 1));
    }
    Ok((log, found, end))
}

/// The runs of frames that are not there, from `first` to before `end`.
fn holes(found: impl Iterator<Item = Sequence>, first: Sequence, end: Sequence) -> Vec<Frames> {
    let mut holes = Vec::new();
    let mut expected = first;
    for sequence in found.chain([end]) {
        if sequence > expected && expected < end {
            holes.push((expected, Sequence(sequence.0.min(end.0) - 1)));
        }
        expected = expected.max(sequence.next());
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_runs_between_what_is_there() {
        let of = |found: &[u64], first, end| {
            let holes = holes(found.iter().map(|it| Sequence(*it)), Sequence(first), Sequence(end));
            holes.into_iter().map(|(first, last)| (first.0, last.0)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[3, 4, 5], 3, 6), []);
        assert_eq!(of(&[3, 6, 7], 2, 10), [(2, 2), (4, 5), (8, 9)]);
        assert_eq!(of(&[], 1, 1), []);
        assert_eq!(of(&[], 1, 4), [(1, 3)]);
    }
}
