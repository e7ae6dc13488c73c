//! Deciding: a pure function from what was found, and what the program declares, to what recovery does.
//!
//! | what is found for batch b | what happens | test |
//! |---|---|---|
//! | blocks, no plan | go into the next plan | `blocks_without_a_plan_go_into_the_next_one` |
//! | planned | recomputed from the same plan | `a_planned_batch_is_recomputed` |
//! | committed, not published | recomputed, digest compared, published | `a_committed_batch_is_recomputed_and_published` |
//! | published, after the checkpoint | recomputed for its state, digest compared | `a_published_batch_is_recomputed_but_not_published_again` |
//! | newest checkpoint damaged | rejected and named; the next older one, a longer replay | `a_damaged_checkpoint_is_rejected_and_an_older_one_taken` |
//! | interrupted tail | cut, reported | `an_interrupted_tail_is_reported` |
//! | damage below `synced_through` | refused while observing | `a_bad_frame_before_the_next_segment_is_damage` (log) |
//! | segment missing | refused while observing, or here | `a_missing_segment_is_damage_that_says_which_frames_it_held` (log), the row after next |
//! | two chains | refused | `another_log_is_refused` |
//! | log shorter than a manifest knows | refused | `a_log_that_ends_before_what_a_manifest_knows_is_refused` |
//! | a rollback, and the log of the lineage that it abandoned | the batches after it from the same plans, as if they were planned now: nothing compared, all published | `after_a_rollback_nothing_of_the_abandoned_lineage_counts` |
//! | log lost | refused, unless the program says so: a new lineage | `a_lost_log_is_refused_unless_the_program_goes_on_without_it` |
//! | blocks of a planned batch only in the log of a lost machine | refused, unless the program says so: a new lineage beyond all numbers | `blocks_of_a_lost_machine_are_named_and_given_up_only_when_the_program_says_so` |
//! | such blocks without a plan | given up, reported | `blocks_of_a_lost_machine_that_no_batch_has_taken_are_given_up_and_told` |
//! | operator not in the program | refused, unless dropped | `state_that_the_program_does_not_know_is_refused_unless_dropped` |
//! | source not in the program | refused while there is something of it to compute, unless dropped; its position is kept | `a_source_that_the_program_does_not_know_is_refused_unless_dropped_or_used_up`, `the_position_of_a_source_that_the_program_does_not_have_is_kept_unless_dropped` |
//! | source of another kind | refused, unless dropped | `a_source_of_another_kind_is_refused_unless_its_position_is_dropped` |
//! | position of another type | refused, unless dropped; more variants of an enum are taken | `a_position_of_another_type_is_refused_unless_dropped` |
//! | blocks of another type without a plan | refused, unless dropped | `blocks_of_another_type_are_refused_unless_dropped_or_used_up` |
//! | a planned batch with blocks or ranges of another type | refused | `a_planned_batch_of_another_type_is_refused` |
//! | a window of another length or slide; another interval, where the window slides by it | refused | `a_window_that_has_changed_is_refused` |
//! | operator not in the checkpoint | starts empty, reported | `a_new_operator_starts_empty` |
//! | older state version | migrated, or refused | `an_older_state_version_is_migrated_or_refused` |
//!
//! Rows that are not decided here: a differing digest shows during the replay, another driver shows at the lock, and a sink that
//! holds a batch which the log does not know shows when it is fenced. `recovery-tests/tests/every_row_of_the_table.rs` has all.

use std::fmt;

use crate::block::{BlockMap, BlockRef};
use crate::checkpoint::{
    ChainFacts, CheckpointFiles, DROPPED, JobPoint, KeyLayout, Manifest, ManifestKind, OperatorEntry, SOURCE_MEMORY,
};
use crate::recovery::declared::Declared;
use crate::recovery::facts::{BatchFacts, Candidate, Facts, LogFacts, SourceDecision};
use crate::recovery::loss::{self, Loss};
use crate::recovery::refusal::Refusal;
use crate::recovery::sources::{self, SourceChanges, TypeNames};
use crate::state::descriptor::{SLIDE_MS, StateDescriptor};
use crate::wal::Tail;
use floodmark_base::id::{BatchId, BatchTime, Epoch, ManifestSequence, Sequence, Uid};

