//! The file source over real directories.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::dataflow::task::Before;
use floodmark_base::clock::ManualClock;
use floodmark_base::id::BatchId;
use floodmark_base::text::Text;

/// A directory, and the source that reads it as a driver would.
pub(super) struct Fixture {
    pub directory: TempDir,
    pub direct: Direct<TextFiles>,
    /// What a store would hold of what the source remembers.
    pub stored: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(super) fn fixture() -> Fixture {
    fixture_with(|files| files)
}

pub(super) fn fixture_with(settings: impl FnOnce(TextFiles) -> TextFiles) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let direct = Direct::new(settings(TextFiles::new(directory.path())));
    Fixture { directory, direct, stored: BTreeMap::new() }
}

impl Fixture {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Moves in a file that was modified `age_s` seconds before some fixed time.
    pub fn put(&self, name: &str, age_s: u64, text: impl AsRef<[u8]>) {
        let staged = self.path(".staged");
        fs::write(&staged, text).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age_s);
        File::open(&staged).unwrap().set_modified(modified).unwrap();
        fs::rename(&staged, self.path(name)).unwrap();
    }

    pub fn offer(&mut self, bytes: u64) -> Vec<Vec<u8>> {
        self.direct.offer(&OfferLimits { bytes, records: u64::MAX }).unwrap()
    }

    pub fn read(&self, ranges: &[Vec<u8>]) -> Result<Vec<String>, SourceError> {
        let mut lines = Vec::new();
        for range in ranges {
            let reader = self.direct.task_reader();
            reader.read(TaskBytes::Range(range), &mut |line: Text| lines.push(line.to_string()))?;
        }
        Ok(lines)
    }

    /// Offers and plans.
    pub fn plan(&mut self, bytes: u64) -> Vec<Vec<u8>> {
        let ranges = self.offer(bytes);
        ranges.iter().for_each(|range| self.direct.advance(range).unwrap());
        ranges
    }

    /// Reads and commits.
    pub fn commit(&mut self, ranges: &[Vec<u8>]) -> Vec<String> {
        let mut lines = Vec::new();
        for range in ranges {
            let emit = &mut |line: Text| lines.push(line.to_string());
            let (_, receipt) = self.direct.task_reader().read_range(range, &Before::Planned, emit).unwrap();
            self.direct.committed(range, &receipt, BatchId(1)).unwrap();
        }
        lines
    }

    /// One batch: offers, plans, reads, commits.
    pub fn batch(&mut self, bytes: u64) -> Vec<String> {
        let ranges = self.plan(bytes);
        self.commit(&ranges)
    }

    /// Puts what changed of what is remembered into the store; says how many entries, and the position.
    pub fn checkpoint(&mut self) -> (usize, Vec<u8>) {
        let changes = self.direct.freeze();
        let count = changes.len();
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.stored.insert(key, value)),
                None => drop(self.stored.remove(&key)),
            }
        }
        (count, self.direct.position().unwrap())
    }

    /// Another life, which goes on from a checkpoint and the ranges that were planned since.
    pub fn restart(&mut self, files: TextFiles, position: &[u8], planned: &[Vec<u8>]) {
        self.direct = Direct::new(files);
        self.direct.restore(Some(position)).unwrap();
        planned.iter().for_each(|range| self.direct.advance(range).unwrap());
        self.stored.iter().for_each(|(key, value)| self.direct.recall(key, value, BatchId(1)).unwrap());
    }
}

