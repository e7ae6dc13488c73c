//! The writer: sharing, removal, damage, and a crash at every durable step.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::*;
use super::kit::*;
use crate::state::files::verify_files;
use floodmark_base::disk::{Fault, FaultyDisk, LocalDisk, Point, Step, TracedStep, Watcher};
use floodmark_base::id::{BatchId, WriterNonce};

#[test]
fn a_restart_finds_the_state_of_the_newest_checkpoint() {
    let job = tempfile::tempdir().unwrap();
    let mut life = Life::start(job.path(), disk()).unwrap();
    life.batch(1, 0..1_000).unwrap();
    let done = life.batch(2, 500..1_500).unwrap();
    assert_eq!(done.batch, BatchId(2));
    assert!(life.end().is_none());
    let life = Life::start(job.path(), disk()).unwrap();
    assert_eq!((life.started_from, life.sum(), life.table.len()), (BatchId(2), 2_000, 1_500));
    assert!(life.end().is_none());
}

#[test]
fn checkpoints_share_files_and_one_opens_after_others_are_removed() {
    let job = tempfile::tempdir().unwrap();
    let mut life = Life::start(job.path(), disk()).unwrap();
    let first = life.batch(1, 0..50_000).unwrap();
    let second = life.batch(2, 0..10).unwrap();
    assert!(second.new_bytes * 5 < first.new_bytes, "{} after {}", second.new_bytes, first.new_bytes);
    life.batch(3, 0..10).unwrap();
    assert!(life.end().is_none());
    let directories = names(&job.path().join("checkpoints"));
    assert_eq!(directories.iter().map(|name| &name[..2]).collect::<Vec<_>>(), ["2-", "3-"]);

    // The newest goes too, as if it had been damaged: what it shares with the older one stays.
    let disk = disk();
    fs::remove_dir_all(job.path().join("checkpoints").join(&directories[1])).unwrap();
    let facts = ManifestChain::observe(&*disk, job.path()).unwrap();
    let checkpoints = facts.checkpoints();
    let older = checkpoints[1].files;
    assert_eq!(older.directory, directories[0]);
    let directory = job.path().join("checkpoints").join(&older.directory);
    verify_files(&directory, &older.files, true).unwrap();
    let store = crate::state::StateStore::open_from(&directory, &job.path().join("live"), &older.files).unwrap();
    let hashes = floodmark_base::codec::KeyHash(0)..=floodmark_base::codec::KeyHash(u64::MAX);
    assert_eq!(store.reader().scan(OPERATOR, hashes).count(), 50_000);
}

#[test]
fn checksums_of_files_that_stay_are_inherited_and_right() {
    let job = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let mut life_now = Life::start(job.path(), disk()).unwrap();
        for batch in 1..6 {
            life_now.batch(life * 20 + batch, batch * 10..batch * 200).unwrap();
        }
        assert!(life_now.end().is_none());
        let facts = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
        for checkpoint in facts.checkpoints() {
            let directory = job.path().join("checkpoints").join(&checkpoint.files.directory);
            verify_files(&directory, &checkpoint.files.files, true).unwrap();
            let listed: BTreeSet<_> = checkpoint.files.files.iter().map(|file| file.name.clone()).collect();
            assert_eq!(listed, names(&directory).into_iter().collect());
        }
    }
}

#[test]
fn a_flipped_byte_in_any_file_of_a_checkpoint_is_found_by_a_full_check() {
    let job = tempfile::tempdir().unwrap();
    let mut life = Life::start(job.path(), disk()).unwrap();
    life.batch(1, 0..1_000).unwrap();
    assert!(life.end().is_none());
    let facts = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
    let checkpoints = facts.checkpoints();
    let files = &checkpoints[0].files.files;
    let directory = job.path().join("checkpoints").join(&checkpoints[0].files.directory);
    for file in files.iter().filter(|file| file.size > 0) {
        let path = directory.join(&file.name);
        let sound = fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let error = verify_files(&directory, files, true).unwrap_err().to_string();
        assert!(error.contains(&file.name) && error.contains("expected"), "{error}");
        if file.is_table() {
            assert!(verify_files(&directory, files, false).is_err(), "the footer of {}", file.name);
        }
        fs::write(&path, sound).unwrap();
    }
    verify_files(&directory, files, true).unwrap();
}

#[test]
fn a_checkpoint_of_a_batch_that_is_not_published_is_refused() {
    let job = tempfile::tempdir().unwrap();
    let life = Life::start(job.path(), disk()).unwrap();
    let mut point = point(3);
    point.published_through = BatchId(2);
    let error = life.checkpointer.request(CheckpointRequest { runs: Vec::new(), point }).unwrap_err();
    assert!(matches!(error, CheckpointError::NotPublished { .. }), "{error}");
    assert!(life.end().is_none());
}

