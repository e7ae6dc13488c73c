//! What can be read of a log that a start refuses, and what is lost of it, as seen from a checkpoint.
#![allow(clippy::disallowed_methods)] // reads a stored file, which the verb never changes

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use floodmark_base::disk::Disk;
use floodmark_base::id::{BatchId, Lineage, LogId, SegmentNumber, Sequence};
use floodmark_store::batch::event::BatchEvent;
use floodmark_store::block::{AbsentHead, BlockHead};
use floodmark_store::checkpoint::{LogPoint, Manifest};
use floodmark_store::recovery::facts::Fold;
use floodmark_store::wal::{FrameAt, FrameKind, LogSurvey, Lost, Seen, Tail, WalError};

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
    /// Where the end of the log is not there, or cannot be shown to be.
    pub lost_end: Option<LostEnd>,
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

/// An end of a log that cannot be read, and that nothing behind it bounds: how many frames it had nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostEnd {
    /// The first frame of which nobody knows whether there was one.
    pub from: Sequence,
    /// The segments that it was in, as far as they have names.
    pub segments: Vec<SegmentNumber>,
}

/// A frame that is kept.
pub(crate) struct Salvaged {
    pub at: FrameAt,
    /// What it says, where it is an event; a block otherwise.
    pub event: Option<BatchEvent>,
}

impl Salvage {
    /// Reads all of a log that can be read. `known` is the frame that comes next as the manifests know.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn of(disk: &dyn Disk, directory: &Path, from: &Manifest, lineage: Lineage, known: LogPoint) -> Result<Self> {
        let point = &from.point.log;
        let known = if known.log == point.log { known.next.max(point.next) } else { point.next };
        let Read { log, found, ends_at, lost_end } = Read::of(disk, directory, point.log, known)?;
        // What is there, from the oldest frame that the checkpoint needs on.
        let needed: BTreeMap<Sequence, Found> =
            found.into_iter().filter(|(at, _)| *at >= point.oldest_needed).collect();
        let mut fold = Fold::default();
        needed.values().for_each(|found| fold.take(found.at, found.kind, &found.head));
        // A manifest knows what came before it to have been durable.
        let end = ends_at.max(known);
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
        let may_lose_plans = lost_end.is_some() || lost.iter().any(behind_plans);
        let keeps_lineage = given_up.is_empty() && !may_lose_plans && fold.lineage_is(lineage);

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
        Ok(Self { directory, log, frames, lost, lost_end, kept, given_up, lost_blocks, records, keeps_lineage })
    }
}

struct Found {
    at: FrameAt,
    kind: FrameKind,
    head: Vec<u8>,
}

/// What can be read of a log.
struct Read {
    log: Option<LogId>,
    /// Every whole frame by its sequence.
    found: BTreeMap<Sequence, Found>,
    /// The sequence that comes next behind all that was there, as far as anything tells.
    ends_at: Sequence,
    lost_end: Option<LostEnd>,
}

impl Read {
    fn of(disk: &dyn Disk, directory: &Path, wanted: LogId, known: Sequence) -> Result<Self> {
        let mut survey = LogSurvey::of_log(disk, directory, None, Some(wanted))?;
        if let Some(error) = survey.unreadable.first() {
            return Err(Failure::from(error.clone()));
        }
        let headless = headless(&survey);
        // The newest name that there is, whatever stands under it.
        let newest = survey.segments.iter().map(|segment| segment.header.number).chain(headless.iter().copied()).max();
        leave_out_the_misplaced(&mut survey, wanted, &headless);
        let mut found: BTreeMap<Sequence, Found> = BTreeMap::new();
        let (mut log, mut end) = (None, Sequence(0));
        let (mut last, mut read_to, mut last_is_whole) = (None, Sequence(0), false);
        for segment in &survey.segments {
            log = Some(wanted);
            // What an older segment says from here on is superseded.
            drop(found.split_off(&segment.header.first_sequence));
            let file = File::open(&segment.file).map_err(|error| Failure::io("read", &segment.file, &error))?;
            let ending = survey.read(disk, segment, file, |seen| -> Result<(), WalError> {
                if let Seen::Frame(at, header, head, _) = seen
                    && is_understood(header.kind, at, head)
                {
                    found.insert(at.sequence, Found { at, kind: header.kind, head: head.to_vec() });
                }
                Ok(())
            })?;
            end = end.max(ending.next).max(Sequence(ending.proven.0 + 1));
            (last, read_to) = (Some(segment.header.number), ending.next);
            // Only a whole header tells that a torn end is an interrupted append.
            last_is_whole = ending.tail == Tail::Clean || !headless.contains(&segment.header.number);
        }
        let is_all = last.is_some() && last == newest && last_is_whole && read_to >= known;
        let lost_end = (!is_all).then(|| {
            let names = survey.segments.iter().map(|segment| segment.header.number);
            let lacks = |number: &SegmentNumber| Some(*number) > last || (Some(*number) == last && !last_is_whole);
            let mut segments: BTreeSet<SegmentNumber> = names.chain(headless).chain(newest).filter(lacks).collect();
            if last.is_some() && segments.is_empty() {
                // The manifests know more than there is: it is the end of this one, or a segment behind it.
                segments.extend(last);
            }
            LostEnd { from: end.max(known), segments: segments.into_iter().collect() }
        });
        Ok(Self { log, found, ends_at: end, lost_end })
    }
}

/// The segments whose header is damaged, or is that of another segment.
fn headless(survey: &LogSurvey) -> BTreeSet<SegmentNumber> {
    let lost = survey.damage.iter().filter_map(|damage| match damage.lost {
        Lost::Segment(number) => Some(number),
        Lost::Frames { .. } | Lost::Nothing => None,
    });
    lost.collect()
}

/// Leaves out what is of another log, and a segment that falls back behind the one before it: a file that got a name that is not its own.
/// Where it stood nothing is known; what it holds must not supersede what is there.
fn leave_out_the_misplaced(survey: &mut LogSurvey, wanted: LogId, headless: &BTreeSet<SegmentNumber>) {
    let all = std::mem::take(&mut survey.segments);
    for mut segment in all.into_iter().filter(|segment| segment.header.log == wanted) {
        let before = survey.segments.last_mut();
        let falls_back = before.as_ref().is_some_and(|before| {
            segment.header.first_sequence < before.header.first_sequence || segment.header.epoch < before.header.epoch
        });
        if falls_back && headless.contains(&segment.header.number) {
            continue;
        }
        if let Some(before) = before {
            let follows = segment.header.number == before.header.number.next();
            before.until = follows.then_some(segment.header.first_sequence);
            before.is_newest = false;
        }
        (segment.until, segment.is_newest) = (None, true);
        survey.segments.push(segment);
    }
}

/// Whether the head of a frame can be decoded. One that cannot is as lost as one that cannot be read.
fn is_understood(kind: FrameKind, at: FrameAt, head: &[u8]) -> bool {
    match kind {
        FrameKind::Mark => true,
        FrameKind::Block => BlockHead::decode(at.version, head).is_ok(),
        FrameKind::Absent => AbsentHead::decode(at.version, head).is_ok(),
        FrameKind::Event => BatchEvent::decode(at.version, head).is_ok(),
    }
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
