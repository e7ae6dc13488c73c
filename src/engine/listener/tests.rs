//! What listeners hear in the life of a job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::*;
use crate::StreamingContext;
use crate::source::Queue;
use crate::testing::TestJob;
use floodmark_base::error::ErrorKind;
use floodmark_base::id::BatchId;

/// Writes every event down; what is no figure of a clock.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<Vec<String>>>);

impl Scribe {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl StreamingListener for Scribe {
    fn on_streaming_started(&mut self, started: &StreamingStarted) {
        self.note(format!("job started: epoch {}, {}", started.epoch, started.recovery));
    }

    fn on_receiver_started(&mut self, started: &ReceiverStarted) {
        self.note(format!("receiver started: {}", started.source));
    }

    fn on_receiver_error(&mut self, error: &ReceiverReportedError) {
        self.note(format!("receiver error: {}", error.error));
    }

    fn on_receiver_stopped(&mut self, stopped: &ReceiverStopped) {
        self.note(format!("receiver stopped: {}, again after {:?} ms", stopped.source, stopped.restart_after_ms));
    }

    fn on_batch_submitted(&mut self, submitted: &BatchSubmitted) {
        let input = |input: &events::InputInfo| (input.blocks, input.ranges, input.records);
        let inputs: Vec<_> = submitted.inputs.iter().map(input).collect();
        self.note(format!("{} submitted: {inputs:?}", submitted.batch.id));
    }

    fn on_batch_started(&mut self, started: &BatchStarted) {
        let BatchStarted { batch, attempt, is_replay } = started;
        self.note(format!("{} started: attempt {attempt}{}", batch.id, if *is_replay { ", replay" } else { "" }));
    }

    fn on_batch_completed(&mut self, completed: &BatchCompleted) {
        let BatchCompleted { batch, attempt, is_replay, keys, .. } = completed;
        let replay = if *is_replay { ", replay" } else { "" };
        self.note(format!(
            "{} completed: attempt {attempt}, {} records, {keys} keys{replay}",
            batch.id,
            completed.records()
        ));
    }

    fn on_batch_failed(&mut self, failed: &BatchFailed) {
        let BatchFailed { batch, attempt, panic, attempts_left, .. } = failed;
        self.note(format!("{} failed: attempt {attempt}, {panic}, {attempts_left} left", batch.id));
    }

    fn on_output_operation_started(&mut self, started: &OutputOperationStarted) {
        self.note(format!("{} to {}", started.batch.id, started.output));
    }

    fn on_output_operation_completed(&mut self, completed: &OutputOperationCompleted) {
        let OutputOperationCompleted { batch, output, error, .. } = completed;
        self.note(format!("{} at {output}: {}", batch.id, error.as_deref().unwrap_or("done")));
    }

    fn on_checkpoint_completed(&mut self, completed: &CheckpointCompleted) {
        assert!(completed.bytes > 0);
        self.note(format!("{} in a checkpoint", completed.batch));
    }

    fn on_clock_jump(&mut self, jump: &ClockJumped) {
        self.note(format!("clock jumped {} ms", jump.by_ms));
    }

    fn on_events_missed(&mut self, missed: &EventsMissed) {
        self.note(format!("missed {}", missed.count));
    }

    fn on_streaming_stopped(&mut self, stopped: &StreamingStopped) {
        let error = stopped.error.as_ref().map(|(kind, message)| format!("{kind:?}: {message}"));
        self.note(format!("job stopped: graceful {}, {error:?}", stopped.is_graceful));
    }
}

/// Counts words; a batch in which `fails` is set panics once.
fn word_counts(scribe: &Scribe, fails: &Arc<AtomicBool>) -> TestJob<Queue<String>> {
    let (scribe, fails) = (scribe.clone(), fails.clone());
    TestJob::configured(
        move |builder| builder.listener(scribe.clone()),
        move |context: &StreamingContext| {
            let (words, stream) = context.queue_stream::<String>("words");
            let fails = fails.clone();
            stream
                .map(move |word| {
                    assert!(!fails.swap(false, Ordering::SeqCst), "no luck");
                    (word, 1_u64)
                })
                .update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                    Some(total.unwrap_or(0) + ones.len() as u64)
                })
                .collect("output");
            words
        },
    )
    .unwrap()
}