/// What recovery does.
#[derive(Debug)]
pub struct Decision {
    /// The epoch of this life.
    pub epoch: Epoch,
    /// Where the job stands before the replay; `None` for a fresh start.
    pub from: Option<Standpoint>,
    /// Checkpoints that are unusable, newest first.
    pub rejected: Vec<Rejected>,
    /// What is damaged, with file and reason, and not needed: told, since it is missed when the rest is damaged too (I-6).
    pub unneeded_damage: Vec<String>,
    /// The log is gone, and the program goes on without it.
    pub new_lineage: bool,
    /// The batches to recompute, in order.
    pub replay: Vec<BatchFacts>,
    /// What sources have decided, in the order of the log.
    pub decisions: Vec<SourceDecision>,
    /// Of those, the ones that a rollback has taken back: the log knows them from an abandoned lineage only, and this start plans them
    /// again, with the same contents (I-2), for the new one.
    pub planned_again: Vec<BatchId>,
    /// The blocks that those batches read.
    pub planned_blocks: BlockMap,
    /// Blocks that no plan has taken, in order.
    pub unplanned: Vec<BlockRef>,
    /// What was lost with a machine, and is given up.
    pub loss: Loss,
    /// The number of the first batch that this life plans.
    pub next_batch: BatchId,
    /// The time of that batch is after this one, which was planned, too, and is not computed again.
    pub planned_until: Option<BatchTime>,
    pub changes: Changes,
    /// What becomes of sources whose position is stored.
    pub sources: SourceChanges,
    pub tail: Option<Tail>,
}

/// The checkpoint (or the empty state) that the job is restored to.
#[derive(Clone, Debug)]
pub struct Standpoint {
    pub point: JobPoint,
    pub checkpoint: Option<CheckpointFiles>,
}

/// A checkpoint that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub sequence: ManifestSequence,
    pub batch: BatchId,
    pub directory: Option<String>,
    pub reason: String,
}

impl Rejected {
    /// A candidate that is not used.
    pub fn candidate(candidate: &Candidate, reason: String) -> Self {
        Self {
            sequence: candidate.sequence,
            batch: candidate.point.batch,
            directory: candidate.checkpoint.as_ref().map(|files| files.directory.clone()),
            reason,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "manifest {}: {}", self.sequence, self.reason)
    }
}

impl Decision {
    /// The candidate whose checkpoint was chosen, if it has one.
    pub fn chosen<'f>(&self, facts: &'f Facts) -> Option<&'f Candidate> {
        let files = self.from.as_ref()?.checkpoint.as_ref()?;
        facts.candidates.iter().find(|candidate| candidate.checkpoint.as_ref() == Some(files))
    }
}

/// How the program differs from the one that wrote the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub started_empty: Vec<Uid>,
    pub dropped: Vec<Uid>,
    /// Uid, version in the checkpoint, version of the program.
    pub migrated: Vec<(Uid, u32, u32)>,
}

/// Decides. `unusable` are checkpoints that turned out to be damaged when they were opened.
///
/// # Errors
/// When the job must not start.
pub fn decide(facts: &Facts, declared: &Declared, unusable: &[Rejected]) -> Result<Decision, Refusal> {
    check_schemas(declared)?;
    decide_for(facts, Some(declared), unusable)
}

/// What recovery does for the program that wrote what is stored: for those who look without a program.
///
/// # Errors
/// When no program could start.
pub fn decide_without_program(facts: &Facts, unusable: &[Rejected]) -> Result<Decision, Refusal> {
    decide_for(facts, None, unusable)
}

