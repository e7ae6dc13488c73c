//! `save_as_text_files` and `save_as_object_files`: the contract, crashes at every step, damage, and whole jobs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::directory::BatchDirectories;
use super::layout::Layout;
use super::object_files::ObjectFormat;
use super::part::{Lines, PartFormat};
use super::*;
use crate::testing::TestJob;
use crate::testing::conformance::sink::{SinkPlace, check_sink};
use floodmark_base::disk::{FaultyDisk, LocalDisk, Step};
use floodmark_base::error::ErrorKind;

/// What the two outputs differ in.
trait Kind: 'static {
    type Format: PartFormat<String>;
    fn format() -> Self::Format;
    fn read(batch: &Path) -> Vec<String>;
}

struct Text;
impl Kind for Text {
    type Format = Lines;

    fn format() -> Lines {
        Lines
    }

    fn read(batch: &Path) -> Vec<String> {
        let mut parts = visible_names(batch);
        parts.sort();
        let lines = |part| fs::read_to_string(batch.join(part)).unwrap().lines().map(String::from).collect::<Vec<_>>();
        parts.into_iter().flat_map(lines).collect()
    }
}

struct Objects;
impl Kind for Objects {
    type Format = ObjectFormat<String>;

    fn format() -> ObjectFormat<String> {
        ObjectFormat::new().unwrap()
    }

    fn read(batch: &Path) -> Vec<String> {
        read_object_files(batch).unwrap().collect()
    }
}

/// A directory in which batches are saved as `out/words-<time>.saved`.
struct Saved<K> {
    directory: TempDir,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Saved<K> {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), kind: std::marker::PhantomData }
    }

    /// A place with its sink, fenced for epoch 1.
    fn fenced() -> (Self, BatchDirectories<K::Format>) {
        let place = Self::new();
        let mut sink = place.sink("words");
        fence(&mut sink, 1).unwrap();
        (place, sink)
    }

    fn sink(&self, name: &str) -> BatchDirectories<K::Format> {
        let (directory, layout) = Layout::by_time(&self.out().join(name), "saved").unwrap();
        BatchDirectories::new(directory, layout, K::format())
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn batch(&self, time: u64) -> PathBuf {
        self.out().join(format!("words-{time}.saved"))
    }

    /// All records of all batches, by their times, as a reader of the output would see them.
    fn records(&self) -> Vec<String> {
        let time = |name: &str| name.strip_prefix("words-")?.strip_suffix(".saved")?.parse::<u64>().ok();
        let mut times: Vec<u64> = visible_names(&self.out()).iter().filter_map(|name| time(name)).collect();
        times.sort_unstable();
        times.into_iter().flat_map(|time| K::read(&self.batch(time))).collect()
    }
}

impl<K: Kind> SinkPlace for Saved<K> {
    type Item = String;
    type Sink = BatchDirectories<K::Format>;

    fn open(&mut self) -> Self::Sink {
        self.sink("words")
    }

    fn record(&self, number: u64) -> String {
        format!("record {number}")
    }

