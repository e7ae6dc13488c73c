//! Joins against the loops that Spark describes.

use std::collections::{BTreeMap, BTreeSet};

use super::kit::{Blocks, by_partition, error_of, every_third, grouped, on_one, on_two, random_pairs};
use crate::StreamingContext;
use crate::dstream::DStream;

type Pairs<'c> = DStream<'c, (u64, u64)>;
type Pair = (Option<u64>, Option<u64>);

/// The four joins, one behind the other.
fn four_joins<'c>(one: Pairs<'c>, other: Pairs<'c>) -> DStream<'c, (u64, Pair)> {
    one.join(&other)
        .map_values(|(one, other)| (Some(one), Some(other)))
        .union(&one.left_outer_join(&other).map_values(|(one, other)| (Some(one), other)))
        .union(&one.right_outer_join(&other).map_values(|(one, other)| (one, Some(other))))
        .union(&one.full_outer_join(&other))
}

/// What each of the four joins gives for a key with these values.
fn pairs_of(ones: &[u64], others: &[u64]) -> [Vec<Pair>; 4] {
    let product: Vec<_> =
        ones.iter().flat_map(|one| others.iter().map(move |other| (Some(*one), Some(*other)))).collect();
    let left: Vec<_> = ones.iter().map(|one| (Some(*one), None)).filter(|_| others.is_empty()).collect();
    let right: Vec<_> = others.iter().map(|other| (None, Some(*other))).filter(|_| ones.is_empty()).collect();
    let with = |more: &[&Vec<_>]| product.iter().chain(more.iter().copied().flatten()).copied().collect();
    [with(&[]), with(&[&left]), with(&[&right]), with(&[&left, &right])]
}

/// The partitions of the four joins of one batch.
fn expected(left: &Blocks<(u64, u64)>, right: &Blocks<(u64, u64)>) -> Vec<Vec<(u64, Pair)>> {
    let (ones, others) = (grouped(left), grouped(right));
    let keys: BTreeSet<u64> = ones.keys().chain(others.keys()).copied().collect();
    let values = |of: &BTreeMap<u64, Vec<u64>>, key| of.get(&key).cloned().unwrap_or_default();
    let of_key = |key| (key, pairs_of(&values(&ones, key), &values(&others, key)));
    let groups = by_partition(keys.into_iter().map(of_key));
    let flat = |join: usize, group: &[(u64, [Vec<Pair>; 4])]| {
        group.iter().flat_map(|(key, pairs)| pairs[join].iter().map(move |pair| (*key, *pair))).collect()
    };
    (0..4).flat_map(|join| groups.iter().map(move |group| flat(join, group))).collect()
}

#[test]
fn joins_pair_the_values_of_a_key_left_by_left_in_the_order_of_their_sources() {
    let batches = [
        (random_pairs(1, 3, 20, 30), random_pairs(2, 2, 20, 30)),
        (random_pairs(3, 1, 50, 5), Vec::new()),
        (Vec::new(), random_pairs(4, 1, 50, 5)),
        (Vec::new(), Vec::new()),
        (vec![vec![(1, 1), (1, 2)]], vec![vec![(1, 3)], vec![(1, 4)]]),
    ];
    let outputs = on_two(&batches, four_joins);
    for (output, (left, right)) in outputs.iter().zip(&batches) {
        assert_eq!(output, &expected(left, right));
    }
}

#[test]
fn streams_that_are_in_their_partitions_already_join_alike() {
    let batches = [(random_pairs(1, 3, 40, 30), random_pairs(2, 2, 40, 30))];
    let partitioned = on_two(&batches, |one, other| four_joins(one.partition_by(), other.partition_by()));
    assert_eq!(partitioned, [expected(&batches[0].0, &batches[0].1)]);
    let one_of_them = on_two(&batches, |one, other| four_joins(one, other.partition_by()));
    assert_eq!(one_of_them, partitioned);
}

#[test]
fn a_stream_joins_itself() {
    let blocks = random_pairs(1, 3, 40, 30);
    let outputs = on_one(std::slice::from_ref(&blocks), |stream| four_joins(stream, stream));
    assert_eq!(outputs, [expected(&blocks, &blocks)]);
}

#[test]
fn a_hundred_thousand_keys_join() {
    let side = |step: u64| -> Blocks<(u64, u64)> {
        let records: Vec<_> = (0..50_000_u64).map(|n| (n * step, n)).collect();
        records.chunks(20_000).map(<[_]>::to_vec).collect()
    };
    let batches = [(side(2), side(3))];
    assert!(on_two(&batches, four_joins) == [expected(&batches[0].0, &batches[0].1)]);
}

#[test]
fn what_follows_a_join_by_key_sees_every_pair() {
    let batches = [(random_pairs(1, 3, 40, 30), random_pairs(2, 2, 40, 30))];
    let counts = on_two(&batches, |one, other| one.join(&other).map_values(|_| 1_u64).reduce_by_key(|a, b| a + b));
    let (ones, others) = (grouped(&batches[0].0), grouped(&batches[0].1));
    let count = |(key, ones): (u64, Vec<u64>)| Some((key, (ones.len() * others.get(&key)?.len()) as u64));
    assert_eq!(counts, [by_partition(ones.into_iter().filter_map(count))]);
}

#[test]
fn streams_that_slide_differently_do_not_join() {
    let error = error_of(vec![(1_u64, 1_u64)], |stream| stream.join(&every_third(stream)));
    let message = error.to_string();
    assert!(message.contains("join of \"records\" and \"every third\""), "{message}");
    assert!(message.contains("100 ms") && message.contains("300 ms"), "{message}");
}

#[test]
fn streams_of_two_contexts_do_not_join() {
    let directory = tempfile::tempdir().unwrap();
    let context = |name: &str| StreamingContext::builder(name).checkpoint(directory.path().join(name)).build().unwrap();
    let (one, other) = (context("one"), context("other"));
    let (_, left) = one.queue_stream::<(u64, u64)>("left");
    let (_, right) = other.queue_stream::<(u64, u64)>("right");
    left.join(&right).collect("joined");
    let message = one.start().unwrap_err().to_string();
    assert!(message.contains("streams of two contexts are mixed: join"), "{message}");
}
