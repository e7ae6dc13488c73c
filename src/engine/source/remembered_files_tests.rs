//! What is remembered of files that were taken: restored ones go on, replaced ones are told, and nothing grows with their number but
//! entries of the state.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::odd_files_tests::without_privileges;
use super::text_files_tests::{Fixture, fixture, fixture_with};
use super::*;
use crate::dataflow::task::Before;
use crate::source::compression::Compression;
use crate::source::compression::tests::compressed;
use crate::testing::TestJob;
use floodmark_base::id::BatchId;
use floodmark_base::text::Text;

/// Gives every file another time, as a copy of the directory would have.
pub(super) fn restore(f: &Fixture) {
    let paths: Vec<_> = fs::read_dir(f.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        let copy = f.path(".copy");
        fs::copy(&path, &copy).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
        fs::rename(&copy, &path).unwrap();
    }
}

pub(super) fn replaced(f: &Fixture) -> Vec<String> {
    let status = f.direct.files_status().unwrap();
    assert_eq!(status.replaced as usize, status.replaced_names.len());
    status.replaced_names
}

#[test]
fn a_position_and_a_checkpoint_do_not_grow_with_the_number_of_files() {
    let mut f = fixture_with(|files| files.max_files_per_batch(usize::MAX));
    for number in 0..2_000 {
        fs::write(f.path(&format!("a file with a rather long name, number {number}")), "line\n").unwrap();
    }
    assert_eq!(f.batch(u64::MAX).len(), 2_000);
    let (changed, position) = f.checkpoint();
    assert_eq!((changed, position.len()), (2_000, 2), "each file is an entry of its own");
    f.put("another", 1, "line\n");
    f.batch(u64::MAX);
    assert_eq!(f.checkpoint(), (1, position), "of many files only the new one is written");
    assert_eq!(f.checkpoint().0, 0);
    let position = f.direct.position().unwrap();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(f.direct.files_status().unwrap().known, 2_001);
}

#[test]
fn a_directory_that_was_restored_with_other_times_goes_on_and_nothing_is_read_twice() {
    let mut f = fixture_with(|files| files.task_bytes(1 << 10));
    f.put("a", 9, "first\n".repeat(500));
    let lines: Vec<_> = (0..5_000).map(|number| format!("line {number}")).collect();
    f.put("b", 8, lines.join("\n"));
    assert_eq!(f.batch(3_000).len(), 500);
    let mut taken = f.batch(20_000);
    assert!(!taken.is_empty() && taken.len() < 5_000, "half-way through a file");
    let (_, position) = f.checkpoint();
    restore(&f);
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    taken.extend(f.batch(u64::MAX));
    assert_eq!(taken, lines);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(replaced(&f), [""; 0]);
    // The new times are known from now on.
    let (changed, position) = f.checkpoint();
    assert_eq!(changed, 2);
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(f.checkpoint().0, 0);
}

#[test]
fn a_half_taken_file_whose_beginning_is_another_after_a_restart_is_an_error() {
    let mut f = fixture();
    f.put("a", 9, "line\n".repeat(2_000));
    assert!(!f.batch(1).is_empty());
    let (_, position) = f.checkpoint();
    f.put("a", 8, "LINE\n".repeat(2_000));
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    let error = f.direct.offer(&OfferLimits::UNLIMITED).unwrap_err();
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
}

