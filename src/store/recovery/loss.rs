//! What was lost with a machine: blocks whose log was on it, while object storage had the plans.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::block::BlockRef;
use floodmark_base::id::{BatchId, Sequence, Uid};
use floodmark_base::plural::counted;

/// What of one source's blocks nobody can read again.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// fn describe(lost: &floodmark::LostBlocks) -> String {
///     format!("{} records of {}", lost.records, lost.source)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostBlocks {
    /// The receiver's uid.
    pub source: Uid,
    /// How many blocks.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What a start cannot have, or gives up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The batches that are left out, in order. None where all can be computed again.
    pub batches: Vec<BatchId>,
    /// What they read of receivers.
    pub planned: Vec<LostBlocks>,
    /// What no batch had taken.
    pub unplanned: Vec<LostBlocks>,
    /// The blocks of that, which this start writes down.
    pub given_up: Vec<Sequence>,
}

impl Loss {
    /// Whether the job goes on from its checkpoint as a new lineage, without these batches.
    pub fn begins_lineage(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Nothing to tell.
    pub fn is_nothing(&self) -> bool {
        self.batches.is_empty() && self.given_up.is_empty()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.begins_lineage() {
            write!(f, "a new lineage begins without {}", Batches(&self.batches))?;
            if !self.planned.is_empty() {
                write!(f, ", which had read {}", Listed(&self.planned))?;
            }
        }
        if !self.unplanned.is_empty() {
            let and = if self.begins_lineage() { "; " } else { "" };
            write!(f, "{and}lost with another machine before any batch had taken it: {}", Listed(&self.unplanned))?;
        }
        Ok(())
    }
}

/// Adds blocks up by their source.
pub fn add_up<'b>(blocks: impl Iterator<Item = &'b BlockRef>) -> Vec<LostBlocks> {
    let mut lost: BTreeMap<&Uid, LostBlocks> = BTreeMap::new();
    for block in blocks {
        let empty = || LostBlocks { source: block.source.clone(), blocks: 0, records: 0, bytes: 0 };
        let of_source = lost.entry(&block.source).or_insert_with(empty);
        of_source.blocks += 1;
        of_source.records += block.records;
        of_source.bytes += block.bytes;
    }
    lost.into_values().collect()
}

/// Of blocks that wait for a batch: those that are given up, since they or one of their source before them are lost. What comes behind a
/// lost block goes with it: a source that counts positions is asked again from there on.
pub fn given_up(waiting: &[BlockRef], absent: &BTreeSet<Sequence>) -> BTreeSet<Sequence> {
    let mut sources: BTreeSet<&Uid> = BTreeSet::new();
    let mut given_up = BTreeSet::new();
    for block in waiting {
        if absent.contains(&block.at.sequence) {
            sources.insert(&block.source);
        }
        if sources.contains(&block.source) {
            given_up.insert(block.at.sequence);
        }
    }
    given_up
}

/// Batches in words.
pub struct Batches<'b>(pub &'b [BatchId]);

impl fmt::Display for Batches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "batch " } else { "batches " })?;
        let (mut rest, mut separator) = (self.0, "");
        while let [first, ..] = rest {
            let run = rest.iter().zip(first.0..).take_while(|(batch, expected)| batch.0 == *expected).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first} to {}", rest[run - 1])?,
            }
            (rest, separator) = (&rest[run..], ", ");
        }
        Ok(())
    }
}

/// Blocks of sources in words.
pub struct Listed<'b>(pub &'b [LostBlocks]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LostBlocks { source, blocks, records, bytes }) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            let (blocks, records) = (counted(*blocks, "block"), counted(*records, "record"));
            write!(f, "{separator}{blocks} of \"{source}\" ({records}, {bytes} bytes)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_told_in_runs() {
        let told =
            |batches: &[u64]| Batches(&batches.iter().map(|batch| BatchId(*batch)).collect::<Vec<_>>()).to_string();
        assert_eq!(told(&[7]), "batch 7");
        assert_eq!(told(&[6, 7, 8, 10]), "batches 6 to 8, 10");
    }
}
