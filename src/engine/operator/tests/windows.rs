//! What windows cover, when they yield, and what they cost.

use std::time::Duration;

use crate::dstream::DStream;
use crate::source::Queue;
use crate::testing::{Collected, TestJob};

/// So many batch intervals of a [`TestJob`].
fn intervals(count: u64) -> Duration {
    Duration::from_millis(100 * count)
}

type Job<U> = TestJob<(Queue<u64>, Collected<U>)>;

/// A job over a stream of numbers.
fn job_of<U: floodmark_base::codec::Record>(build: impl Fn(DStream<'_, u64>) -> DStream<'_, U> + 'static) -> Job<U> {
    TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        (numbers, build(stream).collect("out"))
    })
    .unwrap()
}

/// Runs a batch of these numbers; what it yields, with the time in intervals since the zero time, or nothing.
fn batch<U: floodmark_base::codec::Record>(job: &mut Job<U>, ticks: u64, numbers: &[u64]) -> Option<(u64, Vec<U>)> {
    job.handles().0.push(numbers.to_vec()).unwrap();
    let batch = job.run_batch_after(ticks).unwrap();
    let results = job.handles().1.all();
    let (of, rdd) = results.into_iter().find(|(of, _)| of.id == batch.id)?;
    Some(((of.time.0 - 1_700_000_000_000) / 100, rdd.collect()))
}

#[test]
fn a_window_covers_the_batches_after_its_beginning_up_to_its_end() {
    let mut job = job_of(|stream| stream.window("window", intervals(3), intervals(2)));
    let results: Vec<_> = (1..=6).map(|n| batch(&mut job, 1, &[n])).collect();
    let expected = [None, Some((2, vec![1, 2])), None, Some((4, vec![2, 3, 4])), None, Some((6, vec![4, 5, 6]))];
    assert_eq!(results, expected);
}

#[test]
fn a_window_longer_than_the_run_holds_what_there_is() {
    let mut job = job_of(|stream| stream.window("window", intervals(100), intervals(1)));
    assert_eq!(batch(&mut job, 1, &[1]), Some((1, vec![1])));
    assert_eq!(batch(&mut job, 1, &[2]), Some((2, vec![1, 2])));
}

#[test]
fn where_ticks_merge_the_first_batch_beyond_yields_for_the_newest_boundary_with_its_time() {
    let mut job = job_of(|stream| stream.window("window", intervals(4), intervals(2)));
    assert_eq!(batch(&mut job, 1, &[1]), None);
    assert_eq!(batch(&mut job, 1, &[2]), Some((2, vec![1, 2])));
    // The batch at 7 passes the boundaries 4 and 6; its own records belong to the window at 8.
    assert_eq!(batch(&mut job, 5, &[7]), Some((6, vec![])));
    assert_eq!(batch(&mut job, 1, &[8]), Some((8, vec![7, 8])));
}

#[test]
fn after_downtime_windows_expire_by_time() {
    let mut job = job_of(|stream| stream.window("window", intervals(3), intervals(1)));
    batch(&mut job, 1, &[1]);
    job.crash_and_restart().unwrap();
    assert_eq!(batch(&mut job, 50, &[2]), Some((51, vec![2])));
}

#[test]
fn a_window_of_a_window_slides_by_its_parents_slide() {
    let mut job = job_of(|stream| {
        stream.window("inner", intervals(2), intervals(2)).map(|n| n * 10).window("outer", intervals(4), intervals(4))
    });
    let results: Vec<_> = (1..=8).map(|n| batch(&mut job, 1, &[n])).collect();
    let yielded: Vec<_> = results.into_iter().flatten().collect();
    assert_eq!(yielded, [(4, vec![10, 20, 30, 40]), (8, vec![50, 60, 70, 80])]);
}

