//! What becomes of a job whose code does not return.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver as Waiting, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::panic_tests::{add, failure, total};
use crate::testing::TestJob;
use crate::*;
use floodmark_base::clock::Clock;
use floodmark_base::error::{ErrorKind, Result};
use floodmark_base::id::{BatchId, Epoch, Lineage};

/// Waits until the test is over.
fn never_returns(until_the_end: &Arc<Mutex<Waiting<()>>>) {
    let _ended = until_the_end.lock().unwrap_or_else(PoisonError::into_inner).recv();
}

#[test]
fn a_function_that_never_returns_is_left_behind_by_a_hard_stop_and_by_dropping_the_handle() {
    for drops in [false, true] {
        let (end, until_the_end) = channel::<()>();
        let until_the_end = Arc::new(Mutex::new(until_the_end));
        let (entered, enters) = channel();
        let mut job = TestJob::configured(
            |builder| builder.stop_grace(Duration::from_millis(20)),
            move |context| {
                let (words, stream) = context.queue_stream::<String>("words");
                let (until_the_end, entered) = (until_the_end.clone(), entered.clone());
                let ones = stream.map(move |word| {
                    if word == "stuck" && entered.send(()).is_ok() {
                        never_returns(&until_the_end);
                    }
                    (word, 1_u64)
                });
                ones.update_state_by_key("counts", add);
                words
            },
        )
        .unwrap();
        job.handles().push(vec!["tea".to_string()]).unwrap();
        job.run_batch().unwrap();
        job.handles().push(vec!["stuck".to_string()]).unwrap();
        job.clock().advance(Duration::from_millis(100));
        enters.recv().unwrap();
        if !drops {
            job.running().stop(false).unwrap();
            let left = job.running().status().left_behind;
            assert!(left.len() == 1 && left[0].starts_with("worker ") && left[0].contains("map"), "{left:?}");
        }
        // In the same process, while the thread is still there: the word is stuck no more, and counts once.
        drop(enters);
        job.crash_and_restart().unwrap();
        job.run_batch().unwrap();
        let counts = job.running().state::<String, u64>("counts").unwrap();
        let counts: BTreeMap<String, u64> = counts.iter().unwrap().collect();
        assert_eq!(counts, BTreeMap::from([("stuck".to_string(), 1), ("tea".to_string(), 1)]));
        drop(end);
    }
}

/// Blocks its thread.
struct Blocks(Sender<()>, Arc<Mutex<Waiting<()>>>);

impl Receiver for Blocks {
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        context.store_block(vec![1]).await?;
        self.0.send(())?;
        never_returns(&self.1);
        Ok(())
    }

    fn on_stop(&mut self) {
        panic!("no such session");
    }
}

#[test]
fn a_receiver_that_blocks_its_thread_holds_up_neither_the_others_nor_signals_nor_a_graceful_stop() {
    for by_signal in [false, true] {
        let (end, until_the_end) = channel::<()>();
        let (block, blocks) = channel();
        let until_the_end = Arc::new(Mutex::new(until_the_end));
        let mut job = TestJob::configured(
            |builder| builder.stop_grace(Duration::from_millis(20)).install_signal_handlers(),
            move |context| {
                let (numbers, stream) = context.queue_stream::<u64>("numbers");
                let blocks = context.receiver_stream("blocks", Blocks(block.clone(), until_the_end.clone()));
                let all = stream.union(&blocks).map(|number| ("sum".to_string(), number));
                all.update_state_by_key("sums", add);
                numbers
            },
        )
        .unwrap();
        blocks.recv().unwrap();
        job.handles().push(vec![10]).unwrap();
        job.run_batch().unwrap();
        assert_eq!(total(job.running(), "sums", "sum"), Some(11));
        job.handles().push(vec![100]).unwrap();
        if by_signal {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
            job.running().await_termination().unwrap();
        } else {
            job.running().stop(true).unwrap();
        }
        let status = job.running().status();
        assert_eq!(status.left_behind, ["receiver \"blocks\""]);
        assert_eq!((status.records, status.checkpoint), (3, status.published), "it was a graceful stop");
        drop(end);
        // What it panics with when it returns is nobody's any more.
        job.crash();
    }
}

