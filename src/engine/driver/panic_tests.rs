//! What becomes of a job whose code panics.

use std::cell::Cell;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::testing::TestJob;
use crate::*;
use floodmark_base::bytes::Bytes;
use floodmark_base::clock::{Clock, Interrupt, ManualClock, Waited};
use floodmark_base::error::{ErrorKind, Result};
use floodmark_base::id::{BatchId, Epoch, Lineage};
use floodmark_store::block::StoreError;
use floodmark_store::state::spec::StateSpec;

pub(super) fn failure<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("expected an error of kind {kind:?}: {parts:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Adds up.
pub(super) fn add(new: &[u64], old: Option<u64>) -> Option<u64> {
    Some(old.unwrap_or(0) + new.iter().sum::<u64>())
}

pub(super) fn total(running: &Running, uid: &str, key: &str) -> Option<u64> {
    running.state::<String, u64>(uid).unwrap().get(&key.to_string()).unwrap()
}

/// The text of all files of dead letters.
fn letters(job: &Path) -> String {
    let Ok(files) = std::fs::read_dir(job.join("dead-letters")) else { return String::new() };
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned()).collect()
}

/// A job that has ended holds neither its lock nor its log nor its state.
fn assert_nothing_is_open(_job: &Path) {
    #[cfg(target_os = "linux")]
    assert!(super::open_files::open_files(_job).is_empty(), "{:?}", super::open_files::open_files(_job));
}

// Code that the driver calls on its own thread.

/// Where a source of numbers panics.
type Where = Arc<Mutex<&'static str>>;

/// One number a batch; `panics` names the method that panics from the third number on.
struct Numbers {
    panics: Where,
}

impl Numbers {
    fn look(&self, method: &str, position: u64) {
        let panics = *self.panics.lock().unwrap_or_else(PoisonError::into_inner) == method;
        assert!(!panics || position < 2, "no more numbers");
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.look("drop", 2);
    }
}

/// A position whose own code may panic.
#[derive(Clone, Default)]
struct At(u64, Option<Where>);

impl serde::Serialize for At {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let panics = self.1.as_ref().is_some_and(|panics| *panics.lock().unwrap() == "position");
        assert!(!panics || self.0 < 2, "no more numbers");
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(u64::deserialize(deserializer)?, None))
    }
}

struct NumbersReader;

impl DirectSource for Numbers {
    type Item = u64;
    type Range = u64;
    type Position = At;

    fn offer(&mut self, position: &At, _limits: &OfferLimits) -> Result<Vec<u64>, SourceError> {
        self.look("offer", position.0);
        Ok(vec![position.0])
    }

    fn advance(position: &mut At, range: &u64) {
        let panics = position.1.as_ref().is_some_and(|panics| *panics.lock().unwrap() == "advance");
        assert!(!panics || position.0 < 2, "no more numbers");
        position.0 = range + 1;
    }

    fn prune(&mut self, position: &mut At) -> Result<(), SourceError> {
        self.look("prune", position.0);
        position.1 = Some(self.panics.clone());
        Ok(())
    }

    fn release(&mut self, position: &At) {
        self.look("release", position.0 + 2);
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = u64>> {
        Arc::new(NumbersReader)
    }
}

impl RangeReader for NumbersReader {
    type Item = u64;
    type Range = u64;

    fn read(&self, range: &u64, emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
        emit(*range);
        Ok(ReadSummary { records: 1, failed: 0 })
    }
}

/// Hands its context out and waits for the stop.
struct HandsOut(Sender<ReceiverContext<u64>>);

impl Receiver for HandsOut {
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        self.0.send(context.clone())?;
        context.stopped().await;
        Ok(())
    }
}

/// Stores from a thread that is none of the job's.
fn store_from_outside(context: &ReceiverContext<u64>) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(context.store_block(vec![1]))
}

