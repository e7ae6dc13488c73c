//! Receivers: those of sockets and queues, a reliable one with positions, and one broken receiver for each rule.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::testing::receivers::{QueueOf, SocketLines};
use floodmark::testing::{Promise, ReceiverPlace, check_receiver};
use floodmark::{Position, Queue, Receiver, ReceiverContext, ReceiverError, Text};

use super::assert_broken;
use super::sender::{LineServer, Numbers, State};

/// A server that sends lines, and the receiver of `socket_text_stream`.
struct SocketPlace {
    server: LineServer,
    sent: u64,
}

impl ReceiverPlace for SocketPlace {
    type Item = Text;
    type Receiver = SocketLines;

    fn promise(&self) -> Promise {
        Promise::Unreliable
    }

    fn open(&mut self) -> SocketLines {
        SocketLines::new(&self.server.address.to_string())
    }

    fn send(&mut self, records: u64) {
        for number in self.sent..self.sent + records {
            self.server.send(format!("line {number}\n"));
        }
        self.sent += records;
    }

    fn record(&self, number: u64) -> Text {
        Text::from(format!("line {number}"))
    }

    fn interrupt(&mut self) -> bool {
        self.server.interrupt();
        true
    }

    fn records_of(&self, block: &[u8]) -> Vec<Text> {
        SocketLines::lines_of(block)
    }
}

#[test]
fn the_receiver_of_lines_from_a_socket_keeps_its_promise() {
    check_receiver(|| SocketPlace { server: LineServer::new(), sent: 0 });
}

/// A program that pushes numbers into a queue, and pushes again what was not confirmed.
struct QueuePlace {
    numbers: Numbers,
    /// The queue of the present life.
    queue: Arc<Mutex<Option<Queue<u64>>>>,
}

impl QueuePlace {
    fn new() -> Self {
        let (numbers, queue) = (Numbers::new(), Arc::<Mutex<Option<Queue<u64>>>>::default());
        std::thread::spawn({
            let (numbers, queue) = (numbers.clone(), Arc::downgrade(&queue));
            move || {
                // Until the place is gone.
                while let Some(queue) = queue.upgrade() {
                    let queue = queue.lock().unwrap().clone();
                    let State { sent, acknowledged, .. } = *numbers.state.borrow();
                    match queue {
                        Some(queue) if acknowledged < sent => {
                            let end = sent.min(acknowledged + 5);
                            match queue.push((acknowledged..end).collect()) {
                                Ok(()) => numbers.acknowledge(end),
                                Err(_) => std::thread::sleep(Duration::from_millis(1)),
                            }
                        }
                        _ => std::thread::sleep(Duration::from_micros(200)),
                    }
                }
            }
        });
        Self { numbers, queue }
    }
}

impl ReceiverPlace for QueuePlace {
    type Item = u64;
    type Receiver = QueueOf<u64>;

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn open(&mut self) -> QueueOf<u64> {
        let (queue, receiver) = QueueOf::new();
        *self.queue.lock().unwrap() = Some(queue);
        receiver
    }

    fn send(&mut self, records: u64) {
        self.numbers.send(records);
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn acknowledged(&mut self) -> u64 {
        self.numbers.acknowledged()
    }
}

#[test]
fn the_receiver_of_a_queue_keeps_its_promise() {
    check_receiver(QueuePlace::new);
}

/// What a receiver may do wrong; each breaks one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    StoresBackwards,
    /// What does not fit into its buffer while it waits is given up.
    DropsWhatComesMeanwhile,
    /// A store that takes too long is taken for done.
    GivesUpOnAFullBacklog,
    HearsNoStopWhileIdle,
    HearsNoStopWhileBusy,
    AcknowledgesBeforeItStores,
    /// Of two calls that overlap it waits for the first and acknowledges both.
    AcknowledgesTheNewestOfTwo,
    AcknowledgesNothing,
    AcknowledgesWhatWasRefused,
    /// The next life begins after what was handed to the one before.
    ForgetsWhatWasRefused,
    /// What is sent again is cut into other blocks.
    RecutsWhatIsSentAgain,
    /// What is handed out is given back only when there is an error.
    TakesBeforeItStores,
    /// The place in the input is kept in memory, and moved before it is stored.
    KeepsItsPlaceInMemory,
    EndsWhenTheConnectionBreaks,
    EndsAtItsSecondStart,
}

/// How a receiver makes its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    OneByOne,
    /// Two at a time, a large one before a small one.
    Overlapping,
    /// The same, and each is waited for by a task of its own, which the end of the receiver's run does not end.
    Spawned,
}

