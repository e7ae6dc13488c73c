//! Comparing the sources of the program with what is stored of them. Pure.
//!
//! Each block says of which type its records are, and each plan of which type its ranges, by a hash of the type's text; so what is
//! waiting or has to be recomputed is compared piece by piece, whichever builds have written it. Positions are compared by what
//! the manifest says of their source.

use std::collections::HashMap;

use crate::batch::event::PlannedTask;
use crate::block::BlockRef;
use crate::checkpoint::{ChainFacts, JobPoint, Link, SourceEntry, SourcePosition};
use crate::recovery::declared::Declared;
use crate::recovery::descriptor::{SourceClass, SourceDescriptor};
use crate::recovery::facts::BatchFacts;
use crate::recovery::refusal::Refusal;
use floodmark_base::id::{Sequence, TypeHash, Uid};

/// What becomes of sources whose position is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceChanges {
    /// Not in the program; they are kept as they are, and can come back where they were.
    pub absent: Vec<Uid>,
    /// The program gives up where they were.
    pub given_up: Vec<Uid>,
}

/// The texts of types by their hashes, as far as manifests name them.
pub(super) struct TypeNames(HashMap<TypeHash, String>);

impl TypeNames {
    pub fn of(chain: &ChainFacts) -> Self {
        let points = chain.links.values().filter_map(Link::manifest).map(|manifest| &manifest.point);
        let texts = points.flat_map(|point| &point.sources).flat_map(|it| [&it.record_type, &it.range_type]);
        Self(texts.filter(|text| !text.is_empty()).map(|text| (TypeHash::of(text), text.clone())).collect())
    }

    fn name(&self, hash: TypeHash) -> String {
        self.0.get(&hash).cloned().unwrap_or_else(|| format!("a type that no manifest names ({:016x})", hash.0))
    }
}

/// Compares the stored positions with the program.
pub(super) fn compare_positions(point: &JobPoint, declared: &Declared) -> Result<SourceChanges, Refusal> {
    let mut changes = SourceChanges::default();
    for stored in point.sources.iter().filter(|stored| stored.position != SourcePosition::None) {
        let uid = || stored.uid.clone();
        let fits = match declared.source(&stored.uid) {
            Some(source) => check_position(stored, source).map(|()| true),
            None => Ok(false),
        };
        match fits {
            Ok(true) => {}
            Ok(false) | Err(_) if declared.drops(&stored.uid) => changes.given_up.push(uid()),
            Ok(false) => changes.absent.push(uid()),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(changes)
}

/// Whether a source can go on where it was.
fn check_position(stored: &SourceEntry, source: &SourceDescriptor) -> Result<(), Refusal> {
    let is_readable = match source.class {
        SourceClass::Direct => stored.position.of_direct().is_ok(),
        SourceClass::Receiver => stored.position.of_receiver().is_ok(),
        SourceClass::Unknown => true,
    };
    let is_known = |kind: &str| !kind.is_empty();
    let is_other = is_known(&stored.kind) && is_known(&source.kind) && stored.kind != source.kind;
    if is_other || !is_readable {
        let class = if matches!(stored.position, SourcePosition::Keyed(_)) { "a receiver" } else { "a direct source" };
        let found = if is_known(&stored.kind) { stored.kind.clone() } else { class.to_string() };
        return Err(Refusal::SourceKind { uid: source.uid.clone(), expected: source.kind_text(), found });
    }
    if !source.position.reads_text(&stored.position_type) {
        return Err(Refusal::PositionType {
            uid: source.uid.clone(),
            expected: source.position.text().to_string(),
            found: stored.position_type.clone(),
        });
    }
    Ok(())
}

/// Compares a batch that has to be recomputed with the program: what it reads must be what it was planned with.
pub(super) fn check_planned<'b>(
    batch: &BatchFacts,
    block: impl Fn(Sequence) -> Option<&'b BlockRef>,
    declared: &Declared,
    names: &TypeNames,
) -> Result<(), Refusal> {
    let id = batch.plan.batch;
    for input in &batch.plan.inputs {
        let uid = || input.source.clone();
        let Some(source) = declared.source(&input.source) else {
            return Err(Refusal::PlannedSourceGone { uid: uid(), batch: id });
        };
        let has_ranges = input.tasks.iter().any(|task| matches!(task, PlannedTask::Range(_)));
        let planned = if has_ranges { SourceClass::Direct } else { SourceClass::Receiver };
        if ![planned, SourceClass::Unknown].contains(&source.class) {
            let found = if has_ranges { "a direct source" } else { "a receiver" }.to_string();
            return Err(Refusal::PlannedSourceKind { uid: uid(), batch: id, expected: source.kind_text(), found });
        }
        let differs = |what, hash, expected: &str| Refusal::PlannedType {
            uid: uid(),
            batch: id,
            what,
            expected: expected.to_string(),
            found: names.name(hash),
        };
        if let Some(hash) = input.range_type.filter(|hash| !source.ranges.reads(Some(*hash))) {
            return Err(differs("ranges", hash, source.ranges.text()));
        }
        let blocks = input.tasks.iter().flat_map(PlannedTask::blocks).filter_map(&block);
        if let Some(hash) = other_type(blocks, source) {
            return Err(differs("records", hash, source.records.text()));
        }
    }
    Ok(())
}

/// Compares blocks that no batch has taken with the program, and takes out those that it gives up.
pub(super) fn check_unplanned(
    unplanned: &mut Vec<BlockRef>,
    declared: &Declared,
    names: &TypeNames,
) -> Result<(), Refusal> {
    let fits = |block: &BlockRef| {
        let source = declared.source(&block.source);
        source.is_some_and(|source| source.class != SourceClass::Direct && source.records.reads(block.record_type))
    };
    unplanned.retain(|block| fits(block) || !declared.drops(&block.source));
    let Some(first) = unplanned.iter().find(|block| !fits(block)) else { return Ok(()) };
    let uid = first.source.clone();
    let blocks = unplanned.iter().filter(|block| block.source == uid && !fits(block)).count();
    let Some(source) = declared.source(&uid) else { return Err(Refusal::SourceGone { uid, blocks }) };
    if source.class == SourceClass::Direct {
        let found = "a receiver".to_string();
        return Err(Refusal::SourceKind { uid, expected: source.kind_text(), found });
    }
    let found = names.name(first.record_type.expect("a block of an unknown type fits"));
    Err(Refusal::RecordType { uid, blocks, expected: source.records.text().to_string(), found })
}

/// The type of the first of these blocks that is none of the source's.
fn other_type<'b>(mut blocks: impl Iterator<Item = &'b BlockRef>, source: &SourceDescriptor) -> Option<TypeHash> {
    blocks.find(|block| !source.records.reads(block.record_type)).and_then(|block| block.record_type)
}