#[test]
fn a_life_is_told_in_order_with_a_restart_a_failed_attempt_and_a_graceful_stop() {
    let (scribe, fails) = (Scribe::default(), Arc::default());
    let mut job = word_counts(&scribe, &fails);
    job.handles().push(vec!["a".into(), "b".into()]).unwrap();
    job.run_batch().unwrap();
    job.crash();
    let mut told = scribe.take();
    // At a hard stop a receiver may, or may not, come to its end.
    told.retain(|line| !line.starts_with("receiver stopped"));
    let first_life = [
        "job started: epoch 1, started fresh",
        "receiver started: words",
        "1 submitted: [(1, 0, Some(2))]",
        "1 started: attempt 1",
        "1 to output",
        "1 at output: done",
        "1 completed: attempt 1, 2 records, 2 keys",
        "job stopped: graceful false, None",
    ];
    assert_eq!(told, first_life);

    job.start().unwrap();
    fails.store(true, Ordering::SeqCst);
    job.handles().push(vec!["a".into()]).unwrap();
    job.run_batch().unwrap();
    job.running().stop(true).unwrap();
    let second_life = [
        "job started: epoch 2, recovering: checkpoint of batch 0, 1 batch to replay; 1 committed batch to publish",
        "1 started: attempt 1, replay",
        "1 to output", // its publication was not on record yet
        "1 at output: done",
        "1 completed: attempt 1, 2 records, 2 keys, replay",
        "receiver started: words",
        "2 submitted: [(1, 0, Some(1))]",
        "2 started: attempt 1",
        "2 failed: attempt 1, no luck, 3 left",
        "1 started: attempt 1, replay",
        "2 started: attempt 2",
        "1 completed: attempt 1, 2 records, 2 keys, replay",
        "2 to output",
        "2 at output: done",
        "2 completed: attempt 2, 1 records, 2 keys",
        "receiver stopped: words, again after None ms",
        "3 submitted: []",
        "3 started: attempt 1",
        "3 to output",
        "3 at output: done",
        "3 completed: attempt 1, 0 records, 2 keys",
        "3 in a checkpoint",
        "job stopped: graceful true, None",
    ];
    assert_eq!(scribe.take(), second_life);
}

#[test]
fn a_job_that_cannot_start_and_an_output_that_fails_are_told_with_their_errors() {
    let place = tempfile::NamedTempFile::new().unwrap();
    let scribe = Scribe::default();
    let builder = StreamingContext::builder("job").checkpoint(place.path()).listener(scribe.clone());
    let context = builder.build().unwrap();
    let (_numbers, stream) = context.queue_stream::<u64>("numbers");
    stream.print(1);
    let error = context.start().unwrap_err();
    assert_eq!(scribe.take(), [format!("job stopped: graceful false, {:?}", Some(format!("Environment: {error}")))]);

    let listener = scribe.clone();
    let mut job = TestJob::configured(
        move |builder| builder.listener(listener.clone()),
        |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            stream.foreach_rdd(|_, rdd| assert!(rdd.collect().is_empty(), "no room"));
            numbers
        },
    )
    .unwrap();
    job.handles().push(vec![1]).unwrap();
    assert_eq!(job.run_batch().unwrap_err().kind(), ErrorKind::UserCode);
    let told = scribe.take();
    let error = "\"foreach_rdd#1\" panicked with batch 1: no room";
    let end: Vec<&String> = told.iter().skip_while(|line| !line.starts_with("1 to")).collect();
    assert_eq!(end[..2], ["1 to foreach_rdd#1", &format!("1 at foreach_rdd#1: {error}")]);
    let stopped = format!("job stopped: graceful false, {:?}", Some(format!("UserCode: {error}")));
    assert_eq!(end.last().unwrap().as_str(), stopped);
}

