//! Operations over pairs of a key and a value. Spark: `PairRDDFunctions`.

use std::collections::BTreeMap;

use super::Rdd;
use super::by_key::{ByKey, Place};
use floodmark_base::codec::Key;

impl<K, V> Rdd<(K, V)> {
    /// The keys, as often as they come. Spark: `PairRDDFunctions.keys`. Keeps partitions and order.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::from_records(vec![("a", 1), ("b", 2)]).keys().collect(), ["a", "b"]);
    /// ```
    #[must_use]
    pub fn keys(self) -> Rdd<K> {
        self.map(|(key, _)| key)
    }

    /// The values. Spark: `PairRDDFunctions.values`. Keeps partitions and order.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::from_records(vec![("a", 1), ("b", 2)]).values().collect(), [1, 2]);
    /// ```
    #[must_use]
    pub fn values(self) -> Rdd<V> {
        self.map(|(_, value)| value)
    }

    /// Applies a function to each value. Spark: `PairRDDFunctions.mapValues`. Keeps partitions and order.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![("a", 1), ("b", 2)]);
    /// assert_eq!(rdd.map_values(|n| n * 10).collect(), [("a", 10), ("b", 20)]);
    /// ```
    #[must_use]
    pub fn map_values<W>(self, mut function: impl FnMut(V) -> W) -> Rdd<(K, W)> {
        self.map(|(key, value)| (key, function(value)))
    }

    /// Applies a function to each value and pairs all that it gives with the key. Spark: `PairRDDFunctions.flatMapValues`.
    /// Keeps partitions and order; copies the key for each result but the last.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![("a", 2), ("b", 1), ("c", 0)]);
    /// assert_eq!(rdd.flat_map_values(|n| 0..n).collect(), [("a", 0), ("a", 1), ("b", 0)]);
    /// ```
    #[must_use]
    pub fn flat_map_values<W, I: IntoIterator<Item = W>>(self, mut function: impl FnMut(V) -> I) -> Rdd<(K, W)>
    where
        K: Clone,
    {
        self.flat_map(|(key, value)| each_with(key, function(value)))
    }

    /// The values of a key, in their order. Spark: `PairRDDFunctions.lookup`. Compares every key; copies the values found.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![("a", 1), ("b", 2), ("a", 3)]);
    /// assert_eq!(rdd.lookup(&"a"), [1, 3]);
    /// assert!(rdd.lookup(&"c").is_empty());
    /// ```
    #[must_use]
    pub fn lookup(&self, key: &K) -> Vec<V>
    where
        K: PartialEq,
        V: Clone,
    {
        self.iter().filter(|(found, _)| found == key).map(|(_, value)| value.clone()).collect()
    }

    /// The pairs as a sorted map; of several values of a key the last one stays. Spark: `PairRDDFunctions.collectAsMap`. For
    /// another map use `rdd.into_iter().collect()`.
    ///
    /// ```
    /// let map = floodmark::Rdd::from_records(vec![("b", 1), ("a", 2), ("b", 3)]).collect_as_map();
    /// assert_eq!(map.into_iter().collect::<Vec<_>>(), [("a", 2), ("b", 3)]);
    /// ```
    #[must_use]
    pub fn collect_as_map(self) -> BTreeMap<K, V>
    where
        K: Ord,
    {
        self.into_iter().collect()
    }
}

impl<K: Key, V> Rdd<(K, V)> {
    /// Brings the values of each key together. Spark: `PairRDDFunctions.groupByKey`. Order as said at [`Rdd`]; hashes each key
    /// once.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let rdd = Rdd::new(vec![vec![(7_u64, "a"), (3, "b")], vec![(7, "c"), (5, "d")]]);
    /// assert_eq!(rdd.group_by_key().partitions(), [
    ///     vec![(7, vec!["a", "c"]), (3, vec!["b"])],
    ///     vec![(5, vec!["d"])],
    /// ]);
    /// ```
    #[must_use]
    pub fn group_by_key(self) -> Rdd<(K, Vec<V>)> {
        let mut groups = ByKey::new();
        for partition in self.partitions {
            for (key, value) in partition {
                groups.entry_or(key, Vec::new).push(value);
            }
            groups.end_partition();
        }
        groups.into_rdd(|group| group)
    }

