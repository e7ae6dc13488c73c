//! One suite for every receiver: does it lose nothing that it promised to keep, and does it stop when it is told to?
//!
//! Describe the sender ([`ReceiverPlace`]), then let [`check_receiver`] try the receiver. Each rule gets a place of its own. The
//! receiver runs as it does in a job, on tokio, with a clock that the suite drives and a log that does as it is told.

use std::fmt::Debug;

use super::receiver_faults;
use super::receiver_life::Job;
use super::scripted_log::Answer;
use crate::source::{Receiver, read_records};
use crate::testing::conformance::rules::{Rule, try_each};
use floodmark_base::codec::Record;
use floodmark_store::block::ReceiveLimits;

/// A sender, and what receives from it, again and again, as lives of a driver would.
///
/// The sender's records are numbered 0, 1, 2, … in the order in which they are sent. A receiver runs on a thread of its own, so
/// the methods may block for a moment.
pub trait ReceiverPlace {
    /// The records.
    type Item: Record + PartialEq + Debug;
    /// The receiver.
    type Receiver: Receiver<Item = Self::Item>;

    /// What the receiver promises.
    fn promise(&self) -> Promise;

    /// A new receiver of what this sender sends, with no memory of its own. What was not acknowledged is sent to it again, if
    /// the sender can do that.
    fn open(&mut self) -> Self::Receiver;

    /// The sender sends so many records more; to the next receiver, if there is none at present.
    fn send(&mut self, records: u64);

    /// The record of this number.
    fn record(&self, number: u64) -> Self::Item;

    /// How many records, from the first on, the sender may forget, since they were acknowledged. Of no account where nothing is.
    fn acknowledged(&mut self) -> u64 {
        0
    }

    /// The connection between sender and receiver breaks, as the network's fault; what was not acknowledged will be sent again
    /// to the same receiver, if the sender can do that. `false` says that there is nothing to break; the rule is then left out.
    fn interrupt(&mut self) -> bool {
        false
    }

    /// The records of a block, as the source decodes them.
    #[doc(hidden)]
    fn records_of(&self, block: &[u8]) -> Vec<Self::Item> {
        let mut records = Vec::new();
        let read = read_records(block, &mut |record| records.push(record));
        read.unwrap_or_else(|error| panic!("a stored block: {error}"));
        records
    }
}

/// What a receiver promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// What was not yet logged may be lost; what comes is in order, and counts once. It stores with
    /// [`store`](crate::ReceiverContext::store).
    Unreliable,
    /// Nothing that was acknowledged is lost; what was not is sent again and may count again. It stores with
    /// [`store_block`](crate::ReceiverContext::store_block).
    AtLeastOnce,
    /// The same, and what is sent again is recognised. It stores with
    /// [`store_block_at`](crate::ReceiverContext::store_block_at).
    ExactlyOnce,
}

