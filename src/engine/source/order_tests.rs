//! Overlapping calls of one source: their order in the log is the order in which they were called, and nothing is acknowledged that
//! has a hole below it. On tokio, with a log in memory and a clock that the test drives.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::*;
use crate::listener::Events;
use floodmark_base::clock::{Clock, ManualClock};
use floodmark_base::id::{Position, Uid};
use floodmark_store::block::memory_log::MemoryLog;
use floodmark_store::block::{BatchLimits, BlockTracker, Intake, ReceiveLimits, StoreError};

/// A receiver whose contexts the test uses itself.
struct Lent(Arc<Mutex<Option<ReceiverContext<u64>>>>);

impl Receiver for Lent {
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        *self.0.lock().unwrap() = Some(context.clone());
        context.stopped().await;
        Ok(())
    }
}

struct Fixture {
    log: Arc<MemoryLog>,
    tracker: Arc<BlockTracker>,
    clock: ManualClock,
    supervisor: Supervisor,
    lent: Arc<Mutex<Option<ReceiverContext<u64>>>>,
    context: ReceiverContext<u64>,
}

async fn fixture(limits: ReceiveLimits, settings: ReceiverSettings) -> Fixture {
    let (log, lent, clock) = (Arc::new(MemoryLog::default()), Arc::default(), ManualClock::at(1_000_000));
    let tracker = Arc::new(BlockTracker::new(limits, []));
    let intake = Intake::new(Arc::clone(&log) as _, Arc::clone(&tracker), |_| {});
    let source = ReceiverSource::new(Uid::from("s"), settings, Lent(Arc::clone(&lent)));
    let driven: Arc<dyn Clock> = Arc::new(clock.clone());
    let supervisor = Supervisor::start(&Handle::current(), vec![source], &intake, &driven, &Events::default());
    let context = next_context(&lent).await;
    Fixture { log, tracker, clock, supervisor, lent, context }
}

/// 1,000 records a second, of which 50 may pass at once.
async fn limited() -> Fixture {
    let settings = ReceiverSettings { max_rate: Some(1000.0), ..ReceiverSettings::default() };
    fixture(ReceiveLimits::default(), settings).await
}

async fn unlimited() -> Fixture {
    fixture(ReceiveLimits::default(), ReceiverSettings::default()).await
}

