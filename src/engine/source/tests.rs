//! Receivers as they run: on tokio, over loopback sockets, with a log in memory and a clock that the test drives.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use byteview::ByteView;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::until::{until, within};
use super::*;
use crate::listener::Events;
use floodmark_base::clock::{Clock, ManualClock, SystemClock};
use floodmark_base::codec::Record;
use floodmark_base::error::Error;
use floodmark_base::id::{Position, Sequence, Uid};
use floodmark_base::text::Text;
use floodmark_store::block::memory_log::MemoryLog;
use floodmark_store::block::{
    BLOCK_COST, BatchLimits, BlockHead, BlockLog, BlockTracker, Intake, Pending, ReceiveLimits, StoreError,
};
use floodmark_store::wal::{FrameAt, WalVersion};

struct Fixture {
    log: Arc<MemoryLog>,
    tracker: Arc<BlockTracker>,
    intake: Intake,
    clock: ManualClock,
}

fn fixture(limits: ReceiveLimits, positions: &[(&str, u64)]) -> Fixture {
    let log = Arc::new(MemoryLog::default());
    let positions = positions.iter().map(|&(uid, position)| (Uid::from(uid), Position(position)));
    let tracker = Arc::new(BlockTracker::new(limits, positions));
    let intake = Intake::new(Arc::clone(&log) as _, Arc::clone(&tracker), |_| {});
    Fixture { log, tracker, intake, clock: ManualClock::at(1_000_000) }
}

impl Fixture {
    fn start<R: Receiver>(&self, settings: ReceiverSettings, receiver: R) -> Supervisor {
        let source = ReceiverSource::new(Uid::from("s"), settings, receiver);
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Supervisor::start(&Handle::current(), vec![source], &self.intake, &clock, &Events::default())
    }

    /// The records of all logged blocks, block by block.
    fn blocks<T: Record>(&self) -> Vec<Vec<T>> {
        let read = |payload| {
            let mut records = Vec::new();
            RecordsReader::default().read(TaskBytes::Block(payload), &mut |record| records.push(record)).unwrap();
            records
        };
        self.log.blocks().into_iter().map(|(_, payload)| read(payload)).collect()
    }

    /// Lets time go by until at least `blocks` blocks are logged.
    async fn logs(&self, blocks: usize) {
        until(&format!("{blocks} blocks are logged"), || {
            let is_so = self.log.blocks().len() >= blocks;
            if !is_so {
                self.clock.advance(Duration::from_millis(200));
            }
            is_so
        })
        .await;
    }
}

/// A receiver made of a function.
struct By<F>(F);

impl<F, O> Receiver for By<F>
where
    F: FnMut(ReceiverContext<u64>) -> O + Send + 'static,
    O: Future<Output = Result<(), ReceiverError>> + Send,
{
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        (self.0)(context).await
    }
}

#[tokio::test]
async fn single_records_are_cut_into_a_block_by_the_interval() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(
        ReceiverSettings::default(),
        By(async |context: ReceiverContext<u64>| {
            for record in 0..5 {
                context.store(record).await?;
            }
            context.stopped().await;
            Ok(())
        }),
    );
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.log.blocks().len(), 0);
    f.clock.advance(Duration::from_millis(200));
    until("1 block is logged", || f.log.blocks().len() == 1).await;
    assert_eq!(f.blocks::<u64>(), [[0, 1, 2, 3, 4]]);
    within("the stop ends", supervisor.stop()).await.unwrap();
}

#[tokio::test]
async fn a_full_block_does_not_wait_for_the_interval() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(
        ReceiverSettings { block_bytes: 11, ..ReceiverSettings::default() },
        By(async |context: ReceiverContext<u64>| {
            for record in 0..7 {
                context.store(record).await?;
            }
            context.stopped().await;
            Ok(())
        }),
    );
    until("2 blocks are logged", || f.log.blocks().len() == 2).await;
    assert_eq!(f.blocks::<u64>(), [[0, 1, 2], [3, 4, 5]]);
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(f.blocks::<u64>()[2..], [[6]], "a graceful stop logs what was received");
}

