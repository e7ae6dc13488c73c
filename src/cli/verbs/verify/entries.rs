//! The entries of checkpoints: read through RocksDB, which checks every block, then against the hash of each key and the counts of the
//! manifest. What cannot be read is told by operator and range of key hashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::Checkpoint;
use super::work::Workers;
use crate::finding::{Code, Finding};
use crate::page::count;
use floodmark_base::codec::KeyHash;
use floodmark_store::checkpoint::DROPPED;
use floodmark_store::state::view::CheckpointView;
use floodmark_store::state::{OperatorNumber, StateError};

/// Into how many ranges the hashes of an operator are cut, so that threads can share it.
const RANGES: u64 = 16;
/// Damaged places in one range after which nothing more is tried.
const MOST_HOLES: usize = 100;

/// A range of an operator's entries.
pub(super) struct EntryRange {
    /// The place of its checkpoint.
    checkpoint: usize,
    view: Arc<CheckpointView>,
    operator: OperatorNumber,
    first: KeyHash,
    last: KeyHash,
    /// About how many bytes it takes.
    pub bytes: u64,
}

/// What was read of a range.
pub(super) struct CountedEntries {
    checkpoint: usize,
    operator: OperatorNumber,
    pub entries: u64,
    holes: Vec<Hole>,
}

/// Where entries could not be read.
#[derive(Clone)]
struct Hole {
    first: KeyHash,
    /// Where it goes on, or where the range ends.
    last: KeyHash,
    error: String,
    is_damage: bool,
}

/// Opens a checkpoint for reading: the ranges of its entries.
pub(super) fn open(place: usize, checkpoint: &Checkpoint) -> Result<Vec<EntryRange>, StateError> {
    let view = Arc::new(CheckpointView::open(&checkpoint.path, &checkpoint.files.files)?);
    let operators = checkpoint.point.operators.iter().filter(|operator| operator.kind != DROPPED);
    let numbers: Vec<OperatorNumber> = operators.map(|operator| operator.number).collect();
    let sizes = view.reader().approximate_bytes(&numbers);
    let width = u64::MAX / RANGES;
    let ranges = numbers.into_iter().zip(sizes).flat_map(|(operator, size)| {
        let view = Arc::clone(&view);
        (0..RANGES).map(move |index| EntryRange {
            checkpoint: place,
            view: Arc::clone(&view),
            operator,
            first: KeyHash(index * width),
            last: KeyHash(if index + 1 == RANGES { u64::MAX } else { (index + 1) * width - 1 }),
            bytes: size / RANGES,
        })
    });
    Ok(ranges.collect())
}

impl EntryRange {
    /// Reads it.
    pub fn count(&self, workers: &Workers) -> CountedEntries {
        let mut counted =
            CountedEntries { checkpoint: self.checkpoint, operator: self.operator, entries: 0, holes: Vec::new() };
        let mut from = self.first;
        while let Some((after, error)) = self.scan(from, &mut counted, workers) {
            let again = self.view.readable_after(self.operator, after).filter(|hash| *hash <= self.last);
            let is_damage = error.is_damage();
            let last = again.unwrap_or(self.last);
            counted.holes.push(Hole { first: after, last, error: self.view.words(&error), is_damage });
            match again.filter(|_| counted.holes.len() < MOST_HOLES) {
                Some(again) => from = again,
                None => break,
            }
        }
        workers.progress.add(self.bytes);
        counted
    }

    /// Reads up to the first place that cannot be read: the hash before it, and why.
    fn scan(&self, from: KeyHash, counted: &mut CountedEntries, workers: &Workers) -> Option<(KeyHash, StateError)> {
        let mut scan = self.view.reader().scan(self.operator, from..=self.last);
        let mut before = from;
        loop {
            let (hash, found) = match scan.next_entry() {
                Ok(Some((_, hash, key, _))) => (hash, KeyHash::of_encoded(key)),
                Ok(None) => return None,
                Err(error) => return Some((before, error)),
            };
            if hash == found {
                counted.entries += 1;
            } else {
                let reason = format!("expected a key with that hash, found one with {:016x}", found.0);
                let error = StateError::Entry { operator: self.operator, hash, reason };
                let error = self.view.words(&error);
                counted.holes.push(Hole { first: hash, last: hash, error, is_damage: true });
            }
            before = hash;
            if counted.entries.is_multiple_of(1 << 14) && workers.interruption.is_raised() {
                return None;
            }
        }
    }
}

/// What was found in the entries; the checkpoints are marked where they cannot be used.
pub(super) fn findings(known: &mut [Checkpoint], counted: &[CountedEntries]) -> Vec<Finding> {
    let mut sums: BTreeMap<(usize, OperatorNumber), (u64, Vec<&Hole>)> = BTreeMap::new();
    for range in counted {
        let sum = sums.entry((range.checkpoint, range.operator)).or_default();
        sum.0 += range.entries;
        sum.1.extend(&range.holes);
    }
    let mut findings = Vec::new();
    for ((place, operator), (entries, holes)) in sums {
        let checkpoint = &mut known[place];
        let Some(entry) = checkpoint.point.operators.iter().find(|entry| entry.number == operator) else { continue };
        let (uid, expected) = (entry.uid.clone(), entry.entries);
        let of_checkpoint = format!("of {}", checkpoint.words());
        let holes = merged(holes);
        for hole in &holes {
            let code = match (hole.is_damage, checkpoint.pinned) {
                (false, _) => Code::Unreadable,
                (true, true) => Code::PinDamaged,
                (true, false) => Code::EntryDamaged,
            };
            let finding = Finding::new(code).concerning(format!("operator \"{uid}\", {}", hole.words()));
            findings.push(finding.concerning(hole.error.clone()).concerning(of_checkpoint.clone()));
            if hole.is_damage {
                checkpoint.damage.push(hole.error.clone());
            }
        }
        if entries != expected {
            let code = match (checkpoint.pinned, holes.is_empty()) {
                (true, _) => Code::PinDamaged,
                (false, true) => Code::EntryCount,
                (false, false) => Code::EntryDamaged,
            };
            let finding = Finding::new(code);
            let finding = finding.differs(format!("{} entries of \"{uid}\"", count(expected)), count(entries));
            findings.push(finding.concerning(of_checkpoint));
        }
    }
    findings
}

/// Holes that touch each other are one: a damaged block may lie in several ranges.
fn merged(mut holes: Vec<&Hole>) -> Vec<Hole> {
    holes.sort_by_key(|hole| hole.first);
    let mut merged: Vec<Hole> = Vec::new();
    for hole in holes {
        match merged.last_mut() {
            Some(before) if before.is_damage == hole.is_damage && hole.first.0 <= before.last.0.saturating_add(1) => {
                before.last = before.last.max(hole.last);
            }
            _ => merged.push(hole.clone()),
        }
    }
    merged
}

impl Hole {
    fn words(&self) -> String {
        match self.first == self.last {
            true => format!("key hash {:016x}", self.first.0),
            false => format!("key hashes from {:016x} to {:016x}", self.first.0, self.last.0),
        }
    }
}
