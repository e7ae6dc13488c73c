//! State within a budget of memory: the same results at every batch as without one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};

use floodmark::{
    BatchCompleted, KeyedState, MemorySink, Queue, StateSpec, StreamingContext, StreamingContextBuilder,
    StreamingListener, Text,
};
use floodmark_chaos::sweep::{Env, Fault, Restart, Sweep};

use crate::common::place::Place;
use crate::common::scramble;
use crate::job::{KEYS, Pair, PutOut, SEEDS, Seen, add, declare, look, put_out, records, run_one, same};

/// Room for about thirty keys in each of eight partitions.
const BUDGET: u64 = 24_000;

/// A job of 30 batches that crashes three times. It does not stop gracefully: whether that takes one more batch depends on when the newest
/// checkpoint was.
fn run(seed: u64, budget: Option<u64>, workers: [u32; 4], every: u64) -> (BTreeMap<u64, Seen>, PutOut) {
    let (place, sink) = (Place::default(), MemorySink::default());
    let configure = |builder: StreamingContextBuilder, workers: u32| {
        let builder = builder.workers(workers).checkpoint_every(every).lazy_restart_above(0);
        budget.into_iter().fold(builder, StreamingContextBuilder::state_memory)
    };
    let start =
        |workers: u32| place.start(|builder| configure(builder, workers), |context| declare(context, &sink)).unwrap();
    let mut life = start(workers[0]);
    let (mut seen, mut evictions) = (BTreeMap::new(), 0);
    for batch in 1..=30 {
        run_one(&life, records(seed, batch));
        seen.insert(batch, look(&life, batch));
        if batch % 7 == 0 && batch < 28 {
            let status = life.running.status();
            evictions += status.state_evictions;
            drop(life);
            life = start(workers[(batch / 7) as usize]);
        }
    }
    assert_eq!(evictions > 0, budget.is_some());
    (seen, put_out(&sink))
}

#[test]
fn a_job_within_a_budget_gives_what_one_without_gives_at_every_batch_with_any_number_of_workers() {
    for seed in SEEDS {
        let unlimited = run(seed, None, [2, 2, 2, 2], 3);
        same(&unlimited, &run(seed, Some(BUDGET), [2, 2, 2, 2], 3), &format!("seed {seed}"));
        same(&unlimited, &run(seed, Some(BUDGET), [1, 4, 2, 3], 3), &format!("seed {seed}, other workers"));
    }
}

#[test]
fn what_changed_is_written_ahead_when_it_takes_an_eighth_of_the_budget() {
    let (place, sink) = (Place::default(), MemorySink::default());
    let (told, completed) = channel();
    let configure = |builder: StreamingContextBuilder| {
        let builder = builder.checkpoint_every(1_000_000).state_memory(BUDGET);
        builder.recovery_target(std::time::Duration::from_secs(3_600)).listener(Told(told))
    };
    let life = place.start(configure, |context| declare(context, &sink)).unwrap();
    for batch in 1..=20 {
        run_one(&life, records(5, batch));
    }
    let status = life.running.status();
    assert!(status.checkpoints >= 3, "{status:?}");
    assert!(status.state_evictions > KEYS / 2, "{status:?}");
    let batches: Vec<BatchCompleted> = completed.iter().take(20).collect();
    let sum = |count: fn(&BatchCompleted) -> u64| batches.iter().map(count).sum::<u64>();
    assert_eq!(
        [sum(|it| it.state_hits), sum(|it| it.state_misses), sum(|it| it.state_evictions)],
        [status.state_hits, status.state_misses, status.state_evictions],
        "listeners are told batch by batch what the status adds up"
    );
}

/// Hands on what a listener is told of batches.
struct Told(Sender<BatchCompleted>);

impl StreamingListener for Told {
    fn on_batch_completed(&mut self, completed: &BatchCompleted) {
        self.0.send(completed.clone()).unwrap();
    }
}

