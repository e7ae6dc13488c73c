//! User code that panics where it is easily overlooked: readers, the serde code of positions, ranges and states, and `Drop`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::testing::TestJob;
use crate::*;
use floodmark_base::error::{ErrorKind, Result};
use floodmark_base::id::{BatchId, Epoch, Lineage};

fn failure<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("expected an error of kind {kind:?}: {parts:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn add(new: &[u64], old: Option<u64>) -> Option<u64> {
    Some(old.unwrap_or(0) + new.iter().sum::<u64>())
}

/// Which part of a source of numbers panics; one at a time.
static PANICS: Mutex<&str> = Mutex::new("");

/// The tests of the source share what panics, so they run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    panics("");
    alone
}

fn panics(part: &'static str) {
    *PANICS.lock().unwrap_or_else(PoisonError::into_inner) = part;
}

/// Panics when it is the turn of this part. Samples of the types have smaller numbers, so no declaration panics.
fn look(part: &str, number: u64) {
    let now = *PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!(now == part && number >= FIRST), "no number {number}");
}

const FIRST: u64 = 1_000_000_000_000_000;

#[derive(Clone, Serialize)]
struct At(u64);

impl Default for At {
    fn default() -> Self {
        look("default", FIRST);
        Self(FIRST)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        look("position", number);
        Ok(Self(number))
    }
}

#[derive(Clone, Serialize)]
struct One(u64);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let of_worker = std::thread::current().name() != Some("driver");
        look(if of_worker { "range on a worker" } else { "range" }, number);
        Ok(Self(number))
    }
}

/// One number a batch.
struct Numbers;

impl DirectSource for Numbers {
    type Item = u64;
    type Range = One;
    type Position = At;

    fn offer(&mut self, position: &At, _limits: &OfferLimits) -> std::result::Result<Vec<One>, SourceError> {
        Ok(vec![One(position.0)])
    }

    fn advance(position: &mut At, range: &One) {
        position.0 = range.0 + 1;
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = One>> {
        Arc::new(Numbers)
    }
}

impl RangeReader for Numbers {
    type Item = u64;
    type Range = One;

    fn read(&self, range: &One, emit: &mut dyn FnMut(u64)) -> std::result::Result<ReadSummary, SourceError> {
        look("reader", range.0);
        emit(1);
        Ok(ReadSummary { records: 1, failed: 0 })
    }
}

fn counting(context: &StreamingContext) {
    let numbers = context.direct_stream("numbers", Numbers);
    numbers.map(|one| ("sum".to_string(), one)).update_state_by_key("sums", add);
}

fn sum(job: &TestJob<()>) -> Option<u64> {
    job.running().state::<String, u64>("sums").unwrap().get(&"sum".to_string()).unwrap()
}

#[test]
fn a_reader_that_panics_has_its_attempts_and_is_named_and_the_next_start_goes_on() {
    let _alone = alone();
    let mut job = TestJob::new(counting).unwrap();
    job.run_batch().unwrap();
    panics("reader");
    failure(job.run_batch(), ErrorKind::UserCode, &["failed 4 times", "\"numbers\" panicked: no number"]);
    panics("");
    job.crash_and_restart().unwrap();
    job.run_batch().unwrap();
    assert_eq!(sum(&job), Some(3));
}

#[test]
fn serde_code_of_a_position_or_a_range_that_panics_at_a_start_refuses_it_by_name() {
    let _alone = alone();
    for (part, said) in [("position", "the decoding of a position"), ("range", "the decoding of a range")] {
        let mut job = TestJob::configured(|builder| builder.checkpoint_every(2), counting).unwrap();
        // The second batch ends in a checkpoint, which has a position; the third is planned behind it.
        for _ in 0..3 {
            job.run_batch().unwrap();
            job.running().wait_until(|status| !status.checkpointing).unwrap();
        }
        job.crash();
        panics(part);
        failure(job.start(), ErrorKind::UserCode, &["\"numbers\" cannot go on where it was", said, "no number"]);
        panics("");
        job.start().unwrap();
        job.run_batch().unwrap();
        assert_eq!(sum(&job), Some(4), "{part}");
    }
}

#[test]
fn the_default_of_a_position_that_panics_refuses_the_first_start_by_name() {
    let _alone = alone();
    let first = TestJob::new(|context| {
        counting(context);
        panics("default");
    });
    panics("");
    let parts = ["\"numbers\" cannot go on where it was", "the default of its position", "no number"];
    failure(first.map(drop), ErrorKind::UserCode, &parts);
}

#[test]
fn serde_code_of_a_range_that_panics_on_a_worker_is_the_users_and_names_the_source() {
    let _alone = alone();
    let mut job = TestJob::new(counting).unwrap();
    job.run_batch().unwrap();
    panics("range on a worker");
    failure(job.run_batch(), ErrorKind::UserCode, &["\"numbers\"", "the decoding of a range", "no number"]);
    panics("");
    job.crash_and_restart().unwrap();
    job.run_batch().unwrap();
    assert_eq!(sum(&job), Some(3));
}

/// A sum whose serde code panics when it is read, as long as it is told to.
#[derive(Clone, PartialEq, Serialize)]
struct Fragile(u64);

static FRAGILE: AtomicBool = AtomicBool::new(false);

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number < FIRST || !FRAGILE.load(Ordering::SeqCst), "it is broken");
        Ok(Self(number))
    }
}