#[tokio::test]
async fn a_stored_block_is_confirmed_only_when_it_is_durable_and_after_what_was_buffered() {
    let f = fixture(ReceiveLimits::default(), &[]);
    f.log.hold();
    let confirmed = Arc::new(Mutex::new(None));
    let supervisor = f.start(ReceiverSettings::default(), {
        let confirmed = Arc::clone(&confirmed);
        By(move |context: ReceiverContext<u64>| {
            let confirmed = Arc::clone(&confirmed);
            async move {
                context.store(1).await?;
                context.store_block_at(Position(9), vec![2, 3]).await?;
                *confirmed.lock().unwrap() = context.stored_position();
                Ok(())
            }
        })
    });
    until("2 blocks wait for the log", || f.log.waiting() == 2).await;
    assert_eq!(*confirmed.lock().unwrap(), None);
    assert!(!supervisor.all_ended());
    f.log.release();
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(*confirmed.lock().unwrap(), Some(Position(9)));
    assert_eq!(f.blocks::<u64>(), [vec![1], vec![2, 3]]);
}

#[tokio::test]
async fn a_restarted_receiver_goes_on_at_its_stored_position_and_what_it_repeats_is_dropped() {
    let f = fixture(ReceiveLimits::default(), &[("s", 2)]);
    let supervisor = f.start(
        ReceiverSettings::default(),
        By(async |context: ReceiverContext<u64>| {
            assert_eq!(context.stored_position(), Some(Position(2)));
            for record in 0..4 {
                context.store_block_at(Position(record + 1), vec![record]).await?;
            }
            Ok(())
        }),
    );
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(f.blocks::<u64>(), [[2], [3]]);
    let counts = supervisor.status()[0].counts.clone();
    assert_eq!((counts.records, counts.repeated), (2, 2));
    assert_eq!(supervisor.status()[0].state, ReceiverState::Ended);
}

#[tokio::test]
async fn a_receiver_that_fails_or_panics_is_started_again_after_the_delay_and_visibly() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(ReceiverSettings::default(), {
        let mut runs = 0;
        By(move |context: ReceiverContext<u64>| {
            runs += 1;
            let run = runs;
            async move {
                context.store(run).await?;
                match run {
                    1 => Err("the line is dead".into()),
                    2 => panic!("out of luck"),
                    _ => Ok(()),
                }
            }
        })
    });
    let is_waiting = || supervisor.status()[0].state == ReceiverState::Waiting;
    until("the receiver waits for its restart", is_waiting).await;
    let counts = supervisor.status()[0].counts.clone();
    assert_eq!((counts.errors, counts.restarts), (1, 0));
    assert_eq!(counts.last_error.unwrap(), "the line is dead; starts again in 2000 ms");
    f.clock.advance(Duration::from_millis(1_999));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(is_waiting());
    f.clock.advance(Duration::from_millis(1));
    until("the receiver waits after 2 errors", || supervisor.status()[0].counts.errors == 2 && is_waiting()).await;
    let last_error = supervisor.status()[0].counts.last_error.clone().unwrap();
    assert_eq!(last_error, "the receiver panicked: out of luck; starts again in 2000 ms");
    f.clock.advance(Duration::from_secs(2));
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(f.blocks::<u64>(), [[1], [2], [3]], "what was stored before a failure is logged");
    assert_eq!(supervisor.status()[0].counts.restarts, 2);
}

#[tokio::test]
async fn a_receiver_can_ask_for_its_own_restart() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(ReceiverSettings::default(), {
        let mut runs = 0;
        By(move |context: ReceiverContext<u64>| {
            runs += 1;
            let run = runs;
            async move {
                if run == 1 {
                    context.restart(Duration::from_secs(60));
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })
    });
    until("the receiver waits for its restart", || supervisor.status()[0].state == ReceiverState::Waiting).await;
    f.clock.advance(Duration::from_secs(60));
    until("the receiver ends", || supervisor.all_ended()).await;
    let counts = supervisor.status()[0].counts.clone();
    assert_eq!((counts.errors, counts.restarts), (0, 1));
}

#[tokio::test]
async fn a_receiver_stores_nothing_more_while_the_backlog_is_full() {
    // A block counts with its nine bytes and with what it takes beside them.
    let backlog = 20 + 2 * BLOCK_COST;
    let f = fixture(ReceiveLimits { backlog, ..ReceiveLimits::default() }, &[]);
    let supervisor = f.start(
        ReceiverSettings::default(),
        By(async |context: ReceiverContext<u64>| {
            for record in 0..6 {
                context.store_block(vec![record]).await?;
            }
            Ok(())
        }),
    );
    until("3 blocks are logged", || f.log.blocks().len() == 3).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.tracker.pending(), Pending { blocks: 3, records: 3, bytes: 27 });
    f.tracker.take(BatchLimits { records: 1, bytes: u64::MAX });
    until("4 blocks are logged", || f.log.blocks().len() == 4).await;
    f.tracker.take(BatchLimits { records: u64::MAX, bytes: u64::MAX });
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(f.log.blocks().len(), 6);
}

