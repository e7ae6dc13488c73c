//! The inputs of batches: what the sources give to a plan, and how a plan becomes tasks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataflow::graph::NodeId;
use crate::dataflow::task::{BlockPayload, RecordFilter, Task, TaskPayload};
use crate::driver::history::PastBatch;
use crate::driver::joining::join;
use crate::source::{ErasedDirect, FilesStatus, OfferLimits, SourceError};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, Sequence, TypeHash, Uid};
use floodmark_base::user_code::{self, Entered};
use floodmark_store::batch::event::{DeadLetter, PlannedInput, PlannedTask};
use floodmark_store::block::{BatchLimits, BlockMap, BlockRef, BlockTracker};
use floodmark_store::checkpoint::{SourceEntry, SourcePosition};
use floodmark_store::recovery::descriptor::SourceDescriptor;

/// What a range of a direct source weighs at least, since the bytes that it stands for are not known before it is read.
const RANGE_BYTES: u64 = 1 << 20;

/// A direct source of the job.
pub(crate) struct DirectInput {
    pub uid: Uid,
    pub source: Box<dyn ErasedDirect>,
}

/// All sources, as the driver sees them.
pub(crate) struct Inputs {
    /// Every source of the graph.
    pub nodes: Vec<(Uid, NodeId)>,
    /// What each of them is, in the same order.
    pub descriptors: Vec<SourceDescriptor>,
    pub directs: Vec<DirectInput>,
    pub tracker: Arc<BlockTracker>,
    /// Sources that the job had and that this program has not: kept as they are, so that they can come back where they were.
    pub absent: Vec<SourceEntry>,
}

/// What one batch takes in.
pub(crate) struct Taken {
    pub inputs: Vec<PlannedInput>,
    pub blocks: BlockMap,
}

impl Inputs {
    /// Takes what is there, within the limits: logged blocks first, then ranges of direct sources. Sources are in the order of
    /// the graph. Without `directs_too` only those direct sources are asked that a batch cannot do without.
    ///
    /// # Errors
    /// When a direct source cannot be asked.
    pub fn take(&mut self, limits: BatchLimits, direct: OfferLimits, directs_too: bool) -> Result<Taken> {
        let blocks = self.tracker.take(limits);
        let mut received: BTreeMap<&Uid, Vec<(Sequence, u64)>> = BTreeMap::new();
        for block in &blocks {
            received.entry(&block.source).or_default().push((block.at.sequence, block.bytes));
        }
        let joined = received.into_iter().map(|(uid, blocks)| (uid.clone(), join(&blocks)));
        let mut by_source: BTreeMap<Uid, Vec<PlannedTask>> = joined.collect();
        for input in self.directs.iter_mut().filter(|input| directs_too || input.source.is_missing()) {
            let _watched = watched(&input.uid);
            let ranges = input.source.offer(&direct).map_err(|error| failed(&input.uid, "be asked", error))?;
            for range in &ranges {
                input.source.advance(range).map_err(|error| failed(&input.uid, "advance", error))?;
            }
            if !ranges.is_empty() {
                by_source.insert(input.uid.clone(), ranges.into_iter().map(PlannedTask::Range).collect());
            }
        }
        let in_graph_order = self.nodes.iter().filter_map(|(uid, _)| by_source.remove_entry(uid));
        let planned = |(source, tasks)| PlannedInput { range_type: self.range_type(&source), source, tasks };
        let inputs = in_graph_order.map(planned).collect();
        Ok(Taken { inputs, blocks: blocks.into_iter().collect() })
    }

    fn range_type(&self, source: &Uid) -> Option<TypeHash> {
        self.descriptors.iter().find(|descriptor| descriptor.uid == *source)?.ranges.hash()
    }

    /// The tasks of a planned batch, each with its weight in bytes. `trial` limits them while a culprit is looked for.
    pub fn tasks(&self, batch: &PastBatch, trial: &Trial) -> Vec<(u64, Task)> {
        let mut tasks = Vec::new();
        for input in &batch.plan.inputs {
            let node = self.nodes.iter().find(|(uid, _)| *uid == input.source).map(|(_, node)| *node);
            let node = node.expect("recovery has checked that every planned source is in the program");
            for (index, task) in input.tasks.iter().enumerate() {
                let index = index as u32;
                let Some(first) = trial.limit(&input.source, index) else { continue };
                if self.has_given_up(batch.plan.batch, &input.source, task) {
                    continue;
                }
                let filter =
                    RecordFilter { skip: skipped(&batch.letters, &trial.letters, &input.source, index), first };
                let (bytes, payload) = match task {
                    PlannedTask::Range(range) => {
                        (RANGE_BYTES.max(range.len() as u64), TaskPayload::Range(range.clone()))
                    }
                    PlannedTask::Block(_) | PlannedTask::Blocks(_) => {
                        let blocks = || task.blocks().map(|sequence| &batch.blocks[sequence]);
                        let payload = |block: &BlockRef| match self.tracker.payload(block.at.sequence) {
                            Some(bytes) => BlockPayload::Memory(bytes),
                            None => BlockPayload::Logged(block.at),
                        };
                        let bytes = blocks().map(|block| block.bytes).sum();
                        (bytes, TaskPayload::Blocks(blocks().map(payload).collect()))
                    }
                };
                let before = batch.before(&input.source, index);
                tasks.push((bytes, Task { source: node, index, payload, before, filter }));
            }
        }
        tasks
    }

