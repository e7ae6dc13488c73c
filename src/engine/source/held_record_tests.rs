//! Records whose own serde code does not return for now: they hold up nobody but the receiver that stores them.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::*;
use crate::StreamingContext;

/// How long a record is held at the most, so that a test which waits for it ends, and fails.
const MOST: Duration = Duration::from_secs(20);

/// The number of the record that is held.
const HELD: u64 = 666_666;

/// Where the record of one test is held.
struct Hold {
    state: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    NotYet,
    Encoding,
    Released,
    /// Nobody has released it in time.
    GivenUp,
}

static HOLDS: [Hold; 2] = [const { Hold { state: Mutex::new(Stage::NotYet), changed: Condvar::new() } }; 2];

impl Hold {
    fn encode(&self) {
        self.set(Stage::Encoding);
        let held = |stage: &mut Stage| *stage == Stage::Encoding;
        let (mut stage, waited) = self.changed.wait_timeout_while(self.state.lock().unwrap(), MOST, held).unwrap();
        if waited.timed_out() {
            *stage = Stage::GivenUp;
        }
    }

    fn set(&self, stage: Stage) {
        *self.state.lock().unwrap() = stage;
        self.changed.notify_all();
    }

    fn wait_until_encoding(&self) {
        let before = |stage: &mut Stage| *stage == Stage::NotYet;
        drop(self.changed.wait_while(self.state.lock().unwrap(), before).unwrap());
    }

    /// Ends the hold; says where it was.
    fn release(&self) -> Stage {
        let stage = std::mem::replace(&mut *self.state.lock().unwrap(), Stage::Released);
        self.changed.notify_all();
        stage
    }
}

/// A record whose encoding waits in the hold of its test, if it has that number.
#[derive(Clone, Debug, Deserialize)]
struct Number<const TEST: usize>(u64);

impl<const TEST: usize> Serialize for Number<TEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == HELD {
            HOLDS[TEST].encode();
        }
        serializer.serialize_newtype_struct("Number", &self.0)
    }
}

struct Numbers<const TEST: usize>;

impl<const TEST: usize> Receiver for Numbers<TEST> {
    type Item = Number<TEST>;

    async fn on_start(&mut self, context: ReceiverContext<Number<TEST>>) -> Result<(), ReceiverError> {
        context.store(Number(1)).await?;
        context.store(Number(HELD)).await?;
        context.stopped().await;
        Ok(())
    }
}

/// Runs a job until a record is held, lets `then` do something with a source beside it, and stops the job.
fn beside_a_held_record<const TEST: usize>(graceful: bool, then: impl FnOnce(&Queue<u64>)) {
    let place = tempfile::tempdir().unwrap();
    let builder = StreamingContext::builder("held").checkpoint(place.path().join("state")).workers(1);
    let builder = builder.batch_interval(Duration::from_millis(50)).stop_grace(Duration::from_millis(50));
    let context = builder.build().unwrap();
    context.receiver_stream("held", Numbers::<TEST>).map(|_| 1_u64).foreach_rdd(|_, _| ());
    let (queue, numbers) = context.queue_stream::<u64>("numbers");
    numbers.foreach_rdd(|_, _| ());
    let running = context.start().unwrap();
    HOLDS[TEST].wait_until_encoding();
    then(&queue);
    running.stop(graceful).unwrap();
    assert_eq!(HOLDS[TEST].release(), Stage::Encoding, "the job was stopped while the record was held");
}

#[test]
fn a_record_whose_serde_code_blocks_holds_up_neither_other_sources_nor_a_graceful_stop() {
    beside_a_held_record::<0>(true, |queue| queue.push(vec![1]).unwrap());
}

#[test]
fn a_record_whose_serde_code_blocks_does_not_hold_up_a_hard_stop() {
    beside_a_held_record::<1>(false, |_| ());
}