#[test]
fn stored_state_whose_serde_code_panics_names_its_operator_at_a_start_and_in_the_background() {
    for lazy in [false, true] {
        let mut job = TestJob::configured(
            move |builder| builder.lazy_restart_above(if lazy { 0 } else { u64::MAX }).checkpoint_every(1),
            |context| {
                let (words, stream) = context.queue_stream::<(String, u64)>("words");
                stream.map_with_state("sums", |_, value: Option<u64>, sum: &mut KeyedState<Fragile>| {
                    let new = sum.get().map_or(FIRST, |sum| sum.0) + value.unwrap_or(0);
                    sum.update(Fragile(new));
                });
                words
            },
        )
        .unwrap();
        for _ in 0..3 {
            job.handles().push(vec![("tea".to_string(), 0)]).unwrap();
            job.run_batch().unwrap();
            job.running().wait_until(|status| !status.checkpointing).unwrap();
        }
        job.crash();
        FRAGILE.store(true, Ordering::SeqCst);
        // A lazy start ends before anybody has looked at the state; the job fails behind it.
        let failed = job.start().and_then(|()| job.running().await_termination());
        FRAGILE.store(false, Ordering::SeqCst);
        failure(failed, ErrorKind::UserCode, &["\"sums\"", "it is broken"]);
        job.crash_and_restart().unwrap();
        job.handles().push(vec![("tea".to_string(), 0)]).unwrap();
        job.run_batch().unwrap();
    }
}

/// A sink that panics when it is dropped.
struct Bomb(Arc<AtomicU64>);