fn decide_for(facts: &Facts, declared: Option<&Declared>, unusable: &[Rejected]) -> Result<Decision, Refusal> {
    let goes_on_without_log = declared.is_some_and(|declared| declared.goes_on_without_log);
    let highest = facts.chain.highest_epoch().max(facts.log.as_ref().and_then(|log| log.opened));
    let epoch = highest.unwrap_or_default().next();
    if facts.chain.is_empty() {
        return fresh(facts, epoch);
    }
    let (chosen, rejected) = choose(facts, unusable)?;
    let changes = declared.map(|declared| compare(&chosen.point, declared)).transpose()?.unwrap_or_default();
    let sources = declared.map(|declared| sources::compare_positions(&chosen.point, declared));
    let sources = sources.transpose()?.unwrap_or_default();
    // A checkpoint from before a rollback belongs to the history of the lineage that the rollback began.
    let JobPoint { lineage, generation, .. } = facts.chain.newest().map_or(&chosen.point, |newest| &newest.point);
    let point = JobPoint { lineage: *lineage, generation: *generation, ..chosen.point.clone() };
    let standpoint = Standpoint { point, checkpoint: chosen.checkpoint.clone() };
    let decision = Decision {
        epoch,
        from: Some(standpoint),
        unneeded_damage: unneeded_damage(facts, &chosen.point, &rejected),
        rejected,
        new_lineage: facts.log.is_none(),
        replay: Vec::new(),
        decisions: facts.log.as_ref().map(|log| log.decisions.clone()).unwrap_or_default(),
        planned_again: Vec::new(),
        planned_blocks: BlockMap::default(),
        unplanned: Vec::new(),
        loss: Loss::default(),
        next_batch: chosen.point.next_batch,
        planned_until: None,
        changes,
        sources,
        tail: facts.log.as_ref().map(|log| log.scan.tail.clone()),
    };
    match &facts.log {
        // A start that went on without the log died between making a new one and saying so.
        Some(log) if goes_on_without_log && log.is_unused() && log.scan.log_id != chosen.point.log.log => {
            Ok(Decision { new_lineage: true, ..decision })
        }
        Some(log) => {
            check_end(facts, log)?;
            let decision = with_log(decision, &facts.chain, &chosen.point, log, declared)?;
            Ok(forget_abandoned(decision, facts, log))
        }
        None if goes_on_without_log => Ok(decision),
        None => Err(Refusal::LogGone { checkpoint: chosen.point.batch }),
    }
}

fn fresh(facts: &Facts, epoch: Epoch) -> Result<Decision, Refusal> {
    if let Some(log) = facts.log.as_ref().filter(|log| !log.is_unused()) {
        return Err(Refusal::ManifestsGone { batches: log.batches.len(), blocks: log.blocks.len() });
    }
    Ok(Decision {
        epoch,
        from: None,
        rejected: Vec::new(),
        unneeded_damage: Vec::new(),
        new_lineage: false,
        replay: Vec::new(),
        decisions: Vec::new(),
        planned_again: Vec::new(),
        planned_blocks: BlockMap::default(),
        unplanned: Vec::new(),
        loss: Loss::default(),
        next_batch: BatchId(1),
        planned_until: None,
        changes: Changes::default(),
        sources: SourceChanges::default(),
        tail: None,
    })
}

/// The newest state that can be used, and those that cannot.
fn choose<'f>(facts: &'f Facts, unusable: &[Rejected]) -> Result<(&'f Candidate, Vec<Rejected>), Refusal> {
    let mut rejected: Vec<Rejected> = damaged_manifests(facts);
    for candidate in &facts.candidates {
        let later =
            unusable.iter().find(|known| known.sequence == candidate.sequence).map(|known| known.reason.clone());
        match candidate.damage.clone().or(later) {
            None => return Ok((candidate, rejected)),
            Some(reason) => rejected.push(Rejected::candidate(candidate, reason)),
        }
    }
    let tried = rejected.iter().map(Rejected::to_string).collect();
    Err(Refusal::NoCheckpoint { tried })
}

/// Manifests that cannot be read, and that no later one has rejected: whatever they named is not used.
fn damaged_manifests(facts: &Facts) -> Vec<Rejected> {
    let newest = facts.chain.newest().map(|manifest| manifest.sequence);
    let unanswered = facts.chain.damaged().filter(|(sequence, ..)| Some(*sequence) > newest);
    unanswered
        .map(|(sequence, file, reason)| Rejected {
            sequence,
            batch: BatchId(0),
            directory: None,
            reason: format!("{}: {reason}", file.display()),
        })
        .collect()
}

