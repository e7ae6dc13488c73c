//! What direct sources remember, as a part of the state: each has a number as operators have, and its entries are frozen with
//! theirs when a batch is published, so that a checkpoint holds what its batches have read and nothing of later plans.
//!
//! No durable step of its own: what is frozen goes into the checkpoint that is asked for next, and a crash before it is published
//! leaves the one before, whose memory is completed by the batches that are recomputed.

use crate::driver::Driver;
use crate::driver::inputs::{DirectInput, Inputs};
use crate::source::{ErasedDirect, MemoryChange, SourceError};
use floodmark_base::codec::KeyHash;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::Uid;
use floodmark_store::batch::event::{Plan, PlannedTask, Receipt};
use floodmark_store::checkpoint::{OperatorEntry, SOURCE_MEMORY};
use floodmark_store::state::{FrozenRun, OperatorNumber, StateError};

/// What was frozen of the sources, until the checkpoint that gets it is asked for.
#[derive(Default)]
pub(super) struct FrozenMemory {
    pub runs: Vec<(OperatorNumber, FrozenRun)>,
    keys: Vec<(Uid, Vec<Vec<u8>>)>,
}

impl Driver {
    /// Reads what the sources remember from the store, as the checkpoint has it.
    pub(super) fn recall_sources(&mut self) -> Result<()> {
        if self.settings.replay.is_none() && self.events.are_heard() {
            self.inputs.directs.iter_mut().for_each(|input| input.source.track_use());
        }
        let batch = self.checkpoint.newest;
        self.for_all_remembered(|source, key, value| source.recall(key, value, batch))
    }

    /// Hands every entry that the store has of what the sources remember to its source.
    fn for_all_remembered(
        &mut self,
        mut take: impl FnMut(&mut dyn ErasedDirect, &[u8], &[u8]) -> std::result::Result<(), SourceError>,
    ) -> Result<()> {
        let store = self.store.as_ref().expect("a store is there while the driver serves").reader();
        for entry in &self.memories {
            let Some(input) = self.inputs.direct(&entry.uid) else { continue };
            let unreadable = |error: Box<dyn std::error::Error + Send + Sync>, kind| {
                Error::caused_by(kind, format!("what source \"{}\" remembers cannot be read", input.uid), error)
            };
            let mut scan = store.scan(entry.number, KeyHash(0)..=KeyHash(u64::MAX));
            loop {
                let found = scan.next_entry().map_err(|error: StateError| {
                    let kind = if error.is_damage() { ErrorKind::Damaged } else { ErrorKind::Environment };
                    unreadable(error.into(), kind)
                })?;
                let Some((_, _, key, value)) = found else { break };
                take(&mut *input.source, key, value).map_err(|error| unreadable(error.into(), ErrorKind::Damaged))?;
            }
        }
        Ok(())
    }

    /// Freezes what the sources remember, for the checkpoint of the batch that was just published.
    pub(super) fn freeze_sources(&mut self) {
        let mut frozen = FrozenMemory::default();
        for entry in &mut self.memories {
            let Some(input) = self.inputs.direct(&entry.uid) else { continue };
            entry.entries = input.source.remembered();
            let changes = input.source.freeze();
            frozen.keys.push((entry.uid.clone(), changes.iter().map(|(key, _)| key.clone()).collect()));
            frozen.runs.push((entry.number, run_of(changes)));
        }
        self.checkpoint.sources = frozen;
    }

    /// What was frozen for a checkpoint that was not asked for goes into the next one.
    pub(super) fn thaw_sources(&mut self) {
        for (uid, keys) in std::mem::take(&mut self.checkpoint.sources).keys {
            if let Some(input) = self.inputs.direct(&uid) {
                input.source.thaw(Some(keys));
            }
        }
    }

    /// The store went back to an older checkpoint: it may lack anything that is remembered, and may hold what was forgotten since. The
    /// next checkpoint writes the one, and removes the other.
    ///
    /// # Errors
    /// When the older checkpoint cannot be read.
    pub(super) fn thaw_all_sources(&mut self) -> Result<()> {
        self.inputs.directs.iter_mut().for_each(|input| input.source.thaw(None));
        self.for_all_remembered(|source, key, _| {
            source.thaw(Some(vec![key.to_vec()]));
            Ok(())
        })
    }
}

impl Inputs {
    pub(super) fn direct(&mut self, uid: &Uid) -> Option<&mut DirectInput> {
        self.directs.iter_mut().find(|input| input.uid == *uid)
    }

    /// Tells the sources what a batch has read, with their receipts; and what was given up of it, without one: that is not read again
    /// either.
    ///
    /// # Errors
    /// When a range of the plan cannot be decoded.
    pub fn committed(&mut self, plan: &Plan, receipts: &[(Uid, Vec<Receipt>)]) -> Result<()> {
        for planned in &plan.inputs {
            let uid = &planned.source;
            let Some(input) = self.direct(uid) else { continue };
            let receipts = receipts.iter().find(|(of, _)| of == uid).map_or(&[][..], |(_, receipts)| receipts);
            // In the order of the plan, as they were taken.
            for (index, task) in planned.tasks.iter().enumerate() {
                let PlannedTask::Range(range) = task else { continue };
                let receipt = match receipts.binary_search_by_key(&(index as u32), |receipt| receipt.task) {
                    Ok(place) => receipts[place].bytes.as_slice(),
                    Err(_) if input.source.has_given_up(plan.batch, range) => &[],
                    Err(_) => continue,
                };
                input.source.committed(range, receipt, plan.batch).map_err(|error| {
                    let message = format!("source \"{uid}\" cannot take note of what was read");
                    Error::caused_by(ErrorKind::Environment, message, error)
                })?;
            }
        }
        Ok(())
    }
}

/// Numbers what the sources remember, behind all numbers that were ever given; what is remembered for a source that the program
/// has not stays.
pub(super) fn number_memories(entries: &[OperatorEntry], directs: &mut [DirectInput]) -> Vec<OperatorEntry> {
    let mut memories: Vec<_> = entries.iter().filter(|entry| entry.kind == SOURCE_MEMORY).cloned().collect();
    let mut next = entries.iter().map(|entry| entry.number.0 + 1).max().unwrap_or(1);
    for input in directs {
        let Some((key_type, state_type)) = input.source.memory_types() else { continue };
        if memories.iter().any(|entry| entry.uid == input.uid) {
            continue;
        }
        memories.push(OperatorEntry {
            uid: input.uid.clone(),
            number: OperatorNumber(next),
            kind: SOURCE_MEMORY.to_string(),
            key_type,
            state_type,
            state_version: 1,
            entries: 0,
            parameters: Vec::new(),
        });
        next += 1;
    }
    memories
}

fn run_of(changes: Vec<MemoryChange>) -> FrozenRun {
    let mut changes: Vec<_> = changes.into_iter().map(|(key, value)| (KeyHash::of_encoded(&key), key, value)).collect();
    changes.sort_unstable_by(|(one, key, _), (other, other_key, _)| (one, key).cmp(&(other, other_key)));
    let mut run = FrozenRun::with_capacity(changes.len());
    for (hash, key, value) in &changes {
        run.push_encoded(*hash, key, value.as_deref());
    }
    run
}