#[test]
fn a_range_is_read_again_from_a_restored_file_and_never_from_one_with_other_bytes() {
    let mut f = fixture();
    f.put("a", 9, "one\n");
    let ranges = f.plan(u64::MAX);
    let read = |f: &Fixture, before: &Before| {
        let mut lines = Vec::new();
        let read = f.direct.task_reader().read_range(&ranges[0], before, &mut |line| lines.push(line.to_string()));
        read.map(|(_, receipt)| (lines, receipt))
    };
    let (_, receipt) = read(&f, &Before::Planned).unwrap();
    let before = Before::Read(receipt);
    restore(&f);
    assert_eq!(read(&f, &before).unwrap().0, ["one"]);
    assert_eq!(read(&f, &Before::Restored).unwrap().0, ["one"]);
    assert!(read(&f, &Before::Planned).is_err(), "a file that was just planned has to be left alone");
    f.put("a", 7, "two\n");
    let error = read(&f, &before).unwrap_err().to_string();
    let start = format!("{}: the file has changed since it was planned: expected bytes 0 to 4", f.path("a").display());
    assert!(error.starts_with(&start), "{error}");
    f.put("a", 7, "longer\n");
    assert!(read(&f, &Before::Restored).is_err());
}

#[test]
fn a_file_that_was_overwritten_is_not_read_and_is_named_once_and_counted_until_its_contents_are_back() {
    let mut f = fixture();
    f.put("data.csv", 9, "monday\n");
    assert_eq!(f.batch(u64::MAX), ["monday"]);
    assert_eq!(f.checkpoint().0, 1);
    f.put("data.csv", 8, "tuesday\n");
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(replaced(&f), ["data.csv"]);
    let (changed, position) = f.checkpoint();
    assert_eq!(changed, 1);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(f.checkpoint().0, 0, "it is no news any more");
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(replaced(&f), ["data.csv"], "it is known after a restart");
    f.put("data.csv", 7, "monday\n");
    f.batch(u64::MAX);
    assert_eq!(replaced(&f), [""; 0]);
    // The same file with its old time: that alone tells that it is back.
    f.put("data.csv", 8, "tuesday\n");
    f.batch(u64::MAX);
    assert_eq!(replaced(&f), ["data.csv"]);
    f.put("data.csv", 7, "monday\n");
    f.batch(u64::MAX);
    assert_eq!(replaced(&f), [""; 0]);
}

#[test]
fn a_file_of_the_same_size_that_was_overwritten_in_place_is_noticed_too() {
    let mut f = fixture();
    f.put("a", 9, "monday\n");
    f.batch(u64::MAX);
    fs::write(f.path("a"), "sunday\n").unwrap();
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(replaced(&f), ["a"]);
}

#[test]
fn a_file_that_was_overwritten_is_read_as_a_new_one_where_that_is_asked_for() {
    let mut f = fixture_with(|files| files.read_replaced_files(true));
    f.put("data.csv", 9, "monday\n");
    assert_eq!(f.batch(u64::MAX), ["monday"]);
    f.put("data.csv", 8, "tuesday\n");
    for _ in 0..2 {
        assert_eq!(f.offer(u64::MAX).len(), 1, "it is offered until it is planned");
    }
    assert_eq!(f.batch(u64::MAX), ["tuesday"]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    restore(&f);
    let (_, position) = f.checkpoint();
    let files = TextFiles::new(f.directory.path()).read_replaced_files(true);
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    assert_eq!(replaced(&f), [""; 0]);
}

#[test]
fn names_in_a_position_of_an_earlier_version_move_into_the_memory_and_stay_taken() {
    let mut f = fixture();
    f.put("a", 9, "taken\n");
    f.put("b", 8, "line\n".repeat(2_000));
    // The names that were taken, then the file that was taken in part: name, size, time, next byte.
    let modified_ns: i64 = (1_700_000_000 - 8) * 1_000_000_000;
    let partial = Some(("b", (10_000_u64, modified_ns), 5_000_u64));
    let position = floodmark_base::codec::encode(&(vec!["a"], partial)).unwrap();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX).len(), 1_000, "b is read on, and a is not read again");
    let (changed, position) = f.checkpoint();
    assert_eq!((changed, position.len()), (2, 2));
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    f.put("a", 7, "overwritten\n");
    f.batch(u64::MAX);
    assert_eq!(replaced(&f), ["a"], "from the first look on its size and time are known");
}

