//! Files of fixed-length records, over real directories.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::source::compression::Compression;
use crate::source::compression::tests::compressed;
use crate::testing::TestJob;
use floodmark_base::bytes::Bytes;

struct Fixture {
    directory: TempDir,
    direct: Direct<BinaryFiles>,
}

fn fixture(record_length: usize, task_bytes: u64) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let direct = Direct::new(BinaryFiles::new(directory.path(), record_length).task_bytes(task_bytes));
    Fixture { directory, direct }
}

/// Moves in a file that was modified `age_s` seconds before some fixed time.
fn put(directory: &TempDir, name: &str, age_s: u64, bytes: &[u8]) -> PathBuf {
    let (staged, path) = (directory.path().join(".staged"), directory.path().join(name));
    fs::write(&staged, bytes).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age_s);
    File::open(&staged).unwrap().set_modified(modified).unwrap();
    fs::rename(&staged, &path).unwrap();
    path
}

impl Fixture {
    fn read(&self, ranges: &[Vec<u8>]) -> Result<Vec<Bytes>, SourceError> {
        let mut records = Vec::new();
        for range in ranges {
            let reader = self.direct.task_reader();
            reader.read(TaskBytes::Range(range), &mut |record: Bytes| records.push(record))?;
        }
        Ok(records)
    }

    fn batch(&mut self, limits: OfferLimits) -> Vec<Bytes> {
        let ranges = self.direct.offer(&limits).unwrap();
        ranges.iter().for_each(|range| self.direct.advance(range).unwrap());
        self.read(&ranges).unwrap()
    }
}

proptest! {
    #[test]
    fn every_record_is_taken_once_and_in_order_however_files_are_divided(
        records in 0_usize..200,
        record_length in 1_usize..40,
        task_bytes in 1_u64..100,
        batch_records in 1_u64..50,
    ) {
        let mut f = fixture(record_length, task_bytes);
        let bytes: Vec<u8> = (0..records * record_length).map(|byte| byte as u8).collect();
        put(&f.directory, "a", 2, &bytes);
        put(&f.directory, "b", 1, &bytes);
        let mut taken = Vec::new();
        for _ in 0..2 + 2 * records {
            taken.extend(f.batch(OfferLimits { records: batch_records, bytes: u64::MAX }));
        }
        let once = bytes.chunks_exact(record_length).map(Bytes::from);
        prop_assert_eq!(taken, once.clone().chain(once).collect::<Vec<_>>());
    }
}

#[test]
fn a_limit_in_records_is_met() {
    let mut f = fixture(8, 1 << 20);
    put(&f.directory, "a", 1, &[7; 8 * 5_000]);
    let limits = OfferLimits { records: 1_000, bytes: u64::MAX };
    assert_eq!([(); 6].map(|()| f.batch(limits).len()), [1_000, 1_000, 1_000, 1_000, 1_000, 0]);
}

#[test]
fn a_file_that_does_not_consist_of_whole_records_is_refused_before_it_is_taken() {
    let mut f = fixture(8, 1 << 20);
    put(&f.directory, "whole", 1, &[1; 16]);
    let wrong = put(&f.directory, "wrong", 0, &[2; 17]);
    let error = f.direct.offer(&OfferLimits::UNLIMITED).unwrap_err().to_string();
    let expected =
        "17 bytes are no multiple of the record length, 8 bytes: move the file away or change the record length";
    assert!(error.starts_with(&format!("{}: {expected}", wrong.display())), "{error}");
    fs::remove_file(wrong).unwrap();
    f.direct = Direct::new(BinaryFiles::new(f.directory.path(), 8));
    assert_eq!(f.batch(OfferLimits::UNLIMITED).len(), 2);
}

#[test]
fn a_planned_range_that_is_read_with_another_record_length_is_an_error() {
    let mut f = fixture(8, 1 << 20);
    put(&f.directory, "a", 1, &[1; 16]);
    let ranges = f.direct.offer(&OfferLimits::UNLIMITED).unwrap();
    f.direct = Direct::new(BinaryFiles::new(f.directory.path(), 5));
    let error = f.read(&ranges).unwrap_err();
    assert!(matches!(error, SourceError::Length { size: 16, record_length: 5, .. }), "{error}");
}