#[test]
fn files_are_taken_once_in_the_order_of_modification_time_then_name() {
    let mut f = fixture();
    f.put("c", 10, "old\n");
    f.put("b", 5, "new, second\n");
    f.put("a", 5, "new, first\n");
    assert_eq!(f.batch(u64::MAX), ["old", "new, first", "new, second"]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
}

#[test]
fn a_file_moved_in_with_an_old_modification_time_is_still_taken() {
    let mut f = fixture();
    f.put("new", 0, "new\n");
    assert_eq!(f.batch(u64::MAX), ["new"]);
    f.put("old", 1_000_000, "old\n");
    assert_eq!(f.batch(u64::MAX), ["old"]);
    assert_eq!(f.batch(u64::MAX), [""; 0]);
}

#[test]
fn hidden_and_temporary_names_and_directories_are_not_taken() {
    let mut f = fixture();
    for name in [".hidden", "_partial", "upload.tmp"] {
        f.put(name, 1, "no\n");
    }
    fs::create_dir(f.path("directory")).unwrap();
    assert_eq!(f.offer(u64::MAX).len(), 0);
    fs::rename(f.path("upload.tmp"), f.path("upload")).unwrap();
    assert_eq!(f.batch(u64::MAX), ["no"]);
}

#[test]
fn what_is_offered_and_not_planned_is_offered_again() {
    let mut f = fixture();
    f.put("a", 2, "one\n");
    let first = f.offer(u64::MAX);
    f.put("b", 1, "two\n");
    let second = f.offer(u64::MAX);
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(second[0], first[0]);
    f.direct.advance(&second[0]).unwrap();
    assert_eq!(f.batch(u64::MAX), ["two"]);
}

#[test]
fn a_file_larger_than_the_limits_goes_on_in_the_next_batch_before_any_other() {
    let mut f = fixture_with(|files| files.task_bytes(1 << 10));
    let lines: Vec<_> = (0..10_000).map(|number| format!("line {number}")).collect();
    f.put("large", 9, &(lines.join("\n") + "\n"));
    let mut taken = f.batch(10_000);
    f.put("older", 20, "older\n");
    assert!(!taken.is_empty() && taken.len() < 2_000);
    while taken.len() < 10_000 {
        taken.extend(f.batch(10_000));
    }
    assert_eq!(taken[..10_000], lines);
    taken.extend(f.batch(10_000));
    assert_eq!(taken[10_000..], ["older"]);
}

#[test]
fn tiny_limits_still_make_progress() {
    let mut f = fixture();
    f.put("a", 9, "some words\n".repeat(10_000));
    let mut lines = 0;
    for _ in 0..40 {
        let batch = f.batch(0).len();
        assert!(batch <= 400, "{batch} lines");
        lines += batch;
    }
    assert_eq!(lines, 10_000);
}

#[test]
fn a_limit_in_records_is_met_by_what_records_have_weighed() {
    let mut f = fixture();
    f.put("a", 9, "x".repeat(99).add_line().repeat(1_000));
    let limits = OfferLimits { records: 100, bytes: u64::MAX };
    let first = f.direct.offer(&limits).unwrap();
    f.direct.advance(&first[0]).unwrap();
    f.read(&first).unwrap();
    let second = f.direct.offer(&limits).unwrap();
    assert_eq!(f.read(&second).unwrap().len(), 100);
}

trait AddLine {
    fn add_line(self) -> String;
}

impl AddLine for String {
    fn add_line(self) -> String {
        self + "\n"
    }
}

#[test]
fn no_more_files_are_taken_than_a_batch_may_have() {
    let mut f = fixture_with(|files| files.max_files_per_batch(2));
    for name in ["a", "b", "c"] {
        f.put(name, 1, name);
    }
    assert_eq!(f.batch(u64::MAX), ["a", "b"]);
    assert_eq!(f.batch(u64::MAX), ["c"], "the end of a file ends its last line");
}

#[test]
fn an_empty_file_is_taken_and_gives_nothing() {
    let mut f = fixture();
    f.put("empty", 1, "");
    let offer = f.offer(u64::MAX);
    assert_eq!(offer.len(), 1);
    f.direct.advance(&offer[0]).unwrap();
    assert_eq!(f.read(&offer).unwrap(), [""; 0]);
    assert_eq!(f.offer(u64::MAX).len(), 0);
}

#[test]
fn a_range_reads_the_same_after_a_restart_and_taken_files_stay_taken() {
    let mut f = fixture();
    f.put("a", 2, "one\ntwo\n");
    let (_, before) = f.checkpoint();
    let ranges = f.plan(u64::MAX);
    f.commit(&ranges);
    let (_, after) = f.checkpoint();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &after, &[]);
    assert_eq!(f.offer(u64::MAX).len(), 0);
    f.stored.clear();
    let files = TextFiles::new(f.directory.path());
    f.restart(files, &before, &ranges);
    assert_eq!(f.offer(u64::MAX).len(), 0);
    assert_eq!(f.read(&ranges).unwrap(), ["one", "two"]);
}