/// Damaged manifests and checkpoints older than what is used, unless that is on record already.
fn unneeded_damage(facts: &Facts, used: &JobPoint, rejected: &[Rejected]) -> Vec<String> {
    let is_rejected = |sequence| rejected.iter().any(|rejected| rejected.sequence == sequence);
    let manifests = facts.chain.damaged_unanswered().filter(|(sequence, ..)| !is_rejected(*sequence));
    let manifests = manifests.map(|(_, file, reason)| format!("{}: {reason}", file.display()));
    let older = facts.candidates.iter().filter(|candidate| candidate.point.batch < used.batch);
    let older = older.filter_map(|candidate| candidate.damage.clone());
    manifests.chain(older).collect()
}

/// What a manifest knows to have been durable must be there: a log that ends before it has lost its newest segment.
fn check_end(facts: &Facts, log: &LogFacts) -> Result<(), Refusal> {
    let points = facts.candidates.iter().map(|candidate| candidate.point.log);
    let known = points.filter(|point| point.log == log.scan.log_id).map(|point| point.next).max();
    match known {
        Some(expected) if expected > log.scan.next_sequence => {
            Err(Refusal::LogCut { expected, found: log.scan.next_sequence })
        }
        _ => Ok(()),
    }
}

/// The first start after a rollback: what the log says of the batches after it was said in the lineage that is abandoned. Once a
/// life of the new lineage has opened the log, it has planned them again, and the fold has forgotten the rest.
fn forget_abandoned(mut decision: Decision, facts: &Facts, log: &LogFacts) -> Decision {
    let beginning = facts.chain.beginning_of_lineage();
    let is_known = match log.lineage {
        Some(opened) => Some(opened) == facts.chain.lineage(),
        None => beginning.is_none(),
    };
    if is_known {
        return decision;
    }
    let abandoned_after = beginning.map_or(BatchId(0), |manifest| manifest.point.batch);
    for batch in decision.replay.iter_mut().filter(|batch| batch.plan.batch > abandoned_after) {
        (batch.commit, batch.published) = (None, false);
        (batch.attempts_started, batch.attempts_failed) = (0, 0);
        batch.letters.clear();
        decision.planned_again.push(batch.plan.batch);
    }
    decision
}

fn with_log(
    mut decision: Decision,
    chain: &ChainFacts,
    point: &JobPoint,
    log: &LogFacts,
    declared: Option<&Declared>,
) -> Result<Decision, Refusal> {
    if log.scan.log_id != point.log.log {
        return Err(Refusal::AnotherLog { expected: point.log.log, found: log.scan.log_id });
    }
    let left_out = chain.left_out();
    let is_left_out = |batch: BatchId| left_out.iter().any(|(after, next)| (*after < batch) && (batch < *next));
    let is_ahead = |batch: BatchId| batch >= point.next_batch && !is_left_out(batch);
    // Of each block whether a plan has taken it, and whether that plan is to be computed again.
    let (mut planned, mut replayed) = (vec![false; log.blocks.len()], vec![false; log.blocks.len()]);
    for (id, batch) in &log.batches {
        for block in batch.plan.blocks() {
            let place = log.blocks.place_of(block).filter(|place| !std::mem::replace(&mut planned[*place], true));
            if is_ahead(*id) {
                replayed[place.ok_or(Refusal::BlockMissing { batch: *id, block })?] = true;
            }
        }
    }
    let chosen = |flags: Vec<bool>, chosen: bool| {
        let flagged = log.blocks.iter().zip(flags);
        flagged.filter(move |(_, flag)| *flag == chosen).map(|(block, _)| block.clone())
    };
    decision.planned_blocks = chosen(replayed, true).collect();
    let replayed = log.batches.values().filter(|batch| is_ahead(batch.plan.batch));
    decision.replay = replayed.cloned().collect();
    check_numbers(&decision.replay, point, is_left_out)?;
    let last = decision.replay.last().map(|last| last.plan.batch.next());
    decision.next_batch = left_out.iter().map(|(_, next)| *next).chain(last).fold(point.next_batch, BatchId::max);
    decision.planned_until = log.batches.values().map(|batch| batch.plan.time).max();
    // Blocks before this point were planned by batches whose plans are cut off with the log already.
    let unplanned = chosen(planned, false).filter(|block| block.at.sequence >= point.log.oldest_needed);
    decision.unplanned = unplanned.collect();
    give_up_the_lost(&mut decision, chain, point, log, declared)?;
    let Some(declared) = declared else { return Ok(decision) };
    let names = TypeNames::of(chain);
    let block = |sequence: Sequence| decision.planned_blocks.get(sequence);
    decision.replay.iter().try_for_each(|batch| sources::check_planned(batch, block, declared, &names))?;
    sources::check_unplanned(&mut decision.unplanned, declared, &names)?;
    Ok(decision)
}

