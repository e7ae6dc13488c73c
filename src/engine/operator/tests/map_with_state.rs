//! The state of `map_with_state`: who is called when, what times out, what survives.

use std::time::Duration;

use crate::operator::state::keyed_state::KeyedState;
use crate::source::Queue;
use crate::testing::{Collected, TestJob};
use floodmark_store::state::spec::StateSpec;

type Calls = TestJob<(Queue<(String, u64)>, Collected<(String, Option<u64>, u64)>)>;

/// Sums per key; puts out every call: key, value, sum before.
fn sums(spec: impl Fn() -> StateSpec<String, u64> + 'static) -> Calls {
    TestJob::new(move |context| {
        let (input, stream) = context.queue_stream::<(String, u64)>("input");
        let calls = stream.map_with_state(spec(), |key, value, sum: &mut KeyedState<u64>| {
            let before = *sum.get().unwrap_or(&0);
            match value {
                Some(0) if sum.exists() => sum.remove(),
                Some(value) if value < 100 => sum.update(before + value),
                _ => {}
            }
            assert_eq!(sum.is_timing_out(), value.is_none());
            (key.clone(), value, before)
        });
        (input, calls.collect("calls"))
    })
    .unwrap()
}

fn batch(job: &mut Calls, ticks: u64, records: &[(&str, u64)]) -> Vec<(String, Option<u64>, u64)> {
    let records = records.iter().map(|(key, value)| ((*key).to_string(), *value)).collect();
    job.handles().0.push(records).unwrap();
    job.run_batch_after(ticks).unwrap();
    job.handles().1.last_sorted()
}

fn call(key: &str, value: impl Into<Option<u64>>, before: u64) -> (String, Option<u64>, u64) {
    (key.to_string(), value.into(), before)
}

fn timeout(intervals: u64) -> impl Fn() -> StateSpec<String, u64> + 'static {
    move || StateSpec::new("sums").timeout(Duration::from_millis(100 * intervals))
}

#[test]
fn the_function_runs_once_per_record_in_the_order_of_the_source() {
    let mut job = sums(|| "sums".into());
    assert_eq!(
        batch(&mut job, 1, &[("a", 1), ("a", 2), ("a", 3)]),
        [call("a", 1, 0), call("a", 2, 1), call("a", 3, 3)]
    );
    assert_eq!(batch(&mut job, 1, &[]), [], "not for keys without records");
    assert_eq!(batch(&mut job, 1, &[("a", 0), ("a", 5)]), [call("a", 0, 6), call("a", 5, 0)], "removed, then new");
}

#[test]
fn a_key_idle_for_longer_than_the_timeout_is_handed_over_once_and_removed() {
    let mut job = sums(timeout(2));
    batch(&mut job, 1, &[("a", 1)]);
    assert_eq!(batch(&mut job, 1, &[]), []);
    assert_eq!(batch(&mut job, 1, &[]), [], "idle for as long as the timeout, not longer");
    assert_eq!(batch(&mut job, 1, &[]), [call("a", None, 1)]);
    assert_eq!(batch(&mut job, 1, &[]), []);
    assert_eq!(job.running().status().keys, 0);
    assert_eq!(batch(&mut job, 1, &[("a", 4)]), [call("a", 4, 0)], "nothing is left of it");
}

#[test]
fn a_key_that_is_read_or_written_is_not_idle() {
    let mut job = sums(timeout(2));
    batch(&mut job, 1, &[("written", 1), ("read", 1), ("idle", 1)]);
    for _ in 0..3 {
        batch(&mut job, 1, &[]);
        let calls = batch(&mut job, 1, &[("written", 1), ("read", 100)]);
        assert!(calls.iter().all(|(key, ..)| key != "idle"), "{calls:?}");
    }
    let keys: Vec<String> =
        job.running().state::<String, u64>("sums").unwrap().iter().unwrap().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[test]
fn a_timeout_longer_than_time_itself_is_none() {
    let mut job = sums(|| StateSpec::new("sums").timeout(Duration::MAX));
    batch(&mut job, 1, &[("a", 1)]);
    assert_eq!(batch(&mut job, 1_000, &[]), []);
    job.crash_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1_000, &[("a", 1)]), [call("a", 1, 1)]);
}

#[test]
fn a_record_of_the_same_batch_saves_a_key_from_its_timeout() {
    let mut job = sums(timeout(1));
    batch(&mut job, 1, &[("a", 1)]);
    assert_eq!(batch(&mut job, 20, &[("a", 2)]), [call("a", 2, 1)]);
}

#[test]
fn timeouts_go_on_where_they_were_after_a_crash() {
    for crash_after in 0..4 {
        let mut job = sums(timeout(2));
        batch(&mut job, 1, &[("a", 1)]);
        let calls: Vec<_> = (0..4)
            .map(|n| {
                if n == crash_after {
                    job.crash_and_restart().unwrap();
                }
                batch(&mut job, 1, &[])
            })
            .collect();
        assert_eq!(calls, [vec![], vec![], vec![call("a", None, 1)], vec![]], "crash before batch {}", crash_after + 2);
    }
}

