//! The decision table, row by row, on facts made by hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::batch::event::{Commit, Plan, PlannedInput, PlannedTask};
use crate::block::{BlockHead, BlockRef};
use crate::checkpoint::{
    ChainFacts, CheckpointFiles, DROPPED, JobPoint, KeyLayout, Link, LogPoint, Manifest, ManifestKind, OperatorEntry,
};
use crate::recovery::decide::{Decision, Rejected, decide};
use crate::recovery::declared::Declared;
use crate::recovery::descriptor::{SourceDescriptor, StoredType};
use crate::recovery::facts::{BatchFacts, Candidate, Facts, LogFacts};
use crate::recovery::refusal::Refusal;
use crate::recovery::report::RecoveryReport;
use crate::state::OperatorNumber;
use crate::state::descriptor::StateDescriptor;
use crate::state::spec::StateSpec;
use crate::wal::{self, FrameAt, FrameFault, Tail, Wal, WalScan, WalSettings, WalVersion};
use floodmark_base::disk::MemoryDisk;
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::{
    BatchId, BatchTime, Epoch, Lineage, LogId, ManifestSequence, SegmentNumber, Sequence, Uid, WriterNonce,
};

mod looks;
mod sources;

/// An empty log of the job, as a scan finds it.
fn scan() -> WalScan {
    let (disk, directory) = (MemoryDisk::default(), Path::new("/job/wal"));
    let created = Wal::create(Arc::new(disk.clone()), directory, Epoch(1), WalSettings::default()).unwrap();
    drop(created);
    let mut scan = wal::observe(&disk, directory, None, &mut |_, _, _, _| {}).unwrap().unwrap();
    (scan.log_id, scan.next_sequence) = (LogId(7), Sequence(1_000));
    scan
}

fn counts_entry() -> OperatorEntry {
    OperatorEntry {
        uid: Uid::from("counts"),
        number: OperatorNumber(1),
        kind: "update_state_by_key".to_string(),
        key_type: "str".to_string(),
        state_type: "u64".to_string(),
        state_version: 1,
        entries: 3,
        parameters: Vec::new(),
    }
}

/// Where the job stood after a batch; batch `n` is planned in frame `10 n`.
fn point(batch: u64) -> JobPoint {
    JobPoint {
        job_name: "job".to_string(),
        job_version: "1".to_string(),
        lineage: Lineage(5),
        generation: Epoch(1),
        batch: BatchId(batch),
        next_batch: BatchId(batch + 1),
        last_batch_time: BatchTime(batch * 100),
        zero_time: BatchTime(0),
        published_through: BatchId(batch),
        sources: Vec::new(),
        log: LogPoint { log: LogId(7), next: Sequence(batch * 10 + 1), oldest_needed: Sequence(batch * 10) },
        keys: KeyLayout::of_this_build(128, 8),
        interval_ms: 100,
        operators: vec![counts_entry()],
    }
}

fn candidate(sequence: u64, batch: u64) -> Candidate {
    let files = CheckpointFiles { directory: format!("{batch}-1-00"), files: Vec::new() };
    Candidate { sequence: ManifestSequence(sequence), point: point(batch), checkpoint: Some(files), damage: None }
}

fn receiver(uid: &str, records: &str) -> SourceDescriptor {
    SourceDescriptor::receiver(Uid::from(uid), "queue_stream".to_string(), StoredType::of_text(records))
}

fn descriptor(spec: impl Into<StateSpec<String, u64>>) -> StateDescriptor {
    StateDescriptor::of("update_state_by_key", &spec.into())
}

fn declared() -> Declared {
    Declared {
        name: "job".to_string(),
        keys: KeyLayout::of_this_build(128, 8),
        operators: vec![descriptor("counts")],
        sources: vec![receiver("words", "str")],
        interval_ms: 100,
        dropped: Vec::new(),
        goes_on_without_log: false,
    }
}