#[test]
fn a_damaged_newest_checkpoint_is_rejected_and_the_older_one_carries_on() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    let mut life = Life::start(job.path(), disk.clone()).unwrap();
    life.batch(1, 0..100).unwrap();
    life.batch(2, 0..100).unwrap();
    assert!(life.end().is_none());

    let facts = ManifestChain::observe(&*disk, job.path()).unwrap();
    let checkpoints = facts.checkpoints();
    let (newest, instead) = (&checkpoints[0], checkpoints[1].manifest.clone());
    let epoch = facts.highest_epoch().unwrap().next();
    let rejection = ManifestDraft::rejection(
        &instead,
        epoch,
        WriterNonce::random(),
        newest.sequence,
        Some(newest.files.directory.clone()),
        "a file is damaged".to_string(),
    );
    ManifestChain::new(job.path(), facts.clone(), 2).publish(&*disk, rejection).unwrap();

    // RocksDB numbers files anew from the older checkpoint: names may come again, and their CRCs must not be inherited.
    let mut life = Life::start(job.path(), disk.clone()).unwrap();
    assert_eq!((life.started_from, life.sum()), (BatchId(1), 100));
    life.batch(2, 0..50).unwrap();
    life.batch(3, 0..50).unwrap();
    assert!(life.end().is_none());
    let facts = ManifestChain::observe(&*disk, job.path()).unwrap();
    for checkpoint in facts.checkpoints().iter().filter(|checkpoint| checkpoint.standing == Standing::Usable) {
        let directory = job.path().join("checkpoints").join(&checkpoint.files.directory);
        verify_files(&directory, &checkpoint.files.files, true).unwrap();
    }
    let life = Life::start(job.path(), disk).unwrap();
    assert_eq!(life.sum(), 200);
    assert!(life.end().is_none());
}

struct Bug;

impl Watcher for Bug {
    fn struck(&self, _: &TracedStep) {
        panic!("planted");
    }
}

#[test]
fn a_panic_of_the_writer_is_reported_as_an_error() {
    let job = tempfile::tempdir().unwrap();
    let door = FaultyDisk::watched(disk(), Arc::new(Bug));
    door.arm_at(Point { step: Step::CheckpointFiles, nth: 1 }, Fault::Hold);
    let mut life = Life::start(job.path(), Arc::new(door)).unwrap();
    let error = life.batch(1, 0..10).unwrap_err();
    assert_eq!(error.to_string(), "checkpoint of batch 1: the writer panicked, which is a bug: planted");
    assert!(life.end().is_none());
}

/// Runs batches 1 to 3 in one life, until the disk fails. Gives the last batch whose checkpoint was reported done, and the
/// durable steps that were taken.
fn run_until_failure(job: &Path, fault: Option<(u64, Fault)>) -> (u64, Vec<Step>) {
    let disk = FaultyDisk::new(disk());
    if let Some((number, fault)) = fault {
        disk.arm(number, fault);
    }
    let mut done = 0;
    if let Ok(mut life) = Life::start(job, Arc::new(disk.clone())) {
        for batch in 1..=3 {
            match life.batch(batch, 0..batch * 10) {
                Ok(report) => done = report.batch.0,
                Err(_) => break,
            }
        }
        life.end();
    }
    assert_eq!(disk.fired(), fault.is_some(), "a fault that never strikes proves nothing");
    (done, disk.trace().into_iter().map(|step| step.step).collect())
}

fn sum_after(batch: u64) -> u64 {
    (1..=batch).map(|batch| batch * 10).sum()
}

#[test]
fn a_crash_or_an_error_at_every_durable_step_leaves_the_newest_or_the_next_checkpoint_whole() {
    let probe = tempfile::tempdir().unwrap();
    let (done, steps) = run_until_failure(probe.path(), None);
    assert_eq!(done, 3);
    for step in [Step::ManifestCreate, Step::ManifestRemove, Step::CheckpointFiles, Step::CheckpointRemove] {
        assert!(steps.contains(&step), "{step} never passed");
    }
    let (mut old, mut new) = (0, 0);
    for (number, step) in (1..).zip(steps) {
        for fault in [Fault::DieBefore, Fault::DieAfter, Fault::FailOnce] {
            let job = tempfile::tempdir().unwrap();
            let (done, _) = run_until_failure(job.path(), Some((number, fault)));
            let mut life = Life::start(job.path(), disk()).unwrap();
            let from = life.started_from.0;
            assert!(from == done || from == done + 1, "{fault:?} in {step}: {from} after {done}");
            assert_eq!(life.sum(), sum_after(from), "{fault:?} in {step}");
            if from == done {
                old += 1
            } else {
                new += 1
            }

            // The job goes on, and what the crash left behind is gone after two more checkpoints.
            for batch in from + 1..=from + 2 {
                life.batch(batch, 0..batch * 10).unwrap();
            }
            assert!(life.end().is_none());
            assert_eq!(names(&job.path().join("checkpoints")).len(), 2, "{fault:?} in {step}");
            let facts = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
            assert_eq!((facts.links.len(), facts.superseded.len()), (2, 0), "{fault:?} in {step}");
        }
    }
    assert!(old > 0 && new > 0, "both outcomes were seen: {old} old, {new} new");
}
