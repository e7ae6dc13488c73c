//! How a script reaches a job: as a reliable receiver that resends, as one whose calls overlap, and as a direct source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use floodmark::{
    DirectSource, OfferLimits, Position, RangeReader, ReadSummary, Receiver, ReceiverContext, ReceiverError, Record,
    SourceError,
};

use super::script::Script;

/// The harness's end of an input.
pub(super) enum Feed {
    Receiver(tokio::sync::mpsc::UnboundedSender<Push>),
    Overlapping(OverlappingFeed),
    Direct(Arc<AtomicU64>),
}

/// Whether a batch of input was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Taken,
    Refused,
    /// No answer yet.
    Waiting,
}

/// A batch under way to a receiver.
pub(super) struct Pending(Option<mpsc::Receiver<bool>>);

impl Pending {
    /// Waits for the answer, for so long.
    pub fn wait(&self, patience: Duration) -> Given {
        let Some(answer) = &self.0 else { return Given::Taken };
        match answer.recv_timeout(patience) {
            Ok(true) => Given::Taken,
            Ok(false) | Err(mpsc::RecvTimeoutError::Disconnected) => Given::Refused,
            Err(mpsc::RecvTimeoutError::Timeout) => Given::Waiting,
        }
    }
}

impl Feed {
    /// Offers batch `number` of the script.
    pub fn give(&self, number: u64) -> Pending {
        match self {
            Self::Direct(available) => {
                available.fetch_max(number, Ordering::SeqCst);
                Pending(None)
            }
            Self::Receiver(pushes) => {
                let (stored, answer) = mpsc::channel();
                // A receiver that has gone drops the other end of the answer.
                drop(pushes.send(Push { number, stored }));
                Pending(Some(answer))
            }
            Self::Overlapping(_) => unreachable!("its calls are waited for one by one"),
        }
    }
}

pub(super) struct Push {
    number: u64,
    stored: mpsc::Sender<bool>,
}

/// A reliable receiver, each block of which is one batch of the script, with its number as its position.
pub(super) struct ScriptReceiver<T> {
    uid: String,
    script: Arc<Script>,
    pushes: tokio::sync::mpsc::UnboundedReceiver<Push>,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> ScriptReceiver<T> {
    pub fn new(uid: &str, script: Arc<Script>) -> (Feed, Self) {
        let (sender, pushes) = tokio::sync::mpsc::unbounded_channel();
        (Feed::Receiver(sender), Self { uid: uid.to_string(), script, pushes, records: std::marker::PhantomData })
    }
}

impl<T: Record> Receiver for ScriptReceiver<T> {
    type Item = T;