#[test]
fn the_units_of_a_window_are_those_of_its_batches() {
    let mut job = job_of(|stream| {
        let small = stream.filter(|n| *n < 100);
        small.window("window", intervals(2), intervals(2)).map_partitions(|numbers| [numbers.collect::<Vec<_>>()])
    });
    job.handles().0.push(vec![1, 2]).unwrap();
    batch(&mut job, 1, &[3]);
    job.handles().0.push(vec![100]).unwrap();
    assert_eq!(batch(&mut job, 1, &[4]), Some((2, vec![vec![1, 2], vec![3], vec![], vec![4]])));
}

#[test]
fn window_counts_yield_one_record_also_for_empty_batches() {
    let mut job = job_of(|stream| stream.count_by_window("count", intervals(2), intervals(1)));
    let counts: Vec<_> = [0, 3, 1, 0, 0].iter().map(|n| batch(&mut job, 1, &vec![9; *n]).unwrap().1).collect();
    assert_eq!(counts, [[0], [3], [4], [1], [0]]);
    assert_eq!(job.run_batch().map(|_| job.handles().1.last()).unwrap(), [0], "without a block, too");
}

#[test]
fn without_a_filter_a_key_that_became_zero_stays_and_with_one_it_goes() {
    let mut staying = job_of(move |stream| {
        let once = intervals(1);
        let sums = stream.map(|n| (n % 2, n));
        sums.reduce_by_key_and_window_inverse("sums", |a, b| a + b, |a, b| a - b, once, once)
    });
    assert_eq!(batch(&mut staying, 1, &[4]), Some((1, vec![(0, 4)])));
    assert_eq!(batch(&mut staying, 1, &[]), Some((2, vec![(0, 0)])));
    let mut going = job_of(move |stream| {
        let once = intervals(1);
        let sums = stream.map(|n| (n % 2, n));
        sums.reduce_by_key_and_window_filtered("sums", |a, b| a + b, |a, b| a - b, once, once, |_, sum| *sum != 0)
    });
    assert_eq!(batch(&mut going, 1, &[4]), Some((1, vec![(0, 4)])));
    assert_eq!(batch(&mut going, 1, &[]), Some((2, vec![])));
    assert_eq!(going.running().status().keys, 0);
}

#[test]
fn a_key_that_was_filtered_begins_anew_and_nothing_is_subtracted_from_it_later() {
    let mut job = job_of(|stream| {
        let signed = stream.map(|n| ((), if n > 100 { 100 - n as i64 } else { n as i64 }));
        let sums = |a: i64, b: i64| a + b;
        let (length, slide) = (intervals(3), intervals(1));
        signed.reduce_by_key_and_window_filtered("sums", sums, |a, b| a - b, length, slide, |(), sum| *sum != 0)
    });
    assert_eq!(batch(&mut job, 1, &[5]), Some((1, vec![((), 5)])));
    assert_eq!(batch(&mut job, 1, &[105]), Some((2, vec![])), "five and minus five");
    assert_eq!(batch(&mut job, 1, &[7]), Some((3, vec![((), 7)])));
    for time in 4..=5 {
        assert_eq!(batch(&mut job, 1, &[]), Some((time, vec![((), 7)])), "what was forgotten is not subtracted");
    }
    assert_eq!(batch(&mut job, 1, &[]), Some((6, vec![])));
}

#[test]
fn an_inverse_window_takes_in_once_what_merged_ticks_brought_together() {
    let mut job =
        job_of(|stream| stream.reduce_by_window_inverse("sum", |a, b| a + b, |a, b| a - b, intervals(4), intervals(2)));
    assert_eq!(batch(&mut job, 1, &[1]), None);
    assert_eq!(batch(&mut job, 4, &[10]), Some((4, vec![1])), "at 5 the window at 4 yields");
    assert_eq!(batch(&mut job, 1, &[100]), Some((6, vec![110])));
    assert_eq!(batch(&mut job, 40, &[1_000]), Some((46, vec![1_000])), "all that was in it has left");
}