#[tokio::test]
async fn a_receiver_keeps_to_its_max_rate() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(
        ReceiverSettings { max_rate: Some(100.0), ..ReceiverSettings::default() },
        By(async |context: ReceiverContext<u64>| {
            for record in 0..30 {
                context.store_block(vec![record]).await?;
            }
            Ok(())
        }),
    );
    let mut steps_ms = 0;
    while !supervisor.all_ended() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        f.clock.advance(Duration::from_millis(1));
        steps_ms += 1;
        assert!(steps_ms < 100_000, "the receiver does not end");
    }
    assert!((250..=320).contains(&steps_ms), "30 records at 100 a second took {steps_ms} ms");
}

#[tokio::test]
async fn a_failed_log_ends_the_receiver_with_its_error() {
    let f = fixture(ReceiveLimits::default(), &[]);
    f.log.fail();
    let supervisor = f.start(
        ReceiverSettings::default(),
        By(async |context: ReceiverContext<u64>| Ok(context.store_block(vec![1]).await?)),
    );
    until("the receiver has failed", || supervisor.status()[0].state == ReceiverState::Failed).await;
    let error = within("the stop ends", supervisor.stop()).await.unwrap_err();
    assert!(matches!(error, StoreError::Log { .. }), "{error}");
    assert!(!supervisor.all_ended());
}

#[tokio::test]
async fn a_record_that_cannot_be_encoded_fails_alone() {
    #[derive(Clone, serde::Deserialize)]
    struct Odd(u64);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 % 2 {
                1 => serializer.serialize_u64(self.0),
                _ => Err(serde::ser::Error::custom("even")),
            }
        }
    }
    struct Numbers;
    impl Receiver for Numbers {
        type Item = Odd;
        async fn on_start(&mut self, context: ReceiverContext<Odd>) -> Result<(), ReceiverError> {
            for number in 1..=3 {
                if let Err(error) = context.store(Odd(number)).await {
                    context.report_error(error);
                }
            }
            Ok(())
        }
    }
    let f = fixture(ReceiveLimits::default(), &[]);
    let supervisor = f.start(ReceiverSettings::default(), Numbers);
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(f.blocks::<u64>(), [[1, 3]]);
    let error = supervisor.status()[0].counts.last_error.clone().unwrap();
    assert!(error.starts_with("a record of source s cannot be encoded: "), "{error}");
}

#[tokio::test]
async fn each_push_to_a_queue_is_a_block_and_returns_when_durable() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (queue, receiver) = Queue::new();
    let early = queue.enqueue(vec![1_u64, 2]);
    let supervisor = f.start(ReceiverSettings::default(), receiver);
    let pusher = std::thread::spawn({
        let queue = queue.clone();
        move || early.wait().and_then(|()| queue.push(vec![3]))
    });
    until("both pushes return", || pusher.is_finished()).await;
    pusher.join().unwrap().unwrap();
    assert_eq!(f.blocks::<u64>(), [vec![1, 2], vec![3]]);
    let late = queue.enqueue(vec![4]);
    within("the stop ends", supervisor.stop()).await.unwrap();
    late.wait().unwrap();
    assert_eq!(queue.push(vec![5]), Err(StoreError::Stopped));
}

#[tokio::test]
async fn a_queue_ends_when_its_last_handle_is_dropped() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (queue, receiver) = Queue::<u64>::new();
    let supervisor = f.start(ReceiverSettings::default(), receiver);
    drop(queue);
    until("the receiver ends", || supervisor.all_ended()).await;
}

async fn socket(
    f: &Fixture,
    settings: ReceiverSettings,
    max_line_bytes: usize,
) -> (Supervisor, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let supervisor =
        f.start(settings, SocketFrames::<Text>::new(address, Framing::lines().max_frame_bytes(max_line_bytes)));
    let (peer, _) = listener.accept().await.unwrap();
    (supervisor, listener, peer)
}

fn text_of(f: &Fixture) -> String {
    String::from_utf8(f.log.bytes()).unwrap()
}

