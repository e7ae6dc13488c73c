//! What becomes of a job whose code does not return.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver as Waiting, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::panic_tests::{add, total};
use crate::testing::TestJob;
use crate::*;

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