#[test]
fn a_receiver_that_blocks_its_thread_is_left_behind_by_name_at_a_hard_stop_too() {
    for fails in [false, true] {
        let (end, until_the_end) = channel::<()>();
        let (block, blocks) = channel();
        let until_the_end = Arc::new(Mutex::new(until_the_end));
        let mut job = TestJob::configured(
            |builder| builder.stop_grace(Duration::from_millis(500)).max_attempts(1),
            move |context| {
                let (numbers, stream) = context.queue_stream::<u64>("numbers");
                let blocks = context.receiver_stream("blocks", Blocks(block.clone(), until_the_end.clone()));
                let all = stream.inspect(move |number| assert!(*number < 100, "too much")).union(&blocks);
                all.map(|number| ("sum".to_string(), number)).update_state_by_key("sums", add);
                numbers
            },
        )
        .unwrap();
        blocks.recv().unwrap();
        if fails {
            job.handles().push(vec![100]).unwrap();
            assert!(job.run_batch().is_err());
            assert!(job.running().await_termination().is_err());
        } else {
            job.running().stop(false).unwrap();
        }
        assert_eq!(job.running().status().left_behind, ["receiver \"blocks\""]);
        let receivers = job.running().receivers();
        let blocked = receivers.iter().find(|receiver| receiver.source.as_str() == "blocks").unwrap();
        assert_eq!(blocked.state, ReceiverState::LeftBehind);
        assert!(blocked.counts.last_error.as_ref().unwrap().contains("has not returned"), "{blocked:?}");
        drop(end);
        job.crash();
    }
}

// Code on the driver's thread.

/// Blocks whoever passes while it is shut.
#[derive(Clone, Default)]
struct Barrier(Arc<(Mutex<bool>, Condvar)>);

impl Barrier {
    fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |shut| *shut).unwrap());
    }
}

/// What a sink holds, by batch, and which life of the driver gave it first.
type Held = Arc<Mutex<BTreeMap<BatchId, (Epoch, Vec<u64>)>>>;

/// A sink behind a barrier.
struct Slow(Barrier, Held);

impl Sink<u64> for Slow {
    fn fence(&mut self, _: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        self.0.pass();
        let numbers = batch.records().copied().collect();
        self.1.lock().unwrap().entry(batch.batch).or_insert((batch.epoch, numbers));
        Ok(())
    }
}

/// A direct source behind a barrier: one number a batch.
struct Counted(Barrier);

impl DirectSource for Counted {
    type Item = u64;
    type Range = u64;
    type Position = u64;

    fn offer(&mut self, position: &u64, _: &OfferLimits) -> Result<Vec<u64>, SourceError> {
        self.0.pass();
        Ok(vec![*position])
    }

    fn advance(position: &mut u64, range: &u64) {
        *position = range + 1;
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = u64>> {
        Arc::new(CountedReader)
    }
}

struct CountedReader;

impl RangeReader for CountedReader {
    type Item = u64;
    type Range = u64;

    fn read(&self, range: &u64, emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
        emit(*range);
        Ok(ReadSummary { records: 1, failed: 0 })
    }
}

/// Remembers what is overdue, and how the job ended.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl StreamingListener for Heard {
    fn on_user_code_overdue(&mut self, overdue: &UserCodeOverdue) {
        self.0.lock().unwrap().push(overdue.code.clone());
    }

    fn on_streaming_stopped(&mut self, stopped: &StreamingStopped) {
        self.0.lock().unwrap().extend(stopped.error.as_ref().map(|(_, error)| error.clone()));
    }
}

/// A job that adds up numbers, each behind a barrier of its own: a source, a loader and two sinks, `table` before `after`.
struct Stuck {
    job: TestJob<Queue<u64>>,
    barriers: BTreeMap<&'static str, Barrier>,
    heard: Heard,
    after: Held,
}

fn stuck() -> Stuck {
    let names = ["source \"counted\"", "source \"factors\"", "output \"table\""];
    let barriers: BTreeMap<&str, Barrier> = names.map(|name| (name, Barrier::default())).into();
    let (heard, after) = (Heard::default(), Held::default());
    let (behind, listener, held) = (barriers.clone(), heard.clone(), after.clone());
    let job = TestJob::configured(
        move |builder| builder.stop_grace(Duration::from_millis(300)).listener(listener.clone()),
        move |context| {
            let [counted, factors, table] = names.map(|name| behind[name].clone());
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let factors = context.reference_data("factors", move || {
                factors.pass();
                Ok(Some(vec![(0_u8, 10_u64)]))
            });
            let all = stream.union(&context.direct_stream("counted", Counted(counted)).filter(|_| false));
            let multiplied = all.map(|number| (0_u8, number)).join_reference("multiplied", &factors);
            let products = multiplied.map(|(_, (number, factor))| number * factor);
            products.map(|product| ("sum".to_string(), product)).update_state_by_key("sums", add);
            products.sink("table", Slow(table, Held::default()));
            products.sink("after", Slow(Barrier::default(), held.clone()));
            numbers
        },
    )
    .unwrap();
    Stuck { job, barriers, heard, after }
}

