//! Receivers whose code panics, blocks its thread, or does not return.

use std::future::Future;
use std::sync::mpsc::{Receiver as Waiting, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::until::{until, within};
use super::*;
use crate::listener::Events;
use floodmark_base::clock::{Clock, ManualClock};
use floodmark_base::id::Uid;
use floodmark_store::block::memory_log::MemoryLog;
use floodmark_store::block::{BlockTracker, Intake, ReceiveLimits, StoreError};

/// A receiver that does what the test says, and how often it was started and stopped.
struct Scripted<S> {
    on_start: S,
    on_stop: fn(),
    restarts_at_end: fn() -> bool,
    starts: u64,
}

impl<S> Scripted<S> {
    fn new(on_start: S) -> Self {
        Self { on_start, on_stop: || (), restarts_at_end: || false, starts: 0 }
    }
}

impl<S, F> Receiver for Scripted<S>
where
    S: FnMut(u64, ReceiverContext<u64>) -> F + Send + 'static,
    F: Future<Output = Result<(), ReceiverError>> + Send,
{
    type Item = u64;

    // Not an `async fn`: what is called here runs before there is a future.
    fn on_start(&mut self, context: ReceiverContext<u64>) -> impl Future<Output = Result<(), ReceiverError>> + Send {
        self.starts += 1;
        (self.on_start)(self.starts, context)
    }

    fn on_stop(&mut self) {
        (self.on_stop)();
    }

    fn restarts_at_end(&self) -> bool {
        (self.restarts_at_end)()
    }
}

struct Fixture {
    log: Arc<MemoryLog>,
    intake: Intake,
    clock: ManualClock,
}

impl Default for Fixture {
    fn default() -> Self {
        let log = Arc::new(MemoryLog::default());
        let tracker = Arc::new(BlockTracker::new(ReceiveLimits::default(), []));
        let intake = Intake::new(Arc::clone(&log) as _, tracker, |_| {});
        Self { log, intake, clock: ManualClock::at(1_000_000) }
    }
}

impl Fixture {
    fn start(&self, receiver: impl Receiver<Item = u64>) -> Supervisor {
        let source = ReceiverSource::new(Uid::from("s"), ReceiverSettings::default(), receiver);
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Supervisor::start(&Handle::current(), vec![source], &self.intake, &clock, &Events::default())
    }

    fn start_on_threads(&self, sources: Vec<ReceiverSource>, grace: Duration) -> Supervisor {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let (runtime, events) = (Handle::current(), Events::default());
        Supervisor::start_on_threads(&runtime, sources, &self.intake, &clock, &events, grace).unwrap()
    }

    fn records(&self) -> Vec<u64> {
        let mut records = Vec::new();
        for (_, payload) in self.log.blocks() {
            RecordsReader::default().read(TaskBytes::Block(payload), &mut |record| records.push(record)).unwrap();
        }
        records
    }
}

fn source(uid: &str, receiver: impl Receiver<Item = u64>) -> ReceiverSource {
    ReceiverSource::new(Uid::from(uid), ReceiverSettings::default(), receiver)
}

/// What a receiver says from a thread of its own. It fails the test when nothing comes.
fn heard<T>(from: &Waiting<T>) -> T {
    from.recv_timeout(Duration::from_secs(120)).expect("the receiver says what the test waits for")
}

async fn waits_with_errors(supervisor: &Supervisor, errors: u64) -> String {
    let status = || supervisor.status()[0].clone();
    let what = format!("the receiver waits for its restart with {errors} errors");
    until(&what, || status().state == ReceiverState::Waiting && status().counts.errors == errors).await;
    status().counts.last_error.unwrap()
}

#[tokio::test]
async fn a_panic_in_on_stop_is_reported_and_the_receiver_starts_again_and_stops() {
    let f = Fixture::default();
    let supervisor = f.start(Scripted {
        on_stop: || panic!("no such session"),
        ..Scripted::new(|start, context: ReceiverContext<u64>| async move {
            context.store(start).await?;
            if start == 1 {
                return Err("the line is dead".into());
            }
            context.stopped().await;
            Ok(())
        })
    });
    waits_with_errors(&supervisor, 2).await;
    f.clock.advance(Duration::from_secs(2));
    until("the receiver has 1 restart", || supervisor.status()[0].counts.restarts == 1).await;
    until("the receiver runs", || supervisor.status()[0].state == ReceiverState::Running).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    let status = supervisor.status()[0].clone();
    assert_eq!((status.state, status.counts.errors), (ReceiverState::Ended, 3));
    assert_eq!(status.counts.last_error.unwrap(), "on_stop panicked: no such session");
    assert_eq!(f.records(), [1, 2]);
}

#[tokio::test]
async fn a_panic_in_restarts_at_end_is_reported_and_the_receiver_starts_again() {
    let f = Fixture::default();
    let supervisor = f.start(Scripted {
        restarts_at_end: || panic!("who knows"),
        ..Scripted::new(|start, context: ReceiverContext<u64>| async move { Ok(context.store(start).await?) })
    });
    assert_eq!(waits_with_errors(&supervisor, 1).await, "restarts_at_end panicked: who knows");
    assert!(supervisor.all_ended());
    f.clock.advance(Duration::from_secs(2));
    waits_with_errors(&supervisor, 2).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(f.records(), [1, 2]);
}

#[tokio::test]
async fn an_on_start_that_panics_before_it_gives_a_future_is_started_again() {
    let f = Fixture::default();
    let supervisor = f.start(Scripted::new(|start, context: ReceiverContext<u64>| {
        assert!(start > 1, "not yet");
        async move { Ok(context.store(start).await?) }
    }));
    assert_eq!(waits_with_errors(&supervisor, 1).await, "the receiver panicked: not yet; starts again in 2000 ms");
    f.clock.advance(Duration::from_secs(2));
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(f.records(), [2]);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

#[tokio::test]
async fn a_future_that_panics_when_it_is_dropped_for_a_restart_does_not_end_the_receiver() {
    let f = Fixture::default();
    let supervisor = f.start(Scripted::new(|start, context: ReceiverContext<u64>| async move {
        context.store(start).await?;
        if start == 1 {
            let _bomb = Bomb;
            context.restart(Duration::ZERO);
            std::future::pending::<()>().await;
        }
        Ok(())
    }));
    until("the receiver ends", || supervisor.all_ended()).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(f.records(), [1, 2]);
}

#[tokio::test]
async fn a_receiver_that_panics_when_it_is_dropped_has_ended_and_is_reported() {
    let f = Fixture::default();
    let bomb = Bomb;
    let supervisor = f.start(Scripted::new(move |start, context: ReceiverContext<u64>| {
        let _held = &bomb;
        async move { Ok(context.store(start).await?) }
    }));
    until("the receiver has ended", || supervisor.status()[0].state == ReceiverState::Ended).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    let counts = supervisor.status()[0].counts.clone();
    assert_eq!(counts.last_error.unwrap(), "the receiver, when it was dropped, panicked: boom");
    assert_eq!(f.records(), [1]);
}

#[tokio::test]
async fn a_failure_is_shown_at_once_and_its_restart_waits_only_for_what_was_stored_before_it() {
    let f = Fixture::default();
    let (hand_out, handed) = channel();
    // It fails while calls that others have made through its context are under way.
    let supervisor = f.start(Scripted::new(move |start, context: ReceiverContext<u64>| {
        let hand_out = hand_out.clone();
        async move {
            if start > 1 {
                context.stopped().await;
                return Ok(());
            }
            hand_out.send((context.store_block(vec![1]), context.clone())).unwrap();
            context.store(2).await?;
            Err("the line is dead".into())
        }
    }));
    let soon = async |done: &mut dyn FnMut() -> bool| {
        for _ in 0..10_000 {
            if done() {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    };
    f.log.hold();
    let status = || supervisor.status()[0].clone();
    assert!(soon(&mut || status().counts.errors == 1).await, "it is shown though the log does not answer");
    assert_eq!(status().counts.last_error.unwrap(), "the line is dead; starts again in 2000 ms");
    assert_eq!(status().state, ReceiverState::Running, "what was stored before is not logged yet");
    assert!(soon(&mut || f.log.waiting() == 2).await);
    let (first, context) = handed.recv().unwrap();
    // A call is open at every moment.
    let later = context.store_block(vec![3]);
    assert!(soon(&mut || f.log.waiting() == 3).await);
    f.log.release_first(2);
    assert!(soon(&mut || status().state == ReceiverState::Waiting).await, "calls behind the failure hold up nothing");
    assert_eq!(first.await, Ok(()));
    f.clock.advance(Duration::from_secs(2));
    assert!(soon(&mut || status().counts.restarts == 1).await);
    f.log.release();
    assert_eq!(later.await, Ok(()));
    supervisor.stop().await.unwrap();
    assert_eq!(f.records(), [1, 2, 3]);
}

/// What a test holds of a receiver that blocks its thread.
struct Blocked {
    /// Hears when it has stored its first record and blocks from now on.
    blocks: Waiting<()>,
    go_on: Sender<()>,
    /// What came of storing two more.
    outcomes: Waiting<Result<(), StoreError>>,
}

/// A receiver that stores a record, blocks its thread until it is told to go on, and then stores two more.
fn blocking(record: u64) -> (impl Receiver<Item = u64>, Blocked) {
    let ((tell, blocks), (go_on, goes_on), (stored, outcomes)) = (channel(), channel(), channel());
    let goes_on = Arc::new(Mutex::new(goes_on));
    let receiver = Scripted::new(move |_, context: ReceiverContext<u64>| {
        let (tell, goes_on, stored) = (tell.clone(), Arc::clone(&goes_on), stored.clone());
        async move {
            context.store(record).await?;
            tell.send(())?;
            let _told = goes_on.lock().unwrap().recv();
            drop(stored.send(context.store(record + 1).await));
            drop(stored.send(context.store_block(vec![record + 2]).await));
            Ok(())
        }
    });
    (receiver, Blocked { blocks, go_on, outcomes })
}

#[tokio::test]
async fn a_receiver_that_blocks_its_thread_holds_up_no_other_and_is_left_behind_at_a_stop() {
    let f = Fixture::default();
    let (stuck, test) = blocking(10);
    let busy = Scripted::new(|_, context: ReceiverContext<u64>| async move {
        for record in 0..3 {
            context.store_block(vec![record]).await?;
        }
        context.stopped().await;
        Ok(context.store(3).await?)
    });
    let supervisor = f.start_on_threads(vec![source("stuck", stuck), source("busy", busy)], Duration::from_millis(20));
    heard(&test.blocks);
    until("the other receiver stores its records", || f.records() == [0, 1, 2]).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    let [stuck, busy] = &supervisor.status()[..] else { panic!("two receivers") };
    assert_eq!((stuck.state, busy.state), (ReceiverState::LeftBehind, ReceiverState::Ended));
    assert_eq!(supervisor.left_behind(), ["receiver \"stuck\""]);
    let error = stuck.counts.last_error.clone().unwrap();
    assert_eq!(error, "the receiver has not returned 20 ms after the job began to stop; it is left behind");
    let mut records = f.records();
    records.sort_unstable();
    assert_eq!(records, [0, 1, 2, 3, 10], "what it had in its buffer is logged");

    test.go_on.send(()).unwrap();
    for _ in 0..2 {
        let stored = heard(&test.outcomes);
        assert!(matches!(stored, Err(StoreError::Stopped)), "{stored:?}");
    }
    assert_eq!(f.records().len(), 5);
}

#[tokio::test]
async fn a_task_that_blocks_the_thread_of_a_receiver_that_has_returned_is_named_at_a_hard_stop() {
    let f = Fixture::default();
    let ((tell, blocks), (go_on, goes_on)) = (channel(), channel::<()>());
    let goes_on = Arc::new(Mutex::new(goes_on));
    let spawns = Scripted {
        restarts_at_end: || false,
        ..Scripted::new(move |_, _: ReceiverContext<u64>| {
            let (tell, goes_on) = (tell.clone(), Arc::clone(&goes_on));
            async move {
                tokio::spawn(async move {
                    tell.send(()).unwrap();
                    let _told = goes_on.lock().unwrap().recv();
                });
                Ok(())
            }
        })
    };
    let supervisor = f.start_on_threads(vec![source("spawns", spawns)], Duration::from_millis(20));
    until("the task blocks its thread", || blocks.try_recv().is_ok()).await;
    supervisor.abort();
    assert_eq!(supervisor.wait_for_threads(tokio::time::Instant::now()), ["receiver \"spawns\""]);
    assert!(supervisor.wait_for_threads(tokio::time::Instant::now()).is_empty(), "it is named once");
    go_on.send(()).unwrap();

    let waits = Scripted::new(|_, _: ReceiverContext<u64>| std::future::pending());
    let supervisor = f.start_on_threads(vec![source("waits", waits)], Duration::from_secs(600));
    supervisor.abort();
    assert!(supervisor.wait_for_threads(tokio::time::Instant::now()).is_empty(), "what waits ends with its thread");
}

#[tokio::test]
async fn the_block_in_the_making_of_a_receiver_that_blocks_its_thread_is_cut_in_time() {
    let f = Fixture::default();
    let (stuck, test) = blocking(10);
    let _supervisor = f.start_on_threads(vec![source("stuck", stuck)], Duration::ZERO);
    heard(&test.blocks);
    // Nobody says when the interval began, so the clock goes on until it is over.
    until("the record is logged", || {
        f.clock.advance(Duration::from_millis(200));
        f.records() == [10]
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_waits_and_ignores_the_stop_is_dropped_after_the_grace_period() {
    struct Told(Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let f = Fixture::default();
    let ((tell, waits), (dropped, drops)) = (channel(), channel());
    let deaf = Scripted::new(move |_, context: ReceiverContext<u64>| {
        let (tell, told) = (tell.clone(), Told(dropped.clone()));
        async move {
            let _told = told;
            context.store_block(vec![1]).await?;
            context.store(2).await?;
            tell.send(())?;
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    let supervisor = f.start_on_threads(vec![source("deaf", deaf)], Duration::from_millis(20));
    // The library's tasks run on this thread, which must not block.
    until("the receiver waits", || waits.try_recv().is_ok()).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    until("the receiver is dropped", || drops.try_recv().is_ok()).await;
    assert_eq!(supervisor.status()[0].state, ReceiverState::Ended);
    assert!(supervisor.left_behind().is_empty());
    assert_eq!(f.records(), [1, 2]);
}

#[tokio::test]
async fn nothing_is_stored_any_more_by_a_clone_of_a_context_when_the_stop_is_over() {
    let f = Fixture::default();
    let (hand_out, handed) = channel();
    let server = Scripted::new(move |_, context: ReceiverContext<u64>| {
        hand_out.send(context.clone()).unwrap();
        async move {
            context.stopped().await;
            Ok(())
        }
    });
    let supervisor = f.start_on_threads(vec![source("server", server)], Duration::from_secs(60));
    let clone: ReceiverContext<u64> = heard(&handed);
    clone.store(1).await.unwrap();
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(f.records(), [1]);
    assert!(matches!(clone.store(2).await, Err(StoreError::Stopped)));
    assert!(matches!(clone.store_block(vec![3]).await, Err(StoreError::Stopped)));
    assert_eq!(f.records(), [1]);
}

/// Kilobytes of memory that the process has.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
#[ignore = "it measures the process, so it must run alone"]
async fn an_idle_receiver_costs_less_than_a_hundred_kilobytes() {
    const RECEIVERS: u64 = 300;
    let f = Fixture::default();
    let (started, starts) = channel();
    let idle = |number: u64| {
        let started = started.clone();
        let receiver = Scripted::new(move |_, context: ReceiverContext<u64>| {
            started.send(()).unwrap();
            async move {
                context.stopped().await;
                Ok(())
            }
        });
        source(&format!("idle {number}"), receiver)
    };
    let before = resident_kib();
    let supervisor = f.start_on_threads((0..RECEIVERS).map(idle).collect(), Duration::from_secs(60));
    (0..RECEIVERS).for_each(|_| heard(&starts));
    let each = (resident_kib() - before) / RECEIVERS;
    println!("{each} KiB for each of {RECEIVERS} idle receivers");
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert!(each < 100, "{each} KiB");
}