/// The context of the next run of the receiver.
async fn next_context(lent: &Mutex<Option<ReceiverContext<u64>>>) -> ReceiverContext<u64> {
    loop {
        if let Some(context) = lent.lock().unwrap().take() {
            return context;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets every other task run.
async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

impl Fixture {
    /// Waits for a call while time goes by.
    async fn within<R>(&self, call: impl Future<Output = R>) -> R {
        let mut call = std::pin::pin!(call);
        for _ in 0..10_000 {
            tokio::select! {
                biased;
                done = &mut call => return done,
                () = others_run() => self.clock.advance(Duration::from_millis(1)),
            }
        }
        panic!("a call does not end within ten seconds");
    }

    /// The records of all logged blocks, in the order of the log.
    fn logged(&self) -> Vec<u64> {
        let mut records = Vec::new();
        for (_, payload) in self.log.blocks() {
            RecordsReader::default().read(TaskBytes::Block(payload), &mut |record| records.push(record)).unwrap();
        }
        records
    }
}

fn block(from: u64, to: u64) -> Vec<u64> {
    (from..to).collect()
}

fn gap(position: u64, missing: u64) -> Result<(), StoreError> {
    Err(StoreError::Gap { source_uid: "s".into(), position: Position(position), missing: Position(missing) })
}

#[tokio::test]
async fn a_small_block_does_not_overtake_a_large_one_that_waits_for_the_rate() {
    let f = limited().await;
    let both = async {
        tokio::join!(
            f.context.store_block_at(Position(500), block(0, 500)),
            f.context.store_block_at(Position(501), vec![500]),
        )
    };
    assert_eq!(f.within(both).await, (Ok(()), Ok(())));
    assert_eq!(f.tracker.pending().records, 501);
    assert_eq!(f.logged(), block(0, 501));
}

#[tokio::test]
async fn calls_stand_in_the_order_in_which_they_were_called_whoever_polls_them_first() {
    let f = limited().await;
    let first = f.context.store_block_at(Position(100), block(0, 100));
    let second = f.context.clone().store_block_at(Position(101), vec![100]);
    let third = f.context.store_block_at(Position(160), block(101, 160));
    // The last one first; the others are not polled before it is durable.
    assert_eq!(f.within(third).await, Ok(()));
    assert_eq!(f.logged(), block(0, 160));
    assert_eq!(f.within(tokio::spawn(second)).await.unwrap(), Ok(()));
    assert_eq!(f.within(first).await, Ok(()));
}

#[tokio::test]
async fn single_records_and_blocks_stand_in_the_order_of_the_calls() {
    let f = limited().await;
    let context = &f.context;
    let calls = async {
        tokio::join!(
            context.store(0),
            context.store_block(block(1, 200)),
            context.store(200),
            context.store_block_at(Position(210), block(201, 210)),
            context.store(210),
            context.store(211),
        )
    };
    let (a, b, c, d, e, g) = f.within(calls).await;
    a.and(b).and(c).and(d).and(e).and(g).unwrap();
    f.supervisor.stop().await.unwrap();
    assert_eq!(f.logged(), block(0, 212));
}

#[tokio::test]
async fn a_record_that_nothing_holds_up_is_taken_when_the_call_is_made() {
    let f = unlimited().await;
    let second = (f.context.store(1), f.context.store(2)).1;
    drop(second);
    f.supervisor.stop().await.unwrap();
    assert_eq!(f.logged(), [1, 2]);
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_place_up_and_blocks_without_positions_go_on() {
    let f = limited().await;
    let (first, second) = (f.context.store_block(block(0, 500)), f.context.store_block(vec![500]));
    let single = f.context.store(501);
    drop(first);
    assert_eq!(f.within(second).await, Ok(()));
    assert_eq!(f.within(single).await, Ok(()));
    f.supervisor.stop().await.unwrap();
    assert_eq!(f.logged(), [500, 501]);
}

#[tokio::test]
async fn what_stands_above_a_dropped_call_is_refused_until_that_one_is_stored() {
    let f = limited().await;
    let (first, second) =
        (f.context.store_block_at(Position(500), block(0, 500)), f.context.store_block_at(Position(501), vec![500]));
    others_run().await;
    drop(first);
    assert_eq!(f.within(second).await, gap(501, 500));
    // Sent again as it was: no need to ask.
    let again = f.context.clone();
    assert_eq!(f.within(again.store_block_at(Position(501), vec![500])).await, gap(501, 500));
    assert_eq!(f.within(again.store_block_at(Position(500), block(0, 500))).await, Ok(()));
    assert_eq!(f.within(again.store_block_at(Position(501), vec![500])).await, Ok(()));
    assert_eq!(f.logged(), block(0, 501));
}

#[tokio::test]
async fn a_receiver_that_has_asked_for_its_stored_position_begins_there_as_it_likes() {
    let f = limited().await;
    drop(f.context.store_block_at(Position(500), block(0, 500)));
    let stale = f.context.clone();
    assert_eq!(f.context.stored_position(), None);
    assert_eq!(f.within(stale.store_block_at(Position(502), vec![501])).await, gap(502, 500));
    assert_eq!(f.within(f.context.store_block_at(Position(520), block(0, 520))).await, gap(520, 502), "lost since");
    assert_eq!(f.context.stored_position(), None);
    assert_eq!(f.within(f.context.store_block_at(Position(600), block(0, 600))).await, Ok(()));
    assert_eq!(f.within(stale.store_block_at(Position(601), vec![600])).await, Ok(()), "all below it is stored by now");
    assert_eq!(f.logged(), block(0, 601));
}

#[tokio::test]
async fn a_receiver_that_is_started_again_begins_where_it_likes_and_tasks_of_the_run_before_do_not() {
    let f = limited().await;
    drop(f.context.store_block_at(Position(500), block(0, 500)));
    f.context.restart(Duration::ZERO);
    let next = next_context(&f.lent).await;
    assert_eq!(f.within(f.context.store_block_at(Position(501), vec![500])).await, gap(501, 500));
    assert_eq!(next.stored_position(), None);
    assert_eq!(f.within(next.store_block_at(Position(700), block(0, 700))).await, Ok(()));
}

#[tokio::test]
async fn a_lower_position_behind_a_higher_one_is_refused_while_that_one_is_under_way() {
    let f = unlimited().await;
    f.log.hold();
    let (newer, older) = (
        f.context.store_block_at(Position(501), block(0, 501)),
        f.context.store_block_at(Position(500), block(0, 500)),
    );
    let refused = StoreError::OutOfOrder { source_uid: "s".into(), position: Position(500), newest: Position(501) };
    assert_eq!(older.await, Err(refused));
    f.log.release();
    assert_eq!(newer.await, Ok(()));
    assert_eq!(f.context.store_block_at(Position(400), block(0, 400)).await, Ok(()), "recut below the stored position");
    assert_eq!(f.logged(), block(0, 501));
}

#[tokio::test]
async fn what_comes_again_or_is_refused_does_not_wait_for_the_rate() {
    let f = limited().await;
    f.within(f.context.store_block_at(Position(60), block(0, 60))).await.unwrap();
    assert_eq!(f.context.store_block_at(Position(60), block(0, 60)).await, Ok(()), "time stands still");
    drop(f.context.store_block_at(Position(70), block(60, 70)));
    assert_eq!(f.context.store_block_at(Position(90), block(70, 90)).await, gap(90, 70));
}

// Far from what samples of the type have.
const REFUSED: u64 = 1_300_013;
const PANICS: u64 = 1_400_014;

/// A number whose serde code refuses one value, and panics at another.
#[derive(Clone, serde::Deserialize)]
struct Odd(u64);

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            REFUSED => Err(serde::ser::Error::custom("unlucky")),
            PANICS => panic!("unlucky, too"),
            number => serializer.serialize_u64(number),
        }
    }
}

#[tokio::test]
async fn what_stands_above_a_block_that_cannot_be_encoded_is_refused() {
    let f = unlimited().await;
    let context = ReceiverContext::<Odd>::new(Arc::clone(f.context.block_store()));
    let (first, second) = tokio::join!(
        context.store_block_at(Position(2), vec![Odd(1), Odd(REFUSED)]),
        context.store_block_at(Position(3), vec![Odd(2)])
    );
    assert!(matches!(first, Err(StoreError::Encode { .. })), "{first:?}");
    assert_eq!(second, gap(3, 2));
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(context.store_block_at(Position(2), vec![Odd(PANICS)]));
    }));
    assert!(panics.is_err());
    assert_eq!(context.store_block_at(Position(3), vec![Odd(2)]).await, gap(3, 2));
    // Whoever gives the record up on purpose says so.
    assert_eq!(context.stored_position(), None);
    assert_eq!(context.store_block_at(Position(3), vec![Odd(1), Odd(2)]).await, Ok(()));
}

