//! Planned files that cannot be read any more: what a job that continues without them loses, and what it does not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::remembered_files_tests::{counting, counts, each_once, put_file, replaced, restore};
use super::text_files_tests::fixture_with;
use super::*;
use crate::KeyedState;
use crate::dataflow::task::Before;
use crate::source::compression::Compression;
use crate::source::compression::tests::compressed;
use crate::testing::TestJob;
use floodmark_base::id::BatchId;
use floodmark_base::text::Text;

/// A switch, and the setting of a source that goes on without its files where the switch is on.
fn going_on_where_told() -> (Arc<AtomicBool>, impl Fn(TextFiles) -> TextFiles + 'static) {
    let goes_on = Arc::new(AtomicBool::new(false));
    let switch = goes_on.clone();
    (goes_on, move |files: TextFiles| files.go_on_without_files(switch.load(Ordering::SeqCst)))
}

#[test]
fn a_start_that_needs_a_file_that_was_archived_is_refused_and_names_it_and_goes_on_without_it_where_that_is_accepted() {
    let place = tempfile::tempdir().unwrap();
    let (goes_on, settings) = going_on_where_told();
    let mut job = counting(place.path(), settings, |_| {});
    for number in 0..3 {
        put_file(place.path(), number);
        job.run_batch().unwrap();
    }
    let archived = place.path().join("file 1");
    let elsewhere = place.path().join(".archived");
    fs::rename(&archived, &elsewhere).unwrap();
    job.crash();
    let error = job.start().unwrap_err().to_string();
    assert!(error.contains("batch 2 is computed again") && error.contains("go_on_without_files(true)"), "{error}");
    assert!(error.contains(&format!("{}: the file was planned with", archived.display())), "{error}");
    goes_on.store(true, Ordering::SeqCst);
    job.start().unwrap();
    let mut expected = each_once(0..3);
    expected.retain(|line, _| !line.ends_with("of 1"));
    assert_eq!(counts(&job), expected);
    // It is decided for good, whatever the setting says later.
    goes_on.store(false, Ordering::SeqCst);
    job.crash_and_restart().unwrap();
    assert_eq!(counts(&job), expected);
    for number in 3..9 {
        put_file(place.path(), number);
        job.run_batch().unwrap();
    }
    job.crash_and_restart().unwrap();
    expected.extend(each_once(3..9));
    assert_eq!(counts(&job), expected);
}

#[test]
fn a_damaged_compressed_file_ends_the_job_and_the_way_on_without_it_is_open() {
    let place = tempfile::tempdir().unwrap();
    let (goes_on, settings) = going_on_where_told();
    let mut job = counting(place.path(), settings, |_| {});
    let whole = compressed(Compression::Gzip, b"line 0 of 0\n");
    fs::write(place.path().join("cut.gz"), &whole[..whole.len() - 4]).unwrap();
    let error = job.run_batch().unwrap_err().to_string();
    assert!(error.contains("cut.gz: the file cannot be read as gzip"), "{error}");
    job.crash();
    assert!(job.start().is_err());
    goes_on.store(true, Ordering::SeqCst);
    job.start().unwrap();
    put_file(place.path(), 1);
    job.run_batch().unwrap();
    assert_eq!(counts(&job), each_once(1..2));
}

#[test]
fn a_file_that_was_given_up_and_comes_back_after_its_name_was_forgotten_is_read() {
    let place = tempfile::tempdir().unwrap();
    let mut job = counting(place.path(), |files| files.go_on_without_files(true), |_| {});
    for number in 0..2 {
        put_file(place.path(), number);
        job.run_batch().unwrap();
    }
    let (file, elsewhere) = (place.path().join("file 1"), place.path().join(".archived"));
    fs::rename(&file, &elsewhere).unwrap();
    job.crash_and_restart().unwrap();
    assert_eq!(counts(&job), each_once(0..1));
    // Each batch lists the directory, since a name is missing: after 16 of them the name is forgotten.
    for _ in 0..24 {
        job.run_batch().unwrap();
    }
    // It has the same size and time as before, so it is planned with the same ranges.
    fs::rename(&elsewhere, &file).unwrap();
    for _ in 0..4 {
        job.run_batch().unwrap();
    }
    assert_eq!(counts(&job), each_once(0..2));
    job.crash_and_restart().unwrap();
    assert_eq!(counts(&job), each_once(0..2));
}