#[test]
fn windows_survive_a_crash_in_every_batch() {
    fn build(stream: DStream<'_, u64>) -> DStream<'_, (u64, (u64, u64))> {
        let pairs = stream.map(|n| (n % 3, n));
        let inverse =
            pairs.reduce_by_key_and_window_inverse("inverse", |a, b| a + b, |a, b| a - b, intervals(3), intervals(2));
        let reduced = pairs.reduce_by_key_and_window("reduced", |a, b| a + b, intervals(3), intervals(2));
        let plain = stream.window("plain", intervals(3), intervals(2)).map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b);
        inverse.map(|pair| (0, pair)).union(&reduced.map(|pair| (1, pair))).union(&plain.map(|pair| (2, pair)))
    }
    let (mut steady, mut crashing) = (job_of(build), job_of(build));
    for n in 1..=14 {
        let numbers: Vec<u64> = (0..n % 5).map(|i| n * 7 + i).collect();
        let (expected, found) = (batch(&mut steady, 1, &numbers), batch(&mut crashing, 1, &numbers));
        assert_eq!(found, expected, "batch {n}");
        crashing.crash_and_restart().unwrap();
        if let Some((_, results)) = found {
            let of = |which: u64| {
                let mut of: Vec<(u64, u64)> =
                    results.iter().filter(|(kind, _)| *kind == which).map(|(_, pair)| *pair).collect();
                of.retain(|(_, sum)| *sum > 0); // an inverse window keeps its zeros
                of.sort_unstable();
                of
            };
            assert_eq!(of(0), of(1), "batch {n}");
            assert_eq!(of(1), of(2), "batch {n}");
        }
    }
}

#[test]
fn what_is_remembered_can_be_sliced_also_after_a_crash() {
    let mut job = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        (numbers, stream.remember("recent", intervals(3)))
    })
    .unwrap();
    let mut times = Vec::new();
    for n in 1..=4_u64 {
        job.handles().0.push(vec![n, n]).unwrap();
        times.push(job.run_batch().unwrap().time);
    }
    job.crash_and_restart().unwrap();
    let slice = |from: usize, to: usize| -> Vec<Vec<u64>> {
        let slices = job.handles().1.slice(job.running(), times[from]..=times[to]).unwrap();
        slices.into_iter().map(|(_, rdd)| rdd.collect()).collect()
    };
    assert_eq!(slice(2, 2), [[3, 3]]);
    assert_eq!(slice(0, 3), [[3, 3], [4, 4]], "a window after the next batch would cover no others");
}

#[test]
fn every_window_with_state_declares_its_length_and_its_slide() {
    let place = tempfile::tempdir().unwrap();
    let (length, slide) = (Duration::from_secs(6), Duration::from_secs(3));
    let context = crate::StreamingContext::builder("job").checkpoint(place.path()).build().unwrap();
    let (_, stream) = context.queue_stream::<(u64, u64)>("pairs");
    let (add, subtract) = (u64::wrapping_add, u64::wrapping_sub);
    stream.window("window", length, slide).print(1);
    stream.group_by_key_and_window("groups", length, slide).print(1);
    stream.reduce_by_key_and_window("sums", add, length, slide).print(1);
    stream.reduce_by_key_and_window_inverse("inverse", add, subtract, length, slide).print(1);
    stream.reduce_by_key_and_window_filtered("filtered", add, subtract, length, slide, |_, _| true).print(1);
    stream.count_by_value_and_window("values", length, slide).print(1);
    stream.count_by_window("count", length, slide).print(1);
    let numbers = stream.map(|(_, number)| number);
    numbers.reduce_by_window("sum", add, length, slide).print(1);
    numbers.reduce_by_window_inverse("inverse sum", add, subtract, length, slide).print(1);
    let operators = context.schema().unwrap().operators;
    assert_eq!(operators.len(), 9);
    for operator in operators {
        let declared = [("length_ms".to_string(), 6_000), ("slide_ms".to_string(), 3_000)];
        assert_eq!(operator.parameters, declared, "{}", operator.uid);
    }
}