/// Hears nothing until it may.
struct Blocked {
    may: Receiver<()>,
    scribe: Scribe,
}

impl StreamingListener for Blocked {
    fn on_streaming_started(&mut self, _started: &StreamingStarted) {
        self.may.recv().unwrap();
    }

    fn on_events_missed(&mut self, missed: &EventsMissed) {
        self.scribe.note(missed.count.to_string());
    }
}

#[test]
fn a_blocked_listener_does_not_hold_up_the_job_and_hears_how_much_it_missed() {
    let (go, may): (Sender<()>, Receiver<()>) = channel();
    let scribe = Scribe::default();
    let blocked = Mutex::new(Some(Blocked { may, scribe: scribe.clone() }));
    let mut job = TestJob::configured(
        move |builder| builder.listener_queue(4).listener(blocked.lock().unwrap().take().unwrap()),
        |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            stream.print(0);
            numbers
        },
    )
    .unwrap();
    for _ in 0..5 {
        job.handles().push(vec![1]).unwrap();
        job.run_batch().unwrap();
    }
    assert_eq!(job.running().status().records, 5);
    assert!(job.running().status().events_missed > 0);
    assert!(!job.running().await_termination_timeout(std::time::Duration::ZERO).unwrap());
    go.send(()).unwrap();
    job.running().stop(true).unwrap();
    let heard: u64 = scribe.take().iter().map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!(heard, job.running().status().events_missed);
}

struct Clumsy;

impl StreamingListener for Clumsy {
    fn on_batch_started(&mut self, started: &BatchStarted) {
        assert_eq!(started.batch.id, BatchId(1), "the second batch is too much");
    }
}

#[test]
fn a_listener_that_panics_is_removed_and_the_others_and_the_job_go_on() {
    let scribe = Scribe::default();
    let listener = scribe.clone();
    let mut job = TestJob::configured(
        move |builder| builder.listener(Clumsy).listener(listener.clone()).listener(Clumsy),
        |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            stream.print(0);
            numbers
        },
    )
    .unwrap();
    for _ in 0..3 {
        job.run_batch().unwrap();
    }
    job.running().stop(true).unwrap();
    assert_eq!(job.running().status().listeners_removed, 2);
    let told = scribe.take();
    assert_eq!(told.iter().filter(|line| line.contains("completed")).count(), 4, "{told:#?}");
    assert_eq!(told.last().unwrap(), "job stopped: graceful true, None");
}

/// Keeps what was completed.
#[derive(Clone, Default)]
struct Figures(Arc<Mutex<Vec<BatchCompleted>>>, Scribe);

impl StreamingListener for Figures {
    fn on_batch_completed(&mut self, completed: &BatchCompleted) {
        self.0.lock().unwrap().push(completed.clone());
    }

    fn on_batch_submitted(&mut self, submitted: &BatchSubmitted) {
        self.1.on_batch_submitted(submitted);
    }

    fn on_clock_jump(&mut self, jump: &ClockJumped) {
        self.1.on_clock_jump(jump);
    }
}

