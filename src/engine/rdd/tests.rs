//! The operations against naive models: loops over lists, without hashes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Rdd;

type Pairs = Vec<Vec<(u8, u16)>>;

/// Few keys, so that they meet; partitions may be empty, and there may be none.
fn pairs() -> impl Strategy<Value = Pairs> {
    vec(vec((0_u8..8, any::<u16>()), 0..6), 0..5)
}

/// The keys in the order in which they are first met, left input first.
fn met<'a>(inputs: impl IntoIterator<Item = &'a Pairs>) -> Vec<u8> {
    let mut met = Vec::new();
    for (key, _) in inputs.into_iter().flatten().flatten() {
        if !met.contains(key) {
            met.push(*key);
        }
    }
    met
}

fn values_of(input: &Pairs, key: u8) -> Vec<u16> {
    input.iter().flatten().filter(|(found, _)| *found == key).map(|(_, value)| *value).collect()
}

/// The rule of [`Rdd`]: the keys in each partition, given those of both inputs.
fn partitions_by_rule(left: &Pairs, right: &Pairs) -> Vec<Vec<u8>> {
    let mut partitions: Vec<Vec<u8>> = left.iter().map(|_| Vec::new()).collect();
    for key in met([left, right]) {
        let holder = left.iter().position(|partition| partition.iter().any(|(found, _)| *found == key));
        match holder.or(partitions.len().checked_sub(1)) {
            Some(at) => partitions[at].push(key),
            None => partitions.push(vec![key]),
        }
    }
    partitions
}

fn keys_by_partition<V>(rdd: Rdd<(u8, V)>) -> Vec<Vec<u8>> {
    rdd.keys().into_partitions()
}

fn none_if_empty(values: Vec<u16>) -> Vec<Option<u16>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}