#[tokio::test]
async fn socket_lines_become_blocks_of_whole_lines_in_the_block_interval() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (supervisor, _listener, mut peer) = socket(&f, ReceiverSettings::default(), 100).await;
    peer.write_all(b"to be\nor not\nto").await.unwrap();
    f.logs(1).await;
    assert_eq!(text_of(&f), "to be\nor not\n");
    assert_eq!(f.log.blocks()[0].0.records, 2);
    peer.write_all(b" be").await.unwrap();
    drop(peer);
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(text_of(&f), "to be\nor not\nto be", "the last line of a stream needs no end");
    assert_eq!(f.log.blocks()[1].0.records, 1);
}

#[tokio::test]
async fn a_socket_that_ended_is_asked_again_and_no_longer_ended_when_it_sends() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (supervisor, listener, peer) = socket(&f, ReceiverSettings::default(), 100).await;
    drop(peer);
    until("the receiver ends", || supervisor.all_ended()).await;
    f.clock.advance(Duration::from_secs(2));
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"again\n").await.unwrap();
    f.logs(1).await;
    assert!(!supervisor.all_ended());
    within("the stop ends", supervisor.stop()).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_reported_and_tried_again() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let supervisor =
        f.start(ReceiverSettings::default(), SocketFrames::<Text>::new(address.to_string(), Framing::lines()));
    until("the receiver waits for its restart", || supervisor.status()[0].state == ReceiverState::Waiting).await;
    let error = supervisor.status()[0].counts.last_error.clone().unwrap();
    assert!(error.starts_with(&format!("cannot connect to {address}: ")), "{error}");
    assert!(error.ends_with("; starts again in 2000 ms"), "{error}");
    assert!(!supervisor.all_ended());
    f.clock.advance(Duration::from_secs(2));
    until("the receiver has 2 errors", || supervisor.status()[0].counts.errors == 2).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
}

#[tokio::test]
async fn a_line_that_is_too_long_is_reported_and_the_next_one_taken() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (supervisor, _listener, mut peer) = socket(&f, ReceiverSettings::default(), 10).await;
    peer.write_all(b"short\n").await.unwrap();
    peer.write_all(&[b'x'; 1000]).await.unwrap();
    until("the receiver has 1 error", || supervisor.status()[0].counts.errors == 1).await;
    peer.write_all(b"xxx\nafter\n").await.unwrap();
    drop(peer);
    until("the receiver ends", || supervisor.all_ended()).await;
    assert_eq!(text_of(&f), "short\nafter\n");
    let error = supervisor.status()[0].counts.last_error.clone().unwrap();
    assert!(error.ends_with("has more than 10 bytes: it is dropped"), "{error}");
}

#[tokio::test]
async fn a_socket_faster_than_the_job_is_not_read() {
    let f = fixture(ReceiveLimits { backlog: 64 << 10, ..ReceiveLimits::default() }, &[]);
    let settings = ReceiverSettings { block_bytes: 16 << 10, ..ReceiverSettings::default() };
    let (supervisor, _listener, mut peer) = socket(&f, settings, 100).await;
    let sent = tokio::spawn(async move {
        for _ in 0..(32 << 20) / 64 {
            peer.write_all(b"this line has sixty-four bytes, its end counted as one of them.\n").await.unwrap();
        }
    });
    until("the gate closes", || !f.intake.gate().is_open()).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let held = f.tracker.pending().bytes;
    assert!(held <= (64 << 10) + 2 * frame_buffer::READ_BYTES as u64, "{held} bytes");
    assert!(!sent.is_finished(), "the sender is slowed");
    until("the receiver ends", || {
        f.tracker.take(BatchLimits { records: u64::MAX, bytes: u64::MAX });
        supervisor.all_ended()
    })
    .await;
    assert_eq!(f.log.bytes().len(), 32 << 20, "and nothing is lost");
}