/// Between the checkpoint and the end of the log no batch may be missing.
fn check_numbers(
    replay: &[BatchFacts],
    point: &JobPoint,
    is_left_out: impl Fn(BatchId) -> bool,
) -> Result<(), Refusal> {
    let Some(last) = replay.last().map(|last| last.plan.batch) else { return Ok(()) };
    let mut expected = point.next_batch;
    for batch in replay {
        while is_left_out(expected) {
            expected = expected.next();
        }
        if batch.plan.batch != expected {
            return Err(Refusal::BatchMissing { batch: expected, first: point.next_batch, last });
        }
        expected = expected.next();
    }
    Ok(())
}

/// Looks for what was lost with a machine. Batches that had read of it are left out, all that follow the first one with it, if the
/// program says so: the job goes on from its checkpoint, as a new lineage, with what receivers take in from then on.
fn give_up_the_lost(
    decision: &mut Decision,
    chain: &ChainFacts,
    point: &JobPoint,
    log: &LogFacts,
    declared: Option<&Declared>,
) -> Result<(), Refusal> {
    let is_absent = |sequence: &Sequence| log.absent.contains(sequence);
    let lost = decision.planned_blocks.iter().filter(|block| is_absent(&block.at.sequence));
    let planned = loss::add_up(lost);
    if !planned.is_empty() {
        let next = decision.next_batch;
        if !declared.is_some_and(|declared| declared.goes_on_without_log) {
            let reads_lost = |batch: &&BatchFacts| batch.plan.blocks().any(|block| is_absent(&block));
            let batches = decision.replay.iter().filter(reads_lost).map(|batch| batch.plan.batch).collect();
            return Err(Refusal::BlocksLost { batches, lost: planned, checkpoint: point.batch, next });
        }
        decision.loss.batches = decision.replay.drain(..).map(|batch| batch.plan.batch).collect();
        decision.loss.planned = loss::add_up(decision.planned_blocks.iter());
        decision.planned_blocks.clear();
    }
    // Also where an earlier start has begun the lineage, and died before it could write that down. A rollback gives nothing up.
    let leaves_out =
        |first: &Manifest| first.kind == ManifestKind::Claim && first.point.next_batch > first.point.batch.next();
    let has_begun = chain.beginning_of_lineage().is_some_and(leaves_out) && log.lineage != chain.lineage();
    let begins = decision.loss.begins_lineage() || has_begun;
    let given_up = match begins {
        true => decision.unplanned.iter().map(|block| block.at.sequence).collect(),
        false => loss::given_up(&decision.unplanned, &log.absent),
    };
    let (lost, kept) = decision.unplanned.drain(..).partition(|block| given_up.contains(&block.at.sequence));
    decision.unplanned = kept;
    let lost: Vec<BlockRef> = lost;
    decision.loss.unplanned = loss::add_up(lost.iter());
    decision.loss.given_up = given_up.into_iter().collect();
    Ok(())
}