/// A sender of numbers, and a receiver that would keep its promise, but for one flaw.
struct NumbersPlace {
    numbers: Numbers,
    promise: Promise,
    calls: Calls,
    flaw: Flaw,
    lives: u64,
}

struct NumbersReceiver {
    numbers: Numbers,
    promise: Promise,
    calls: Calls,
    flaw: Flaw,
    /// Which life this is.
    life: u64,
    /// How often `on_start` was called.
    starts: u64,
    /// Up to where it took records in this life.
    taken: u64,
}

impl NumbersReceiver {
    /// Where a call of `on_start` begins.
    fn begin(&self, context: &ReceiverContext<u64>) -> u64 {
        let stored = context.stored_position().map_or(0, |Position(stored)| stored);
        let State { acknowledged, handed_out, .. } = *self.numbers.state.borrow();
        match (self.promise, self.flaw) {
            (Promise::Unreliable, _) => handed_out,
            (Promise::AtLeastOnce, _) | (_, Flaw::RecutsWhatIsSentAgain) => acknowledged,
            (_, Flaw::ForgetsWhatWasRefused | Flaw::TakesBeforeItStores) => stored.max(handed_out),
            (_, Flaw::KeepsItsPlaceInMemory) => stored.max(self.taken),
            _ => stored,
        }
    }

    async fn store(&self, context: &ReceiverContext<u64>, end: u64, mut block: Vec<u64>) -> Result<(), ReceiverError> {
        if self.flaw == Flaw::StoresBackwards {
            block.reverse();
        }
        match self.promise {
            Promise::Unreliable => {
                for record in block {
                    context.store(record).await?;
                }
            }
            Promise::AtLeastOnce if self.flaw == Flaw::GivesUpOnAFullBacklog => {
                let store = context.store_block(block);
                tokio::time::timeout(Duration::from_millis(3), store).await.unwrap_or(Ok(()))?;
            }
            Promise::AtLeastOnce => context.store_block(block).await?,
            Promise::ExactlyOnce if self.calls != Calls::OneByOne && block.len() > 1 => {
                self.store_two(context, end, block).await?;
            }
            Promise::ExactlyOnce => context.store_block_at(Position(end), block).await?,
        }
        Ok(())
    }

    /// Stores a block as two, by calls that overlap.
    async fn store_two(
        &self,
        context: &ReceiverContext<u64>,
        end: u64,
        mut block: Vec<u64>,
    ) -> Result<(), ReceiverError> {
        let small = block.split_off(block.len() - 1);
        let first = context.store_block_at(Position(end - 1), block);
        let second = context.store_block_at(Position(end), small);
        if self.calls == Calls::Spawned {
            // The second one is polled first.
            let (second, first) = (tokio::spawn(second), tokio::spawn(first));
            first.await??;
            self.numbers.acknowledge(end - 1);
            return Ok(second.await??);
        }
        first.await?;
        self.numbers.acknowledge(if self.flaw == Flaw::AcknowledgesTheNewestOfTwo { end } else { end - 1 });
        Ok(second.await?)
    }
}

impl Receiver for NumbersReceiver {
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        self.starts += 1;
        if self.flaw == Flaw::EndsAtItsSecondStart && self.starts > 1 {
            return Ok(());
        }
        let mut state = self.numbers.state.subscribe();
        let breaks = state.borrow().breaks;
        let mut next = self.begin(&context);
        if self.promise == Promise::ExactlyOnce && self.flaw != Flaw::RecutsWhatIsSentAgain {
            // What an earlier life stored and could not acknowledge.
            self.numbers.acknowledge(context.stored_position().map_or(0, |Position(stored)| stored));
        }
        loop {
            let is_idle = state.borrow().sent <= next;
            let hears = match self.flaw {
                Flaw::HearsNoStopWhileIdle => !is_idle,
                Flaw::HearsNoStopWhileBusy => is_idle,
                _ => true,
            };
            let now = tokio::select! {
                biased;
                () = context.stopped(), if hears => return Ok(()),
                now = state.wait_for(|now| now.sent > next || now.breaks > breaks) => *now?,
            };
            if now.breaks > breaks {
                let ends = self.flaw == Flaw::EndsWhenTheConnectionBreaks;
                return if ends { Ok(()) } else { Err("the connection broke".into()) };
            }
            if self.flaw == Flaw::DropsWhatComesMeanwhile {
                next = next.max(now.sent.saturating_sub(16));
            }
            let is_recut = self.flaw == Flaw::RecutsWhatIsSentAgain && self.life > 1;
            let end = now.sent.min(next + if is_recut { 3 } else { 4 });
            self.taken = end;
            self.numbers.state.send_modify(|state| state.handed_out = end);
            if self.flaw == Flaw::AcknowledgesBeforeItStores {
                self.numbers.acknowledge(end);
            }
            let stored = self.store(&context, end, (next..end).collect()).await;
            if stored.is_err() && self.flaw == Flaw::TakesBeforeItStores {
                self.numbers.state.send_modify(|state| state.handed_out = next);
            }
            if self.flaw != Flaw::AcknowledgesWhatWasRefused {
                stored?;
            }
            if self.flaw != Flaw::AcknowledgesNothing {
                self.numbers.acknowledge(end);
            }
            next = end;
        }
    }
}