/// A job that goes on without files, and whose compressed file is cut off. Nothing of that is in a checkpoint yet.
fn job_without_a_damaged_file(directory: &Path, reads_replaced: &Arc<AtomicBool>) -> TestJob<()> {
    let reads_replaced = reads_replaced.clone();
    let settings = move |files: TextFiles| {
        files.go_on_without_files(true).read_replaced_files(reads_replaced.load(Ordering::SeqCst))
    };
    let mut job = counting(directory, settings, |_| {});
    let whole = compressed(Compression::Gzip, b"line 0 of 0\n");
    fs::write(directory.join("cut.gz"), &whole[..whole.len() - 4]).unwrap();
    job.run_batch().unwrap_err();
    job.crash_and_restart().unwrap();
    job
}

#[test]
fn a_file_that_was_given_up_stays_so_after_checkpoints_crashes_and_stops() {
    // The decision is in the log, or in a checkpoint, or in both.
    for batches in 0..12 {
        let place = tempfile::tempdir().unwrap();
        let mut job = job_without_a_damaged_file(place.path(), &Arc::default());
        for number in 1..=batches {
            put_file(place.path(), number);
            job.run_batch().unwrap();
        }
        job.crash_and_restart().unwrap();
        job.run_batch().unwrap();
        job.stop_and_restart().unwrap();
        put_file(place.path(), batches + 1);
        for _ in 0..2 {
            job.run_batch().unwrap();
        }
        assert_eq!(counts(&job), each_once(1..batches + 2), "after {batches} batches");
        let (_, files) = job.running().status().files.pop().unwrap();
        assert_eq!((files.known, files.replaced), (batches + 2, 0), "after {batches} batches");
    }
}

#[test]
fn a_file_in_the_place_of_one_that_was_given_up_is_a_replaced_one() {
    let (place, reads_replaced) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let mut job = job_without_a_damaged_file(place.path(), &reads_replaced);
    let repaired = compressed(Compression::Gzip, b"line 0 of 0\nline 1 of 0\n");
    fs::write(place.path().join(".repaired"), repaired).unwrap();
    fs::rename(place.path().join(".repaired"), place.path().join("cut.gz")).unwrap();
    for restarted in [false, true] {
        job.run_batch().unwrap();
        job.run_batch().unwrap();
        assert_eq!(counts(&job), BTreeMap::new());
        let (_, files) = job.running().status().files.pop().unwrap();
        assert_eq!(files.replaced_names, ["cut.gz"], "restarted: {restarted}");
        job.stop_and_restart().unwrap();
    }
    reads_replaced.store(true, Ordering::SeqCst);
    job.stop_and_restart().unwrap();
    for _ in 0..2 {
        job.run_batch().unwrap();
        assert_eq!(counts(&job), [("line 0 of 0".to_string(), 1), ("line 1 of 0".to_string(), 1)].into());
        job.stop_and_restart().unwrap();
    }
}

#[test]
fn a_half_taken_file_of_which_a_range_was_given_up_is_read_on_when_it_is_restored_with_another_time() {
    let mut f = fixture_with(|files| files.task_bytes(1 << 10).go_on_without_files(true));
    f.put("a", 9, "line\n".repeat(5_000));
    let first = f.batch(10_000).len();
    let (_, position) = f.checkpoint();
    let lost = f.plan(5_000);
    let files = TextFiles::new(f.directory.path()).task_bytes(1 << 10).go_on_without_files(true);
    f.restart(files, &position, &lost);
    drop(f.direct.give_up(BatchId(2), lost.clone()));
    assert!(lost.iter().all(|range| f.direct.has_given_up(BatchId(2), range)));
    restore(&f);
    f.put("b", 5, "new\n");
    // As long as the batch is not committed, nothing tells whether the file is the same.
    assert!(f.plan(u64::MAX).is_empty());
    let waits = f.direct.files_status().unwrap().unavailable.unwrap();
    assert!(waits.contains("/a: the file was taken up to byte") && waits.contains("not committed yet"), "{waits}");
    lost.iter().for_each(|range| f.direct.committed(range, &[], BatchId(2)).unwrap());
    let rest = f.batch(u64::MAX);
    assert_eq!(f.direct.files_status().unwrap().unavailable, None);
    let lines_lost = 5_000 - (first + rest.len() - 1);
    assert_eq!((rest.last().unwrap().as_str(), lines_lost * 5 / 1_000), ("new", 5), "{lines_lost} lines are lost");
    let (_, position) = f.checkpoint();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
}

