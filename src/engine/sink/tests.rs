//! The sinks against the suite, the suite against sinks that break the contract, and what crashes leave of files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::testing::conformance::sink::{SinkPlace, check_sink};

struct Memory(MemorySink<u64>);

impl SinkPlace for Memory {
    type Item = u64;
    type Sink = MemorySink<u64>;

    fn open(&mut self) -> MemorySink<u64> {
        self.0.clone()
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn visible(&mut self) -> Vec<u64> {
        self.0.contents()
    }
}

struct Files(TempDir);

impl SinkPlace for Files {
    type Item = String;
    type Sink = FileSink;

    fn open(&mut self) -> FileSink {
        FileSink::new(self.0.path().join("a/b"))
    }

    fn record(&self, number: u64) -> String {
        format!("record {number}")
    }

    fn visible(&mut self) -> Vec<String> {
        lines(&self.0.path().join("a/b"))
    }
}

/// All lines of all batches, as another program would read them: hidden names left out.
fn lines(directory: &Path) -> Vec<String> {
    let sorted = |directory: &Path| {
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']));
        paths.sort();
        paths
    };
    let parts = sorted(directory).into_iter().flat_map(|batch| sorted(&batch));
    parts.flat_map(|part| fs::read_to_string(part).unwrap().lines().map(String::from).collect::<Vec<_>>()).collect()
}

#[test]
fn the_memory_sink_keeps_the_contract() {
    check_sink(|| Memory(MemorySink::new()));
}

#[test]
fn the_file_sink_keeps_the_contract() {
    check_sink(|| Files(tempfile::tempdir().unwrap()));
}

/// A sink that breaks the contract in one way.
#[derive(Clone)]
struct Broken {
    sink: MemorySink<u64>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    CountsRepetitions,
    LetsOldDriversIn,
    LosesThePartitions,
    MixesLineages,
}

impl Sink<u64> for Broken {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        match self.how {
            How::LetsOldDriversIn => self.sink.fence(Epoch(99), lineage),
            How::MixesLineages => self.sink.fence(epoch, Lineage(1)).map(|_| None),
            _ => self.sink.fence(epoch, lineage),
        }
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        let mut batch = batch.clone();
        match self.how {
            How::CountsRepetitions => batch.batch = BatchId(batch.batch.0 + 1_000 * self.sink.batches().len() as u64),
            How::LetsOldDriversIn => batch.epoch = Epoch(99),
            How::LosesThePartitions => batch.partitions.truncate(1),
            How::MixesLineages => {
                batch.lineage = Lineage(1);
                if self.sink.batches().iter().any(|held| held.batch == batch.batch) {
                    return Ok(());
                }
            }
        }
        self.sink.publish(&batch)
    }
}

impl SinkPlace for Broken {
    type Item = u64;
    type Sink = Broken;

    fn open(&mut self) -> Broken {
        self.clone()
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn visible(&mut self) -> Vec<u64> {
        self.sink.contents()
    }
}

fn broken_rule(how: How) -> String {
    let check = move || check_sink(|| Broken { sink: MemorySink::new(), how });
    let panic = std::panic::catch_unwind(check).expect_err("the suite should have found it");
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn the_suite_finds_sinks_that_break_the_contract() {
    assert!(broken_rule(How::CountsRepetitions).contains("comes again changes nothing"));
    assert!(broken_rule(How::LetsOldDriversIn).contains("a smaller epoch is not let in"));
    assert!(broken_rule(How::LosesThePartitions).contains("partitions in order"));
    assert!(broken_rule(How::MixesLineages).contains("another lineage is no repetition"));
}

/// A file sink in an empty directory, fenced for epoch 1.
fn file_sink() -> (TempDir, FileSink) {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = FileSink::new(directory.path());
    fence(&mut sink, 1).unwrap();
    (directory, sink)
}

fn fence(sink: &mut FileSink, epoch: u64) -> Result<Option<BatchId>, SinkError> {
    Sink::<&str>::fence(sink, Epoch(epoch), Lineage(7))
}

fn batch(number: u64, epoch: u64, records: &[&'static str]) -> PublishedBatch<&'static str> {
    let partitions = vec![records.to_vec(), vec![], vec!["last"]];
    PublishedBatch {
        lineage: Lineage(7),
        batch: BatchId(number),
        time: BatchTime(500),
        epoch: Epoch(epoch),
        partitions,
    }
}

fn file_names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_batch_is_a_directory_with_a_file_for_each_partition_that_has_records() {
    let (directory, mut sink) = file_sink();
    sink.publish(&batch(3, 1, &["a", "b"])).unwrap();
    let visible = directory.path().join("batch-00000000000000000003");
    assert_eq!(sink.batch_directory(BatchId(3)), visible);
    assert_eq!(file_names(&visible), ["_batch", "part-00000", "part-00002"]);
    assert_eq!(fs::read_to_string(visible.join("part-00000")).unwrap(), "a\nb\n");
    assert_eq!(file_names(directory.path()), [".fence", ".lock", "batch-00000000000000000003"]);
}

#[test]
fn what_a_crash_left_unfinished_is_removed_and_the_batch_written_anew() {
    let (directory, mut sink) = file_sink();
    let unfinished = directory.path().join(".batch-00000000000000000001-1");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("part-00000"), "half a li").unwrap();
    fs::write(directory.path().join(".fence-unfinished"), "floodm").unwrap();

    // Within the same life, as after an error:
    sink.publish(&batch(1, 1, &["whole line"])).unwrap();
    assert_eq!(lines(directory.path()), ["whole line", "last"]);

    // And in the next one:
    fs::create_dir(&unfinished).unwrap();
    assert_eq!(fence(&mut sink, 2).unwrap(), Some(BatchId(1)));
    assert_eq!(file_names(directory.path()), [".fence", ".lock", "batch-00000000000000000001"]);
}

#[test]
fn other_contents_under_the_same_name_are_an_error_that_names_both() {
    let (directory, mut sink) = file_sink();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    let error = sink.publish(&batch(1, 1, &["two"])).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SinkError::Conflict { .. }), "{text}");
    assert!(text.contains("batch-00000000000000000001 holds another batch 1: expected 2 records in 9 bytes"), "{text}");
    assert_eq!(lines(directory.path()), ["one", "last"]);
}

#[test]
fn another_lineage_under_the_same_name_is_an_error_that_names_both() {
    let (directory, mut sink) = file_sink();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    Sink::<&str>::fence(&mut sink, Epoch(2), Lineage(8)).unwrap();
    let error = sink.publish(&PublishedBatch { lineage: Lineage(8), ..batch(1, 2, &["one"]) }).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("00000000000000000000000000000008") && text.contains("00000000000000000000000000000007"),
        "{text}"
    );
    assert_eq!(lines(directory.path()), ["one", "last"]);
}