    fn visible(&mut self) -> Vec<String> {
        if self.out().exists() { self.records() } else { Vec::new() }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What other programs read: hidden names left out.
fn visible_names(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| !name.starts_with(['.', '_'])).collect()
}

fn fence<S: Sink<String>>(sink: &mut S, epoch: u64) -> Result<Option<BatchId>, SinkError> {
    sink.fence(Epoch(epoch), Lineage(7))
}

fn batch(number: u64, epoch: u64, records: &[&str]) -> PublishedBatch<String> {
    let owned = |records: &[&str]| records.iter().map(ToString::to_string).collect::<Vec<_>>();
    PublishedBatch {
        lineage: Lineage(7),
        batch: BatchId(number),
        time: BatchTime(number * 500),
        epoch: Epoch(epoch),
        partitions: vec![owned(records), vec![], owned(&["last"])],
    }
}

#[test]
fn saved_text_files_keep_the_contract() {
    check_sink(Saved::<Text>::new);
}

#[test]
fn saved_object_files_keep_the_contract() {
    check_sink(Saved::<Objects>::new);
}

#[test]
fn a_saved_batch_is_a_directory_named_by_its_time_that_says_when_it_is_whole() {
    let (place, mut sink) = Saved::<Text>::fenced();
    sink.publish(&batch(3, 1, &["a", "b"])).unwrap();
    let hidden = [".words-time.saved.fence", ".words-time.saved.lock"];
    assert_eq!(names(&place.out()), [&hidden[..], &["words-1500.saved"]].concat());
    assert_eq!(names(&place.batch(1_500)), ["_SUCCESS", "_batch", "part-00000", "part-00002"]);
    assert_eq!(fs::read_to_string(place.batch(1_500).join("part-00000")).unwrap(), "a\nb\n");
    assert_eq!(fs::read(place.batch(1_500).join("_SUCCESS")).unwrap(), b"");
}

fn crashes_at_every_step<K: Kind>() {
    let (place, mut sink) = Saved::<K>::fenced();
    let hidden = [".words-time.saved.fence", ".words-time.saved.lock"];
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    sink.publish(&batch(2, 1, &["two"])).unwrap();
    let whole = place.directory.path().join("whole");
    fs::rename(place.batch(1_000), &whole).unwrap();
    let unfinished = place.out().join(".words-1000.saved-1");

    // After each file that is written: the directory as it stands, and with the last file torn.
    let written = ["part-00000", "part-00002", "_batch", "_SUCCESS"];
    for (count, torn) in (0..=written.len()).flat_map(|count| [(count, false), (count, true)]) {
        let leave = || {
            fs::create_dir(&unfinished).unwrap();
            for (at, name) in written[..count].iter().enumerate() {
                let bytes = fs::read(whole.join(name)).unwrap();
                let kept = if torn && at + 1 == count { bytes.len() / 2 } else { bytes.len() };
                fs::write(unfinished.join(name), &bytes[..kept]).unwrap();
            }
            fs::write(place.out().join(".words-time.saved.fence-unfinished"), "floodm").unwrap();
        };
        // The next life removes it, and publishes the batch.
        leave();
        let epoch = 2 + count as u64 * 2 + u64::from(torn);
        let mut next = place.sink("words");
        assert_eq!(fence(&mut next, epoch).unwrap(), Some(BatchId(1)));
        assert_eq!(names(&place.out()), [&hidden[..], &["words-500.saved"]].concat(), "{count} files, torn: {torn}");
        next.publish(&batch(2, epoch, &["two"])).unwrap();
        assert_eq!(place.records(), ["one", "last", "two", "last"], "{count} files, torn: {torn}");
        fs::remove_dir_all(place.batch(1_000)).unwrap();
    }

    // Within one life, as after an error, what is in the way is written over.
    fs::create_dir(place.out().join(".words-1000.saved-50")).unwrap();
    fs::write(place.out().join(".words-1000.saved-50/part-00000"), "half a li").unwrap();
    fence(&mut sink, 50).unwrap();
    fs::create_dir(place.out().join(".words-1000.saved-50")).unwrap();
    fs::write(place.out().join(".words-1000.saved-50/part-00000"), "half a li").unwrap();
    sink.publish(&batch(2, 50, &["two"])).unwrap();

    // After the rename: the batch is there, and stays as it is.
    let before = snapshot(&place.out());
    fence(&mut sink, 51).unwrap();
    sink.publish(&batch(2, 51, &["two"])).unwrap();
    let mut after = snapshot(&place.out());
    after.insert(hidden[0].into(), before[Path::new(hidden[0])].clone());
    assert_eq!(after, before);
}

#[test]
fn a_crash_at_any_step_of_saving_text_leaves_a_batch_that_is_whole_or_written_anew() {
    crashes_at_every_step::<Text>();
}

#[test]
fn a_crash_at_any_step_of_saving_objects_leaves_a_batch_that_is_whole_or_written_anew() {
    crashes_at_every_step::<Objects>();
}

/// Every file under a directory, by its path in it.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in names(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            files.extend(snapshot(&path).into_iter().map(|(below, bytes)| (Path::new(&name).join(below), bytes)));
        } else {
            files.insert(name.into(), fs::read(path).unwrap());
        }
    }
    files
}

#[test]
fn the_last_batch_is_found_where_batches_have_gaps_and_times_of_windows() {
    let (place, mut sink) = Saved::<Text>::fenced();
    // A window that slides every four batches; of the last one ticks have merged, so it stands under its boundary.
    for (number, time) in [(4, 800), (8, 1_600), (11, 2_400)] {
        sink.publish(&PublishedBatch { time: BatchTime(time), ..batch(number, 1, &["x"]) }).unwrap();
    }
    assert_eq!(visible_names(&place.out()), ["words-1600.saved", "words-2400.saved", "words-800.saved"]);
    assert_eq!(fence(&mut place.sink("words"), 2).unwrap(), Some(BatchId(11)));
    // The times of another lineage may go on from there.
    Sink::<String>::fence(&mut sink, Epoch(3), Lineage(8)).unwrap();
    let other = PublishedBatch { lineage: Lineage(8), time: BatchTime(3_200), ..batch(1, 3, &["y"]) };
    sink.publish(&other).unwrap();
    assert_eq!(fence(&mut sink, 4).unwrap(), Some(BatchId(11)));
    assert_eq!(Sink::<String>::fence(&mut sink, Epoch(5), Lineage(8)).unwrap(), Some(BatchId(1)));
}