    /// Merges the values of each key, from the first to the last. Spark: `PairRDDFunctions.reduceByKey`. Order as said at
    /// [`Rdd`]; hashes each key once. The function need not be commutative.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let rdd = Rdd::from_records(vec![(7_u64, 1), (3, 10), (7, 2)]);
    /// assert_eq!(rdd.reduce_by_key(|a, b| a + b).collect(), [(7, 3), (3, 10)]);
    /// ```
    #[must_use]
    pub fn reduce_by_key(self, mut function: impl FnMut(V, V) -> V) -> Self {
        let mut merged = ByKey::new();
        for partition in self.partitions {
            for (key, value) in partition {
                merge_in(&mut merged, key, value, |value| value, &mut function);
            }
            merged.end_partition();
        }
        merged.into_rdd(finished)
    }

    /// Combines the values of each key: in each partition `create` makes a combination of the first value and `merge_value`
    /// adds the others; `merge_combiners` then merges those of the partitions, in their order. Spark:
    /// `PairRDDFunctions.combineByKey`.
    ///
    /// Order as said at [`Rdd`]; hashes each key once, and once more for each partition that has it.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let rdd = Rdd::new(vec![vec![(7_u64, 1), (7, 2)], vec![(7, 6)]]);
    /// let sums = rdd.combine_by_key(
    ///     |value| (value, 1),
    ///     |(sum, count), value| (sum + value, count + 1),
    ///     |a, b| (a.0 + b.0, a.1 + b.1),
    /// );
    /// assert_eq!(sums.map_values(|(sum, count)| sum / count).collect(), [(7, 3)]);
    /// ```
    #[must_use]
    pub fn combine_by_key<C>(
        self,
        mut create: impl FnMut(V) -> C,
        mut merge_value: impl FnMut(C, V) -> C,
        mut merge_combiners: impl FnMut(C, C) -> C,
    ) -> Rdd<(K, C)> {
        let mut merged = ByKey::new();
        for partition in self.partitions {
            let mut combined = ByKey::new();
            for (key, value) in partition {
                merge_in(&mut combined, key, value, &mut create, &mut merge_value);
            }
            for entry in combined.into_entries() {
                let (key, combiner) = finished(entry);
                merge_in(&mut merged, key, combiner, |combiner| combiner, &mut merge_combiners);
            }
            merged.end_partition();
        }
        merged.into_rdd(finished)
    }

    /// How many values each key has. Spark: `PairRDDFunctions.countByKey`. Order as said at [`Rdd`]; hashes each key once.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![(7_u64, "a"), (3, "b"), (7, "c")]);
    /// assert_eq!(rdd.count_by_key().collect(), [(7, 2), (3, 1)]);
    /// ```
    #[must_use]
    pub fn count_by_key(self) -> Rdd<(K, u64)> {
        self.map_values(|_| 1).reduce_by_key(|a, b| a + b)
    }
}

/// Merges a value into the entry of its key. An entry is empty only while its value is with the function.
fn merge_in<K: Key, V, C>(
    merged: &mut ByKey<K, Option<C>>,
    key: K,
    value: V,
    create: impl FnOnce(V) -> C,
    merge: impl FnOnce(C, V) -> C,
) {
    match merged.entry(key) {
        Place::Met(entry) => *entry = entry.take().map(|old| merge(old, value)),
        Place::New(place) => {
            place.put(Some(create(value)));
        }
    }
}

fn finished<K, C>((key, entry): (K, Option<C>)) -> (K, C) {
    (key, entry.expect("an entry has a value"))
}

/// Pairs each value with what they share, which is copied for all but the last.
pub(super) fn each_with<S: Clone, V>(shared: S, values: impl IntoIterator<Item = V>) -> impl Iterator<Item = (S, V)> {
    let mut values = values.into_iter().peekable();
    let mut shared = Some(shared);
    std::iter::from_fn(move || {
        let value = values.next()?;
        let shared = if values.peek().is_some() { shared.clone() } else { shared.take() };
        shared.map(|shared| (shared, value))
    })
}