#[test]
fn a_direct_source_that_panics_ends_the_job_with_its_name_and_leaves_no_lock_or_open_log() {
    for method in ["offer", "prune", "advance", "release", "position"] {
        let panics: Where = Arc::new(Mutex::new(method));
        let (hand_out, handed) = channel();
        let declared = panics.clone();
        let mut job = TestJob::configured(
            |builder| builder.checkpoint_every(1),
            move |context| {
                let numbers = context.direct_stream("numbers", Numbers { panics: declared.clone() });
                numbers.map(|number| ("sum".to_string(), number)).update_state_by_key("sums", add);
                context.receiver_stream("outside", HandsOut(hand_out.clone())).print(0);
            },
        )
        .unwrap();
        let context: ReceiverContext<u64> = handed.recv().unwrap();
        store_from_outside(&context).unwrap();
        let mut failed = Ok(());
        for _ in 0..8 {
            let covered = |status: &Status| status.checkpoint == status.published;
            failed = job.run_batch().and_then(|_| job.running().wait_until(covered)).map(drop);
            if failed.is_err() {
                break;
            }
        }
        failure(failed, ErrorKind::UserCode, &["\"numbers\"", method, "no more numbers"]);
        assert_eq!(job.running().phase(), Phase::Failed);
        assert!(store_from_outside(&context).is_err(), "{method}: nothing is acknowledged by a log that nobody reads");
        assert_nothing_is_open(job.directory());

        // The same process goes on at once: neither the lock, nor the log, nor the state is held.
        *panics.lock().unwrap_or_else(PoisonError::into_inner) = "";
        job.crash_and_restart().unwrap();
        job.run_batch().unwrap();
        let taken = job.running().status().records;
        assert!(taken > 0, "{method}");
        job.running().stop(true).unwrap();
    }
}

#[test]
fn a_direct_source_that_panics_when_it_is_dropped_does_not_turn_a_graceful_stop_into_a_failure() {
    let panics: Where = Arc::new(Mutex::new("drop"));
    let declared = panics.clone();
    let mut job = TestJob::new(move |context| {
        let numbers = context.direct_stream("numbers", Numbers { panics: declared.clone() });
        numbers.map(|number| ("sum".to_string(), number)).update_state_by_key("sums", add);
    })
    .unwrap();
    job.run_batch().unwrap();
    job.running().stop(true).unwrap();
    assert_eq!(job.running().phase(), Phase::Stopped);
    *panics.lock().unwrap_or_else(PoisonError::into_inner) = "";
    job.crash_and_restart().unwrap();
    job.run_batch().unwrap();
    assert_eq!(total(job.running(), "sums", "sum"), Some(1), "0 + 1");
}

/// A clock that panics on the driver's thread when it is told to: a bug of the library, as far as a test can make one.
#[derive(Clone, Debug)]
struct BrokenClock(ManualClock, Arc<AtomicBool>);

impl Clock for BrokenClock {
    fn epoch_ms(&self) -> u64 {
        self.0.epoch_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        let is_driver = std::thread::current().name() == Some("driver");
        assert!(!(is_driver && self.1.load(Ordering::SeqCst)), "the clock is broken");
        self.0.monotonic_ms()
    }

    fn wait_while(&self, epoch_ms: std::ops::Range<u64>, interrupt: &Interrupt) -> Waited {
        self.0.wait_while(epoch_ms, interrupt)
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(duration)
    }
}

#[test]
fn a_panic_of_the_driver_itself_leaves_no_lock_thread_or_open_log_behind() {
    let place = tempfile::tempdir().unwrap();
    let (broken, clock) = (Arc::new(AtomicBool::new(false)), ManualClock::at(1_700_000_000_000));
    let (hand_out, handed) = channel();
    let start = || {
        let context = StreamingContext::builder("job")
            .checkpoint(place.path())
            .batch_interval(Duration::from_millis(100))
            .clock(BrokenClock(clock.clone(), broken.clone()))
            .build()?;
        context.receiver_stream("outside", HandsOut(hand_out.clone())).map(|n| (n, n)).update_state_by_key("sums", add);
        context.start()
    };
    let running = start().unwrap();
    let context: ReceiverContext<u64> = handed.recv().unwrap();
    store_from_outside(&context).unwrap();
    broken.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_millis(100));
    failure(running.await_termination(), ErrorKind::Stopped, &["which is a bug", "the clock is broken"]);
    assert!(store_from_outside(&context).is_err());
    assert_nothing_is_open(place.path());
    // The handle is still there, as a supervisor's loop may hold it.
    broken.store(false, Ordering::SeqCst);
    let again = start().unwrap();
    store_from_outside(&handed.recv().unwrap()).unwrap();
    clock.advance(Duration::from_millis(100));
    let status = again.wait_until(|status| status.published.0 > 0 && status.records == 2).unwrap();
    assert_eq!(status.records, 2, "what was acknowledged before is counted, too");
    again.stop(true).unwrap();
    drop(running);
}

