//! Observing: what is found in the checkpoint location. Nothing is judged here, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::batch::event::{BatchEvent, Commit, DeadLetter, Plan};
use crate::block::{AbsentHead, BlockHead, BlockMap, BlockRef};
use crate::checkpoint::{ChainError, ChainFacts, CheckpointFiles, JobPoint, Link, ManifestChain, Standing};
use crate::recovery::refusal::Refusal;
use crate::state::files::verify_files;
use crate::wal::{self, FrameAt, FrameKind, Reading, WalScan};
use floodmark_base::disk::Disk;
use floodmark_base::id::{BatchId, Epoch, Lineage, ManifestSequence, Sequence, Uid};

/// The directories of a job.
pub const WAL: &str = "wal";
pub const CHECKPOINTS: &str = "checkpoints";
pub const LIVE: &str = "live";

/// How many whole checkpoints a start looks for, the newest first: the one that it uses, and the one that it goes back to should the files
/// turn out to be damaged when they are read. The files of older ones are looked at when they are opened, so that a start takes as long
/// with thousands of kept checkpoints as with a few.
const WHOLE_ENOUGH: usize = 2;

/// All that was found.
#[derive(Debug)]
pub struct Facts {
    pub chain: ChainFacts,
    /// The states that the job could be restored to, newest first.
    pub candidates: Vec<Candidate>,
    /// `None` where there is no log.
    pub log: Option<LogFacts>,
}

/// A state that the job could be restored to.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The first manifest that names it.
    pub sequence: ManifestSequence,
    pub point: JobPoint,
    /// `None` for the state before the first checkpoint: empty.
    pub checkpoint: Option<CheckpointFiles>,
    /// What is wrong with its files, as far as sizes and ends of files tell; `None` as well where nobody has looked.
    pub damage: Option<String>,
}

/// What the log holds, from the oldest sequence that a candidate needs.
#[derive(Debug)]
pub struct LogFacts {
    pub scan: WalScan,
    pub blocks: BlockMap,
    /// Of the blocks, those that are only in the log of a lost machine.
    pub absent: BTreeSet<Sequence>,
    pub batches: BTreeMap<BatchId, BatchFacts>,
    /// What sources have decided, in the order of the log.
    pub decisions: Vec<SourceDecision>,
    /// The highest epoch that opened the log.
    pub opened: Option<Epoch>,
    /// The lineage in which the log was opened last; `None` where all of that is cut off.
    pub lineage: Option<Lineage>,
}

impl LogFacts {
    /// Whether nothing that counts is in it.
    pub fn is_unused(&self) -> bool {
        self.blocks.is_empty() && self.batches.is_empty()
    }
}

/// What a source has decided, and what a replay must decide alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDecision {
    pub source: Uid,
    /// The batch that it is about.
    pub batch: BatchId,
    /// As the source encodes it.
    pub decision: Vec<u8>,
}

/// A batch, as a fold over its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    pub plan: Plan,
    pub planned_at: Sequence,
    pub attempts_started: u32,
    pub attempts_failed: u32,
    pub letters: Vec<DeadLetter>,
    pub commit: Option<Commit>,
    pub published: bool,
}

/// Reads everything that a decision needs. The files of checkpoints are looked at until [`WHOLE_ENOUGH`] are whole.
///
/// # Errors
/// Refusals that need no decision: what is there cannot be read, or is not what it was.
pub fn observe(disk: &dyn Disk, job: &Path) -> Result<Facts, Refusal> {
    observe_with(disk, job, Reading::Whole, WHOLE_ENOUGH)
}

/// As [`observe`], for callers that have read the bodies of blocks already: only the heads of blocks are read. Looks at the files of
/// all checkpoints.
///
/// # Errors
/// As [`observe`], as far as it was looked.
pub fn skim(disk: &dyn Disk, job: &Path) -> Result<Facts, Refusal> {
    observe_with(disk, job, Reading::AllHeads, usize::MAX)
}

fn observe_with(disk: &dyn Disk, job: &Path, reading: Reading, whole_enough: usize) -> Result<Facts, Refusal> {
    let chain = observe_chain(disk, job)?;
    let candidates = candidates(job, &chain, whole_enough);
    let log = observe_log(disk, job, oldest_needed(&chain, &candidates), reading)?;
    Ok(Facts { chain, candidates, log })
}

