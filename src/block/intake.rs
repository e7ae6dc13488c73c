//! The way of a block from its receiver to the tracker: through the log, and acknowledged only by it (I-1).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use byteview::ByteView;
use tokio::sync::oneshot;

use crate::block::error::StoreError;
use crate::block::gate::Gate;
use crate::block::head::{BlockHead, BlockRef};
use crate::block::tracker::BlockTracker;
use crate::error::Error;
use crate::id::{Position, Uid};
use crate::wal::FrameAt;

/// The log, as receivers need it. Appends of one caller are acknowledged in their order.
pub(crate) trait BlockLog: Send + Sync {
    /// Appends a block; `done` is called once, after the block is durable or cannot be.
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Box<dyn FnOnce(Result<FrameAt, Error>) + Send>);
}

/// A finished block.
#[derive(Clone, Debug)]
pub(crate) struct NewBlock {
    pub position: Option<Position>,
    pub records: u64,
    pub payload: ByteView,
}

/// How a block was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is in the log.
    Logged,
    /// What it holds was in the log before, as its position tells; it was dropped.
    Known,
}

/// A block that was handed in.
#[derive(Debug)]
pub(crate) struct Offered {
    pub answer: oneshot::Receiver<Result<Stored, StoreError>>,
    /// It had come before, as its position told, and was dropped.
    pub is_repeated: bool,
}

/// Who waits for an answer, and what is held until then.
struct Reply {
    to: oneshot::Sender<Result<Stored, StoreError>>,
    held: Box<dyn Send>,
}

impl Reply {
    fn send(self, answer: Result<Stored, StoreError>) {
        drop(self.held);
        // Whoever asked may have gone, as the buffer of an unreliable receiver never asks. The block counts all the same.
        drop(self.to.send(answer));
    }
}

/// Where receivers hand in their blocks. One per job; clones are handles.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Shared>);

struct Shared {
    log: Arc<dyn BlockLog>,
    tracker: Arc<BlockTracker>,
    on_failure: Box<dyn Fn(Error) + Send + Sync>,
    /// The log's first failure; it is final (I-7).
    failure: OnceLock<String>,
    under_way: Mutex<HashMap<Uid, UnderWay>>,
}

/// The positions of one source that the log has not acknowledged.
#[derive(Default)]
struct UnderWay {
    newest: Option<Position>,
    /// Blocks that came again while their first coming is under way: acknowledged together with that.
    repeated: Vec<(Position, Reply)>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("failure", &self.0.failure).finish_non_exhaustive()
    }
}

impl Intake {
    /// `on_failure` is called once, when the log takes no more blocks: the job must stop.
    pub fn new(
        log: Arc<dyn BlockLog>,
        tracker: Arc<BlockTracker>,
        on_failure: impl Fn(Error) + Send + Sync + 'static,
    ) -> Self {
        let (failure, under_way) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Shared { log, tracker, on_failure: Box::new(on_failure), failure, under_way }))
    }

    pub fn gate(&self) -> &Arc<Gate> {
        self.0.tracker.gate()
    }

    /// How far the source's blocks are logged.
    pub fn position(&self, source: &Uid) -> Option<Position> {
        self.0.tracker.position(source)
    }

    /// Why the log takes no more blocks, if so.
    pub fn failure(&self, source: &Uid) -> Option<StoreError> {
        self.0.failure.get().map(|cause| refused(source, cause))
    }

    /// Hands in a block; the answer comes when it is durable. Calls for one source must not overlap: their order is the
    /// order of its blocks. `held` (the block's room, at least) is dropped when the answer is there.
    pub fn offer(&self, source: &Uid, block: NewBlock, held: impl Send + 'static) -> Offered {
        let (to, answer) = oneshot::channel();
        let reply = Reply { to, held: Box::new(held) };
        let new = match self.failure(source) {
            Some(failure) => {
                reply.send(Err(failure));
                return Offered { answer, is_repeated: false };
            }
            None => self.0.unless_repeated(source, block.position, reply),
        };
        let is_repeated = new.is_none();
        if let Some(reply) = new {
            self.append(source.clone(), block, reply);
        }
        Offered { answer, is_repeated }
    }

    fn append(&self, source: Uid, block: NewBlock, reply: Reply) {
        let NewBlock { position, records, payload } = block;
        let head = BlockHead { source, position, records, record_type: None };
        let (shared, body) = (Arc::clone(&self.0), payload.clone());
        // No lock is held here: the log may make us wait, and answers on its own thread.
        self.0.log.append_block(
            head.encode(),
            body,
            Box::new(move |logged| {
                let source = head.source.clone();
                let result = match logged {
                    Ok(at) => {
                        shared.tracker.accept(BlockRef::new(head, at), Some(payload));
                        Ok(Stored::Logged)
                    }
                    Err(error) => Err(shared.fail(&source, error)),
                };
                reply.send(result);
                shared.answer_repeated(&source);
            }),
        );
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Uid, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back the reply of a block that is new; one that came before is answered here, when its first coming is logged.
    fn unless_repeated(&self, source: &Uid, position: Option<Position>, reply: Reply) -> Option<Reply> {
        let Some(position) = position else { return Some(reply) };
        let mut under_way = self.under_way();
        let of_source = under_way.entry(source.clone()).or_default();
        if self.tracker.position(source).is_some_and(|logged| position <= logged) {
            drop(under_way);
            reply.send(Ok(Stored::Known));
            return None;
        }
        if of_source.newest.is_some_and(|newest| position <= newest) {
            of_source.repeated.push((position, reply));
            return None;
        }
        of_source.newest = Some(position);
        Some(reply)
    }

    /// Notes the log's failure and reports the first.
    fn fail(&self, source: &Uid, error: Error) -> StoreError {
        let refusal = refused(source, &error.to_string());
        if self.failure.set(error.to_string()).is_ok() {
            tracing::error!(%source, %error, "the log takes no more blocks: receiving ends");
            (self.on_failure)(error);
        }
        refusal
    }

    /// Acknowledges what came again, now that its first coming is logged, or is lost.
    fn answer_repeated(&self, source: &Uid) {
        let logged = self.tracker.position(source);
        let ready = {
            let mut under_way = self.under_way();
            let Some(waiting) = under_way.get_mut(source) else { return };
            let failed = self.failure.get().is_some();
            let is_ready = |position: Position| failed || logged.is_some_and(|logged| position <= logged);
            waiting.repeated.extract_if(.., |(position, _)| is_ready(*position)).collect::<Vec<_>>()
        };
        for (_, reply) in ready {
            reply.send(self.failure.get().map_or(Ok(Stored::Known), |cause| Err(refused(source, cause))));
        }
    }
}