fn block(sequence: u64, source: &str) -> BlockRef {
    let at = FrameAt {
        sequence: Sequence(sequence),
        segment: SegmentNumber(1),
        offset: 64,
        head_len: 9,
        body_len: 100,
        version: WalVersion::V2,
    };
    BlockRef::new(BlockHead { source: Uid::from(source), position: None, records: 4, record_type: None }, at)
}

/// Batch `id` with one block, in the frame before its plan.
fn batch(id: u64) -> BatchFacts {
    let tasks = vec![PlannedTask::Block(Sequence(id * 10 - 1))];
    let inputs = vec![PlannedInput { source: Uid::from("words"), range_type: None, tasks }];
    BatchFacts {
        plan: Plan { batch: BatchId(id), time: BatchTime(id * 100), merged_ticks: 0, inputs },
        planned_at: Sequence(id * 10),
        attempts_started: 1,
        attempts_failed: 0,
        letters: Vec::new(),
        commit: None,
        published: false,
    }
}

fn committed(id: u64) -> BatchFacts {
    let commit = Commit {
        batch: BatchId(id),
        job_version: "1".to_string(),
        records: Vec::new(),
        receipts: Vec::new(),
        digests: Vec::new(),
        processing_ms: 1,
    };
    BatchFacts { commit: Some(commit), ..batch(id) }
}

fn published(id: u64) -> BatchFacts {
    BatchFacts { published: true, ..committed(id) }
}

/// A job with checkpoints of batches 6 and 3, and a log that holds these batches with their blocks.
fn facts(batches: impl IntoIterator<Item = BatchFacts>) -> Facts {
    let candidates = vec![candidate(3, 6), candidate(2, 3)];
    let manifest = Manifest {
        sequence: ManifestSequence(3),
        parent_crc: 0,
        boundary: ManifestSequence(1),
        epoch: Epoch(4),
        nonce: WriterNonce(1),
        kind: ManifestKind::Checkpoint,
        point: point(6),
        checkpoint: candidates[0].checkpoint.clone(),
    };
    let mut chain = ChainFacts::default();
    chain.links.insert(ManifestSequence(3), Link::Sound { manifest: Box::new(manifest), crc: 1 });
    let batches: std::collections::BTreeMap<_, _> =
        batches.into_iter().map(|batch| (batch.plan.batch, batch)).collect();
    let blocks = batches.keys().map(|id| block(id.0 * 10 - 1, "words")).collect();
    Facts {
        chain,
        candidates,
        log: Some(LogFacts {
            scan: scan(),
            blocks,
            absent: BTreeSet::new(),
            batches,
            decisions: Vec::new(),
            opened: Some(Epoch(4)),
            lineage: None,
        }),
    }
}

fn log(facts: &mut Facts) -> &mut LogFacts {
    facts.log.as_mut().unwrap()
}

fn replayed(decision: &Decision) -> Vec<u64> {
    decision.replay.iter().map(|batch| batch.plan.batch.0).collect()
}

fn decided(facts: &Facts) -> Decision {
    decide(facts, &declared(), &[]).unwrap()
}