impl ReceiverPlace for NumbersPlace {
    type Item = u64;
    type Receiver = NumbersReceiver;

    fn promise(&self) -> Promise {
        self.promise
    }

    fn open(&mut self) -> NumbersReceiver {
        self.lives += 1;
        let (numbers, promise, calls, flaw) = (self.numbers.clone(), self.promise, self.calls, self.flaw);
        NumbersReceiver { numbers, promise, calls, flaw, life: self.lives, starts: 0, taken: 0 }
    }

    fn send(&mut self, records: u64) {
        self.numbers.send(records);
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn acknowledged(&mut self) -> u64 {
        self.numbers.acknowledged()
    }

    fn interrupt(&mut self) -> bool {
        self.numbers.interrupt();
        true
    }
}

fn check_numbers(promise: Promise, calls: Calls, flaw: Flaw) {
    check_receiver(|| NumbersPlace { numbers: Numbers::new(), promise, calls, flaw, lives: 0 });
}

#[test]
fn receivers_of_each_promise_keep_it() {
    for promise in [Promise::Unreliable, Promise::AtLeastOnce, Promise::ExactlyOnce] {
        check_numbers(promise, Calls::OneByOne, Flaw::None);
    }
}

#[test]
fn receivers_whose_calls_overlap_keep_their_promise() {
    for calls in [Calls::Overlapping, Calls::Spawned] {
        check_numbers(Promise::ExactlyOnce, calls, Flaw::None);
    }
}

#[test]
fn each_rule_finds_a_receiver_that_breaks_it() {
    let reliable = [
        (Flaw::StoresBackwards, "what is sent is stored, in its order"),
        (Flaw::DropsWhatComesMeanwhile, "a store that blocks holds the receiver up, and nothing is lost"),
        (Flaw::HearsNoStopWhileIdle, "a stop is obeyed at once while nothing comes"),
        (Flaw::HearsNoStopWhileBusy, "a stop is obeyed at once while records come"),
        (Flaw::AcknowledgesBeforeItStores, "nothing is acknowledged before it is durable"),
        (Flaw::AcknowledgesNothing, "what is durable is acknowledged"),
        (Flaw::AcknowledgesWhatWasRefused, "what the log refused is not acknowledged, and received again"),
        (Flaw::ForgetsWhatWasRefused, "what the log refused is not acknowledged, and received again"),
        (Flaw::RecutsWhatIsSentAgain, "what was stored without an answer is neither lost nor counted twice"),
        (Flaw::TakesBeforeItStores, "a life that was killed loses nothing"),
        (Flaw::KeepsItsPlaceInMemory, "a receiver that is started again loses nothing"),
        (Flaw::EndsWhenTheConnectionBreaks, "receiving goes on after the connection broke"),
    ];
    let mut tried: Vec<_> = reliable.map(|(flaw, rule)| (Promise::ExactlyOnce, flaw, rule)).into();
    let rule = "a receiver that is started again receives again";
    tried.push((Promise::Unreliable, Flaw::EndsAtItsSecondStart, rule));
    // With positions what was given up is missed by the next call, so the block behind it is refused.
    let rule = "a full backlog holds the receiver up, and nothing is lost";
    tried.push((Promise::AtLeastOnce, Flaw::GivesUpOnAFullBacklog, rule));
    let rule = "a limited rate holds the receiver up, and nothing is lost or acknowledged early";
    tried.push((Promise::ExactlyOnce, Flaw::AcknowledgesTheNewestOfTwo, rule));
    // Each by itself: some are found only by waiting for what never comes.
    std::thread::scope(|scope| {
        for (promise, flaw, rule) in tried {
            let overlaps = flaw == Flaw::AcknowledgesTheNewestOfTwo;
            let calls = if overlaps { Calls::Overlapping } else { Calls::OneByOne };
            scope.spawn(move || assert_broken(&format!("{flaw:?}"), rule, || check_numbers(promise, calls, flaw)));
        }
    });
}