fn refused(source: &Uid, cause: &str) -> StoreError {
    StoreError::Log { source_uid: source.to_string(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::gate::ReceiveLimits;
    use crate::block::memory_log::MemoryLog;
    use crate::block::tracker::Pending;

    struct Fixture {
        log: Arc<MemoryLog>,
        tracker: Arc<BlockTracker>,
        intake: Intake,
        failures: Arc<Mutex<Vec<String>>>,
    }

    fn fixture(positions: &[(&str, u64)]) -> Fixture {
        let positions = positions.iter().map(|&(uid, position)| (Uid::from(uid), Position(position)));
        let log = Arc::new(MemoryLog::default());
        let tracker = Arc::new(BlockTracker::new(ReceiveLimits::default(), positions));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let intake = Intake::new(Arc::clone(&log) as _, Arc::clone(&tracker), {
            let failures = Arc::clone(&failures);
            move |error| failures.lock().unwrap().push(error.to_string())
        });
        Fixture { log, tracker, intake, failures }
    }

    impl Fixture {
        async fn offer(&self, position: Option<u64>) -> oneshot::Receiver<Result<Stored, StoreError>> {
            let room = self.intake.gate().room(3).await;
            let block = NewBlock { position: position.map(Position), records: 1, payload: ByteView::from("abc") };
            self.intake.offer(&Uid::from("s"), block, room).answer
        }
    }

    #[tokio::test]
    async fn a_block_counts_only_after_the_log_has_acknowledged_it() {
        let f = fixture(&[]);
        f.log.hold();
        let mut answer = f.offer(None).await;
        assert!(answer.try_recv().is_err());
        assert_eq!(f.tracker.pending(), Pending::default());
        f.log.release();
        assert_eq!(answer.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.tracker.pending(), Pending { blocks: 1, records: 1, bytes: 3 });
    }

    #[tokio::test]
    async fn what_comes_again_is_acknowledged_and_dropped() {
        let f = fixture(&[]);
        assert_eq!(f.offer(Some(10)).await.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.offer(Some(10)).await.await.unwrap(), Ok(Stored::Known));
        assert_eq!(f.offer(Some(11)).await.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.log.blocks().len(), 2);
    }

    #[tokio::test]
    async fn what_was_logged_before_a_restart_is_dropped() {
        let f = fixture(&[("s", 10)]);
        assert_eq!(f.offer(Some(9)).await.await.unwrap(), Ok(Stored::Known));
        assert_eq!(f.offer(Some(12)).await.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.tracker.positions(), [(Uid::from("s"), Position(12))]);
    }

    #[tokio::test]
    async fn what_comes_again_too_early_waits_for_its_first_coming() {
        let f = fixture(&[]);
        f.log.hold();
        let first = f.offer(Some(1)).await;
        let mut again = f.offer(Some(1)).await;
        assert!(again.try_recv().is_err(), "not durable yet");
        f.log.release();
        assert_eq!(first.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(again.await.unwrap(), Ok(Stored::Known));
        assert_eq!(f.log.blocks().len(), 1);
    }

    #[tokio::test]
    async fn a_failure_of_the_log_reaches_receivers_and_the_job_once() {
        let f = fixture(&[]);
        f.log.hold();
        let (first, again) = (f.offer(Some(1)).await, f.offer(Some(1)).await);
        f.log.fail();
        let refusal = "the log did not take a block of source s: wal/00000000000000000001.log: sync failed";
        assert_eq!(first.await.unwrap().unwrap_err().to_string(), refusal);
        assert_eq!(again.await.unwrap().unwrap_err().to_string(), refusal);
        assert_eq!(f.offer(Some(2)).await.await.unwrap().unwrap_err().to_string(), refusal);
        assert_eq!(*f.failures.lock().unwrap(), ["wal/00000000000000000001.log: sync failed"]);
        assert_eq!(f.tracker.pending(), Pending::default());
    }

    #[tokio::test]
    async fn room_is_given_back_with_the_acknowledgement() {
        let f = fixture(&[]);
        f.log.hold();
        for _ in 0..3 {
            f.offer(None).await;
        }
        assert_eq!(f.log.waiting(), 3);
        f.log.release();
        drop(f.intake.gate().room(ReceiveLimits::default().in_flight).await);
    }
}