#[test]
fn a_file_that_changed_or_vanished_after_it_was_planned_is_an_error() {
    let mut f = fixture(8, 1 << 20);
    let path = put(&f.directory, "a", 2, &[1; 16]);
    let ranges = f.direct.offer(&OfferLimits::UNLIMITED).unwrap();
    put(&f.directory, "a", 1, &[2; 16]);
    let error = f.read(&ranges).unwrap_err();
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
    fs::remove_file(path).unwrap();
    let error = f.read(&ranges).unwrap_err();
    assert!(matches!(error, SourceError::Vanished { size: 16, .. }), "{error}");
}

#[test]
fn files_count_once_with_any_number_of_workers_and_after_a_crash() {
    let incoming = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let numbers = |from: u64| -> Vec<u8> { (from..from + 3_000).flat_map(u64::to_be_bytes).collect() };
    for workers in [1, 2, 4] {
        let kept = incoming.clone();
        put(&incoming, &format!("a{workers}"), 10, &numbers(0));
        let mut job = TestJob::configured(
            move |builder| builder.workers(workers),
            move |context| {
                let files = BinaryFiles::new(kept.path(), 8).task_bytes(1 << 10);
                let numbers = context.direct_stream("files", files);
                let numbers = numbers.map(|record| u64::from_be_bytes(record.as_ref().try_into().unwrap()));
                numbers.map(|number| (number % 10, number)).update_state_by_key(
                    "sums",
                    |new: &[u64], old: Option<u64>| {
                        Some(
                            new.iter().fold(old.unwrap_or(7), |sum, number| sum.wrapping_mul(31).wrapping_add(*number)),
                        )
                    },
                );
                numbers.collect("all")
            },
        )
        .unwrap();
        job.run_batch().unwrap();
        let files = u64::from(workers.trailing_zeros() + 1);
        assert_eq!(job.handles().last(), (0..files).flat_map(|_| 0..3_000).collect::<Vec<u64>>(), "{workers} workers");
        let sums = |job: &TestJob<_>| -> Vec<(u64, u64)> {
            job.running().state::<u64, u64>("sums").unwrap().iter().unwrap().collect()
        };
        let before = sums(&job);
        job.crash_and_restart().unwrap();
        assert_eq!(sums(&job), before);
        put(&incoming, "later", 1, &numbers(3_000));
        job.run_batch().unwrap();
        assert_eq!(job.handles().last(), (3_000..6_000).collect::<Vec<u64>>(), "only what is new");
        fs::remove_file(incoming.path().join("later")).unwrap();
    }
}

#[test]
fn a_wrong_file_stops_the_job_with_its_name() {
    let incoming = tempfile::tempdir().unwrap();
    let wrong = put(&incoming, "wrong", 0, &[2; 17]);
    let directory = incoming.path().to_path_buf();
    let mut job =
        TestJob::new(move |context| context.binary_records_stream("s", &directory, 8).collect("all")).unwrap();
    let error = job.run_batch().unwrap_err().to_string();
    assert!(error.contains(&wrong.display().to_string()) && error.contains("17 bytes"), "{error}");
}

#[test]
fn a_compressed_file_gives_its_records_and_one_that_ends_within_a_record_is_an_error_that_names_it() {
    let mut f = fixture(3, 4);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    put(&f.directory, "whole.gz", 2, &compressed(Compression::Gzip, &bytes));
    assert!(f.batch(OfferLimits::UNLIMITED).into_iter().eq(bytes.chunks_exact(3).map(Bytes::from)));
    let path = put(&f.directory, "part.zst", 1, &compressed(Compression::Zstd, b"abcd"));
    let ranges = f.direct.offer(&OfferLimits::UNLIMITED).unwrap();
    let error = f.read(&ranges).unwrap_err().to_string();
    let start = format!("{}: 4 bytes are no multiple of the record length, 3 bytes", path.display());
    assert!(error.starts_with(&start), "{error}");
}