#[test]
fn a_file_that_an_earlier_version_took_in_part_is_read_on_after_it_was_restored_with_another_time() {
    let mut f = fixture();
    f.put("b", 8, "line\n".repeat(2_000));
    let modified_ns: i64 = (1_700_000_000 - 9) * 1_000_000_000;
    let position =
        floodmark_base::codec::encode(&(vec![""; 0], Some(("b", (10_000_u64, modified_ns), 5_000_u64)))).unwrap();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &[]);
    assert_eq!(f.batch(u64::MAX).len(), 1_000);
}

#[test]
fn a_restored_file_is_read_on_only_when_all_that_was_planned_of_it_is_compared() {
    let mut f = fixture();
    f.put("a", 9, "line\n".repeat(3_000));
    let mut lines = f.batch(1).len();
    let (_, position) = f.checkpoint();
    let planned = f.plan(1);
    restore(&f);
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &position, &planned);
    assert_eq!(f.offer(u64::MAX).len(), 0, "what was planned is not read again yet");
    for range in &planned {
        let read = f.direct.task_reader().read_range(range, &Before::Restored, &mut |_| lines += 1);
        f.direct.committed(range, &read.unwrap().1, BatchId(1)).unwrap();
    }
    assert_eq!(lines + f.batch(u64::MAX).len(), 3_000);
}

#[test]
fn what_is_planned_and_not_committed_is_in_no_checkpoint_however_often_the_file_is_looked_at() {
    let mut f = fixture();
    f.put("a", 9, "one\n");
    let ranges = f.plan(u64::MAX);
    for _ in 0..3 {
        assert_eq!(f.offer(u64::MAX).len(), 0);
    }
    let (_, position) = f.checkpoint();
    assert!(f.stored.is_empty(), "a crash now must have the file read again");
    assert_eq!(f.commit(&ranges), ["one"]);
    assert_eq!(f.checkpoint(), (1, position));
}

#[test]
fn what_was_frozen_for_a_checkpoint_that_is_not_taken_goes_into_the_next_one() {
    let mut f = fixture();
    f.put("a", 9, "one\n");
    f.put("b", 8, "two\n");
    f.batch(u64::MAX);
    let frozen = f.direct.freeze();
    assert_eq!((frozen.len(), f.direct.freeze().len()), (2, 0));
    f.direct.thaw(Some(vec![frozen[0].0.clone()]));
    assert_eq!(f.direct.freeze(), frozen[..1]);
    f.direct.thaw(None);
    assert_eq!(f.checkpoint().0, 2);
}

#[test]
fn a_source_that_goes_back_to_an_older_checkpoint_forgets_what_came_after_it() {
    let mut f = fixture();
    f.put("a", 9, "one\n");
    f.batch(u64::MAX);
    let (_, position) = f.checkpoint();
    f.put("b", 8, "two\n");
    assert_eq!(f.batch(u64::MAX), ["two"]);
    f.direct.restore(Some(&position)).unwrap();
    f.stored.iter().for_each(|(key, value)| f.direct.recall(key, value, BatchId(1)).unwrap());
    assert_eq!(f.batch(u64::MAX), ["two"]);
}

#[test]
fn a_file_that_was_taken_in_part_is_given_up_when_it_stays_away_or_is_another_where_that_is_accepted() {
    for is_another in [false, true] {
        let settings = |files: TextFiles| files.go_on_without_files(true);
        let mut f = fixture_with(settings);
        f.put("a", 9, "line\n".repeat(2_000));
        assert!(!f.batch(1).is_empty());
        f.put("b", 8, "other\n");
        let (_, position) = f.checkpoint();
        if is_another {
            f.put("a", 7, "LINE\n".repeat(2_000));
        } else {
            fs::rename(f.path("a"), f.path(".a")).unwrap();
        }
        let files = settings(TextFiles::new(f.directory.path()));
        f.restart(files, &position, &[]);
        let mut offers = 0;
        let lines = loop {
            let lines = f.batch(u64::MAX);
            offers += 1;
            if !lines.is_empty() || offers > 40 {
                break lines;
            }
        };
        assert_eq!(lines, ["other"], "another: {is_another}");
        assert!(if is_another { offers < 5 } else { offers > 10 }, "{offers} offers");
    }
}

