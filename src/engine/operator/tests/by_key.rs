//! Operators by key, with and without a shuffle, against a plain grouping.

use super::kit::{Blocks, Outputs, by_partition, grouped, on_one, random_pairs};
use crate::dstream::DStream;

type Pairs<'c> = DStream<'c, (u64, u64)>;

/// A fingerprint of values that depends on their order.
fn fold(values: &[u64]) -> u64 {
    values.iter().fold(0, |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
}

/// The same as an associative function over (power, fingerprint), which is not commutative.
fn merge(one: (u64, u64), later: (u64, u64)) -> (u64, u64) {
    (one.0.wrapping_mul(later.0), one.1.wrapping_mul(later.0).wrapping_add(later.1))
}

fn by_grouping(stream: Pairs<'_>) -> Pairs<'_> {
    stream.group_by_key().map_values(|values| fold(&values))
}

fn by_combining(stream: Pairs<'_>) -> Pairs<'_> {
    let add = |mut values: Vec<u64>, value| {
        values.push(value);
        values
    };
    stream
        .combine_by_key(|value| vec![value], add, |one, later| [one, later].concat())
        .map_values(|values| fold(&values))
}

fn by_reducing(stream: Pairs<'_>) -> Pairs<'_> {
    stream.map_values(|value| (31, value)).reduce_by_key(merge).map_values(|(_, sum)| sum)
}

/// Seven ways to fold the values of each key, one behind the other.
fn seven_ways(stream: Pairs<'_>) -> Pairs<'_> {
    let in_place = stream.partition_by().flat_map_values(|value| [value]);
    by_grouping(stream)
        .union(&by_combining(stream))
        .union(&by_reducing(stream))
        .union(&by_grouping(in_place))
        .union(&by_combining(in_place))
        .union(&by_reducing(in_place))
        .union(&stream.cogroup(&in_place).map_values(|(ones, others)| {
            assert_eq!(ones, others);
            fold(&ones)
        }))
}

fn expected(batches: &[Blocks<(u64, u64)>]) -> Outputs<(u64, u64)> {
    let of_batch = |blocks| {
        let one = by_partition(grouped(blocks).into_iter().map(|(key, values)| (key, fold(&values))));
        std::iter::repeat_n(one, 7).flatten().collect()
    };
    batches.iter().map(of_batch).collect()
}

#[test]
fn a_key_sees_its_values_in_the_order_of_the_source_with_and_without_a_shuffle() {
    let batches: Vec<_> = (0..4).map(|seed| random_pairs(seed, 3, 200, 40)).collect();
    assert_eq!(on_one(&batches, seven_ways), expected(&batches));
}

#[test]
fn an_empty_batch_puts_out_no_key_and_one_key_alone_is_in_its_partition() {
    let batches = [Vec::new(), vec![vec![(7, 1), (7, 2)], vec![(7, 3)]], vec![Vec::new()], Vec::new()];
    assert_eq!(on_one(&batches, seven_ways), expected(&batches));
}

#[test]
fn a_hundred_thousand_keys_are_combined_alike_whether_combining_pays_or_not() {
    // Nearly all keys of the first batch are new, so its tasks give up combining; in the second keys repeat.
    let rising = (0..100_000_u64).map(|n| (n, n % 97)).chain((0..20_000).map(|n| (n * 5, 1)));
    let rising: Vec<(u64, u64)> = rising.collect();
    let batches = [rising.chunks(30_000).map(<[_]>::to_vec).collect(), random_pairs(1, 2, 10_000, 3_000)];
    assert!(on_one(&batches, seven_ways) == expected(&batches), "the keys differ from a plain grouping");
}

#[test]
fn values_are_grouped_side_by_side() {
    let batches = [random_pairs(5, 2, 100, 7)];
    assert_eq!(on_one(&batches, |stream| stream.group_by_key()), [by_partition(grouped(&batches[0]))]);
}

#[test]
fn equal_records_are_counted() {
    let blocks = vec![vec!["a", "b", "a"], vec!["c", "a"]];
    let blocks: Blocks<String> =
        blocks.into_iter().map(|block| block.into_iter().map(str::to_string).collect()).collect();
    let counts = on_one(&[blocks, Vec::new()], |stream| stream.count_by_value());
    let expected = [("a", 3), ("b", 1), ("c", 1)].map(|(text, count)| (text.to_string(), count));
    assert_eq!(counts, [by_partition(expected), by_partition([])]);
}