#[test]
fn the_last_batch_is_found_below_those_of_another_lineage() {
    let (_directory, mut sink) = file_sink();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    Sink::<&str>::fence(&mut sink, Epoch(2), Lineage(8)).unwrap();
    sink.publish(&PublishedBatch { lineage: Lineage(8), ..batch(2, 2, &["two"]) }).unwrap();
    assert_eq!(fence(&mut sink, 3).unwrap(), Some(BatchId(1)));
}

#[test]
fn a_flipped_byte_in_any_file_of_a_batch_is_found_when_the_batch_comes_again() {
    let (_directory, mut sink) = file_sink();
    let first = batch(1, 1, &["one"]);
    sink.publish(&first).unwrap();
    let visible = sink.batch_directory(BatchId(1));
    for name in file_names(&visible) {
        let path = visible.join(&name);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let text = sink.publish(&first).unwrap_err().to_string();
            assert!(text.contains(&name) && text.contains("expected"), "byte {at} of {name}: {text}");
        }
        fs::write(&path, whole).unwrap();
    }
    sink.publish(&first).unwrap();
}

#[test]
fn a_batch_directory_without_its_summary_is_refused_and_left_alone() {
    let (_directory, mut sink) = file_sink();
    let visible = sink.batch_directory(BatchId(1));
    fs::create_dir(&visible).unwrap();
    let text = sink.publish(&batch(1, 1, &["one"])).unwrap_err().to_string();
    assert!(text.contains("batch-00000000000000000001/_batch"), "{text}");
    assert_eq!(file_names(&visible), [""; 0]);
}

#[test]
fn a_damaged_fence_lets_nobody_in() {
    let (directory, mut sink) = file_sink();
    fs::write(directory.path().join(".fence"), "floodmark fence 1\nepoch 1\n").unwrap();
    let error = fence(&mut sink, 2).unwrap_err();
    assert_eq!(error.kind(), floodmark_base::error::ErrorKind::Damaged);
    assert!(error.to_string().contains(".fence is damaged: expected"), "{error}");
}

#[test]
fn a_driver_that_is_publishing_locks_others_out() {
    let (directory, mut sink) = file_sink();
    let lock = fs::File::open(directory.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    let text = fence(&mut sink, 2).unwrap_err().to_string();
    assert!(text.contains(".lock: held by another driver"), "{text}");
    drop(lock);
    fence(&mut sink, 2).unwrap();
}

#[test]
fn a_batch_that_comes_before_the_fence_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = FileSink::new(directory.path());
    let error = sink.publish(&batch(1, 1, &["one"])).unwrap_err();
    assert!(matches!(error, SinkError::NotFenced { .. }), "{error}");
}

#[test]
fn a_place_that_cannot_be_created_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let text = fence(&mut FileSink::new(directory.path().join("file/out")), 1).unwrap_err().to_string();
    assert!(text.starts_with("create ") && text.contains("/file"), "{text}");
}