fn refused(facts: &Facts, declared: &Declared, kind: ErrorKind, parts: &[&str]) {
    let error = Error::from(decide(facts, declared, &[]).expect_err("a refusal"));
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn an_empty_place_is_a_fresh_start() {
    let facts = Facts { chain: ChainFacts::default(), candidates: Vec::new(), log: None };
    let decision = decided(&facts);
    assert_eq!((decision.epoch, decision.from.is_none()), (Epoch(1), true));
}

#[test]
fn a_log_without_manifests_is_taken_over_only_while_it_is_unused() {
    let mut facts = facts([]);
    (facts.chain, facts.candidates) = (ChainFacts::default(), Vec::new());
    assert!(decided(&facts).from.is_none());
    log(&mut facts).blocks.insert(block(9, "words"));
    refused(&facts, &declared(), ErrorKind::Damaged, &["manifests are gone", "1 block"]);
}

#[test]
fn a_life_takes_the_epoch_after_the_highest_that_manifests_or_log_know() {
    let mut facts = facts([]);
    assert_eq!(decided(&facts).epoch, Epoch(5));
    log(&mut facts).opened = Some(Epoch(9));
    assert_eq!(decided(&facts).epoch, Epoch(10));
}

#[test]
fn blocks_without_a_plan_go_into_the_next_one() {
    let mut facts = facts([published(6), published(7)]);
    for sequence in [71, 85] {
        log(&mut facts).blocks.insert(block(sequence, "words"));
    }
    // Planned by a batch whose plan is cut off with the log.
    log(&mut facts).blocks.insert(block(49, "words"));
    let unplanned: Vec<u64> = decided(&facts).unplanned.iter().map(|block| block.at.sequence.0).collect();
    assert_eq!(unplanned, [71, 85]);
}

#[test]
fn a_planned_batch_is_recomputed() {
    let facts = facts([published(6), published(7), batch(8)]);
    let decision = decided(&facts);
    assert_eq!(decision.from.as_ref().unwrap().point.batch, BatchId(6));
    assert_eq!(replayed(&decision), [7, 8]);
    assert_eq!(decision.replay[1], batch(8), "the same plan (I-2)");
    assert_eq!(
        decision.planned_blocks.iter().map(|block| block.at.sequence).collect::<Vec<_>>(),
        [Sequence(69), Sequence(79)]
    );
    let report = RecoveryReport::new(&decision).to_string();
    assert!(report.contains("1 batch was being computed when the process ended"), "{report}");
}

#[test]
fn a_committed_batch_is_recomputed_and_published() {
    let decision = decided(&facts([committed(7)]));
    assert_eq!(replayed(&decision), [7]);
    assert!(decision.replay[0].commit.is_some() && !decision.replay[0].published);
    let report = RecoveryReport::new(&decision).to_string();
    assert!(report.contains("1 committed batch to publish"), "{report}");
}

#[test]
fn a_published_batch_is_recomputed_but_not_published_again() {
    let decision = decided(&facts([published(7)]));
    assert_eq!(replayed(&decision), [7]);
    assert!(decision.replay[0].published);
    assert!(!RecoveryReport::new(&decision).to_string().contains("committed batches"));
}

#[test]
fn a_batch_or_a_block_that_is_missing_in_the_log_is_refused() {
    refused(&facts([published(7), batch(9)]), &declared(), ErrorKind::Damaged, &["batch 8 is missing", "from 7 to 9"]);
    let mut facts = facts([published(7)]);
    log(&mut facts).blocks.clear();
    refused(&facts, &declared(), ErrorKind::Damaged, &["batch 7 was planned with block 69"]);
}

#[test]
fn a_damaged_checkpoint_is_rejected_and_an_older_one_taken() {
    let all = || facts([published(4), published(5), published(6), published(7)]);
    let rejected = |reason: &str| Rejected {
        sequence: ManifestSequence(3),
        batch: BatchId(6),
        directory: Some("6-1-00".to_string()),
        reason: reason.to_string(),
    };
    let mut facts = all();
    facts.candidates[0].damage = Some("a file is cut".to_string());
    let decision = decided(&facts);
    assert_eq!(decision.from.as_ref().unwrap().point.batch, BatchId(3));
    assert_eq!((replayed(&decision), decision.rejected.clone()), (vec![4, 5, 6, 7], vec![rejected("a file is cut")]));
    let report = RecoveryReport::new(&decision).to_string();
    assert!(report.contains("checkpoint of batch 6 (manifest 3) rejected: a file is cut"), "{report}");
    // Damage that showed only when the files were read.
    let late = decide(&all(), &declared(), &[rejected("a block of a table")]).unwrap();
    assert_eq!((replayed(&late), late.rejected), (vec![4, 5, 6, 7], vec![rejected("a block of a table")]));
    facts.candidates[1].damage = Some("a file is missing".to_string());
    refused(&facts, &declared(), ErrorKind::Damaged, &["manifest 3: a file is cut", "manifest 2: a file is missing"]);
}

#[test]
fn a_damaged_manifest_behind_the_newest_sound_one_is_rejected_by_its_file() {
    let mut facts = facts([]);
    let damaged = Link::Damaged { file: "/job/manifests/4".into(), reason: "bad bytes".to_string(), crc: 2 };
    facts.chain.links.insert(ManifestSequence(4), damaged);
    let decision = decided(&facts);
    assert_eq!(decision.rejected.len(), 1);
    assert_eq!((decision.rejected[0].sequence, &decision.rejected[0].directory), (ManifestSequence(4), &None));
    assert!(decision.rejected[0].reason.contains("/job/manifests/4: bad bytes"));
}

#[test]
fn an_interrupted_tail_is_reported() {
    let mut facts = facts([published(7)]);
    log(&mut facts).scan.tail = Tail::Interrupted {
        segment: SegmentNumber(1),
        offset: 900,
        bytes: 33,
        sequence: Sequence(72),
        reason: FrameFault::ShortHeader { present: 33 },
        whole_frames_beyond_proven: 2,
        whole_frames_cut: 0,
    };
    let decision = decided(&facts);
    assert_eq!(replayed(&decision), [7]);
    let report = RecoveryReport::new(&decision).to_string();
    assert!(report.contains("33 bytes of an interrupted append cut") && report.contains("2 whole frames"), "{report}");
}

#[test]
fn after_a_rollback_nothing_of_the_abandoned_lineage_counts() {
    let rolled_back = |opened| {
        let mut facts = facts([published(5), published(6), published(7)]);
        facts.candidates = vec![candidate(2, 4), candidate(1, 3)];
        let manifest = |sequence, batch, kind, lineage| {
            let point = JobPoint { lineage: Lineage(lineage), ..point(batch) };
            let checkpoint = candidate(sequence, batch).checkpoint;
            let manifest = Manifest {
                sequence: ManifestSequence(sequence),
                parent_crc: 0,
                boundary: ManifestSequence(1),
                epoch: Epoch(3),
                nonce: WriterNonce(1),
                kind,
                point,
                checkpoint,
            };
            (ManifestSequence(sequence), Link::Sound { manifest: Box::new(manifest), crc: 0 })
        };
        facts.chain.links = [
            manifest(1, 3, ManifestKind::Checkpoint, 5),
            manifest(2, 4, ManifestKind::Checkpoint, 5),
            manifest(3, 6, ManifestKind::Checkpoint, 5),
            manifest(4, 4, ManifestKind::Rollback, 6),
        ]
        .into();
        log(&mut facts).lineage = opened;
        facts
    };
    for opened in [Some(Lineage(5)), None] {
        let decision = decided(&rolled_back(opened));
        assert_eq!(decision.planned_again, [BatchId(5), BatchId(6), BatchId(7)]);
        assert!(decision.replay.iter().all(|batch| batch.commit.is_none() && !batch.published));
        assert_eq!(decision.from.unwrap().point.lineage, Lineage(6));
    }
    // A life of the new lineage has opened the log: what is there now is its own.
    let decision = decided(&rolled_back(Some(Lineage(6))));
    assert!(decision.planned_again.is_empty() && decision.replay.iter().all(|batch| batch.published));
    // Where the target is damaged, what lies before it belongs to the new lineage as it is.
    let mut facts = rolled_back(Some(Lineage(5)));
    facts.candidates[0].damage = Some("a file is cut".to_string());
    log(&mut facts).batches.insert(BatchId(4), published(4));
    log(&mut facts).blocks.insert(block(39, "words"));
    let decision = decided(&facts);
    assert_eq!(replayed(&decision), [4, 5, 6, 7]);
    assert_eq!(decision.planned_again, [BatchId(5), BatchId(6), BatchId(7)]);
    assert_eq!(decision.from.unwrap().point.lineage, Lineage(6));
}

#[test]
fn another_log_is_refused() {
    let mut facts = facts([published(7)]);
    log(&mut facts).scan.log_id = LogId(8);
    let go_on = Declared { goes_on_without_log: true, ..declared() };
    for declared in [declared(), go_on] {
        refused(&facts, &declared, ErrorKind::Damaged, &["two jobs are mixed"]);
    }
}

#[test]
fn a_log_that_ends_before_what_a_manifest_knows_is_refused() {
    let mut facts = facts([]);
    log(&mut facts).scan.next_sequence = Sequence(60);
    refused(&facts, &declared(), ErrorKind::Damaged, &["ends before frame 60", "frame 61", "restore"]);
    // Also when the manifest that knows it is of a checkpoint that cannot be used.
    facts.candidates[0].damage = Some("a file is cut".to_string());
    refused(&facts, &declared(), ErrorKind::Damaged, &["frame 61"]);
    log(&mut facts).scan.next_sequence = Sequence(61);
    facts.candidates[0].damage = None;
    assert_eq!(replayed(&decided(&facts)), [0; 0]);
}

#[test]
fn a_lost_log_is_refused_unless_the_program_goes_on_without_it() {
    let mut facts = facts([published(7)]);
    let lost = facts.log.take();
    refused(&facts, &declared(), ErrorKind::Damaged, &["log is gone", "batch 6", "go_on_without_log"]);
    let go_on = Declared { goes_on_without_log: true, ..declared() };
    let decision = decide(&facts, &go_on, &[]).unwrap();
    assert!(decision.new_lineage && decision.replay.is_empty());
    assert!(RecoveryReport::new(&decision).to_string().contains("a new lineage begins"));
    // An earlier start of this kind died when it had made the new log.
    let mut new = LogFacts { blocks: Default::default(), batches: Default::default(), ..lost.unwrap() };
    (new.scan.log_id, new.scan.next_sequence) = (LogId(8), Sequence(1));
    facts.log = Some(new);
    assert!(decide(&facts, &go_on, &[]).unwrap().new_lineage);
    refused(&facts, &declared(), ErrorKind::Damaged, &["two jobs are mixed"]);
}

/// The same job, of which only the plans are left from this sequence on.
fn facts_without_bodies(batches: impl IntoIterator<Item = BatchFacts>, absent: &[u64]) -> Facts {
    let mut facts = facts(batches);
    log(&mut facts).absent = absent.iter().map(|sequence| Sequence(*sequence)).collect();
    facts
}

#[test]
fn blocks_of_a_lost_machine_are_named_and_given_up_only_when_the_program_says_so() {
    let mut facts = facts_without_bodies([published(7), published(8), committed(9)], &[79]);
    for waiting in [95, 96] {
        log(&mut facts).blocks.insert(block(waiting, "words"));
    }
    let words =
        ["batch 8 cannot", "1 block of \"words\" (4 records, 100 bytes)", "batch 6", "go_on_without_log", "batch 10"];
    refused(&facts, &declared(), ErrorKind::Damaged, &words);
    let go_on = Declared { goes_on_without_log: true, ..declared() };
    let decision = decide(&facts, &go_on, &[]).unwrap();
    assert_eq!(replayed(&decision), [0; 0], "a state without batch 8 is none of this lineage");
    assert_eq!((decision.next_batch, decision.planned_until), (BatchId(10), Some(BatchTime(900))));
    assert!(!decision.new_lineage && decision.loss.begins_lineage() && decision.unplanned.is_empty());
    let report = RecoveryReport::new(&decision);
    assert_eq!(report.batches_lost(), [7, 8, 9].map(BatchId));
    assert_eq!(report.blocks_lost().map(|lost| lost.blocks).collect::<Vec<_>>(), [3, 2]);
    let words =
        "a new lineage begins without batches 7 to 9, which had read 3 blocks of \"words\" (12 records, 300 bytes)";
    assert!(report.to_string().contains(words), "{report}");

    // It dies behind its claim; what it gave up is not written down yet.
    let mut point = point(6);
    (point.lineage, point.next_batch) = (Lineage(2), BatchId(10));
    let Some(Link::Sound { manifest, .. }) = facts.chain.links.get(&ManifestSequence(3)).cloned() else { panic!() };
    let claim =
        Manifest { sequence: ManifestSequence(4), kind: ManifestKind::Claim, point: point.clone(), ..*manifest };
    facts.chain.links.insert(ManifestSequence(4), Link::Sound { manifest: Box::new(claim), crc: 2 });
    facts.candidates[0].point = point;
    let decision = decide(&facts, &declared(), &[]).unwrap();
    assert_eq!((replayed(&decision).len(), decision.next_batch), (0, BatchId(10)));
    assert_eq!(decision.loss.given_up, [Sequence(95), Sequence(96)]);

    // A rollback to the same checkpoint repeats its point, and gives nothing up.
    let rollback = facts.chain.links.get_mut(&ManifestSequence(4)).unwrap();
    let Link::Sound { manifest, .. } = rollback else { panic!() };
    manifest.kind = ManifestKind::Rollback;
    assert_eq!(decide(&facts, &declared(), &[]).unwrap().unplanned.len(), 2);
    let Some(Link::Sound { manifest, .. }) = facts.chain.links.get_mut(&ManifestSequence(4)) else { panic!() };
    manifest.kind = ManifestKind::Claim;

    // Later, and also where its checkpoint is damaged: what was left out stays out.
    let later = batch(10);
    log(&mut facts).blocks.insert(block(99, "words"));
    log(&mut facts).batches.insert(BatchId(10), later);
    (log(&mut facts).lineage, log(&mut facts).opened) = (Some(Lineage(2)), Some(Epoch(5)));
    let decision = decide(&facts, &declared(), &[]).unwrap();
    assert_eq!((replayed(&decision), decision.next_batch), (vec![10], BatchId(11)));
    facts.candidates[0].damage = Some("a file is cut".to_string());
    for id in [4, 5, 6] {
        log(&mut facts).batches.insert(BatchId(id), published(id));
        log(&mut facts).blocks.insert(block(id * 10 - 1, "words"));
    }
    let decision = decide(&facts, &declared(), &[]).unwrap();
    assert_eq!(replayed(&decision), [4, 5, 6, 10]);
}

#[test]
fn blocks_of_a_lost_machine_that_no_batch_has_taken_are_given_up_and_told() {
    let mut facts = facts_without_bodies([published(7)], &[92]);
    for (waiting, source) in [(91, "words"), (92, "words"), (93, "words")] {
        log(&mut facts).blocks.insert(block(waiting, source));
    }
    let decision = decided(&facts);
    assert_eq!((replayed(&decision), decision.next_batch), (vec![7], BatchId(8)));
    // What came behind it goes with it: the source is asked again from there on.
    assert_eq!(decision.loss.given_up, [Sequence(92), Sequence(93)]);
    assert_eq!(decision.unplanned.iter().map(|block| block.at.sequence.0).collect::<Vec<_>>(), [91]);
    let report = RecoveryReport::new(&decision);
    assert!(report.batches_lost().is_empty());
    assert!(report.to_string().contains("before any batch had taken it: 2 blocks of \"words\""), "{report}");
}

#[test]
fn the_setting_to_go_on_without_a_log_changes_nothing_while_there_is_one() {
    let go_on = Declared { goes_on_without_log: true, ..declared() };
    let decision = decide(&facts([published(7)]), &go_on, &[]).unwrap();
    assert!(!decision.new_lineage);
    assert_eq!(replayed(&decision), [7]);
}

#[test]
fn state_that_the_program_does_not_know_is_refused_unless_dropped() {
    let without = Declared { operators: Vec::new(), ..declared() };
    refused(&facts([]), &without, ErrorKind::Incompatible, &["\"counts\"", "drop_state(\"counts\")"]);
    let dropping = Declared { dropped: vec![Uid::from("counts")], ..without };
    assert_eq!(decide(&facts([]), &dropping, &[]).unwrap().changes.dropped, [Uid::from("counts")]);
}

#[test]
fn a_source_that_the_program_does_not_know_is_refused_unless_dropped_or_used_up() {
    let renamed = Declared { sources: vec![receiver("others", "str")], ..declared() };
    assert!(decide(&facts([published(6)]), &renamed, &[]).is_ok(), "nothing of it is to be recomputed");
    refused(&facts([published(7)]), &renamed, ErrorKind::Incompatible, &["batch 7", "\"words\"", "graceful stop"]);
    let mut facts = facts([]);
    log(&mut facts).blocks.insert(block(85, "words"));
    refused(&facts, &renamed, ErrorKind::Incompatible, &["\"words\" has 1 block", "drop_state(\"words\")"]);
    let dropping = Declared { dropped: vec![Uid::from("words")], ..renamed };
    assert!(decide(&facts, &dropping, &[]).unwrap().unplanned.is_empty());
}

#[test]
fn a_new_operator_starts_empty() {
    let more = Declared { operators: vec![descriptor("counts"), descriptor("more")], ..declared() };
    assert_eq!(decide(&facts([]), &more, &[]).unwrap().changes.started_empty, [Uid::from("more")]);
    // So does one whose state was given up earlier.
    let mut facts = facts([]);
    facts.candidates[0].point.operators[0].kind = DROPPED.to_string();
    let changes = decided(&facts).changes;
    assert_eq!((changes.started_empty, changes.dropped), (vec![Uid::from("counts")], vec![]));
}

#[test]
fn an_older_state_version_is_migrated_or_refused() {
    let program = |spec| Declared { operators: vec![descriptor(spec)], ..declared() };
    let mut facts = facts([]);
    facts.candidates[0].point.operators[0].state_type = "u32".to_string();
    let widened = || StateSpec::new("counts").version(2);
    let migrating = program(widened().migrate_from(1, |old: u32| u64::from(old)));
    let decision = decide(&facts, &migrating, &[]).unwrap();
    assert_eq!(decision.changes.migrated, [(Uid::from("counts"), 1, 2)]);
    refused(&facts, &program(widened()), ErrorKind::Incompatible, &["version 1", "is 2", "migrate_from"]);
    // A migration from another type than the one that is stored.
    let from_another = program(widened().migrate_from(1, |old: u16| u64::from(old)));
    refused(&facts, &from_another, ErrorKind::Incompatible, &["u32", "u16", "version 1"]);
    facts.candidates[0].point.operators[0].state_version = 3;
    refused(&facts, &migrating, ErrorKind::Incompatible, &["version 3", "is 2", "run the newer program"]);
}

#[test]
fn another_type_under_the_same_version_is_refused() {
    let mut facts = facts([]);
    facts.candidates[0].point.operators[0].state_type = "u32".to_string();
    refused(&facts, &declared(), ErrorKind::Incompatible, &["state type", "u32", "u64"]);
    facts.candidates[0].point.operators[0].key_type = "bytes".to_string();
    refused(&facts, &declared(), ErrorKind::Incompatible, &["key type", "bytes", "str"]);
    facts.candidates[0].point.operators[0].kind = "window".to_string();
    refused(&facts, &declared(), ErrorKind::Incompatible, &["window", "update_state_by_key"]);
}

#[test]
fn another_job_and_another_spread_of_keys_are_refused() {
    let other = Declared { name: "other".to_string(), ..declared() };
    refused(&facts([]), &other, ErrorKind::Incompatible, &["\"job\"", "\"other\""]);
    let wider = Declared { keys: KeyLayout::of_this_build(128, 16), ..declared() };
    refused(&facts([]), &wider, ErrorKind::Incompatible, &["8 partitions", "16"]);
}

#[test]
fn a_refusal_of_what_is_damaged_is_not_one_of_what_does_not_fit() {
    let found = Refusal::LogCut { expected: Sequence(2), found: Sequence(1) };
    assert_eq!(Error::from(found).kind(), ErrorKind::Damaged);
}