#[test]
fn code_that_holds_the_driver_is_named_and_a_hard_stop_ends_the_job_with_its_name_and_keeps_the_lock() {
    for code in ["source \"counted\"", "source \"factors\"", "output \"table\""] {
        let Stuck { mut job, barriers, heard, after } = stuck();
        job.handles().push(vec![1]).unwrap();
        job.run_batch().unwrap();
        barriers[code].set(true);
        job.handles().push(vec![2]).unwrap();
        let called_ms = job.clock().epoch_ms() + 100;
        job.clock().advance(Duration::from_millis(100));
        let status = job.running().wait_until(|status| status.overdue.is_some()).unwrap();
        let overdue = status.overdue.unwrap();
        assert_eq!((overdue.code.as_str(), overdue.since_ms), (code, called_ms));

        // A graceful stop waits for the code; a hard one ends it.
        let running = job.running();
        std::thread::scope(|scope| {
            let graceful = scope.spawn(|| running.stop(true));
            assert!(!running.await_termination_timeout(Duration::from_millis(400)).unwrap());
            let parts = [code, "has not returned", "keeps the job's lock"];
            failure(running.stop(false), ErrorKind::UserCode, &parts);
            failure(graceful.join().unwrap(), ErrorKind::UserCode, &parts);
        });
        assert_eq!(job.running().phase(), Phase::Failed);
        assert_eq!(job.running().status().left_behind, [format!("driver, in {code}")]);
        assert!(job.handles().push(vec![1_000]).is_err(), "nothing is acknowledged any more");
        let told = heard.0.lock().unwrap().clone();
        assert!(told.len() == 2 && told[0] == code && told[1].contains(code), "{told:?}");

        // While the code may still write, nobody else drives the job; nor after it has returned, until the lock is free.
        job.crash();
        failure(job.start(), ErrorKind::Owned, &["is owned by"]);
        barriers[code].set(false);
        while job.start().is_err() {
            std::thread::yield_now();
        }
        job.run_batch().unwrap();
        assert_eq!(total(job.running(), "sums", "sum"), Some(30), "{code}");
        let held: Vec<(Epoch, u64)> =
            after.lock().unwrap().values().flat_map(|(epoch, it)| it.iter().map(|number| (*epoch, *number))).collect();
        assert!(held.len() == 2 && (held[0].1, held[1].1) == (10, 20), "{code}: {held:?}");
        assert!(held[0].0 < held[1].0, "{code}: what returned too late was given nothing more to do: {held:?}");
    }
}

#[test]
fn code_that_returns_late_is_named_while_it_runs_and_the_job_goes_on() {
    let Stuck { job, barriers, heard, .. } = stuck();
    for code in ["source \"counted\"", "output \"table\""] {
        barriers[code].set(true);
        job.handles().push(vec![1]).unwrap();
        job.clock().advance(Duration::from_millis(100));
        job.running().wait_until(|status| status.overdue.is_some()).unwrap();
        barriers[code].set(false);
        let status = job.running().wait_until(|status| status.published == status.planned && status.records > 0);
        assert_eq!(status.unwrap().overdue, None);
    }
    job.running().stop(true).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["source \"counted\"", "output \"table\""]);
    assert!(job.running().status().left_behind.is_empty());
}

#[test]
fn dropping_the_handle_waits_for_code_on_the_drivers_thread_no_longer_than_the_grace_period() {
    let Stuck { mut job, barriers, heard, .. } = stuck();
    barriers["output \"table\""].set(true);
    job.handles().push(vec![1]).unwrap();
    job.clock().advance(Duration::from_millis(100));
    job.running().wait_until(|status| status.overdue.is_some()).unwrap();
    job.crash();
    assert!(heard.0.lock().unwrap()[1].contains("output \"table\""));
    barriers["output \"table\""].set(false);
}
