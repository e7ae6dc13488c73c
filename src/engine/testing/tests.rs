//! The life of a job, driven batch by batch.

use crate::source::Queue;
use crate::testing::{Collected, TestJob};
use floodmark_base::id::BatchId;

type Counts = TestJob<(Queue<String>, Collected<(String, u64)>)>;

fn word_counts() -> Counts {
    TestJob::new(|context| {
        let (words, stream) = context.queue_stream::<String>("words");
        let counts =
            stream.map(|word| (word, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
            });
        (words, counts.collect("output"))
    })
    .unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}

fn counts(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(word, count)| ((*word).to_string(), *count)).collect()
}

#[test]
fn state_goes_on_over_batches_crashes_and_graceful_stops() {
    let mut job = word_counts();
    for round in 1..=20_u64 {
        job.handles().0.push(words("a b a")).unwrap();
        job.run_batch().unwrap();
        assert_eq!(job.handles().1.last_sorted(), counts(&[("a", 2 * round), ("b", round)]), "round {round}");
        match round % 5 {
            1 => job.crash_and_restart().unwrap(),
            3 => job.stop_and_restart().unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_graceful_stop_leaves_nothing_to_replay() {
    let mut job = word_counts();
    job.handles().0.push(words("a b")).unwrap();
    job.run_batch().unwrap();
    job.handles().0.push(words("c")).unwrap(); // received, and in no batch yet
    job.stop_and_restart().unwrap();
    assert_eq!(job.recovery().batches_replayed(), 0);
    assert!(job.recovery().checkpoint() > Some(BatchId(1)));
    job.run_batch().unwrap();
    assert_eq!(job.handles().1.last_sorted(), counts(&[("a", 1), ("b", 1), ("c", 1)]));
}

#[test]
fn a_crash_right_after_the_start_recovers_an_empty_job() {
    let mut job = word_counts();
    for _ in 0..3 {
        job.crash_and_restart().unwrap();
    }
    job.handles().0.push(words("a")).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().1.last(), counts(&[("a", 1)]));
}

#[test]
fn the_status_of_a_recovered_job_goes_on_where_it_was() {
    let mut job = word_counts();
    for round in 1..=6_u64 {
        job.handles().0.push(words("a")).unwrap();
        job.run_batch().unwrap();
        let before = job.running().status();
        job.crash_and_restart().unwrap();
        let after = job.running().status();
        assert_eq!((after.planned, after.committed, after.published), (BatchId(round), BatchId(round), BatchId(round)));
        assert_eq!(after.planned_time, before.planned_time);
    }
}