#[tokio::test]
async fn a_peer_that_stalls_is_given_up_after_the_idle_timeout_and_asked_again() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let tcp = TcpSettings { idle_timeout: Some(Duration::from_secs(3600)), ..TcpSettings::default() };
    let settings = ReceiverSettings { tcp, ..ReceiverSettings::default() };
    let (supervisor, listener, mut peer) = socket(&f, settings, 100).await;
    f.clock.advance(Duration::from_secs(3000));
    peer.write_all(b"late\n").await.unwrap();
    f.logs(1).await;
    assert_eq!(supervisor.status()[0].counts.errors, 0, "what comes in starts the time anew");
    f.clock.advance(Duration::from_secs(3600));
    until("the receiver has 1 error", || supervisor.status()[0].counts.errors == 1).await;
    let error = supervisor.status()[0].counts.last_error.clone().unwrap();
    assert!(error.contains("the connection broke after 5 bytes: nothing came in for 3600s"), "{error}");
    until("the receiver waits for its restart", || supervisor.status()[0].state == ReceiverState::Waiting).await;
    f.clock.advance(Duration::from_secs(2));
    let (mut again, _) = listener.accept().await.unwrap();
    again.write_all(b"again\n").await.unwrap();
    f.logs(2).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_the_job_does_not_read_is_not_taken_for_one_that_stalls() {
    let f = fixture(ReceiveLimits { backlog: 64 << 10, ..ReceiveLimits::default() }, &[]);
    let tcp = TcpSettings { idle_timeout: Some(Duration::from_secs(30)), ..TcpSettings::default() };
    let settings = ReceiverSettings { block_bytes: 16 << 10, tcp, ..ReceiverSettings::default() };
    let (supervisor, _listener, mut peer) = socket(&f, settings, 100).await;
    let sent = tokio::spawn(async move {
        for _ in 0..(16 << 20) / 64 {
            peer.write_all(b"this line has sixty-four bytes, its end counted as one of them.\n").await.unwrap();
        }
    });
    let mut advanced = 0;
    while !sent.is_finished() {
        until("the gate closes or all is sent", || !f.intake.gate().is_open() || sent.is_finished()).await;
        for _ in 0..500 {
            tokio::task::yield_now().await; // the peer fills the socket
        }
        if !f.intake.gate().is_open() {
            f.clock.advance(Duration::from_secs(3600));
            advanced += 1;
            assert!(advanced < 100_000, "the peer does not get rid of its lines");
        }
        f.tracker.take(BatchLimits { records: u64::MAX, bytes: u64::MAX });
    }
    assert!(advanced > 2, "{advanced}");
    sent.await.unwrap();
    assert_eq!(supervisor.status()[0].counts.errors, 0, "{:?}", supervisor.status()[0].counts.last_error);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_connection_of_a_socket_source_has_a_keepalive_timer() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let (supervisor, listener, peer) = socket(&f, ReceiverSettings::default(), 100).await;
    // What the system says of the receiver's end, by its port: the timer `02` is keepalive.
    let of_receiver = format!(":{:04X}", peer.peer_addr().unwrap().port());
    let to_listener = format!(":{:04X}", listener.local_addr().unwrap().port());
    let timer = || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut of_ours = lines.filter(|words| words[1].ends_with(&of_receiver) && words[2].ends_with(&to_listener));
        of_ours.next().map(|words| words[5].to_string())
    };
    // The connection is accepted before the receiver hears of it.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(timer().is_some_and(|timer| timer.starts_with("02:")), "{:?}", timer());
    within("the stop ends", supervisor.stop()).await.unwrap();
}

#[tokio::test]
async fn a_socket_keeps_to_its_max_rate() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let settings = ReceiverSettings { max_rate: Some(1000.0), ..ReceiverSettings::default() };
    let (supervisor, _listener, mut peer) = socket(&f, settings, 100).await;
    peer.write_all("line\n".repeat(500).as_bytes()).await.unwrap();
    drop(peer);
    let mut steps_ms = 0;
    while !supervisor.all_ended() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        f.clock.advance(Duration::from_millis(1));
        steps_ms += 1;
        assert!(steps_ms < 100_000, "the receiver does not end");
    }
    assert_eq!(f.log.blocks().iter().map(|(head, _)| head.records).sum::<u64>(), 500);
    assert!(f.log.blocks().len() <= 5, "{} blocks", f.log.blocks().len());
    assert!(steps_ms >= 450, "500 lines at 1000 a second took {steps_ms} ms");
}

#[tokio::test]
async fn a_graceful_stop_logs_the_lines_that_were_read() {
    let f = fixture(ReceiveLimits::default(), &[]);
    let settings = ReceiverSettings { max_rate: Some(0.001), ..ReceiverSettings::default() };
    let (supervisor, _listener, mut peer) = socket(&f, settings, 10).await;
    // The report of the long line, which comes in the same packet, tells that the lines before it were read.
    peer.write_all(format!("one\ntwo\n{}", "x".repeat(1000)).as_bytes()).await.unwrap();
    until("the receiver has 1 error", || supervisor.status()[0].counts.errors == 1).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(text_of(&f), "one\ntwo\n");
}