/// As [`observe`], for a quick look: candidates older than the newest one that seems whole are left out, and so is what only they need
/// of the log; of blocks only the heads are read.
///
/// # Errors
/// As [`observe`], as far as it was looked.
pub fn glance(disk: &dyn Disk, job: &Path) -> Result<Facts, Refusal> {
    let chain = observe_chain(disk, job)?;
    let mut candidates = candidates(job, &chain, 1);
    if let Some(newest) = candidates.iter().position(|candidate| candidate.damage.is_none()) {
        candidates.truncate(newest + 1);
    }
    let log = observe_log(disk, job, oldest_needed(&chain, &candidates), Reading::Heads)?;
    Ok(Facts { chain, candidates, log })
}

/// As [`observe`], as if the chain were this one. The files of all checkpoints are looked at.
///
/// # Errors
/// As [`observe`].
pub fn observe_behind(disk: &dyn Disk, job: &Path, chain: ChainFacts) -> Result<Facts, Refusal> {
    let candidates = candidates(job, &chain, usize::MAX);
    let log = observe_log(disk, job, oldest_needed(&chain, &candidates), Reading::Whole)?;
    Ok(Facts { chain, candidates, log })
}

/// The oldest frame that a candidate needs. One of another log, which was lost, needs nothing of the log that is there.
fn oldest_needed(chain: &ChainFacts, candidates: &[Candidate]) -> Option<Sequence> {
    let log = chain.newest()?.point.log.log;
    candidates.iter().map(|candidate| candidate.point.log).filter(|it| it.log == log).map(|it| it.oldest_needed).min()
}

fn observe_chain(disk: &dyn Disk, job: &Path) -> Result<ChainFacts, Refusal> {
    let chain = match ManifestChain::observe(disk, job) {
        Ok(chain) => chain,
        // The first manifest comes after the first segment; without any, the log may hold nothing that counts.
        Err(ChainError::ManifestsMissing { .. }) if is_interrupted_first_start(disk, job)? => ChainFacts::default(),
        Err(error) => return Err(error.into()),
    };
    Ok(chain)
}

/// The states that the job could be restored to, newest first. Looks at files until `whole_enough` checkpoints are whole.
fn candidates(job: &Path, chain: &ChainFacts, whole_enough: usize) -> Vec<Candidate> {
    let usable = chain.checkpoints().into_iter().filter(|known| known.standing == Standing::Usable);
    let mut whole = 0;
    let mut damage_of = |files: &CheckpointFiles| {
        if whole == whole_enough {
            return None;
        }
        let looked = verify_files(&job.join(CHECKPOINTS).join(&files.directory), &files.files, false);
        whole += usize::from(looked.is_ok());
        looked.err().map(|error| error.to_string())
    };
    let mut candidates: Vec<Candidate> = usable
        .map(|known| Candidate {
            sequence: known.sequence,
            point: known.newest.point.clone(),
            checkpoint: Some(known.files.clone()),
            damage: damage_of(known.files),
        })
        .collect();
    let mut before_all = chain.links.values().filter_map(Link::manifest).filter(|it| it.checkpoint.is_none());
    candidates.extend(before_all.next().map(|first| Candidate {
        sequence: first.sequence,
        // Here, too, the newest word counts: after the loss of a log a claim names the new one.
        point: before_all.next_back().unwrap_or(first).point.clone(),
        checkpoint: None,
        damage: None,
    }));
    candidates
}

fn observe_log(
    disk: &dyn Disk,
    job: &Path,
    oldest: Option<Sequence>,
    reading: Reading,
) -> Result<Option<LogFacts>, Refusal> {
    let mut fold = Fold::default();
    let scan = wal::observe_with(disk, &job.join(WAL), oldest, reading, &mut |at, kind, head, _body| {
        fold.take(at, kind, head)
    })?;
    if let Some(refusal) = fold.refusal {
        return Err(refusal);
    }
    Ok(scan.map(|scan| LogFacts {
        scan,
        blocks: fold.blocks,
        absent: fold.absent,
        batches: fold.batches,
        decisions: fold.decisions,
        opened: fold.opened,
        lineage: fold.lineage,
    }))
}