/// Compares the program with the one that wrote the checkpoint.
fn compare(point: &JobPoint, declared: &Declared) -> Result<Changes, Refusal> {
    if point.job_name != declared.name {
        return Err(Refusal::AnotherJob { expected: declared.name.clone(), found: point.job_name.clone() });
    }
    if point.keys != declared.keys {
        let KeyLayout { hash_name, partitions, .. } = &declared.keys;
        return Err(Refusal::KeyLayout {
            expected: *partitions,
            expected_hash: hash_name.clone(),
            found: point.keys.partitions,
            found_hash: point.keys.hash_name.clone(),
        });
    }
    let mut changes = Changes::default();
    // What sources remember is theirs: it stays where its source is, or comes back to.
    for stored in point.operators.iter().filter(|stored| stored.kind != DROPPED && stored.kind != SOURCE_MEMORY) {
        match declared.operators.iter().find(|operator| operator.uid == stored.uid) {
            Some(operator) => {
                changes.migrated.extend(compare_operator(stored, operator)?);
                compare_parameters(stored, operator, (point.interval_ms, declared.interval_ms))?;
            }
            None if declared.drops(&stored.uid) => changes.dropped.push(stored.uid.clone()),
            None => return Err(Refusal::OperatorGone { uid: stored.uid.clone() }),
        }
    }
    let known = |uid: &Uid| {
        let of_uid = |stored: &OperatorEntry| stored.uid == *uid;
        point.operators.iter().any(|stored| of_uid(stored) && stored.kind != DROPPED && stored.kind != SOURCE_MEMORY)
    };
    changes
        .started_empty
        .extend(declared.operators.iter().map(|operator| operator.uid.clone()).filter(|uid| !known(uid)));
    Ok(changes)
}

fn compare_operator(stored: &OperatorEntry, operator: &StateDescriptor) -> Result<Option<(Uid, u32, u32)>, Refusal> {
    let uid = || operator.uid.clone();
    if stored.kind != operator.kind {
        return Err(Refusal::OperatorKind {
            uid: uid(),
            expected: operator.kind.to_string(),
            found: stored.kind.clone(),
        });
    }
    let differs = |what, version, expected: &str, found: &str| Refusal::StateType {
        uid: uid(),
        what,
        version,
        expected: expected.to_string(),
        found: found.to_string(),
    };
    let text = |schema: &crate::state::schema::Schema| schema.text().unwrap_or_default().to_string();
    if !operator.key_schema.is(&stored.key_type) {
        return Err(differs("the key type", stored.state_version, &text(&operator.key_schema), &stored.key_type));
    }
    if stored.state_version == operator.version {
        let expected = text(&operator.state_schema);
        return if operator.state_schema.is(&stored.state_type) {
            Ok(None)
        } else {
            Err(differs("the state type", operator.version, &expected, &stored.state_type))
        };
    }
    let (expected, found) = (operator.version, stored.state_version);
    let Some((_, old)) = operator.migrations.iter().find(|(from, _)| *from == found) else {
        let advice = if found < expected { "give it a migration by migrate_from" } else { "run the newer program" };
        return Err(Refusal::StateVersion { uid: uid(), expected, found, advice });
    };
    if !old.is(&stored.state_type) {
        return Err(differs("the state type", found, &text(old), &stored.state_type));
    }
    Ok(Some((uid(), found, expected)))
}

/// Compares what else the meaning of the state depends on. What version 1 did not write down is not known, and not compared.
fn compare_parameters(
    stored: &OperatorEntry,
    operator: &StateDescriptor,
    intervals: (u64, u64),
) -> Result<(), Refusal> {
    let differs = |what: &str, found, expected| Refusal::Parameter {
        uid: operator.uid.clone(),
        what: what.trim_end_matches("_ms").to_string(),
        expected,
        found,
    };
    for (name, found) in &stored.parameters {
        let declared = operator.parameters.iter().find(|(declared, _)| declared == name);
        if let Some((_, expected)) = declared.filter(|(_, expected)| expected != found) {
            return Err(differs(name, *found, *expected));
        }
    }
    // A window that slides by the interval is at the time of each batch, any other one at multiples of its slide.
    let slide = stored.parameters.iter().find(|(name, _)| name == SLIDE_MS).map(|(_, slide)| *slide);
    let (found, expected) = intervals;
    if slide.is_some_and(|slide| slide == found || slide == expected) && found != expected && found * expected != 0 {
        return Err(differs("batch interval", found, expected));
    }
    Ok(())
}

/// Every declared type must have a schema.
fn check_schemas(declared: &Declared) -> Result<(), Refusal> {
    for operator in &declared.operators {
        for (what, schema) in [("the key type", &operator.key_schema), ("the state type", &operator.state_schema)] {
            if let Err(reason) = schema.text() {
                return Err(Refusal::NoSchema { uid: operator.uid.clone(), what, reason: reason.to_string() });
            }
        }
    }
    Ok(())
}