#[test]
fn a_file_that_changed_after_it_was_planned_is_an_error_that_names_it() {
    let mut f = fixture();
    f.put("a", 2, "one\n");
    let ranges = f.offer(u64::MAX);
    f.put("a", 1, "two\n");
    let error = f.read(&ranges).unwrap_err();
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
    let start = format!("{}: the file has changed since it was planned: expected 4 bytes", f.path("a").display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[test]
fn a_file_that_vanished_after_it_was_planned_is_an_error_that_names_it() {
    let mut f = fixture();
    f.put("a", 2, "one\n");
    let ranges = f.offer(u64::MAX);
    fs::remove_file(f.path("a")).unwrap();
    let error = f.read(&ranges).unwrap_err().to_string();
    let start = format!("{}: the file was planned with 4 bytes and has vanished", f.path("a").display());
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn a_file_that_changed_while_it_was_taken_in_parts_is_an_error() {
    let mut f = fixture();
    f.put("a", 2, "one\n".repeat(10_000));
    assert!(!f.batch(1).is_empty());
    f.put("a", 1, "two\n");
    let error = f.direct.offer(&OfferLimits::UNLIMITED).unwrap_err();
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
}

#[test]
fn a_file_that_vanishes_before_it_is_planned_is_no_error() {
    let mut f = fixture();
    f.put("a", 2, "one\n");
    assert_eq!(f.offer(u64::MAX).len(), 1);
    fs::remove_file(f.path("a")).unwrap();
    assert_eq!(f.offer(u64::MAX).len(), 0);
}

#[test]
fn a_file_that_grows_before_it_is_planned_is_taken_when_it_has_settled() {
    let mut f = fixture_with(|files| files.max_files_per_batch(1));
    f.put("a", 2, "one\n");
    f.put("b", 1, "other\n");
    assert_eq!(f.offer(u64::MAX).len(), 1);
    fs::write(f.path("a"), "one\ntwo\n").unwrap();
    assert_eq!(f.batch(u64::MAX), ["other"]);
    assert_eq!(f.batch(u64::MAX), ["one", "two"]);
}

#[test]
fn names_are_forgotten_only_long_after_their_files_are_gone() {
    let mut f = fixture();
    f.put("a", 2, "one\n");
    f.batch(u64::MAX);
    f.checkpoint();
    assert_eq!(f.stored.len(), 1);
    fs::rename(f.path("a"), f.path(".a")).unwrap();
    for _ in 0..15 {
        assert_eq!(f.offer(u64::MAX).len(), 0);
    }
    fs::rename(f.path(".a"), f.path("a")).unwrap();
    assert_eq!(f.offer(u64::MAX).len(), 0, "a short absence does not have it taken again");
    fs::remove_file(f.path("a")).unwrap();
    for _ in 0..17 {
        assert_eq!(f.offer(u64::MAX).len(), 0);
    }
    f.checkpoint();
    assert_eq!(f.stored.len(), 0);
}

#[test]
fn a_directory_that_did_not_change_is_not_listed_again() {
    let clock = ManualClock::at(0);
    let mut f = fixture_with(|files| files.clock(Arc::new(clock.clone())));
    f.put("a", 2, "one\n");
    assert_eq!(f.batch(u64::MAX), ["one"]);
    // Sneaks in a file and sets the directory's time back, as if both changes had come in one tick of its clock.
    let sneak_in = |f: &Fixture, name: &str| {
        let modified = f.directory.path().metadata().unwrap().modified().unwrap();
        f.put(name, 1, format!("{name}\n"));
        File::open(f.directory.path()).unwrap().set_modified(modified).unwrap();
    };
    sneak_in(&f, "b");
    assert_eq!(f.batch(u64::MAX), ["b"], "two changes may have the same time");
    clock.advance(Duration::from_secs(3));
    sneak_in(&f, "c");
    assert_eq!(f.batch(u64::MAX), ["c"], "listed once more when the time has settled");
    sneak_in(&f, "d");
    assert_eq!(f.batch(u64::MAX), [""; 0], "not listed");
    f.put("e", 0, "e\n");
    assert_eq!(f.batch(u64::MAX), ["d", "e"]);
}