#[test]
fn a_key_of_the_initial_state_was_used_at_the_zero_time_and_is_given_once() {
    let mut job = sums(|| {
        let initial = [("a".to_string(), 5), ("b".to_string(), 6)];
        StateSpec::new("sums").initial_state(initial).timeout(Duration::from_millis(200))
    });
    job.crash_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1, &[("a", 1)]), [call("a", 1, 5)]);
    job.crash_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1, &[]), []);
    assert_eq!(batch(&mut job, 1, &[]), [call("b", None, 6)]);
    job.crash_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1, &[]), [call("a", None, 6)]);
    job.stop_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1, &[("a", 1)]), [call("a", 1, 0)], "the initial state is not applied twice");
}

#[test]
fn snapshots_hold_the_whole_state_in_key_order_after_every_batch() {
    let mut job = TestJob::new(|context| {
        let (input, stream) = context.queue_stream::<(u64, u64)>("input");
        let sums = stream.map_with_state("sums", |_, value, sum: &mut KeyedState<u64>| {
            sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
        });
        (input, sums.state_snapshots().collect("all"), stream.reduce_by_key(|a, b| a + b).collect("keyed"))
    })
    .unwrap();
    let (input, all, keyed) = job.handles();
    input.push((0..50).map(|key| (key, key)).collect()).unwrap();
    job.run_batch().unwrap();
    assert_eq!(all.last(), keyed.last(), "the same partitions and the same order");
    job.run_batch().unwrap();
    assert_eq!(all.last().len(), 50);
}

#[test]
fn a_state_that_times_out_can_be_neither_updated_nor_removed() {
    for remove in [false, true] {
        let mut job = TestJob::new(move |context| {
            let (input, stream) = context.queue_stream::<(String, u64)>("input");
            let spec = StateSpec::new("sums").timeout(Duration::from_millis(100));
            let calls = stream.map_with_state(spec, move |_, value, sum: &mut KeyedState<u64>| match value {
                Some(value) => sum.update(value),
                None if remove => sum.remove(),
                None => sum.update(0),
            });
            (input, calls.collect("calls"))
        })
        .unwrap();
        job.handles().0.push(vec![("a".to_string(), 1)]).unwrap();
        job.run_batch().unwrap();
        let error = job.run_batch_after(5).unwrap_err().to_string();
        assert!(error.contains("timing out cannot be") && error.contains("sums"), "{error}");
    }
}

#[test]
fn a_timeout_can_be_given_to_state_that_had_none() {
    let limit = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let with_timeout = limit.clone();
    let mut job = sums(move || {
        let spec = StateSpec::new("sums");
        let on = with_timeout.load(std::sync::atomic::Ordering::Relaxed);
        if on { spec.timeout(Duration::from_millis(200)) } else { spec }
    });
    batch(&mut job, 1, &[("a", 1)]);
    assert_eq!(batch(&mut job, 9, &[]), []);
    limit.store(true, std::sync::atomic::Ordering::Relaxed);
    job.stop_and_restart().unwrap();
    assert_eq!(batch(&mut job, 1, &[]), [call("a", None, 1)]);
}

#[test]
fn state_of_an_older_version_is_migrated_with_the_time_of_its_last_use() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let newer = Arc::new(AtomicBool::new(false));
    let version = newer.clone();
    let mut job = TestJob::configured(
        |builder| builder.job_version("the same for both"),
        move |context| {
            let (input, stream) = context.queue_stream::<(String, u64)>("input");
            let timeout = Duration::from_millis(300);
            let out = if version.load(Ordering::Relaxed) {
                let spec = StateSpec::new("sums").version(2).migrate_from(1, |old: u64| format!("was {old}"));
                let calls = stream.map_with_state(spec.timeout(timeout), |_, value, state: &mut KeyedState<String>| {
                    if value.is_some() {
                        state.update(format!("{value:?}"));
                    }
                    state.get().cloned().unwrap_or_default()
                });
                calls.collect("out")
            } else {
                let spec = StateSpec::new("sums").timeout(timeout);
                let calls = stream.map_with_state(spec, |_, value, state: &mut KeyedState<u64>| {
                    state.update(value.unwrap_or(0));
                    String::new()
                });
                calls.collect("out")
            };
            (input, out)
        },
    )
    .unwrap();
    job.handles().0.push(vec![("a".to_string(), 7)]).unwrap();
    job.run_batch().unwrap();
    newer.store(true, Ordering::Relaxed);
    job.stop_and_restart().unwrap(); // a batch of its own
    let results: Vec<Vec<String>> = (0..4)
        .map(|_| {
            job.run_batch().unwrap();
            job.handles().1.last()
        })
        .collect();
    assert_eq!(results.concat(), ["was 7"], "{results:?}");
}