#[test]
fn outputs_beside_each_other_have_their_own_fences_and_batches() {
    let (place, mut words) = Saved::<Text>::fenced();
    let mut other = place.sink("words-7");
    fence(&mut other, 5).unwrap();
    fs::create_dir(place.out().join(".words-7-500.saved-5")).unwrap();
    words.publish(&batch(1, 1, &["one"])).unwrap();
    assert_eq!(fence(&mut words, 2).unwrap(), Some(BatchId(1)));
    assert!(place.out().join(".words-7-500.saved-5").exists(), "what another output has under way was removed");
    assert_eq!(fence(&mut other, 6).unwrap(), None);
}

#[test]
fn another_batch_of_the_same_time_is_an_error_that_names_both() {
    let (place, mut sink) = Saved::<Objects>::fenced();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    let other = PublishedBatch { time: BatchTime(500), ..batch(2, 1, &["one"]) };
    let error = sink.publish(&other).unwrap_err();
    assert!(matches!(error, SinkError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("words-500.saved holds another batch 2: expected 2 records in "), "{error}");
    assert_eq!(place.records(), ["one", "last"]);
}

fn other_contents_are_found<K: Kind>() {
    let (place, mut sink) = Saved::<K>::fenced();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    let error = sink.publish(&batch(1, 1, &["two"])).unwrap_err();
    assert!(matches!(error, SinkError::Conflict { .. }), "{error}");
    assert_eq!(place.records(), ["one", "last"]);
}

#[test]
fn other_contents_of_the_same_length_are_a_conflict() {
    other_contents_are_found::<Text>();
    other_contents_are_found::<Objects>();
}

#[test]
fn a_directory_of_that_name_that_is_no_batch_is_refused_and_left_alone() {
    let (place, mut sink) = Saved::<Text>::fenced();
    fs::create_dir(place.batch(500)).unwrap();
    fs::write(place.batch(500).join("part-00000"), "from elsewhere").unwrap();
    for text in [sink.publish(&batch(1, 1, &["one"])).unwrap_err(), fence(&mut sink, 2).unwrap_err()] {
        assert!(text.to_string().contains("words-500.saved/_batch: "), "{text}");
    }
    assert_eq!(names(&place.batch(500)), ["part-00000"]);
}

fn every_flipped_byte_is_found<K: Kind>() {
    let (place, mut sink) = Saved::<K>::fenced();
    let first = batch(1, 1, &["one"]);
    sink.publish(&first).unwrap();
    for name in names(&place.batch(500)) {
        let path = place.batch(500).join(&name);
        let whole = fs::read(&path).unwrap();
        for (at, bit) in (0..whole.len()).flat_map(|at| [(at, 1), (at, 0x80)]) {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(&path, bytes).unwrap();
            let error = sink.publish(&first).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at} of {name}: {error}");
            assert!(error.to_string().contains(&name), "byte {at} of {name}: {error}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        let text = sink.publish(&first).unwrap_err().to_string();
        assert!(text.contains(&name) && text.contains("expected"), "a byte more in {name}: {text}");
        fs::remove_file(&path).unwrap();
        assert!(sink.publish(&first).unwrap_err().to_string().contains(&name), "{name} is gone");
        fs::write(&path, whole).unwrap();
    }
    sink.publish(&first).unwrap();
}

#[test]
fn a_flipped_byte_in_any_saved_file_is_found_when_the_batch_comes_again() {
    every_flipped_byte_is_found::<Text>();
    every_flipped_byte_is_found::<Objects>();
}

#[test]
fn object_files_are_read_back_with_their_partitions() {
    let (place, mut sink) = Saved::<Objects>::fenced();
    let first = batch(1, 1, &["one", "two"]);
    sink.publish(&first).unwrap();
    assert_eq!(read_object_files::<String>(place.batch(500)).unwrap().into_partitions(), first.partitions);
    let empty = PublishedBatch { partitions: vec![vec![]; 3], ..batch(2, 1, &[]) };
    sink.publish(&empty).unwrap();
    assert_eq!(names(&place.batch(1_000)), ["_SUCCESS", "_batch"]);
    assert_eq!(read_object_files::<String>(place.batch(1_000)).unwrap().partitions().len(), 3);
}

#[test]
fn a_damaged_saved_batch_is_not_read() {
    let (place, mut sink) = Saved::<Objects>::fenced();
    sink.publish(&batch(1, 1, &["one"])).unwrap();
    sink.publish(&batch(2, 1, &["two"])).unwrap();
    let saved = place.batch(500);
    let read = || read_object_files::<String>(&saved);
    let refused = |file: &str, kind| {
        let error = read().expect_err("damage is refused");
        assert!(error.to_string().contains(file) && error.kind() == kind, "{file}: {error}");
    };
    for name in ["_batch", "part-00000", "part-00002"] {
        let path = saved.join(name);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x80;
            fs::write(&path, &bytes).unwrap();
            refused(name, ErrorKind::Damaged);
            fs::write(&path, &whole[..at]).unwrap();
            refused(name, ErrorKind::Damaged);
        }
        fs::remove_file(&path).unwrap();
        refused(name, ErrorKind::Environment);
        // The whole file of another batch.
        fs::copy(place.batch(1_000).join(name), &path).unwrap();
        if name != "part-00002" {
            refused("part-00000", ErrorKind::Damaged);
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(read().unwrap().collect(), ["one", "last"]);
    let other = read_object_files::<(u64, String)>(&saved).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Incompatible);
    assert!(other.to_string().ends_with("part-00000 holds records of the type str, expected (u64, str)"), "{other}");
}

/// A job that counts words and saves the counts both ways, in `directory`; gives what was saved after some batches.
fn job_with(workers: u32, directory: &Path, crash: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let out = directory.to_path_buf();
    let mut job = TestJob::configured(
        move |builder| builder.workers(workers),
        move |context| {
            let (words, stream) = context.queue_stream::<String>("words");
            let counts = stream.map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b);
            counts.save_as_object_files("objects", out.join("objects"), "");
            counts.map(|(word, count)| format!("{word} {count}")).save_as_text_files("text", out.join("text"), "txt");
            words
        },
    )
    .unwrap();
    for round in 0..3_u64 {
        for block in 0..4 {
            job.handles().push((0..50).map(|n| format!("word {}", (n * round + block) % 37)).collect()).unwrap();
        }
        job.run_batch().unwrap();
        if crash {
            job.crash_and_restart().unwrap();
        }
    }
    drop(job);
    let mut files = snapshot(directory);
    // These name the lineage, which is drawn for each job.
    files.retain(|path, _| !path.ends_with("_batch") && !path.to_str().unwrap().starts_with('.'));
    files
}

#[test]
fn any_number_of_workers_and_any_crash_leave_the_same_files() {
    let saved = |workers, crash| {
        let directory = tempfile::tempdir().unwrap();
        job_with(workers, directory.path(), crash)
    };
    let alone = saved(1, false);
    let of = |prefix: &str| {
        alone.keys().filter(|path| path.to_str().unwrap().starts_with(prefix)).cloned().collect::<Vec<_>>()
    };
    assert!(of("text-").len() > 6 && of("objects-").len() == of("text-").len(), "{:?}", alone.keys());
    assert!(alone.contains_key(Path::new("text-1700000000100.txt/_SUCCESS")), "{:?}", alone.keys());
    for (workers, crash) in [(2, false), (4, false), (2, true)] {
        assert!(saved(workers, crash) == alone, "{workers} workers, crash: {crash}");
    }
}

#[test]
fn saved_files_pass_the_door_of_the_job() {
    let place = tempfile::tempdir().unwrap();
    let (out, disk) = (place.path().join("words"), FaultyDisk::new(Arc::new(LocalDisk)));
    let door = disk.clone();
    let mut job = TestJob::configured(
        move |builder| builder.disk(Arc::new(door.clone())),
        move |context| {
            let (words, stream) = context.queue_stream::<String>("words");
            stream.save_as_text_files("text", &out, "txt");
            stream.save_as_object_files("objects", &out, "obj");
            words
        },
    )
    .unwrap();
    job.handles().push(vec!["one".to_string()]).unwrap();
    let time = job.run_batch().unwrap().time;
    let passed = |step, what: &str| disk.trace().iter().any(|traced| traced.step == step && traced.what == what);
    for suffix in ["txt", "obj"] {
        assert!(passed(Step::SinkFence, &format!("rename to .words-time.{suffix}.fence")), "{suffix}");
        assert!(passed(Step::SinkPublish, &format!("rename to words-{time}.{suffix}")), "{suffix}");
    }
    assert!(passed(Step::SinkPublish, "sync part-00000") && passed(Step::SinkPublish, "sync _SUCCESS"));
}

#[test]
fn a_prefix_that_is_no_name_stops_the_start_with_an_error_that_names_the_output() {
    for (prefix, suffix) in [("out/", ""), ("out/_hidden", ""), ("out/name", "a/b")] {
        let started = TestJob::new(move |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            stream.save_as_text_files("text", prefix, suffix);
            stream.save_as_object_files("objects", prefix, suffix);
            numbers
        });
        let error = started.err().expect("a prefix that is no name is refused");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(text.contains("save_as_text_files \"text\": the "), "{text}");
        assert!(text.contains("save_as_object_files \"objects\": the "), "{text}");
    }
}