    async fn on_start(&mut self, context: ReceiverContext<T>) -> Result<(), ReceiverError> {
        loop {
            let push = tokio::select! {
                push = self.pushes.recv() => push,
                () = context.stopped() => return Ok(()),
            };
            let Some(Push { number, stored }) = push else { return Ok(()) };
            let records = self.script.batch::<T>(&self.uid, number);
            let outcome = context.store_block_at(Position(number), records).await;
            if stored.send(outcome.is_ok()).is_err() {
                continue; // whoever asked has given up
            }
            if outcome.is_err() {
                // No restart: what was sent meanwhile is not answered, so it is refused.
                self.pushes.close();
                while self.pushes.recv().await.is_some() {}
                return Ok(());
            }
        }
    }
}

/// A batch of the script for a receiver whose calls overlap; each answer belongs to a call, in the order of the calls.
pub(super) struct Calls {
    number: u64,
    stored: [mpsc::Sender<bool>; CALLS],
}

/// Calls for each batch.
pub(super) const CALLS: usize = 3;

/// The harness's end of an input whose calls overlap.
pub(super) struct OverlappingFeed {
    calls: tokio::sync::mpsc::UnboundedSender<Calls>,
    /// How many records a batch of the script has.
    records: Box<dyn Fn(u64) -> u64 + Send + Sync>,
}

impl OverlappingFeed {
    /// Offers batch `number` of the script; gives, for each call, its answer and how many records are handed in with it and the calls
    /// before it.
    pub fn give(&self, number: u64) -> [(Pending, u64); CALLS] {
        let ((first, a), (again, b), (last, c)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        drop(self.calls.send(Calls { number, stored: [first, again, last] }));
        let records = (self.records)(number);
        let large = records.saturating_sub(1);
        [(Pending(Some(a)), large), (Pending(Some(b)), 2 * large), (Pending(Some(c)), large + records)]
    }
}

/// A reliable receiver that makes several calls at once, from several tasks: of each batch of the script a large block, the same again
/// while it is under way, and a small one, which a limited rate would let pass first. A call for what comes after is dropped.
pub(super) struct OverlappingReceiver<T> {
    uid: String,
    script: Arc<Script>,
    calls: tokio::sync::mpsc::UnboundedReceiver<Calls>,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> OverlappingReceiver<T> {
    pub fn new(uid: &str, script: Arc<Script>) -> (Feed, Self) {
        let (sender, calls) = tokio::sync::mpsc::unbounded_channel();
        let records = Box::new({
            let (uid, script) = (uid.to_string(), script.clone());
            move |number| script.batch::<T>(&uid, number).len() as u64
        });
        let feed = Feed::Overlapping(OverlappingFeed { calls: sender, records });
        (feed, Self { uid: uid.to_string(), script, calls, records: std::marker::PhantomData })
    }

    fn store(&self, context: &ReceiverContext<T>, number: u64, stored: [mpsc::Sender<bool>; CALLS]) {
        let mut large = self.script.batch::<T>(&self.uid, number);
        let small = large.split_off(large.len().saturating_sub(1));
        let (middle, end) = (Position(2 * number - 1), Position(2 * number));
        let other = context.clone();
        let [first, again, last] = stored;
        let calls = [
            (tokio::spawn(context.store_block_at(middle, large.clone())), first),
            (tokio::spawn(other.store_block_at(middle, large.clone())), again),
            (tokio::spawn(other.store_block_at(end, small)), last),
        ];
        if large.len() > 1 {
            // So many records that the rate does not let them pass before it is dropped.
            drop(context.store_block_at(end.next(), large.iter().cycle().take(10 * large.len()).cloned().collect()));
        }
        for (call, stored) in calls.into_iter().rev() {
            tokio::spawn(async move {
                let is_stored = matches!(call.await, Ok(Ok(())));
                let _ = stored.send(is_stored); // whoever asked may have given up
            });
        }
    }
}

impl<T: Record> Receiver for OverlappingReceiver<T> {
    type Item = T;

    async fn on_start(&mut self, context: ReceiverContext<T>) -> Result<(), ReceiverError> {
        loop {
            let calls = tokio::select! {
                calls = self.calls.recv() => calls,
                () = context.stopped() => return Ok(()),
            };
            let Some(Calls { number, stored }) = calls else { return Ok(()) };
            self.store(&context, number, stored);
        }
    }
}

/// A direct source, each range of which is one batch of the script, by its number.
pub(super) struct ScriptSource<T> {
    uid: String,
    script: Arc<Script>,
    available: Arc<AtomicU64>,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> ScriptSource<T> {
    pub fn new(uid: &str, script: Arc<Script>) -> (Feed, Self) {
        let available = Arc::new(AtomicU64::new(0));
        let source =
            Self { uid: uid.to_string(), script, available: available.clone(), records: std::marker::PhantomData };
        (Feed::Direct(available), source)
    }
}

struct ScriptReader<T> {
    uid: String,
    script: Arc<Script>,
    records: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> DirectSource for ScriptSource<T> {
    type Item = T;
    type Range = u64;
    type Position = u64;

    fn offer(&mut self, position: &u64, _limits: &OfferLimits) -> Result<Vec<u64>, SourceError> {
        Ok((position + 1..=self.available.load(Ordering::SeqCst)).collect())
    }

    fn advance(position: &mut u64, range: &u64) {
        *position = *range;
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = T, Range = u64>> {
        Arc::new(ScriptReader { uid: self.uid.clone(), script: self.script.clone(), records: std::marker::PhantomData })
    }
}

impl<T: Record> RangeReader for ScriptReader<T> {
    type Item = T;
    type Range = u64;

    fn read(&self, range: &u64, emit: &mut dyn FnMut(T)) -> Result<ReadSummary, SourceError> {
        let records = self.script.batch::<T>(&self.uid, *range);
        let summary = ReadSummary { records: records.len() as u64, failed: 0 };
        records.into_iter().for_each(emit);
        Ok(summary)
    }
}
