//! The way of a block from its receiver to the tracker: through the log, and acknowledged only by it (I-1).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use byteview::ByteView;
use tokio::sync::oneshot;

use crate::block::error::StoreError;
use crate::block::gate::Gate;
use crate::block::head::{BlockHead, BlockRef};
use crate::block::positions::{Positions, Verdict};
use crate::block::tracker::BlockTracker;
use crate::wal::FrameAt;
use floodmark_base::error::Error;
use floodmark_base::id::{Position, Uid};

/// The log, as receivers need it. Appends of one caller are acknowledged in their order.
pub trait BlockLog: Send + Sync {
    /// Appends a block; `done` is called once, after the block is durable or cannot be.
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Box<dyn FnOnce(Result<FrameAt, Error>) + Send>);

    /// A block was refused: from now on no block is taken, and none that waits is written. Called within `done`, so that nothing
    /// can become durable behind the block that was refused.
    fn refuse_blocks(&self) {}
}

/// A finished block.
#[derive(Debug)]
pub struct NewBlock {
    /// Its position, if it has one.
    pub claim: Option<Claim>,
    pub records: u64,
    pub payload: ByteView,
}

/// How a block was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is in the log.
    Logged,
    /// What it holds was in the log before, as its position tells; it was dropped.
    Known,
}

/// What a caller is told.
pub type Answer = Result<Stored, StoreError>;

/// What has become of a block that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is on its way to the log.
    New,
    /// It had come before, as its position told, and was dropped.
    Repeated,
    /// It is not stored.
    Refused,
}

/// Who waits for an answer, and what is held until then.
struct Reply {
    to: Option<oneshot::Sender<Answer>>,
    held: Box<dyn Send>,
}

impl Reply {
    fn send(self, answer: Answer) {
        drop(self.held);
        if let Some(to) = self.to {
            // Whoever asked may have gone. The block counts all the same.
            drop(to.send(answer));
        }
    }
}

/// Where receivers hand in their blocks. One per job; clones are handles.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    log: Arc<dyn BlockLog>,
    tracker: Arc<BlockTracker>,
    on_failure: Box<dyn Fn(Error) + Send + Sync>,
    /// The log's first failure; it is final (I-7).
    failure: OnceLock<String>,
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
        Self(Arc::new(Shared { log, tracker, on_failure: Box::new(on_failure), failure: OnceLock::new() }))
    }

    /// The way in for one source. To be asked for once: it knows the order of the source's positions.
    pub fn source(&self, uid: Uid) -> SourceIntake {
        SourceIntake(Arc::new(Source { shared: Arc::clone(&self.0), uid, order: Mutex::default() }))
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn gate(&self) -> &Arc<Gate> {
        self.0.tracker.gate()
    }
}

/// Where the blocks of one source are handed in; clones are handles.
#[derive(Clone)]
pub struct SourceIntake(Arc<Source>);

struct Source {
    shared: Arc<Shared>,
    uid: Uid,
    order: Mutex<Order>,
}

#[derive(Default)]
struct Order {
    positions: Positions,
    /// Blocks that came again while their first coming is under way: acknowledged together with that.
    repeated: Vec<(Position, Reply)>,
}

/// The position of a block that was called for. When it is dropped and the block has not reached the log, the block is missing: see
/// [`Positions`].
pub struct Claim {
    source: Arc<Source>,
    position: Position,
    known_losses: u64,
}

impl Claim {
    /// Whether the block would go to the log now: not if it is stored already, or on its way there, or has to be refused.
    pub fn is_new(&self) -> bool {
        let durable = self.source.durable();
        let verdict = self.source.order().positions.judge(self.position, self.known_losses, durable);
        verdict == Verdict::New
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let durable = self.source.durable();
        self.source.order().positions.lose(self.position, durable);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.position).finish()
    }
}

impl fmt::Debug for SourceIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceIntake").field(&self.0.uid).finish()
    }
}

impl SourceIntake {
    pub fn uid(&self) -> &Uid {
        &self.0.uid
    }

    pub fn gate(&self) -> &Arc<Gate> {
        self.0.shared.tracker.gate()
    }

    /// How far the source's blocks are logged.
    pub fn position(&self) -> Option<Position> {
        self.0.durable()
    }

    /// How many blocks with a position were lost: called for, and not stored.
    pub fn losses(&self) -> u64 {
        self.0.order().positions.losses()
    }

    /// Claims a position for a block that is about to be made, for a caller that knows of so many losses.
    pub fn claim(&self, position: Position, known_losses: u64) -> Claim {
        Claim { source: Arc::clone(&self.0), position, known_losses }
    }

    /// Why the log takes no more blocks, if so.
    pub fn failure(&self) -> Option<StoreError> {
        self.0.shared.failure.get().map(|cause| self.0.refused(cause))
    }

    /// No block is taken any more, for a reason that lies before the log; the job must stop.
    pub fn break_off(&self, error: Error) {
        self.0.fail(error);
    }