proptest! {
    #[test]
    fn keys_leave_in_the_order_in_which_they_were_first_met_in_the_partitions_of_the_left_input(
        left in pairs(),
        right in pairs(),
    ) {
        let rdd = || Rdd::new(left.clone());
        let alone = partitions_by_rule(&left, &Pairs::new());
        prop_assert_eq!(&keys_by_partition(rdd().group_by_key()), &alone);
        prop_assert_eq!(&keys_by_partition(rdd().reduce_by_key(|a, _| a)), &alone);
        prop_assert_eq!(&keys_by_partition(rdd().combine_by_key(|a| a, |a, _| a, |a, _| a)), &alone);
        prop_assert_eq!(&keys_by_partition(rdd().count_by_key()), &alone);
        prop_assert_eq!(&rdd().keys().distinct().into_partitions(), &alone);
        prop_assert_eq!(&keys_by_partition(rdd().keys().count_by_value()), &alone);
        prop_assert_eq!(keys_by_partition(rdd().cogroup(Rdd::new(right.clone()))), partitions_by_rule(&left, &right));
    }

    #[test]
    fn grouping_reducing_combining_and_counting_agree_with_a_loop(input in pairs()) {
        let rdd = || Rdd::new(input.clone());
        let groups: Vec<(u8, Vec<u16>)> = met([&input]).into_iter().map(|key| (key, values_of(&input, key))).collect();
        prop_assert_eq!(&rdd().group_by_key().collect(), &groups);
        prop_assert_eq!(
            rdd().map(|(key, value)| (value, key)).group_by(|(_, key)| *key)
                .map_values(|pairs| pairs.into_iter().map(|(value, _)| value).collect::<Vec<_>>()).collect(),
            groups.clone()
        );
        let texts = rdd().map_values(|value| value.to_string());
        let joined: Vec<(u8, String)> =
            groups.iter().map(|(key, values)| (*key, values.iter().map(u16::to_string).collect())).collect();
        prop_assert_eq!(texts.clone().reduce_by_key(|a, b| a + &b).collect(), joined.clone());
        prop_assert_eq!(texts.combine_by_key(|a| a, |a, b| a + &b, |a, b| a + &b).collect(), joined);
        let counts: Vec<(u8, u64)> = groups.iter().map(|(key, values)| (*key, values.len() as u64)).collect();
        prop_assert_eq!(rdd().count_by_key().collect(), counts.clone());
        prop_assert_eq!(rdd().keys().count_by_value().collect(), counts);
        let last: BTreeMap<u8, u16> = groups.iter().map(|(key, values)| (*key, values[values.len() - 1])).collect();
        prop_assert_eq!(rdd().collect_as_map(), last);
        for (key, values) in groups {
            prop_assert_eq!(rdd().lookup(&key), values);
        }
    }

    #[test]
    fn combining_merges_within_partitions_first_and_then_across_them(input in pairs()) {
        let combined = Rdd::new(input.clone()).combine_by_key(
            |value| vec![vec![value]],
            |mut all, value| {
                all.last_mut().expect("a combination of a value").push(value);
                all
            },
            |mut all, more| {
                all.extend(more);
                all
            },
        );
        for (key, by_partition) in combined {
            let mut expected: Vec<Vec<u16>> =
                input.iter().map(|partition| values_of(&vec![partition.clone()], key)).collect();
            expected.retain(|values| !values.is_empty());
            prop_assert_eq!(by_partition, expected);
        }
    }

    #[test]
    fn joins_agree_with_loops(left in pairs(), right in pairs()) {
        let (mut inner, mut outer_left, mut outer_right, mut outer_full) = (vec![], vec![], vec![], vec![]);
        let mut groups = Vec::new();
        for key in met([&left, &right]) {
            let (lefts, rights) = (values_of(&left, key), values_of(&right, key));
            for &a in &lefts {
                for &b in &rights {
                    inner.push((key, (a, b)));
                }
                for b in none_if_empty(rights.clone()) {
                    outer_left.push((key, (a, b)));
                }
            }
            for a in none_if_empty(lefts.clone()) {
                for &b in &rights {
                    outer_right.push((key, (a, b)));
                }
                for b in none_if_empty(rights.clone()) {
                    outer_full.push((key, (a, b)));
                }
            }
            groups.push((key, (lefts, rights)));
        }
        let sides = || (Rdd::new(left.clone()), Rdd::new(right.clone()));
        let (a, b) = sides();
        prop_assert_eq!(a.cogroup(b).collect(), groups);
        let (a, b) = sides();
        prop_assert_eq!(a.join(b).collect(), inner);
        let (a, b) = sides();
        prop_assert_eq!(a.left_outer_join(b).collect(), outer_left);
        let (a, b) = sides();
        prop_assert_eq!(a.right_outer_join(b).collect(), outer_right);
        let (a, b) = sides();
        prop_assert_eq!(a.full_outer_join(b).collect(), outer_full);
        let (a, b) = sides();
        let rest: Pairs = left.iter()
            .map(|part| part.iter().copied().filter(|(key, _)| values_of(&right, *key).is_empty()).collect())
            .collect();
        prop_assert_eq!(a.subtract_by_key(b).into_partitions(), rest);
    }

    #[test]
    fn sets_agree_with_loops(left in vec(vec(0_u8..8, 0..6), 0..4), right in vec(0_u8..8, 0..6)) {
        let sides = || (Rdd::new(left.clone()), Rdd::from(right.clone()));
        let (a, b) = sides();
        let expected: Vec<Vec<u8>> =
            left.iter().map(|part| part.iter().copied().filter(|n| !right.contains(n)).collect()).collect();
        prop_assert_eq!(a.subtract(b).into_partitions(), expected);
        let (a, b) = sides();
        let mut common: Vec<u8> = Vec::new();
        for n in left.iter().flatten() {
            if right.contains(n) && !common.contains(n) {
                common.push(*n);
            }
        }
        prop_assert_eq!(a.intersection(b).collect(), common);
    }

    #[test]
    fn what_moves_partitions_keeps_the_order(input in pairs(), count in 1_usize..7) {
        let records: Vec<(u8, u16)> = input.concat();
        let spread = Rdd::new(input.clone()).repartition(count);
        prop_assert_eq!(spread.partitions().len(), count);
        let sizes: Vec<usize> = spread.partitions().iter().map(Vec::len).collect();
        prop_assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] - sizes[count - 1] <= 1, "{:?}", sizes);
        prop_assert_eq!(spread.collect(), records.clone());

        let fewer = Rdd::new(input.clone()).coalesce(count);
        prop_assert_eq!(fewer.partitions().len(), count.min(input.len()));
        prop_assert_eq!(fewer.collect(), records.clone());

        let numbered: Vec<((u8, u16), u64)> = records.iter().copied().zip(0..).collect();
        prop_assert_eq!(Rdd::new(input.clone()).zip_with_index().collect(), numbered);
        prop_assert_eq!(Rdd::new(input.clone()).glom().collect(), input);
    }

    #[test]
    fn sorting_is_stable_and_the_ends_of_the_order_are_those_of_the_sorted_records(
        input in pairs(),
        count in 0_usize..12,
    ) {
        let rdd = Rdd::new(input.clone());
        let mut by_key = input.concat();
        by_key.sort_by_key(|(key, _)| *key);
        prop_assert_eq!(rdd.clone().sort_by_key().collect(), by_key.clone());
        let sorted = rdd.clone().sort_by(|(key, _)| *key);
        prop_assert_eq!(sorted.partitions().len(), input.len());
        prop_assert_eq!(sorted.collect(), by_key);

        let mut ordered = input.concat();
        ordered.sort_unstable();
        prop_assert_eq!(rdd.min(), ordered.first());
        prop_assert_eq!(rdd.max(), ordered.last());
        prop_assert_eq!(rdd.take_ordered(count), ordered.iter().take(count).copied().collect::<Vec<_>>());
        prop_assert_eq!(rdd.top(count), ordered.iter().rev().take(count).copied().collect::<Vec<_>>());
    }

    #[test]
    fn actions_agree_with_the_list_of_all_records(input in pairs(), count in 0_usize..12) {
        let records: Vec<(u8, u16)> = input.concat();
        let rdd = Rdd::new(input.clone());
        prop_assert_eq!(rdd.count(), records.len() as u64);
        prop_assert_eq!(rdd.is_empty(), records.is_empty());
        prop_assert_eq!(rdd.first(), records.first());
        prop_assert_eq!(rdd.last(), records.last());
        prop_assert_eq!(rdd.take(count), records.iter().take(count).copied().collect::<Vec<_>>());
        prop_assert!((&rdd).into_iter().eq(&records));

        let texts = || rdd.clone().map(|(key, value)| format!("{key}={value},"));
        let all: String = texts().collect().concat();
        prop_assert_eq!(texts().reduce(|a, b| a + &b).unwrap_or_default(), all.clone());
        prop_assert_eq!(texts().fold("from:".to_string(), |a, b| a + &b), format!("from:{all}"));
        prop_assert_eq!(texts().aggregate(String::new(), |a, b| a + &b, |a, b| a + &b), all);
        let total: u64 = records.iter().map(|(_, value)| u64::from(*value)).sum();
        prop_assert_eq!(rdd.clone().values().map(u64::from).sum::<u64>(), total);

        let mut seen = Vec::new();
        rdd.clone().for_each(|record| seen.push(record));
        prop_assert_eq!(seen, records);
        let mut partitions = Vec::new();
        rdd.for_each_partition(|records| partitions.push(records.collect::<Vec<_>>()));
        prop_assert_eq!(partitions, input);
    }
}

/// A value that cannot be copied may still be grouped and reduced: only joins copy.
#[test]
fn values_need_no_bound_where_nothing_is_copied() {
    struct Once(u64);
    let rdd = Rdd::from_records(vec![(1_u64, Once(2)), (1, Once(3))]).reduce_by_key(|a, b| Once(a.0 * b.0));
    assert_eq!(rdd.collect()[0].1.0, 6);
}

#[test]
fn of_equal_records_the_first_ones_are_taken() {
    #[derive(Clone, Debug)]
    struct Named(u8, &'static str);
    impl PartialEq for Named {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Named {}
    impl PartialOrd for Named {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Named {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    let rdd = Rdd::from_records(vec![Named(1, "a"), Named(1, "b"), Named(1, "c")]);
    let names = |records: Vec<Named>| records.into_iter().map(|record| record.1).collect::<String>();
    assert_eq!(names(rdd.top(2)), "ab");
    assert_eq!(names(rdd.take_ordered(2)), "ab");
}

#[test]
#[should_panic(expected = "records need at least 1 partition")]
fn no_partitions_are_not_enough() {
    let _ = Rdd::from_records(vec![1]).repartition(0);
}