/// Keys and states with bytes of their own.
fn declare_texts(context: &StreamingContext, sink: &MemorySink<(Text, String)>) -> Queue<(Text, u64)> {
    let (queue, words) = context.queue_stream::<(Text, u64)>("words");
    let lines = words.map_with_state(StateSpec::new("lines"), |word: &Text, value, line: &mut KeyedState<String>| {
        let mut so_far = line.get().cloned().unwrap_or_default();
        so_far.push_str(&format!("{},", value.unwrap_or(0)));
        if so_far.len() > 60 {
            line.remove();
        } else {
            line.update(so_far.clone());
        }
        (word.clone(), so_far)
    });
    lines.sink("out", sink.clone());
    queue
}

#[test]
fn texts_as_keys_and_states_that_grow_and_go_are_the_same_within_a_budget() {
    let outputs = [None, Some(20_000)].map(|budget| {
        let (place, sink) = (Place::default(), MemorySink::default());
        let configure =
            |builder: StreamingContextBuilder| budget.into_iter().fold(builder, StreamingContextBuilder::state_memory);
        let life = place.start(configure, |context| declare_texts(context, &sink)).unwrap();
        for batch in 0..40_u64 {
            let words = (0..80).map(|index| {
                let random = scramble(batch * 1_000 + index);
                (
                    Text::from(format!("a word that is longer than what is kept inline {}", random % 400)),
                    random % 10_000,
                )
            });
            life.handles.push(words.collect()).unwrap();
            life.run_batch().unwrap();
        }
        assert_eq!(life.running.status().state_evictions > 0, budget.is_some());
        let fingerprints = life.running.fingerprints().unwrap();
        let batches: Vec<_> = sink.batches().into_iter().map(|batch| (batch.batch, batch.partitions)).collect();
        (fingerprints, batches)
    });
    assert!(outputs[0] == outputs[1]);
}

/// Every key in every batch: a state without records changes, goes, or stays.
fn declare_updates(context: &StreamingContext, sink: &MemorySink<Pair>) -> Queue<Pair> {
    let (queue, pairs) = context.queue_stream::<Pair>("pairs");
    let sums = pairs.update_state_by_key("sums", |new: &[u64], old: Option<u64>| match (new, old) {
        ([], Some(old)) if old % 43 == 0 => None,
        ([], Some(old)) if old % 29 == 0 => Some(old + 1),
        ([], old) => old,
        (new, old) => Some(new.iter().fold(old.unwrap_or(0), |fold, value| fold.wrapping_mul(31).wrapping_add(*value))),
    });
    sums.sink("out", sink.clone());
    queue
}

#[test]
fn an_operator_that_visits_every_key_visits_those_in_the_store_too() {
    let runs = [None, Some(BUDGET)].map(|budget| {
        let (place, sink) = (Place::default(), MemorySink::default());
        let configure =
            |builder: StreamingContextBuilder| budget.into_iter().fold(builder, StreamingContextBuilder::state_memory);
        let start = || place.start(configure, |context| declare_updates(context, &sink)).unwrap();
        let (mut life, mut seen) = (start(), Vec::new());
        for batch in 1..=20 {
            run_one(&life, records(4, batch));
            seen.push(look(&life, batch));
            if batch == 11 {
                assert_eq!(life.running.status().state_evictions > 0, budget.is_some());
                drop(life);
                life = start();
            }
        }
        (seen, put_out(&sink))
    });
    assert!(runs[0].0 == runs[1].0, "what was seen differs");
    assert!(runs[0].1 == runs[1].1, "what was put out differs");
}

fn swept(env: &Env) -> floodmark::Result<StreamingContext> {
    // Room for one key in each partition.
    let context = env.builder("budget").lazy_restart_above(0).state_memory(500).checkpoint_every(2).build()?;
    env.input::<Pair>(&context, "pairs").map_with_state("sums", add).sink("out", env.sink("sums"));
    Ok(context)
}

#[test]
fn a_job_within_a_budget_survives_a_fault_at_every_durable_step() {
    let batch = |batch: u64| (0..30).map(move |index| (scramble(batch * 64 + index) % 50, batch + index)).collect();
    Sweep::new("budget", swept)
        .input("pairs", (1..=8).map(batch).collect::<Vec<Vec<Pair>>>())
        .restarts([Restart::Kill(4), Restart::Graceful(6)])
        .seed(8)
        .faults([Fault::CrashBefore, Fault::CrashAfter, Fault::PowerCut, Fault::IoError])
        .run()
        .assert_survived();
}