/// Tries every rule that the receiver's promise asks for, each on a place of its own.
///
/// ```
/// use floodmark::testing::{Promise, ReceiverPlace, check_receiver};
/// use floodmark::{Position, Receiver, ReceiverContext, ReceiverError};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::SeqCst}};
/// use tokio::sync::watch;
///
/// /// A sender of numbers that keeps them until they are acknowledged.
/// struct Sender {
///     sent: watch::Sender<u64>,
///     acknowledged: Arc<AtomicU64>,
/// }
///
/// struct Numbers {
///     sent: watch::Receiver<u64>,
///     acknowledged: Arc<AtomicU64>,
/// }
///
/// impl Receiver for Numbers {
///     type Item = u64;
///
///     async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
///         let Position(mut next) = context.stored_position().unwrap_or_default();
///         loop {
///             // What is in the log needs no acknowledgement from this life.
///             self.acknowledged.fetch_max(next, SeqCst);
///             let sent = tokio::select! {
///                 sent = self.sent.wait_for(|sent| *sent > next) => *sent?,
///                 () = context.stopped() => return Ok(()),
///             };
///             let end = sent.min(next + 4);
///             context.store_block_at(Position(end), (next..end).collect()).await?;
///             next = end;
///         }
///     }
/// }
///
/// impl ReceiverPlace for Sender {
///     type Item = u64;
///     type Receiver = Numbers;
///
///     fn promise(&self) -> Promise {
///         Promise::ExactlyOnce
///     }
///
///     fn open(&mut self) -> Numbers {
///         Numbers { sent: self.sent.subscribe(), acknowledged: Arc::clone(&self.acknowledged) }
///     }
///
///     fn send(&mut self, records: u64) {
///         self.sent.send_modify(|sent| *sent += records);
///     }
///
///     fn record(&self, number: u64) -> u64 {
///         number
///     }
///
///     fn acknowledged(&mut self) -> u64 {
///         self.acknowledged.load(SeqCst)
///     }
/// }
///
/// check_receiver(|| Sender { sent: watch::channel(0).0, acknowledged: Arc::default() });
/// ```
///
/// # Panics
/// When a rule is broken: the message names it.
pub fn check_receiver<P: ReceiverPlace>(mut new_place: impl FnMut() -> P) {
    let promise = new_place().promise();
    let mut rules: Vec<Rule<P>> = vec![
        ("what is sent is stored, in its order", what_is_sent_is_stored),
        ("a store that blocks holds the receiver up, and nothing is lost", a_store_that_blocks_loses_nothing),
        ("a full backlog holds the receiver up, and nothing is lost", a_full_backlog_loses_nothing),
        ("a stop is obeyed at once while nothing comes", an_idle_receiver_stops),
        ("a stop is obeyed at once while records come", a_busy_receiver_stops),
    ];
    if promise == Promise::Unreliable {
        rules.push(receiver_faults::limited_rate());
        rules.push(("a receiver that is started again receives again", a_restarted_receiver_receives_again));
    } else {
        rules.extend(receiver_faults::rules());
    }
    rules.push(("receiving goes on after the connection broke", receiving_goes_on_after_an_interruption));
    try_each("the receiver", &rules, &mut new_place);
}

fn what_is_sent_is_stored<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    for records in [1, 12, 0, 7] {
        job.send(records);
        job.until_all_is_stored("sent one after the other");
    }
}

fn a_store_that_blocks_loses_nothing<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    job.send(3);
    job.until_all_is_stored("sent before the log was slow");
    for _ in 0..2 {
        job.log.answer(Answer::Wait);
        job.send(20);
        job.for_a_while();
        job.send(20);
        job.for_a_while();
        job.log.answer(Answer::Acknowledge);
        job.until_all_is_stored("sent while the log was slow");
    }
}

fn a_full_backlog_loses_nothing<P: ReceiverPlace>(place: &mut P) {
    // One byte: whatever is stored fills it up.
    let mut job = Job::begin_with(place, ReceiveLimits { backlog: 1, ..ReceiveLimits::default() });
    for _ in 0..2 {
        job.plans = false;
        job.send(40);
        job.until("a block was stored", |job| job.is_backlog_full());
        job.for_a_while();
        job.plans = true;
        job.until_all_is_stored("sent while the backlog was full");
    }
}

fn an_idle_receiver_stops<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    job.stop();
    job.next_life();
    job.send_until_something_is_stored(4);
    if job.promise() != Promise::Unreliable {
        job.until_all_is_stored("sent before an idle receiver was stopped");
    }
    job.for_a_while();
    job.stop();
}

fn a_busy_receiver_stops<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    job.send(60);
    job.until("something was stored", |job| job.stored() > 0);
    job.stop_while_more_comes();
    if job.promise() != Promise::Unreliable {
        job.next_life();
        job.until_all_is_stored("not stored before the stop, and to be sent again");
    }
}

/// What is under way may be lost, and no more than that.
fn a_restarted_receiver_receives_again<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    for _ in 0..3 {
        job.send_until_something_is_stored(5);
        job.restart_receiver();
        job.send_until_something_is_stored(1);
    }
}

fn receiving_goes_on_after_an_interruption<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin(place);
    for _ in 0..2 {
        job.send_until_something_is_stored(9);
        if !job.interrupt() {
            return;
        }
        if job.promise() == Promise::Unreliable {
            job.send_until_something_is_stored(1);
        } else {
            job.send(9);
            job.until_all_is_stored("sent before the connection broke, and after");
        }
    }
    if job.promise() != Promise::Unreliable {
        // And while a store is under way.
        job.log.answer(Answer::Wait);
        job.send(9);
        job.for_a_while();
        job.interrupt();
        job.for_a_while();
        job.log.answer(Answer::Acknowledge);
        job.until_all_is_stored("under way when the connection broke");
    }
}
