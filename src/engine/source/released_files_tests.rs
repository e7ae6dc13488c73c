//! Files that no recovery reads again are named to listeners, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::remembered_files_tests::{counts, each_once, put_file};
use super::text_files_tests::{Fixture, fixture, fixture_with};
use super::*;
use crate::dataflow::task::Before;
use crate::listener::StreamingListener;
use crate::listener::events::{FilesReleased, StreamingStarted};
use crate::testing::TestJob;
use floodmark_base::id::{BatchId, Uid};
use floodmark_base::text::Text;

/// Collects the names of files.
#[derive(Clone, Default)]
struct Named(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Named {
    fn take(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl StreamingListener for Named {
    fn on_files_released(&mut self, released: &FilesReleased) {
        assert_eq!(released.source, Uid::from("files"));
        self.0.lock().unwrap().extend(released.files.iter().cloned());
    }
}

/// A job with a checkpoint every 4 batches that has read one file in each of `files` batches, its listener, and its input.
fn job(kept: usize, files: u64) -> (TestJob<()>, Named, TempDir) {
    let (place, named) = (tempfile::tempdir().unwrap(), Named::default());
    let (directory, listener) = (place.path().to_path_buf(), named.clone());
    let mut job = TestJob::configured(
        move |builder| builder.keep_checkpoints(kept).listener(listener.clone()),
        move |context| {
            let words = context.direct_stream("files", TextFiles::new(&directory)).map(|line| (line, 1_u64));
            words.update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
            });
        },
    )
    .unwrap();
    for number in 0..files {
        put_file(place.path(), number);
        run_batch(&mut job);
    }
    (job, named, place)
}

/// Runs a batch, and waits for its checkpoint if it has one.
fn run_batch(job: &mut TestJob<()>) {
    job.run_batch().unwrap();
    job.running().wait_until(|status| !status.checkpointing).unwrap();
}

fn paths(directory: &Path, files: Range<u64>) -> BTreeSet<PathBuf> {
    files.map(|number| directory.join(format!("file {number}"))).collect()
}

/// Damages the newest checkpoint.
fn damage_newest(job: &TestJob<()>) {
    let checkpoints = job.directory().join("checkpoints");
    let batch = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().parse::<u64>();
    let directories = fs::read_dir(checkpoints).unwrap().map(|entry| entry.unwrap().path());
    let newest = directories.max_by_key(|path| batch(path).unwrap()).unwrap();
    fs::remove_file(newest.join("CURRENT")).unwrap();
}

#[test]
fn after_a_crash_between_batch_and_checkpoint_a_file_that_was_named_may_be_gone_and_one_that_was_not_is_needed() {
    for files in 1..10 {
        let (mut job, named, place) = job(1, files);
        job.crash();
        let covered = files / 4 * 4;
        let named = named.take();
        assert_eq!(named, paths(place.path(), 0..covered), "after {files} batches");
        for path in &named {
            fs::remove_file(path).unwrap();
        }
        job.start().unwrap();
        assert_eq!(counts(&job), each_once(0..files), "after {files} batches");
        job.crash();
        for needed in paths(place.path(), covered..files) {
            let elsewhere = place.path().join(".elsewhere");
            fs::rename(&needed, &elsewhere).unwrap();
            let error = job.start().unwrap_err().to_string();
            assert!(error.contains(&needed.display().to_string()), "{error}");
            fs::rename(&elsewhere, &needed).unwrap();
        }
        job.start().unwrap();
        assert_eq!(counts(&job), each_once(0..files), "after {files} batches");
    }
}

#[test]
fn a_file_is_not_named_while_the_checkpoint_before_its_batch_may_have_to_stand_in_for_a_damaged_one() {
    let (mut job, named, place) = job(2, 10);
    job.crash();
    let named = named.take();
    assert_eq!(named, paths(place.path(), 0..4), "batches 4 and 8 have checkpoints");
    for path in named {
        fs::remove_file(path).unwrap();
    }
    damage_newest(&job);
    let (needed, elsewhere) = (place.path().join("file 4"), place.path().join(".elsewhere"));
    fs::rename(&needed, &elsewhere).unwrap();
    let error = job.start().unwrap_err().to_string();
    assert!(error.contains(&needed.display().to_string()), "{error}");
    fs::rename(&elsewhere, &needed).unwrap();
    job.start().unwrap();
    assert_eq!(job.recovery().batches_replayed(), 6);
    assert_eq!(counts(&job), each_once(0..10));
}

#[test]
fn files_that_are_still_there_after_a_start_are_named_again_and_those_that_were_archived_are_not() {
    let (mut job, named, place) = job(2, 10);
    job.crash();
    assert_eq!(named.take(), paths(place.path(), 0..4));
    for path in paths(place.path(), 0..2) {
        fs::remove_file(path).unwrap();
    }
    job.start().unwrap();
    job.crash();
    assert_eq!(named.take(), BTreeSet::new(), "the state does not say which batch read a file");
    job.start().unwrap();
    while job.running().status().checkpoints == 0 {
        run_batch(&mut job);
    }
    job.crash();
    assert_eq!(named.take(), paths(place.path(), 2..8));
    job.start().unwrap();
    run_batch(&mut job);
    job.running().stop(true).unwrap();
    assert_eq!(named.take(), paths(place.path(), 2..10), "the last checkpoint of a graceful stop is one more");
}

/// Hears nothing until it may.
struct Blocked(Receiver<()>, Named);

impl StreamingListener for Blocked {
    fn on_streaming_started(&mut self, _started: &StreamingStarted) {
        self.0.recv().unwrap();
    }

    fn on_files_released(&mut self, released: &FilesReleased) {
        self.1.on_files_released(released);
    }
}

#[test]
fn no_name_is_lost_when_listeners_are_slow_and_other_events_are_dropped() {
    let (place, named, (go, may)) = (tempfile::tempdir().unwrap(), Named::default(), channel());
    let (directory, blocked) = (place.path().to_path_buf(), Mutex::new(Some(Blocked(may, named.clone()))));
    let mut job = TestJob::configured(
        move |builder| builder.keep_checkpoints(1).listener_queue(2).listener(blocked.lock().unwrap().take().unwrap()),
        move |context| context.text_file_stream("files", &directory).print(0),
    )
    .unwrap();
    for number in 0..20 {
        put_file(place.path(), number);
        run_batch(&mut job);
    }
    assert!(job.running().status().events_missed > 0);
    go.send(()).unwrap();
    let mut heard = BTreeSet::new();
    for _ in 0..1_000 {
        heard.extend(named.take());
        if heard == paths(place.path(), 0..20) {
            return;
        }
        run_batch(&mut job);
    }
    panic!("of 20 files only these were named: {heard:?}");
}

/// One batch of a source whose files in use are known.
fn read_in(f: &mut Fixture, batch: u64, bytes: u64) {
    f.direct.track_use();
    for range in f.plan(bytes) {
        let read = f.direct.task_reader().read_range(&range, &Before::Planned, &mut |_: Text| {});
        f.direct.committed(&range, &read.unwrap().1, BatchId(batch)).unwrap();
    }
}

fn released(f: &mut Fixture, through: u64) -> Vec<String> {
    let files = f.direct.release_files(BatchId(through)).into_iter();
    files.map(|path| path.strip_prefix(f.directory.path()).unwrap().display().to_string()).collect()
}

#[test]
fn a_file_is_named_once_with_the_batch_that_read_its_end() {
    let mut f = fixture();
    f.put("a", 9, "line\n".repeat(2_000));
    f.put("b", 8, "");
    read_in(&mut f, 1, 1);
    assert_eq!(released(&mut f, 1), [""; 0], "it is taken in part");
    read_in(&mut f, 2, u64::MAX);
    assert_eq!(released(&mut f, 1), [""; 0]);
    assert_eq!(released(&mut f, 2), ["a", "b"]);
    assert_eq!(released(&mut f, 9), [""; 0]);
}

#[test]
fn a_file_that_is_not_as_it_was_read_is_not_named_until_it_is() {
    let mut f = fixture();
    f.put("data.csv", 9, "monday\n");
    read_in(&mut f, 1, u64::MAX);
    f.put("data.csv", 8, "tuesday\n");
    assert_eq!(released(&mut f, 1), [""; 0], "nobody has read what is there, and nobody has noticed");
    read_in(&mut f, 2, u64::MAX);
    assert_eq!(released(&mut f, 2), [""; 0]);
    f.put("data.csv", 7, "monday\n");
    assert_eq!(released(&mut f, 3), [""; 0], "with another time it may be anything");
    read_in(&mut f, 4, u64::MAX);
    assert_eq!(released(&mut f, 4), ["data.csv"]);
}

#[test]
fn a_file_that_was_replaced_and_is_read_again_is_named_with_the_batch_that_reads_it_again() {
    let mut f = fixture_with(|files| files.read_replaced_files(true));
    f.put("data.csv", 9, "monday\n");
    read_in(&mut f, 1, u64::MAX);
    f.put("data.csv", 8, "tuesday\n");
    let ranges = f.plan(u64::MAX);
    assert_eq!((ranges.len(), released(&mut f, 1)), (1, vec![]), "planned, and not yet read");
    let read = f.direct.task_reader().read_range(&ranges[0], &Before::Planned, &mut |_: Text| {});
    f.direct.committed(&ranges[0], &read.unwrap().1, BatchId(3)).unwrap();
    assert_eq!(released(&mut f, 2), [""; 0]);
    assert_eq!(released(&mut f, 3), ["data.csv"]);
}

#[test]
fn many_files_are_named_in_parts_that_keep_up_with_reading() {
    for (most, parts) in [(10, vec![1_000, 1_000, 400, 0]), (2_000, vec![2_000, 400, 0])] {
        let mut f = fixture_with(|files| files.max_files_per_batch(most));
        for number in 0..2_400 {
            f.put(&format!("{number:05}"), 9, "");
        }
        for batch in 1..=240 {
            read_in(&mut f, batch, u64::MAX);
        }
        let named: Vec<_> = parts.iter().map(|_| released(&mut f, 240).len()).collect();
        assert_eq!(named, parts, "of {most} files a batch");
    }
}