#[test]
fn a_loader_that_panics_with_a_new_version_leaves_the_old_one_in_force() {
    let price = Arc::new(Mutex::new("tea,5"));
    let file = price.clone();
    let program = move |context: &StreamingContext| {
        let file = file.clone();
        let prices = context.reference_data("prices", move || {
            let (name, price) = file.lock().unwrap_or_else(PoisonError::into_inner).split_once(',').unwrap();
            Ok(Some(vec![(name.to_string(), price.parse::<u64>().unwrap())]))
        });
        let (sales, stream) = context.queue_stream::<(String, u64)>("sales");
        let priced = stream.join_reference("priced", &prices).map(|(name, (count, price))| (name, count * price));
        priced.update_state_by_key("totals", add);
        sales
    };
    let mut job = TestJob::new(program).unwrap();
    for (line, sum) in [("tea,5", 5), ("tea", 10), ("tea,six", 15), ("tea,6", 21)] {
        *price.lock().unwrap_or_else(PoisonError::into_inner) = line;
        job.handles().push(vec![("tea".to_string(), 1)]).unwrap();
        job.run_batch().unwrap();
        assert_eq!(total(job.running(), "totals", "tea"), Some(sum), "{line}");
    }
}

#[test]
fn a_loader_that_panics_before_the_first_version_ends_the_job_with_its_name() {
    let mut job = TestJob::new(|context| {
        let prices = context.reference_data("prices", || -> Result<Option<Vec<(String, u64)>>, SourceError> {
            panic!("line 1 has no comma")
        });
        let (sales, stream) = context.queue_stream::<(String, u64)>("sales");
        stream.join_reference("priced", &prices).print(0);
        sales
    })
    .unwrap();
    failure(job.run_batch(), ErrorKind::UserCode, &["\"prices\"", "loader", "line 1 has no comma"]);
}

/// A sink whose fence panics as long as it is told to.
struct Fenceless(Arc<AtomicBool>);

impl Sink<u64> for Fenceless {
    fn fence(&mut self, _: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
        assert!(!self.0.load(Ordering::SeqCst), "no connection");
        Ok(None)
    }

    fn publish(&mut self, _: &PublishedBatch<u64>) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_sink_whose_fence_panics_refuses_the_start_by_name_and_the_next_start_goes_on() {
    let panics = Arc::new(AtomicBool::new(false));
    let declared = panics.clone();
    let mut job = TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        stream.sink("table", Fenceless(declared.clone()));
        numbers
    })
    .unwrap();
    job.handles().push(vec![1]).unwrap();
    job.run_batch().unwrap();
    panics.store(true, Ordering::SeqCst);
    failure(job.crash_and_restart(), ErrorKind::UserCode, &["\"table\"", "no connection"]);
    assert_nothing_is_open(job.directory());
    panics.store(false, Ordering::SeqCst);
    job.start().unwrap();
    job.handles().push(vec![1]).unwrap();
    job.run_batch().unwrap();
}

#[test]
fn a_migration_that_panics_names_the_operator_and_the_key() {
    let version = Rc::new(Cell::new(1));
    let declared = version.clone();
    let mut job = TestJob::new(move |context| {
        let (words, stream) = context.queue_stream::<(String, u64)>("words");
        if declared.get() == 1 {
            stream.update_state_by_key("totals", add);
        } else {
            let spec = StateSpec::new("totals").version(2).migrate_from(1, |old: u64| {
                assert!(old < 7, "there is no such total");
                old as u32
            });
            stream.update_state_by_key(spec, |_: &[u64], old: Option<u32>| old);
        }
        words
    })
    .unwrap();
    job.handles().push(vec![("apple".to_string(), 7), ("pear".to_string(), 1)]).unwrap();
    job.run_batch().unwrap();
    job.running().stop(true).unwrap();
    version.set(2);
    let parts = ["migration of \"totals\" from version 1", "\"apple\"", "there is no such total"];
    failure(job.crash_and_restart(), ErrorKind::UserCode, &parts);
    assert_nothing_is_open(job.directory());
    version.set(1);
    job.start().unwrap();
    assert_eq!(total(job.running(), "totals", "apple"), Some(7));
}

// Dead letters.