    /// Whether a task gives nothing, since its source has decided to go on without it.
    fn has_given_up(&self, batch: BatchId, source: &Uid, task: &PlannedTask) -> bool {
        let PlannedTask::Range(range) = task else { return false };
        let direct = self.directs.iter().find(|input| input.uid == *source);
        direct.is_some_and(|input| input.source.has_given_up(batch, range))
    }

    /// Whether nothing is to be computed for its own sake: new reference data alone is no input.
    pub fn are_empty(&self, inputs: &[PlannedInput]) -> bool {
        inputs.iter().all(|input| self.references().any(|uid| *uid == input.source))
    }

    /// Whether a source gives reference data.
    pub fn is_reference(&self, node: NodeId) -> bool {
        self.references().any(|uid| self.nodes.iter().any(|(other, of)| *of == node && other == uid))
    }

    fn references(&self) -> impl Iterator<Item = &Uid> {
        self.directs.iter().filter(|input| input.source.is_reference()).map(|input| &input.uid)
    }

    /// What the sources of files have met.
    pub fn files_status(&self) -> Vec<(Uid, FilesStatus)> {
        let status = |input: &DirectInput| Some((input.uid.clone(), input.source.files_status()?));
        self.directs.iter().filter_map(status).collect()
    }

    /// All sources with their positions after the newest plan, as a manifest lists them.
    ///
    /// # Errors
    /// When a position cannot be encoded.
    pub fn entries(&self) -> Result<Vec<SourceEntry>> {
        let planned = self.tracker.planned_positions();
        let entry = |descriptor: &SourceDescriptor| {
            let uid = &descriptor.uid;
            let position = match self.directs.iter().find(|input| input.uid == *uid) {
                Some(input) => {
                    let _watched = watched(uid);
                    let position = input.source.position();
                    SourcePosition::Direct(position.map_err(|error| failed(uid, "say its position", error))?)
                }
                None => planned
                    .iter()
                    .find(|(planned, _)| planned == uid)
                    .map_or(SourcePosition::None, |(_, position)| (*position).into()),
            };
            Ok(descriptor.entry(position))
        };
        self.descriptors.iter().map(entry).chain(self.absent.iter().cloned().map(Ok)).collect()
    }

    /// Tells the direct sources what no retained checkpoint can ask for again.
    ///
    /// # Errors
    /// When a position cannot be decoded.
    pub fn release(&mut self, entries: &[SourceEntry]) -> Result<()> {
        for input in &mut self.directs {
            let entry = entries.iter().find(|entry| entry.uid == input.uid);
            if let Some(position) = entry.and_then(|entry| entry.position.of_direct().ok().flatten()) {
                let _watched = watched(&input.uid);
                input.source.release(position).map_err(|error| failed(&input.uid, "release its input", error))?;
            }
        }
        Ok(())
    }
}

/// Which part of a batch an attempt computes: all of it, unless a culprit is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial {
    /// Nothing of it is committed, and no state is frozen.
    pub is_trial: bool,
    /// Only the tasks before this one (source, index), and so many records of this one.
    pub until: Option<(Uid, u32, u64)>,
    /// Sources that come before that of `until` in the plan; those after it take no part.
    pub sources_before: Vec<Uid>,
    /// Records that were found and are set aside.
    pub letters: Vec<DeadLetter>,
}

impl Trial {
    /// How many records of a task take part: `None` for none of it, `Some(None)` for all.
    #[allow(clippy::option_option)] // "no part" and "no limit" are two things
    fn limit(&self, source: &Uid, task: u32) -> Option<Option<u64>> {
        let Some((last, index, records)) = &self.until else { return Some(None) };
        if source == last {
            return match task.cmp(index) {
                std::cmp::Ordering::Less => Some(None),
                std::cmp::Ordering::Equal => Some(Some(*records)),
                std::cmp::Ordering::Greater => None,
            };
        }
        self.sources_before.contains(source).then_some(None)
    }
}

/// The records of a task that are set aside, sorted.
fn skipped(known: &[DeadLetter], found: &[DeadLetter], source: &Uid, task: u32) -> Arc<[u64]> {
    let of_task = known.iter().chain(found).filter(|letter| letter.source == *source && letter.task == task);
    let mut records: Vec<u64> = of_task.map(|letter| letter.record).collect();
    records.sort_unstable();
    records.into()
}

/// Notes that code of a source runs on the driver's thread.
fn watched(uid: &Uid) -> Entered {
    user_code::enter(format_args!("source \"{uid}\""))
}

fn failed(uid: &Uid, doing: &str, error: SourceError) -> Error {
    let kind = if error.is_panic() { ErrorKind::UserCode } else { ErrorKind::Environment };
    Error::caused_by(kind, format!("source \"{uid}\" cannot {doing}"), error)
}