#[test]
fn a_compressed_file_of_which_nothing_was_read_is_told_from_another_by_all_of_its_bytes() {
    let mut f = fixture();
    // The text is in UTF-16, so reading ends with its first bytes.
    let mut text = b"\xff\xfe".to_vec();
    text.extend((0..700_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()));
    f.put("a.gz", 9, compressed(Compression::Gzip, &text));
    assert_eq!(f.batch(u64::MAX), [""; 0]);
    restore(&f);
    f.batch(u64::MAX);
    f.batch(u64::MAX);
    assert_eq!(replaced(&f), [""; 0], "it has the bytes that it had");
}

/// A job that counts the lines of files, by their first word.
pub(super) fn counting(
    directory: &Path,
    settings: impl Fn(TextFiles) -> TextFiles + 'static,
    check: impl Fn(&Text) + Clone + Send + Sync + 'static,
) -> TestJob<()> {
    let directory = directory.to_path_buf();
    TestJob::new(move |context| {
        let files = settings(TextFiles::new(&directory).task_bytes(64));
        let check = check.clone();
        let words = context.direct_stream("files", files).map(move |line| {
            check(&line);
            (line, 1_u64)
        });
        words.update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
            Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
        });
    })
    .unwrap()
}

pub(super) fn counts(job: &TestJob<()>) -> BTreeMap<String, u64> {
    let state = job.running().state::<Text, u64>("counts").unwrap();
    state.snapshot().unwrap().into_iter().map(|(word, count)| (word.to_string(), count)).collect()
}

/// What the counts must be: each line of these files once.
pub(super) fn each_once(files: std::ops::Range<u64>) -> BTreeMap<String, u64> {
    let lines = files.flat_map(|file| (0..20).map(move |line| format!("line {line} of {file}")));
    lines.map(|line| (line, 1)).collect()
}

pub(super) fn put_file(directory: &Path, number: u64) {
    let lines: Vec<_> = (0..20).map(|line| format!("line {line} of {number}")).collect();
    let staged = directory.join(".staged");
    fs::write(&staged, lines.join("\n")).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number);
    File::options().write(true).open(&staged).unwrap().set_modified(time).unwrap();
    fs::rename(&staged, directory.join(format!("file {number}"))).unwrap();
}

fn restore_times(directory: &Path, add_s: u64) {
    for (number, entry) in fs::read_dir(directory).unwrap().enumerate() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + add_s + number as u64);
        file.set_modified(time).unwrap();
    }
}

#[test]
fn a_job_counts_each_file_once_across_crashes_stops_and_restored_directories() {
    let place = tempfile::tempdir().unwrap();
    let mut job = counting(place.path(), |files| files, |_| {});
    for number in 0..24 {
        put_file(place.path(), number);
        job.run_batch().unwrap();
        match number % 6 {
            1 => job.crash_and_restart().unwrap(),
            3 => job.stop_and_restart().unwrap(),
            5 => {
                job.crash();
                restore_times(place.path(), number);
                job.start().unwrap();
            }
            _ => {}
        }
    }
    job.run_batch().unwrap();
    assert_eq!(counts(&job), each_once(0..24));
    let (_, files) = job.running().status().files.pop().unwrap();
    assert_eq!((files.known, files.replaced), (24, 0));
}

