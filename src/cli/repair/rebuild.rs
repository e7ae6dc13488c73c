//! Applying a repair.
//!
//! # What a crash leaves
//! | step | a crash before or in it leaves |
//! |---|---|
//! | copies of manifests and log, the line `begins` (`operation.write`) | the store as it was |
//! | the new log in `lost+found/<time>/new-wal/` (`wal.roll`, `wal.append`, `wal.sync`) | the same, and a part of a log that nobody looks at |
//! | `wal/` moves to `lost+found/<time>/wal` (`operation.write`) | no log: a start is refused; a repair finds the log there, and begins again with it |
//! | the new log becomes `wal/` (`operation.write`) | a log that no manifest names: the same |
//! | the manifest (`manifest.create`) | the same, or the repaired store: the create is the commit point |
//! | the line `done` (`operation.write`) | the repaired store |

use std::collections::BTreeMap;

use byteview::ByteView;

use super::{LogPlace, Repair, log_directory};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::operation::{LOST_AND_FOUND, Moved, Operation, is_there, move_to};
use crate::repair::Salvage;
use floodmark_base::id::{Epoch, Lineage, LogId, Sequence, WriterNonce};
use floodmark_store::batch::event::{BatchEvent, PlannedTask};
use floodmark_store::block::BlockHead;
use floodmark_store::checkpoint::{LogPoint, MANIFESTS, Manifest, ManifestChain, ManifestDraft, ManifestKind};
use floodmark_store::recovery::facts::WAL;
use floodmark_store::wal::{FrameKind, NewFrame, Wal, WalSettings, read_frame};

/// Frames that are written before one sync.
const GROUP: usize = 1_000;

/// Does what was decided.
///
/// # Errors
/// When the disk refuses; what was moved up to then is found by the next repair.
pub(crate) fn apply(
    console: &Console<'_>,
    mut operation: Operation<'_>,
    store: &Store,
    repair: Repair,
) -> Result<Vec<Moved>> {
    let disk = console.disk();
    let epoch = repair.chain.highest_epoch().unwrap_or_default().max(opened_epoch(&repair)).next();
    operation.back_up(MANIFESTS)?;
    let directory = log_directory(store, &repair.log_place);
    let below = match &repair.log_place {
        LogPlace::InPlace => WAL.to_string(),
        LogPlace::SetAside(below) => below.clone(),
    };
    if repair.log.is_some() && is_there(&*disk, &directory)? {
        operation.back_up(&below)?;
    }
    let what = repair.why.join("; ");
    operation.begins(&what)?;
    let mut point = repair.from.point.clone();
    // The newest word on the lineage, also where the checkpoint is older.
    if let Some(newest) = repair.chain.newest() {
        (point.lineage, point.generation) = (newest.point.lineage, newest.point.generation);
    }
    if let Some(salvage) = &repair.log {
        let new = format!("{LOST_AND_FOUND}/{}/new-wal", operation.stamp());
        let log = write_log(console, store, &new, salvage, epoch)?;
        if is_there(&*disk, &store.path().join(WAL))? {
            operation.move_aside(WAL)?;
        }
        move_to(&*disk, &store.path().join(&new), &store.path().join(WAL))?;
        point.log = LogPoint { log, next: Sequence(1), oldest_needed: Sequence(1) };
    }
    let kind = if repair.begins_lineage() { ManifestKind::Rollback } else { ManifestKind::Claim };
    if repair.begins_lineage() {
        (point.lineage, point.generation) = (Lineage::random(), epoch);
    }
    let Manifest { checkpoint, .. } = repair.from;
    let draft = ManifestDraft { epoch, nonce: WriterNonce::random(), kind, point, checkpoint };
    ManifestChain::new(store.path(), repair.chain, usize::MAX).publish(&*disk, draft)?;
    operation.done(&what)
}

/// The highest epoch that opened what is left of the log.
fn opened_epoch(repair: &Repair) -> Epoch {
    let frames = repair.log.iter().flat_map(|log| &log.frames);
    let opened = frames.filter_map(|frame| match &frame.event {
        Some(BatchEvent::Opened { epoch, .. }) => Some(*epoch),
        _ => None,
    });
    opened.max().unwrap_or_default()
}

/// Writes what was salvaged as a new log; frames get new numbers, and plans name their blocks by them.
fn write_log(console: &Console<'_>, store: &Store, below: &str, salvage: &Salvage, epoch: Epoch) -> Result<LogId> {
    let disk = console.disk();
    let directory = store.path().join(below);
    let settings = WalSettings { reserve_bytes: 0, quota_bytes: u64::MAX, ..WalSettings::default() };
    let wal = Wal::create(disk.clone(), &directory, epoch, settings)?;
    let mut numbers: BTreeMap<Sequence, Sequence> = BTreeMap::new();
    for group in salvage.frames.chunks(GROUP) {
        console.check()?;
        // Numbers are given in order, so those of a group are known before it is written.
        let mut frames = Vec::new();
        for frame in group {
            let number = Sequence(numbers.len() as u64 + 1);
            numbers.insert(frame.at.sequence, number);
            frames.push(match &frame.event {
                None => {
                    let log = salvage.log.expect("frames were read from a log");
                    let (head, body) = read_frame(&*disk, &salvage.directory, log, frame.at)?;
                    let head = BlockHead::decode(frame.at.version, &head).map_err(|error| undecodable(&error))?;
                    NewFrame { kind: FrameKind::Block, head: head.encode(), body }
                }
                Some(event) => {
                    let head = renumbered(event, &numbers)?.encode();
                    NewFrame { kind: FrameKind::Event, head, body: ByteView::default() }
                }
            });
        }
        wal.append_and_wait(frames)?;
    }
    let log = wal.log_id();
    wal.close()?;
    Ok(log)
}

/// A plan names its blocks by the numbers that they have now.
fn renumbered(event: &BatchEvent, numbers: &BTreeMap<Sequence, Sequence>) -> Result<BatchEvent> {
    let BatchEvent::Planned(plan) = event else { return Ok(event.clone()) };
    let mut plan = plan.clone();
    let number_of = |block: Sequence| {
        numbers.get(&block).copied().ok_or_else(|| {
            let message = format!("batch {} was planned with block {block}, which is not before it", plan.batch);
            Failure::new(Exit::DataLost, message)
        })
    };
    for task in plan.inputs.iter_mut().flat_map(|input| &mut input.tasks) {
        match task {
            PlannedTask::Block(block) => *block = number_of(*block)?,
            // Numbers rise as those before did, so the blocks keep their order.
            PlannedTask::Blocks(blocks) => *blocks = blocks.iter().map(number_of).collect::<Result<_>>()?,
            PlannedTask::Range(_) => {}
        }
    }
    Ok(BatchEvent::Planned(plan))
}

fn undecodable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("the head of a block cannot be decoded: {error}"))
}