impl Sink<u64> for Bomb {
    fn fence(&mut self, _: Epoch, _: Lineage) -> std::result::Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> std::result::Result<(), SinkError> {
        let published = batch.partitions.iter().map(|records| records.len() as u64).sum();
        self.0.fetch_add(published, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

#[test]
fn an_output_that_panics_when_it_is_dropped_spoils_no_stop_and_no_start_behind_it() {
    let published = Arc::new(AtomicU64::new(0));
    let counted = published.clone();
    let mut job = TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        stream.sink("bomb", Bomb(counted.clone()));
        numbers
    })
    .unwrap();
    job.handles().push(vec![1, 2]).unwrap();
    job.running().stop(true).unwrap();
    let status = job.running().status();
    assert_eq!((job.running().phase(), status.checkpoint), (Phase::Stopped, status.published));
    job.crash_and_restart().unwrap();
    job.handles().push(vec![3]).unwrap();
    job.run_batch().unwrap();
    job.running().stop(true).unwrap();
    assert_eq!(published.load(Ordering::SeqCst), 3);
}

#[test]
fn a_receiver_may_have_any_uid() {
    for uid in ["a\0b", "/", "a very long uid, longer than the name of a thread may be, by far", "größe"] {
        let uid = uid.to_string();
        let mut job = TestJob::configured(
            |builder| builder.stop_grace(Duration::from_secs(60)),
            move |context| {
                let (numbers, stream) = context.queue_stream::<u64>(uid.as_str());
                stream.map(|number| ("sum".to_string(), number)).update_state_by_key("sums", add);
                numbers
            },
        )
        .unwrap();
        job.handles().push(vec![7]).unwrap();
        job.stop_and_restart().unwrap();
        let sum = job.running().state::<String, u64>("sums").unwrap().get(&"sum".to_string()).unwrap();
        assert_eq!(sum, Some(7));
    }
}

#[test]
fn a_batch_may_have_more_records_set_aside_later_beside_those_that_are() {
    let place: Arc<std::sync::OnceLock<std::path::PathBuf>> = Arc::default();
    let letters = place.clone();
    let mut job = TestJob::configured(
        |builder| builder.dead_letters(),
        move |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let letters = letters.clone();
            let sums = stream.map(move |number| {
                assert!(number != 7, "seven");
                // Only once the first record is aside.
                assert!(number != 9 || !letters.get().is_some_and(|place| place.exists()), "nine");
                ("sum".to_string(), number)
            });
            sums.update_state_by_key("sums", add);
            numbers
        },
    )
    .unwrap();
    place.set(job.directory().join("dead-letters")).unwrap();
    job.handles().push(vec![1, 7, 9, 4]).unwrap();
    job.run_batch().unwrap();
    for _ in 0..2 {
        let sum = job.running().state::<String, u64>("sums").unwrap().get(&"sum".to_string()).unwrap();
        assert_eq!(sum, Some(5));
        let files = std::fs::read_dir(job.directory().join("dead-letters")).unwrap();
        let texts: Vec<String> = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        let counts = ["panicked: seven", "panicked: nine"].map(|word| texts.concat().matches(word).count());
        assert_eq!((texts.len(), counts), (2, [1, 1]), "{texts:?}");
        job.crash_and_restart().unwrap();
    }
}

#[test]
fn a_hard_stop_does_not_wait_for_the_search_for_a_culprit() {
    let (end, until_the_end) = std::sync::mpsc::channel::<()>();
    let (tell, searches) = std::sync::mpsc::channel();
    let until_the_end = Arc::new(Mutex::new(until_the_end));
    let calls = Arc::new(AtomicU64::new(0));
    let mut job = TestJob::configured(
        |builder| builder.dead_letters().stop_grace(Duration::from_millis(20)),
        move |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let (calls, tell, until_the_end) = (calls.clone(), tell.clone(), until_the_end.clone());
            let sums = stream.map(move |number| {
                // Four attempts; the fifth call is in the search, and does not return.
                if calls.fetch_add(1, Ordering::SeqCst) == 4 {
                    tell.send(()).unwrap();
                    let _ended = until_the_end.lock().unwrap_or_else(PoisonError::into_inner).recv();
                }
                assert!(calls.load(Ordering::SeqCst) > 5, "not yet");
                ("sum".to_string(), number)
            });
            sums.update_state_by_key("sums", add);
            numbers
        },
    )
    .unwrap();
    job.handles().push(vec![5]).unwrap();
    job.clock().advance(Duration::from_millis(100));
    searches.recv().unwrap();
    job.running().stop(false).unwrap();
    assert_eq!(job.running().phase(), Phase::Stopped);
    job.crash_and_restart().unwrap();
    job.run_batch().unwrap();
    drop(end);
    let sum = job.running().state::<String, u64>("sums").unwrap().get(&"sum".to_string()).unwrap();
    assert_eq!(sum, Some(5));
}