#[test]
fn a_record_whose_decoder_panics_is_set_aside_and_all_others_count() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let mut job = TestJob::configured(
        |builder| builder.dead_letters(),
        move |context| {
            let decode = |frame: Bytes| -> Result<u64, DecodeFailure> {
                Ok(std::str::from_utf8(&frame)?.parse::<u64>().unwrap())
            };
            let numbers = context.socket_stream("numbers", &address, Framing::lines().decode_with(decode));
            numbers.map(|number| ("sum".to_string(), number)).update_state_by_key("sums", add);
        },
    )
    .unwrap();
    let (mut connection, _) = server.accept().unwrap();
    connection.write_all(b"1\n2\npoison\n4\n\xff\n8\nbitter\n16\n").unwrap();
    // The arrival of bytes is real; batches are cut until all has come.
    while total(job.running(), "sums", "sum") != Some(31) {
        job.run_batch().unwrap();
    }
    let text = letters(job.directory());
    assert!(
        ["poison", "bitter", "\"numbers\" panicked", "ParseIntError"].iter().all(|part| text.contains(part)),
        "{text}"
    );
    assert_eq!(job.running().status().failed_records, 1);
    // They stay aside when their batch is recomputed.
    job.crash();
    drop(connection);
    job.start().unwrap();
    assert_eq!(total(job.running(), "sums", "sum"), Some(31));
    assert_eq!(job.running().status().failed_attempts, 0);
}

/// A number whose own code refuses 13.
#[derive(Clone, serde::Serialize)]
struct Lucky(u64);

impl<'de> serde::Deserialize<'de> for Lucky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number != 13, "unlucky");
        Ok(Self(number))
    }
}

#[test]
fn a_record_behind_which_nothing_can_be_read_ends_the_job_and_is_named() {
    let mut job = TestJob::configured(
        |builder| builder.dead_letters(),
        |context| {
            let (numbers, stream) = context.queue_stream::<Lucky>("numbers");
            stream.map(|Lucky(number)| ("sum".to_string(), number)).update_state_by_key("sums", add);
            numbers
        },
    )
    .unwrap();
    job.handles().push(vec![Lucky(1), Lucky(2), Lucky(13), Lucky(4)]).unwrap();
    let parts = ["record 2 of task 0 of source \"numbers\"", "cannot be set aside", "\"numbers\" panicked: unlucky"];
    failure(job.run_batch(), ErrorKind::UserCode, &parts);
    assert_eq!(letters(job.directory()), "");
}

#[test]
fn a_batch_that_fails_without_its_records_ends_the_job_at_once_though_dead_letters_are_allowed() {
    for with_records in [true, false] {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let mut job = TestJob::configured(
            |builder| builder.dead_letters(),
            move |context| {
                let (words, stream) = context.queue_stream::<(String, u64)>("words");
                let calls = counted.clone();
                stream.update_state_by_key("sums", move |new: &[u64], old: Option<u64>| {
                    if new.is_empty() {
                        calls.fetch_add(1, Ordering::SeqCst);
                        panic!("nobody is idle");
                    }
                    add(new, old)
                });
                words
            },
        )
        .unwrap();
        job.handles().push(vec![("idle".to_string(), 1)]).unwrap();
        job.run_batch().unwrap();
        if with_records {
            job.handles().push((0..100).map(|number| (format!("{number}"), number)).collect()).unwrap();
        }
        let parts = ["batch 2 fails even without its records", "\"sums\" panicked: nobody is idle"];
        failure(job.run_batch(), ErrorKind::UserCode, &parts);
        // Four attempts, the whole batch on trial, and none of its records on trial.
        assert_eq!(calls.load(Ordering::SeqCst), 6);
        assert_eq!(letters(job.directory()), "");
    }
}

/// A job with dead letters whose function panics in these of its calls, which are counted from 1.
fn panics_in(calls: &'static [u64]) -> TestJob<Queue<u64>> {
    let count = Arc::new(AtomicU64::new(0));
    TestJob::configured(
        |builder| builder.dead_letters(),
        move |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let count = count.clone();
            let sums = stream.map(move |number| {
                let call = count.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(!calls.contains(&call), "call {call}");
                ("sum".to_string(), number)
            });
            sums.update_state_by_key("sums", add);
            numbers
        },
    )
    .unwrap()
}

#[test]
fn a_panic_that_does_not_come_back_while_the_culprit_is_looked_for_sets_nothing_aside() {
    // Four attempts; the fifth call is the trial of the whole batch.
    let mut job = panics_in(&[1, 2, 3, 4]);
    job.handles().push(vec![5]).unwrap();
    job.run_batch().unwrap();
    assert_eq!(total(job.running(), "sums", "sum"), Some(5));
    assert!(!job.directory().join("dead-letters").exists());
}

#[test]
fn a_batch_that_fails_only_where_no_culprit_is_looked_for_ends_the_job_with_its_panic() {
    let mut job = panics_in(&[1, 2, 3, 4, 6, 7, 8, 9]);
    job.handles().push(vec![5]).unwrap();
    failure(job.run_batch(), ErrorKind::UserCode, &["batch 1 failed 4 times", "call 9"]);
    assert!(!job.directory().join("dead-letters").exists());
}