#[test]
fn a_job_goes_on_with_a_half_taken_file_of_which_a_batch_was_given_up() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_path_buf();
    let configure = |builder: crate::StreamingContextBuilder| builder.max_batch_bytes(1_000).backpressure(false);
    let mut job = TestJob::configured(configure, move |context| {
        let files = TextFiles::new(&directory).task_bytes(100).go_on_without_files(true);
        let lines = context.direct_stream("files", files).map(|line| (line, 1_u64));
        lines.update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
            Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
        });
    })
    .unwrap();
    let lines: Vec<_> = (0..400).map(|line| format!("line {line:04}")).collect();
    let (file, elsewhere) = (place.path().join("a"), place.path().join(".elsewhere"));
    fs::write(&file, lines.join("\n")).unwrap();
    job.run_batch().unwrap();
    let taken = counts(&job).len();
    assert!(taken > 0 && taken < 200, "{taken}");
    job.stop_and_restart().unwrap();
    job.run_batch().unwrap();
    let given_up = counts(&job).len() - taken;
    assert!(given_up > 0 && taken + given_up < 400, "{taken} {given_up}");
    fs::rename(&file, &elsewhere).unwrap();
    job.crash_and_restart().unwrap();
    assert_eq!(counts(&job).len(), taken);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    File::options().write(true).open(&elsewhere).unwrap().set_modified(time).unwrap();
    fs::rename(&elsewhere, &file).unwrap();
    put_file(place.path(), 1);
    for _ in 0..10 {
        job.run_batch().unwrap();
    }
    let (_, files) = job.running().status().files.pop().unwrap();
    assert_eq!(files.unavailable, None);
    let counts = counts(&job);
    assert!(counts.values().all(|count| *count == 1));
    assert_eq!(counts.len(), 400 - given_up + 20);
}

#[test]
fn a_half_taken_file_that_was_given_up_and_is_replaced_later_is_reported_or_read_as_a_new_one() {
    for reads_replaced in [false, true] {
        let settings = |files: TextFiles| files.go_on_without_files(true).read_replaced_files(reads_replaced);
        let mut f = fixture_with(settings);
        f.put("a", 9, "line\n".repeat(2_000));
        assert!(!f.batch(1).is_empty());
        f.put("a", 8, "other\n".repeat(3_000));
        let mut read = 0;
        (0..4).for_each(|_| read += f.batch(u64::MAX).len());
        assert_eq!(read, if reads_replaced { 3_000 } else { 0 });
        assert_eq!(replaced(&f), if reads_replaced { vec![] } else { vec!["a"] });
        let (_, position) = f.checkpoint();
        let files = settings(TextFiles::new(f.directory.path()));
        f.restart(files, &position, &[]);
        assert_eq!(f.batch(u64::MAX), [""; 0]);
    }
}

#[test]
fn a_half_taken_file_is_given_up_only_when_the_batches_that_read_of_it_are_committed() {
    let mut f = fixture_with(|files| files.go_on_without_files(true));
    f.put("a", 9, "line\n".repeat(2_000));
    let ranges = f.plan(1);
    let read = |range| f.direct.task_reader().read_range(range, &Before::Planned, &mut |_: Text| ()).unwrap().1;
    let receipts: Vec<_> = ranges.iter().map(|range| read(range)).collect();
    f.put("a", 8, "other\n".repeat(3_000));
    (0..3).for_each(|_| assert!(f.offer(u64::MAX).is_empty()));
    assert!(f.direct.files_status().unwrap().unavailable.is_some());
    for (range, receipt) in ranges.iter().zip(&receipts) {
        f.direct.committed(range, receipt, BatchId(1)).unwrap();
    }
    (0..3).for_each(|_| assert!(f.offer(u64::MAX).is_empty()));
    assert_eq!(f.direct.files_status().unwrap().unavailable, None);
    assert_eq!(replaced(&f), ["a"]);
}

