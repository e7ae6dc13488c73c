//! Windows and states where random graphs seldom come: windows without a batch, keys that a filter refuses, very many keys, one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kit::{by_partition, on_one, random_pairs};
use crate::operator::state::keyed_state::KeyedState;
use crate::testing::TestJob;

/// Batch intervals of the test job.
fn intervals(count: u64) -> Duration {
    Duration::from_millis(100 * count)
}

fn sum(one: u64, other: u64) -> u64 {
    one + other
}

fn difference(all: u64, left: u64) -> u64 {
    all - left
}

#[test]
fn a_window_that_covers_no_batch_has_0_records() {
    let mut job = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        (numbers, stream.count_by_window("how many", intervals(1), intervals(2)).collect("out"))
    })
    .unwrap();
    job.run_batch().unwrap();
    // Seven ticks merge; the newest window that ends meanwhile would cover the tick before only, and that has no batch.
    job.run_batch_after(8).unwrap();
    assert_eq!(job.handles().1.last(), [0]);
}

#[test]
fn a_key_that_the_filter_refused_and_that_came_again_is_recomputed_alike() {
    let mut job = TestJob::configured(
        |builder| builder.checkpoint_every(3),
        |context| {
            let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
            let keep = |_: &u64, sum: &u64| *sum != 5;
            let sums =
                stream.reduce_by_key_and_window_filtered("sums", sum, difference, intervals(3), intervals(1), keep);
            (numbers, sums.collect("out"))
        },
    )
    .unwrap();
    let mut results = Vec::new();
    for number in [Some(5), Some(1), None, None, None] {
        job.handles().0.push(number.map(|number| (7, number)).into_iter().collect()).unwrap();
        job.run_batch().unwrap();
        results.push(job.handles().1.last());
    }
    // In the fourth batch the first one leaves, of which nothing is known any more.
    assert_eq!(results, [vec![], vec![(7, 1)], vec![(7, 1)], vec![(7, 1)], vec![(7, 0)]]);
    job.running().wait_until(|status| status.checkpoint.0 == 3).unwrap();
    job.crash_and_restart().unwrap();
    assert_eq!(job.recovery().batches_replayed(), 2);
}

#[test]
fn a_hundred_thousand_keys_slide_through_a_window_and_have_states() {
    const KEYS: u64 = 100_000;
    let pairs = |from: u64| vec![(from..from + KEYS).map(|key| (key, 1)).collect::<Vec<(u64, u64)>>()];
    let batches = [pairs(0), pairs(KEYS / 2), Vec::new(), Vec::new()];
    let windows = on_one(&batches, |stream| {
        stream.reduce_by_key_and_window_inverse("window", sum, difference, intervals(2), intervals(1))
    });
    let of_range = |keys: std::ops::Range<u64>, value: u64| keys.map(move |key| (key, value));
    let half = KEYS / 2;
    let expected = [
        by_partition(of_range(0..KEYS, 1)),
        by_partition(of_range(0..half, 1).chain(of_range(half..KEYS, 2)).chain(of_range(KEYS..KEYS + half, 1))),
        by_partition(of_range(0..half, 0).chain(of_range(half..KEYS + half, 1))),
        by_partition(of_range(0..KEYS + half, 0)),
    ];
    assert!(windows == expected);

    let states = on_one(&batches, |stream| {
        let counted = stream.map_with_state("counts", |_, _, count: &mut KeyedState<u64>| {
            count.update(count.get().unwrap_or(&0) + 1);
        });
        counted.state_snapshots()
    });
    assert!(states[0] == expected[0] && states[1] == expected[1] && states[3] == expected[1]);
}

#[test]
fn a_window_that_is_longer_than_the_run_holds_all_of_it() {
    let batches: Vec<_> = (0..6).map(|seed| random_pairs(seed, 2, 40, 9)).collect();
    let merged = on_one(&batches, |stream| {
        stream.map_values(|n| vec![n]).reduce_by_key_and_window(
            "window",
            |one, other| [one, other].concat(),
            intervals(1_000),
            intervals(2),
        )
    });
    let expected = [2, 4, 6].map(|through| {
        let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        batches[..through].iter().flatten().flatten().for_each(|(key, n)| all.entry(*key).or_default().push(*n));
        by_partition(all)
    });
    assert_eq!(merged, expected);
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Place {
    Nowhere,
    At { row: u8, label: String },
    Near(Box<Place>),
}

#[test]
fn keys_may_be_enums_and_a_batch_may_have_one_key_only() {
    let at = |row, label: &str| Place::At { row, label: label.to_string() };
    let keys = [Place::Nowhere, at(1, "a"), at(1, "b"), Place::Near(Box::new(at(1, "a")))];
    let mut batches: Vec<Vec<Vec<(Place, u64)>>> =
        keys.iter().map(|key| vec![(0..2_000).map(|n| (key.clone(), n)).collect()]).collect();
    batches.push(vec![keys.iter().map(|key| (key.clone(), 1)).collect()]);
    let sums = on_one(&batches, |stream| {
        stream.update_state_by_key("sums", |values: &[u64], sum: Option<u64>| {
            Some(sum.unwrap_or(0) + values.iter().sum::<u64>())
        })
    });
    let total: u64 = (0..2_000).sum();
    for batch in 0..4 {
        let seen = by_partition(keys[..=batch].iter().map(|key| (key.clone(), total)));
        assert_eq!(sums[batch], seen, "batch {batch}");
    }
    assert_eq!(sums[4], by_partition(keys.iter().map(|key| (key.clone(), total + 1))));
}