#[test]
fn an_attempt_that_fails_at_any_batch_leaves_what_is_remembered_whole() {
    for fails_at in 0..10_u64 {
        let place = tempfile::tempdir().unwrap();
        let is_broken = Arc::new(AtomicBool::new(true));
        let (poison, breaks) = (format!("line 7 of {fails_at}"), is_broken.clone());
        let mut job = counting(
            place.path(),
            |files| files,
            move |line| {
                assert!(**line != poison || !breaks.swap(false, Ordering::SeqCst), "it breaks once");
            },
        );
        for number in 0..10 {
            put_file(place.path(), number);
            job.run_batch().unwrap();
        }
        job.crash_and_restart().unwrap();
        job.stop_and_restart().unwrap();
        job.run_batch().unwrap();
        assert!(!is_broken.load(Ordering::SeqCst), "it has failed once");
        assert_eq!(counts(&job), each_once(0..10), "after a failure in the batch of file {fails_at}");
        let (_, files) = job.running().status().files.pop().unwrap();
        assert_eq!(files.known, 10);
    }
}

/// The bytes of the newest manifest of a job that has taken `files` files and was stopped.
fn manifest_bytes(files: u64) -> u64 {
    let place = tempfile::tempdir().unwrap();
    for number in 0..files {
        let name = format!("a file with a rather long name, number {number}");
        fs::write(place.path().join(name), "line\n").unwrap();
    }
    let mut job = counting(place.path(), |files| files.max_files_per_batch(usize::MAX), |_| {});
    job.run_batch().unwrap();
    assert_eq!(counts(&job), [("line".to_string(), files)].into());
    job.running().stop(true).unwrap();
    let manifests = fs::read_dir(job.directory().join("manifests")).unwrap().map(|entry| entry.unwrap().path());
    manifests.max().unwrap().metadata().unwrap().len()
}

#[test]
fn a_manifest_does_not_grow_with_the_number_of_files() {
    let (few, many) = (manifest_bytes(2), manifest_bytes(3_000));
    assert!(many <= few + 64, "{few} bytes with 2 files, {many} with 3,000");
}

#[test]
fn a_file_that_was_reported_as_replaced_is_read_after_a_restart_that_asks_for_it() {
    for contents in ["tuesday\n", "sunday\n"] {
        let mut f = fixture();
        f.put("data.csv", 9, "monday\n");
        assert_eq!(f.batch(u64::MAX), ["monday"]);
        f.put("data.csv", 8, contents);
        assert_eq!(f.batch(u64::MAX), [""; 0]);
        assert_eq!(replaced(&f), ["data.csv"]);
        let (_, position) = f.checkpoint();
        for _ in 0..2 {
            let files = TextFiles::new(f.directory.path()).read_replaced_files(true);
            f.restart(files, &position, &[]);
            assert_eq!(f.batch(u64::MAX), [contents.trim_end()]);
            assert_eq!(f.batch(u64::MAX), [""; 0]);
            assert_eq!(replaced(&f), [""; 0]);
        }
        let (_, position) = f.checkpoint();
        let files = TextFiles::new(f.directory.path()).read_replaced_files(true);
        f.restart(files, &position, &[]);
        assert_eq!(f.batch(u64::MAX), [""; 0]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_half_taken_file_that_was_restored_and_may_not_be_read_is_named_as_what_is_waited_for() {
    use std::os::unix::fs::PermissionsExt;
    without_privileges(|| {
        let mut f = fixture();
        f.put("a", 9, "line\n".repeat(2_000));
        assert!(!f.batch(1).is_empty());
        restore(&f);
        let path = f.path("a");
        let permit = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        permit(0o000);
        assert!(f.offer(u64::MAX).is_empty());
        let waits = f.direct.files_status().unwrap().unavailable.unwrap();
        assert!(waits.contains("/a: the file was taken up to byte"), "{waits}");
        assert!(waits.ends_with("cannot be compared with what was read: permission denied"), "{waits}");
        permit(0o400);
        assert!(!f.batch(u64::MAX).is_empty());
        assert_eq!(f.direct.files_status().unwrap().unavailable, None);
    });
}
