//! Who is called, when and with what: the state that is updated for every key in every batch.

use std::sync::{Arc, Mutex};

use crate::source::Queue;
use crate::testing::{Collected, TestJob};
use floodmark_store::state::spec::StateSpec;

/// Key, values, state before.
type Call = (String, Vec<u64>, Option<u64>);
type Job = TestJob<(Queue<(String, u64)>, Collected<(String, u64)>)>;

/// Sums; the value 0 removes the key. Every call is noted.
fn job(calls: Arc<Mutex<Vec<Call>>>) -> Job {
    TestJob::new(move |context| {
        let (input, stream) = context.queue_stream::<(String, u64)>("input");
        let spec = StateSpec::new("sums").initial_state([("initial".to_string(), 5)]);
        let noted = calls.clone();
        let sums =
            stream.update_state_by_key_and_time(spec, move |_, key: &String, values: &[u64], sum: Option<u64>| {
                noted.lock().unwrap().push((key.clone(), values.to_vec(), sum));
                (!values.contains(&0)).then(|| sum.unwrap_or(0) + values.iter().sum::<u64>())
            });
        (input, sums.collect("out"))
    })
    .unwrap()
}

fn pair(key: &str, value: u64) -> (String, u64) {
    (key.to_string(), value)
}

#[test]
fn the_function_runs_for_every_key_in_every_batch_with_no_values_where_none_came() {
    let calls = Arc::<Mutex<Vec<Call>>>::default();
    let mut job = job(calls.clone());
    let mut batch = |records: Vec<(String, u64)>| {
        calls.lock().unwrap().clear();
        job.handles().0.push(records).unwrap();
        job.run_batch().unwrap();
        let mut calls = calls.lock().unwrap().clone();
        calls.sort();
        (calls, job.handles().1.last_sorted())
    };
    let call = |key: &str, values: &[u64], sum: Option<u64>| (key.to_string(), values.to_vec(), sum);

    let first = batch(vec![pair("a", 3), pair("a", 1)]);
    assert_eq!(
        first.0,
        [call("a", &[3, 1], None), call("initial", &[], Some(5))],
        "the initial key from the first batch on"
    );
    assert_eq!(first.1, [pair("a", 4), pair("initial", 5)]);
    let second = batch(vec![pair("a", 0)]);
    assert_eq!(second.0, [call("a", &[0], Some(4)), call("initial", &[], Some(5))]);
    assert_eq!(second.1, [pair("initial", 5)], "what is None is gone");
    let third = batch(vec![pair("a", 2)]);
    assert_eq!(third.0, [call("a", &[2], None), call("initial", &[], Some(5))], "nothing is left of a removed key");
}

#[test]
fn initial_state_that_was_removed_does_not_come_back() {
    let mut job = job(Arc::default());
    job.handles().0.push(vec![pair("initial", 0)]).unwrap();
    job.run_batch().unwrap();
    for _ in 0..3 {
        job.crash_and_restart().unwrap();
        job.run_batch().unwrap();
        assert!(job.handles().1.last().is_empty());
    }
}