    /// Hands in a block; the answer comes when it is durable. Calls must not overlap: their order is the order of the source's
    /// blocks. `held` (the block's room, at least) is dropped when the answer is there; `count` is called before.
    pub fn offer(
        &self,
        block: NewBlock,
        to: Option<oneshot::Sender<Answer>>,
        held: impl Send + 'static,
        count: impl FnOnce(Offered),
    ) -> Offered {
        let reply = Reply { to, held: Box::new(held) };
        if let Some(failure) = self.failure() {
            count(Offered::Refused);
            reply.send(Err(failure));
            return Offered::Refused;
        }
        let NewBlock { claim, records, payload } = block;
        let Some(claim) = claim else {
            count(Offered::New);
            self.append(None, records, payload, reply);
            return Offered::New;
        };
        let position = claim.position;
        let mut order = self.0.order();
        let verdict = order.positions.next(position, claim.known_losses, self.0.durable());
        let offered = match verdict {
            Verdict::New => Offered::New,
            Verdict::Known | Verdict::Repeated => Offered::Repeated,
            Verdict::OutOfOrder { .. } | Verdict::Gap { .. } => Offered::Refused,
        };
        count(offered);
        if verdict == Verdict::Repeated {
            order.repeated.push((position, reply));
            return offered;
        }
        drop(order);
        let source_uid = self.0.uid.to_string();
        match verdict {
            Verdict::New => self.append(Some(position), records, payload, reply),
            Verdict::Known | Verdict::Repeated => reply.send(Ok(Stored::Known)),
            Verdict::OutOfOrder { newest } => {
                reply.send(Err(StoreError::OutOfOrder { source_uid, position, newest }));
            }
            Verdict::Gap { missing } => {
                // Missing itself from now on, and before anybody is told.
                drop(claim);
                reply.send(Err(StoreError::Gap { source_uid, position, missing }));
            }
        }
        offered
    }

    fn append(&self, position: Option<Position>, records: u64, payload: ByteView, reply: Reply) {
        let source = self.0.uid.clone();
        let record_type = self.0.shared.tracker.record_type(&source);
        let head = BlockHead { source, position, records, record_type };
        let (source, body) = (Arc::clone(&self.0), payload.clone());
        // No lock is held here: the log may make us wait, and answers on its own thread.
        self.0.shared.log.append_block(
            head.encode(),
            body,
            Box::new(move |logged| {
                let answer = match logged {
                    Ok(at) => {
                        source.shared.tracker.accept(BlockRef::new(head, at), Some(payload));
                        Ok(Stored::Logged)
                    }
                    Err(error) => Err(source.fail(error)),
                };
                reply.send(answer);
                source.answer_repeated();
            }),
        );
    }
}

impl Source {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> Option<Position> {
        self.shared.tracker.position(&self.uid)
    }

    /// Notes the log's failure and reports the first.
    fn fail(&self, error: Error) -> StoreError {
        let refusal = self.refused(&error.to_string());
        if self.shared.failure.set(error.to_string()).is_ok() {
            tracing::error!(source = %self.uid, %error, "the log takes no more blocks: receiving ends");
            self.shared.log.refuse_blocks();
            (self.shared.on_failure)(error);
        }
        refusal
    }

    /// Acknowledges what came again, now that its first coming is logged, or is lost.
    fn answer_repeated(&self) {
        let durable = self.durable();
        let failure = self.shared.failure.get();
        let ready = {
            let mut order = self.order();
            let is_ready = |position: Position| failure.is_some() || Some(position) <= durable;
            order.repeated.extract_if(.., |(position, _)| is_ready(*position)).collect::<Vec<_>>()
        };
        for (position, reply) in ready {
            let is_durable = Some(position) <= durable;
            reply.send(match failure {
                Some(cause) if !is_durable => Err(self.refused(cause)),
                _ => Ok(Stored::Known),
            });
        }
    }

    fn refused(&self, cause: &str) -> StoreError {
        StoreError::Log { source_uid: self.uid.to_string(), cause: cause.to_string() }
    }
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
        source: SourceIntake,
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
        Fixture { log, tracker, source: intake.source(Uid::from("s")), failures }
    }

    impl Fixture {
        /// Hands in a block for a caller that knows of no loss.
        async fn offer(&self, position: Option<u64>) -> oneshot::Receiver<Answer> {
            let room = self.source.gate().room(3).await;
            let (to, answer) = oneshot::channel();
            let claim = position.map(|position| self.source.claim(Position(position), 0));
            self.source.offer(NewBlock { claim, records: 1, payload: ByteView::from("abc") }, Some(to), room, drop);
            answer
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
        drop(f.source.gate().room(ReceiveLimits::default().in_flight).await);
    }

    #[tokio::test]
    async fn a_position_below_one_under_way_is_refused_and_never_acknowledged_by_that_one() {
        let f = fixture(&[]);
        f.log.hold();
        let newer = f.offer(Some(501)).await;
        let error = f.offer(Some(500)).await.await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a block of source s at position 500 is out of order: position 501 is already on its way to the log; call in rising \
             order of positions, or begin again at stored_position()"
        );
        f.log.release();
        assert_eq!(newer.await.unwrap(), Ok(Stored::Logged));
    }

    #[tokio::test]
    async fn behind_a_claim_that_was_dropped_nothing_is_stored_until_it_comes_again() {
        let f = fixture(&[]);
        drop(f.source.claim(Position(500), 0));
        let error = f.offer(Some(501)).await.await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a block of source s at position 501 is not stored, because the block at position 500 before it is not: begin again \
             at stored_position()"
        );
        assert_eq!(f.offer(Some(500)).await.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.offer(Some(501)).await.await.unwrap(), Ok(Stored::Logged));
        assert_eq!(f.tracker.positions(), [(Uid::from("s"), Position(501))]);
    }

    #[tokio::test]
    async fn blocks_without_a_position_do_not_wait_for_a_missing_one() {
        let f = fixture(&[]);
        drop(f.source.claim(Position(500), 0));
        assert_eq!(f.offer(None).await.await.unwrap(), Ok(Stored::Logged));
    }
}