#[tokio::test]
async fn a_record_that_panics_leaves_nothing_in_the_block_in_the_making() {
    let f = unlimited().await;
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Pair(u64, Odd);
    let context = ReceiverContext::<Pair>::new(Arc::clone(f.context.block_store()));
    context.store(Pair(1, Odd(2))).await.unwrap();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(context.store(Pair(3, Odd(PANICS))))));
    assert!(panics.is_err());
    assert!(context.store(Pair(3, Odd(REFUSED))).await.is_err());
    context.store(Pair(4, Odd(5))).await.unwrap();
    f.supervisor.stop().await.unwrap();
    let mut records = Vec::new();
    let payload = f.log.blocks()[0].1.clone();
    let reader = RecordsReader::<(u64, u64)>::default();
    reader.read(TaskBytes::Block(payload), &mut |record| records.push(record)).unwrap();
    assert_eq!(records, [(1, 2), (4, 5)]);
}

#[tokio::test]
async fn a_log_that_refuses_a_block_refuses_everything_behind_it() {
    let f = limited().await;
    f.log.hold();
    let first = f.context.store_block_at(Position(10), block(0, 10));
    let second = f.context.store_block_at(Position(500), block(10, 500));
    let single = f.context.store(500);
    f.within(async {
        while f.log.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    f.log.fail();
    for call in [f.within(first).await, f.within(second).await, f.within(single).await] {
        assert!(matches!(call, Err(StoreError::Log { .. })), "{call:?}");
    }
    assert_eq!(f.tracker.pending().records, 0);
}

#[tokio::test]
async fn a_graceful_stop_stores_what_was_called_for_before_and_ends_though_tasks_go_on_storing() {
    let f = unlimited().await;
    f.log.hold();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let context = f.context.clone();
            tokio::spawn(async move {
                let mut stored = 0;
                loop {
                    match context.store_block(vec![stored]).await {
                        Ok(()) => stored += 1,
                        Err(error) => return (stored, error),
                    }
                }
            })
        })
        .collect();
    others_run().await;
    assert_eq!(f.log.waiting(), 3);
    let Fixture { log, tracker, supervisor, context, .. } = f;
    let stopping = tokio::spawn(async move { supervisor.stop().await });
    others_run().await;
    assert!(!stopping.is_finished());
    log.release();
    stopping.await.unwrap().unwrap();
    let mut stored = 0;
    for task in tasks {
        let (of_task, error) = task.await.unwrap();
        assert_eq!(error, StoreError::Stopped);
        stored += of_task;
    }
    assert_eq!(tracker.pending().records, stored, "what was acknowledged is what will be computed");
    assert_eq!(log.blocks().len() as u64, stored);
    tracker.take(BatchLimits { records: u64::MAX, bytes: u64::MAX });
    assert_eq!(context.store_block(vec![1]).await, Err(StoreError::Stopped));
    assert_eq!(context.store(1).await, Err(StoreError::Stopped));
    assert_eq!(tracker.pending().records, 0, "nothing comes behind the last batch");
}

#[tokio::test]
async fn calls_that_wait_are_told_when_the_job_is_stopped_hard() {
    let f = limited().await;
    let (waiting, single) = (f.context.store_block(block(0, 500)), f.context.store(1));
    drop(f.supervisor);
    assert_eq!(waiting.await, Err(StoreError::Stopped));
    assert_eq!(single.await, Err(StoreError::Stopped));
}

#[tokio::test]
async fn while_a_job_stops_what_was_called_for_is_held_up_by_neither_rate_nor_backlog() {
    let settings = ReceiverSettings { max_rate: Some(0.001), ..ReceiverSettings::default() };
    let f = fixture(ReceiveLimits { backlog: 1, ..ReceiveLimits::default() }, settings).await;
    let calls = tokio::spawn(futures_joined(f.context.store_block_at(Position(5), block(0, 5)), f.context.store(5)));
    others_run().await;
    assert!(f.log.blocks().is_empty());
    f.supervisor.stop().await.unwrap();
    assert_eq!(calls.await.unwrap(), (Ok(()), Ok(())));
    assert_eq!(f.logged(), block(0, 6));
}

async fn futures_joined<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}