/// Whether all that is there is a log that was just begun: a first start that did not come to its first manifest.
fn is_interrupted_first_start(disk: &dyn Disk, job: &Path) -> Result<bool, Refusal> {
    let checkpoints = job.join(CHECKPOINTS);
    if checkpoints.exists()
        && !disk.list(&checkpoints).map_err(|error| Refusal::io("list", &checkpoints, error))?.is_empty()
    {
        return Ok(false);
    }
    let Some(log) = observe_log(disk, job, None, Reading::Whole)? else { return Ok(true) };
    let first_life = log.scan.segments.len() == 1 && log.scan.segments[0].first_sequence == Sequence(1);
    Ok(first_life && log.is_unused())
}

/// The state of all batches, folded from the events of the log.
#[derive(Default)]
pub struct Fold {
    pub blocks: BlockMap,
    absent: BTreeSet<Sequence>,
    pub batches: BTreeMap<BatchId, BatchFacts>,
    decisions: Vec<SourceDecision>,
    opened: Option<Epoch>,
    lineage: Option<Lineage>,
    sources: BTreeSet<Uid>,
    /// The first frame that says nothing that this build understands.
    pub refusal: Option<Refusal>,
}

impl Fold {
    /// Whether the log, as far as it was read, was opened in this lineage last, or does not say.
    pub fn lineage_is(&self, lineage: Lineage) -> bool {
        self.lineage.is_none_or(|opened| opened == lineage)
    }

    /// Takes the next frame in.
    pub fn take(&mut self, at: FrameAt, kind: FrameKind, head: &[u8]) {
        let decoded = match kind {
            FrameKind::Mark => Ok(()),
            FrameKind::Block => BlockHead::decode(at.version, head).map(|head| {
                let head = BlockHead { source: self.shared(head.source), ..head };
                self.blocks.insert(BlockRef::new(head, at));
            }),
            FrameKind::Absent => AbsentHead::decode(at.version, head).map(|head| {
                self.absent.insert(at.sequence);
                self.blocks.insert(BlockRef::absent(head, at));
            }),
            FrameKind::Event => BatchEvent::decode(at.version, head).map(|event| self.event(at.sequence, event)),
        };
        if let Err(error) = decoded {
            self.refusal.get_or_insert(Refusal::UnreadableFrame { at, reason: error.to_string() });
        }
    }

    fn event(&mut self, at: Sequence, event: BatchEvent) {
        match event {
            BatchEvent::Opened { epoch, lineage, .. } => {
                self.opened = self.opened.max(Some(epoch));
                self.lineage = Some(lineage);
            }
            // A plan that comes again is that of a new lineage: what an abandoned one made of the batch does not count.
            BatchEvent::Planned(plan) => {
                let batch = BatchFacts {
                    planned_at: at,
                    attempts_started: 0,
                    attempts_failed: 0,
                    letters: Vec::new(),
                    commit: None,
                    published: false,
                    plan,
                };
                self.batches.insert(batch.plan.batch, batch);
            }
            // What is said of a batch whose plan was cut off with the log is of no use any more.
            BatchEvent::AttemptStarted { batch, .. } => self.batch(batch, |batch| batch.attempts_started += 1),
            BatchEvent::AttemptFailed { batch, .. } => self.batch(batch, |batch| batch.attempts_failed += 1),
            BatchEvent::DeadLettered { batch, letters } => self.batch(batch, |batch| batch.letters = letters),
            BatchEvent::Committed(commit) => self.batch(commit.batch, |batch| batch.commit = Some(commit)),
            BatchEvent::Published { batch } => self.batch(batch, |batch| batch.published = true),
            BatchEvent::SourceDecided { source, batch, decision } => {
                // What was committed before stood on input that the job goes on without.
                self.batches.range_mut(batch..).for_each(|(_, batch)| batch.commit = None);
                self.decisions.push(SourceDecision { source, batch, decision });
            }
            BatchEvent::GivenUp { blocks } => {
                let given_up: BTreeSet<Sequence> = blocks.into_iter().collect();
                self.blocks.retain(|block| !given_up.contains(&block.at.sequence));
                self.absent.retain(|block| !given_up.contains(block));
            }
        }
    }

    /// The same uid, once in memory however many blocks name it.
    fn shared(&mut self, source: Uid) -> Uid {
        if let Some(known) = self.sources.get(&source) {
            return known.clone();
        }
        self.sources.insert(source.clone());
        source
    }

    fn batch(&mut self, id: BatchId, change: impl FnOnce(&mut BatchFacts)) {
        if let Some(batch) = self.batches.get_mut(&id) {
            change(batch);
        }
    }
}