#[test]
fn a_compressed_binary_file_of_odd_length_ends_the_job_and_the_way_on_without_it_is_open() {
    let place = tempfile::tempdir().unwrap();
    let (directory, goes_on) = (place.path().to_path_buf(), Arc::new(AtomicBool::new(false)));
    fs::write(directory.join("odd.gz"), compressed(Compression::Gzip, b"12345")).unwrap();
    let settings = goes_on.clone();
    let mut job = TestJob::new(move |context| {
        let files = crate::BinaryFiles::new(&directory, 2).go_on_without_files(settings.load(Ordering::SeqCst));
        context.direct_stream("files", files).map(|record| record.len() as u64).collect("lengths")
    })
    .unwrap();
    let says = "odd.gz: 5 bytes are no multiple of the record length, 2 bytes";
    let error = job.run_batch().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
    job.crash();
    let error = job.start().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
    goes_on.store(true, Ordering::SeqCst);
    job.start().unwrap();
    fs::write(place.path().join("even.gz"), compressed(Compression::Gzip, b"123456")).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().last(), [2; 3]);
    job.stop_and_restart().unwrap();
    job.run_batch().unwrap();
    assert!(job.handles().last().is_empty());
}

/// Damages the table files that only the newest checkpoint has.
fn damage_the_newest_checkpoint(job: &Path) {
    let mut checkpoints: Vec<(u64, Vec<PathBuf>)> = Vec::new();
    for checkpoint in fs::read_dir(job.join("checkpoints")).unwrap() {
        let checkpoint = checkpoint.unwrap();
        let batch = checkpoint.file_name().to_str().unwrap().split('-').next().unwrap().parse().unwrap();
        let files = fs::read_dir(checkpoint.path()).unwrap().map(|file| file.unwrap().path());
        checkpoints.push((batch, files.filter(|file| file.extension().is_some_and(|kind| kind == "sst")).collect()));
    }
    checkpoints.sort();
    let (newest, older) = (checkpoints.pop().unwrap().1, checkpoints.pop().unwrap().1);
    let is_new = |file: &&PathBuf| older.iter().all(|older| older.file_name() != file.file_name());
    for file in newest.iter().filter(is_new) {
        let mut bytes = fs::read(file).unwrap();
        bytes[100] ^= 1;
        // A copy: other checkpoints may have the file under another name.
        fs::remove_file(file).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn a_lazy_job_does_not_go_back_behind_what_a_source_has_decided() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_path_buf();
    let mut job = TestJob::configured(
        |builder| builder.checkpoint_every(4).lazy_restart_above(0),
        move |context| {
            let files = TextFiles::new(&directory).task_bytes(64).go_on_without_files(true);
            let words = context.direct_stream("files", files).map(|line| (line, 1_u64));
            words.map_with_state("counts", |_: &Text, one: Option<u64>, total: &mut KeyedState<u64>| {
                let sum = total.get().unwrap_or(&0) + one.unwrap_or(0);
                total.update(sum);
            });
        },
    )
    .unwrap();
    let run = |job: &mut TestJob<()>, files: std::ops::Range<u64>| {
        for number in files {
            put_file(place.path(), number);
            job.run_batch().unwrap();
            job.running().wait_until(|status| !status.checkpointing).unwrap();
        }
    };
    run(&mut job, 0..5);
    assert_eq!(job.running().status().checkpoint, BatchId(4));
    job.crash();
    // What batch 5 has read is gone, and it is given up for good.
    fs::remove_file(place.path().join("file 4")).unwrap();
    job.start().unwrap();
    run(&mut job, 5..8);
    assert_eq!(job.running().status().checkpoint, BatchId(8));
    job.crash();
    damage_the_newest_checkpoint(job.directory());
    job.start().unwrap();
    let status = job.running().wait_until(|status| !status.loading).unwrap();
    assert_eq!(status.published, BatchId(8));
    let mut expected = each_once(0..8);
    expected.retain(|line, _| !line.ends_with("of 4"));
    assert_eq!(counts(&job), expected);
}
