//! Operators without keys, and narrow ones with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kit::{error_of, on_one};
use crate::testing::TestJob;

#[test]
fn the_records_of_a_batch_are_merged_in_the_order_of_the_source() {
    let text = |words: &str| words.split(' ').map(str::to_string).collect::<Vec<_>>();
    let batches = [vec![text("a b c"), text("d"), text("e f")], Vec::new(), vec![Vec::new(), text("g")]];
    let outputs = on_one(&batches, |stream| stream.reduce(|one, later| one + &later));
    assert_eq!(outputs, [vec![vec!["abcdef".to_string()]], vec![Vec::new()], vec![vec!["g".to_string()]]]);
}

#[test]
fn a_large_batch_is_merged_into_one_record() {
    let blocks: Vec<Vec<u64>> = (0..5).map(|block| (block * 20_000..(block + 1) * 20_000).collect()).collect();
    assert_eq!(on_one(&[blocks], |stream| stream.reduce(|a, b| a + b)), [[[(0..100_000).sum::<u64>()]]]);
}

#[test]
fn every_partition_is_one_record_also_an_empty_one() {
    let batches = [vec![vec![1_u64, 2], vec![3], vec![4]], Vec::new()];
    let blocks = on_one(&batches, |stream| stream.filter(|n| *n != 3).glom());
    let expected = [vec![1, 2], Vec::new(), vec![4]].map(|records| vec![records]);
    assert_eq!(blocks, [expected.to_vec(), Vec::new()], "no block, no partition");

    let partitions = on_one(&batches, |stream| stream.map(|n| (n, ())).partition_by().glom());
    assert!(partitions.iter().all(|output| output.len() == 8 && output.iter().all(|records| records.len() == 1)));
}

#[test]
fn values_unfold_under_their_keys() {
    let batches = [vec![vec![('a', 3_u64), ('b', 0), ('c', 1)]]];
    let outputs = on_one(&batches, |stream| stream.flat_map_values(|n| (0..n).map(|m| m * 10)));
    assert_eq!(outputs, [[[('a', 0), ('a', 10), ('a', 20), ('c', 0)]]]);
}

#[test]
fn a_stream_with_two_consumers_is_computed_once() {
    let computed = Arc::new(AtomicU64::new(0));
    let counter = computed.clone();
    let mut job = TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let counter = counter.clone();
        let squares = stream.map(move |n| {
            counter.fetch_add(1, Ordering::Relaxed);
            n * n
        });
        let cached = squares.cache();
        (numbers, cached.collect("squares"), cached.reduce(|a, b| a + b).collect("sum"))
    })
    .unwrap();
    let (numbers, squares, sum) = job.handles();
    numbers.push(vec![1, 2, 3]).unwrap();
    job.run_batch().unwrap();
    assert_eq!((squares.last(), sum.last()), (vec![1, 4, 9], vec![14]));
    assert_eq!(computed.load(Ordering::Relaxed), 3);
}

#[test]
fn every_record_is_looked_at_and_again_when_its_batch_is_recomputed() {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let mut job = TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let counter = counter.clone();
        let inspected = stream.inspect(move |n| {
            counter.fetch_add(*n, Ordering::Relaxed);
        });
        (numbers, inspected.collect("all"))
    })
    .unwrap();
    job.handles().0.push(vec![1, 2, 3]).unwrap();
    job.run_batch().unwrap();
    assert_eq!((job.handles().1.last(), seen.load(Ordering::Relaxed)), (vec![1, 2, 3], 6));
    job.crash_and_restart().unwrap();
    assert_eq!((job.recovery().batches_replayed(), seen.load(Ordering::Relaxed)), (1, 12));
}

#[test]
fn a_panic_is_blamed_on_the_operator_whose_function_it_is() {
    let pair = || vec![(1_u64, 1_u64), (1, 2)];
    let errors = [
        ("inspect#", error_of(pair(), |stream| stream.inspect(|_| panic!("oh")))),
        ("flat_map_values#", error_of(pair(), |stream| stream.flat_map_values(|_| -> Vec<u64> { panic!("oh") }))),
        ("reduce#", error_of(pair(), |stream| stream.reduce(|_, _| panic!("oh")))),
        (
            "combine_by_key#",
            error_of(pair(), |stream| stream.combine_by_key(|_| -> u64 { panic!("oh") }, |c, _| c, |c, _| c)),
        ),
        (
            "combine_by_key#",
            error_of(pair(), |stream| {
                stream.partition_by().combine_by_key(|_| -> u64 { panic!("oh") }, |c, _| c, |c, _| c)
            }),
        ),
        ("reduce_by_key#", error_of(pair(), |stream| stream.reduce_by_key(|_, _| panic!("oh")))),
        ("partition_by_function#", error_of(pair(), |stream| stream.partition_by_function(2, |_| panic!("oh")))),
        ("transform#", error_of(pair(), |stream| stream.transform(|_, _| -> crate::Rdd<u64> { panic!("oh") }))),
        (
            "transform_with#",
            error_of(pair(), |stream| stream.transform_with(&stream, |_, _, _| -> crate::Rdd<u64> { panic!("oh") })),
        ),
    ];
    for (operator, error) in errors {
        let message = error.to_string();
        assert!(message.contains(operator) && message.contains("oh"), "expected {operator}: {message}");
    }
}