#[test]
fn the_figures_are_true_for_every_source_and_a_replay_has_the_same_ones() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("one"), b"a\nb\n\xff\nc\n").unwrap();
    let (figures, directory) = (Figures::default(), files.path().to_path_buf());
    let listener = figures.clone();
    let mut job = TestJob::configured(
        move |builder| builder.listener(listener.clone()),
        move |context| {
            let (words, queue) = context.queue_stream::<String>("words");
            let (_silent, nothing) = context.queue_stream::<String>("silent");
            let lines = context.text_file_stream("lines", &directory).map(|line| line.to_string());
            queue.union(&lines).union(&nothing).map(|word| (word, 1_u64)).reduce_by_key(|a, b| a + b).collect("counts");
            words
        },
    )
    .unwrap();
    job.handles().push(vec!["a".into(), "d".into()]).unwrap();
    let batch = job.run_batch().unwrap();
    job.crash_and_restart().unwrap();
    job.clock().jump(5_000);
    job.run_batch().unwrap();
    job.crash();

    let completed = figures.0.lock().unwrap().clone();
    let (first, again) = (&completed[0], &completed[1]);
    let counts: Vec<_> =
        first.sources.iter().map(|source| (source.source.as_str(), source.records, source.failed)).collect();
    assert_eq!(counts, [("words", 2, 0), ("silent", 0, 0), ("lines", 3, 1)]);
    assert_eq!((first.records(), first.failed_records(), first.is_replay, first.batch), (5, 1, false, batch));
    assert_eq!(again, &BatchCompleted { is_replay: true, ..first.clone() });
    assert!(completed[2..].iter().all(|later| !later.is_replay && later.records() == 0));
    let total: u64 = completed.iter().filter(|batch| !batch.is_replay).map(BatchCompleted::records).sum();
    assert_eq!(total, 5);
    let told = figures.1.take();
    assert_eq!(told[0], "1 submitted: [(1, 0, Some(2)), (0, 1, None)]");
    assert!(told.contains(&"clock jumped 5000 ms".to_string()), "{told:?}");
}

/// Lets time pass while it publishes, and while it computes.
#[test]
fn the_delays_of_a_batch_add_up() {
    let figures = Figures::default();
    let listener = figures.clone();
    let clock = Arc::new(Mutex::new(None::<floodmark_base::clock::ManualClock>));
    let hands = clock.clone();
    let pass = move |clock: &Mutex<Option<floodmark_base::clock::ManualClock>>, ms: u64| {
        if let Some(clock) = &*clock.lock().unwrap() {
            clock.advance(std::time::Duration::from_millis(ms));
        }
    };
    let mut job = TestJob::configured(
        move |builder| builder.workers(1).listener(listener.clone()),
        move |context| {
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let (hands, later) = (hands.clone(), hands.clone());
            let computed = stream.map(move |number| {
                pass(&hands, 7);
                number
            });
            computed.foreach_rdd(move |_, rdd| pass(&later, 5 * rdd.collect().len() as u64));
            numbers
        },
    )
    .unwrap();
    *clock.lock().unwrap() = Some(job.clock().clone());
    job.handles().push(vec![1]).unwrap();
    job.run_batch().unwrap();
    job.running().stop(true).unwrap();
    let first = figures.0.lock().unwrap()[0].clone();
    let parts = (first.scheduling_delay_ms, first.processing_ms, first.publishing_ms, first.total_delay_ms);
    assert_eq!(parts, (0, 7, 5, 12));
}

/// Fails, and gives one record the second time.
#[derive(Default)]
struct Flaky(bool);

impl crate::Receiver for Flaky {
    type Item = u64;

    async fn on_start(&mut self, context: crate::ReceiverContext<u64>) -> Result<(), crate::ReceiverError> {
        if !std::mem::replace(&mut self.0, true) {
            return Err("no line".into());
        }
        context.store_block(vec![7]).await?;
        context.stopped().await;
        Ok(())
    }
}

#[test]
fn every_start_error_and_end_of_a_receiver_is_told() {
    let scribe = Scribe::default();
    let listener = scribe.clone();
    let mut job = TestJob::configured(
        move |builder| builder.listener(listener.clone()),
        |context| context.receiver_stream("flaky", Flaky::default()).print(0),
    )
    .unwrap();
    // It starts again after 2 s of the job's clock.
    while job.running().status().records == 0 {
        job.run_batch().unwrap();
    }
    job.running().stop(true).unwrap();
    let told: Vec<String> = scribe.take().into_iter().filter(|line| line.starts_with("receiver")).collect();
    let expected = [
        "receiver started: flaky",
        "receiver error: no line; starts again in 2000 ms",
        "receiver stopped: flaky, again after Some(2000) ms",
        "receiver started: flaky",
        "receiver stopped: flaky, again after None ms",
    ];
    assert_eq!(told, expected);
}