#[test]
fn text_blocks_decode_into_texts() {
    let mut lines: Vec<Text> = Vec::new();
    let reader = LinesReader { max_line_bytes: MAX_FRAME_BYTES };
    reader.read(TaskBytes::Block("one\r\ntwo".into()), &mut |line| lines.push(line)).unwrap();
    assert_eq!(lines, ["one", "two"]);
}

#[tokio::test]
async fn a_source_has_ended_and_a_stop_is_done_only_when_all_it_gave_is_logged() {
    let f = fixture(ReceiveLimits::default(), &[]);
    f.log.hold();
    let supervisor =
        f.start(ReceiverSettings::default(), By(async |context: ReceiverContext<u64>| Ok(context.store(1).await?)));
    until("1 block waits for the log", || f.log.waiting() == 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!supervisor.all_ended());
    let stopped = tokio::spawn(async move { supervisor.stop().await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!stopped.is_finished());
    f.log.release();
    within("the stop ends", stopped).await.unwrap().unwrap();
    assert_eq!(f.blocks::<u64>(), [[1]]);
}

/// A log that acknowledges on its own thread, block by block, as the real one does.
struct ThreadLog(std::sync::mpsc::Sender<LoggedBlock>);

type LoggedBlock = (BlockHead, ByteView, Box<dyn FnOnce(Result<FrameAt, Error>) + Send>);

impl BlockLog for ThreadLog {
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Box<dyn FnOnce(Result<FrameAt, Error>) + Send>) {
        self.0.send((BlockHead::decode(WalVersion::CURRENT, &head).unwrap(), body, done)).unwrap();
    }
}

impl ThreadLog {
    fn start() -> (Self, std::thread::JoinHandle<Vec<(BlockHead, ByteView)>>) {
        let (sender, blocks) = std::sync::mpsc::channel::<LoggedBlock>();
        let thread = std::thread::spawn(move || {
            let mut logged = Vec::new();
            for (head, body, done) in blocks {
                let sequence = Sequence(logged.len() as u64 + 1);
                let body_len = body.len() as u32;
                logged.push((head, body));
                done(Ok(FrameAt::in_memory(sequence, body_len)));
            }
            logged
        });
        (Self(sender), thread)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn receivers_that_fail_again_and_again_store_everything_once_and_in_order() {
    const RECORDS: u64 = 300;
    /// Ends its run in the middle of what it does, at moments that depend on the threads.
    struct Flaky(StdRng);
    impl Receiver for Flaky {
        type Item = u64;
        async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
            let mut next = context.stored_position().map_or(0, |Position(next)| next);
            while next < RECORDS {
                // What comes again is cut as it was.
                let (from, to) = (next, RECORDS.min(next + 1 + next % 3));
                if self.0.random_bool(0.1) {
                    context.restart(Duration::ZERO);
                }
                // Sent and not waited for, so that the same comes again while it is under way.
                if self.0.random_bool(0.2) {
                    let (context, records) = (context.clone(), (from..to).collect());
                    tokio::spawn(async move { context.store_block_at(Position(to), records).await });
                    return Err("gone before the acknowledgement".into());
                }
                context.store_block_at(Position(to), (from..to).collect()).await?;
                next = to;
            }
            Ok(())
        }
    }
    let (log, thread) = ThreadLog::start();
    let tracker = Arc::new(BlockTracker::new(ReceiveLimits::default(), []));
    let intake = Intake::new(Arc::new(log), Arc::clone(&tracker), |error| panic!("{error}"));
    let settings = ReceiverSettings { restart_delay: Duration::ZERO, ..ReceiverSettings::default() };
    let uids = ["a", "b", "c"].map(Uid::from);
    let flaky = |(seed, uid): (usize, &Uid)| {
        ReceiverSource::new(uid.clone(), settings, Flaky(StdRng::seed_from_u64(seed as u64)))
    };
    let sources = uids.iter().enumerate().map(flaky).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let supervisor = Supervisor::start(&Handle::current(), sources, &intake, &clock, &Events::default());
    until("the receiver ends", || supervisor.all_ended()).await;
    within("the stop ends", supervisor.stop()).await.unwrap();
    assert_eq!(tracker.pending().records, 3 * RECORDS);
    drop((supervisor, intake));
    let logged = thread.join().unwrap();
    for uid in uids {
        let mut end = 0;
        for (head, _) in logged.iter().filter(|(head, _)| head.source == uid) {
            let Position(position) = head.position.unwrap();
            assert_eq!(end + head.records, position, "source {uid}");
            end = position;
        }
        assert_eq!(end, RECORDS);
    }
}
