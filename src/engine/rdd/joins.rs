//! Operations over two `Rdd`s of pairs: cogroup, the joins, subtraction. Spark: `PairRDDFunctions`.

use super::Rdd;
use super::by_key::ByKey;
use super::pairs::each_with;
use floodmark_base::codec::Key;

impl<K: Key, V> Rdd<(K, V)> {
    /// For each key of either side the values of both. Spark: `PairRDDFunctions.cogroup`. Order as said at [`Rdd`]; hashes each
    /// key of both once.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.cogroup(right).collect(), [
    ///     (7, (vec!["a"], vec![2])),
    ///     (3, (vec!["b"], vec![])),
    ///     (5, (vec![], vec![1])),
    /// ]);
    /// ```
    #[must_use]
    #[allow(clippy::type_complexity)] // an alias would hide what is given
    pub fn cogroup<W>(self, right: Rdd<(K, W)>) -> Rdd<(K, (Vec<V>, Vec<W>))> {
        let mut groups: ByKey<K, (Vec<V>, Vec<W>)> = ByKey::new();
        for partition in self.partitions {
            for (key, value) in partition {
                groups.entry_or(key, Default::default).0.push(value);
            }
            groups.end_partition();
        }
        for (key, value) in right {
            groups.entry_or(key, Default::default).1.push(value);
        }
        groups.into_rdd(|group| group)
    }

    /// Every pair of a left and a right value of the same key. Spark: `PairRDDFunctions.join`.
    ///
    /// Order as said at [`Rdd`]; the pairs of a key by left value, then by right value. Hashes each key of both once; copies
    /// keys and values where one goes into several pairs.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b"), (7, "c")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.join(right).collect(), [(7, ("a", 2)), (7, ("c", 2))]);
    /// ```
    #[must_use]
    pub fn join<W: Clone>(self, right: Rdd<(K, W)>) -> Rdd<(K, (V, W))>
    where
        V: Clone,
    {
        self.cogroup(right).flat_map_values(|(left, right)| pairs(left, right))
    }

    /// As [`join`](Self::join), and each left value whose key the right side does not have. Spark:
    /// `PairRDDFunctions.leftOuterJoin`.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.left_outer_join(right).collect(), [(7, ("a", Some(2))), (3, ("b", None))]);
    /// ```
    #[must_use]
    pub fn left_outer_join<W: Clone>(self, right: Rdd<(K, W)>) -> Rdd<(K, (V, Option<W>))>
    where
        V: Clone,
    {
        self.cogroup(right).flat_map_values(|(left, right)| pairs(left, or_none(right)))
    }

    /// As [`join`](Self::join), and each right value whose key the left side does not have. Spark:
    /// `PairRDDFunctions.rightOuterJoin`.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.right_outer_join(right).collect(), [(7, (Some("a"), 2)), (5, (None, 1))]);
    /// ```
    #[must_use]
    pub fn right_outer_join<W: Clone>(self, right: Rdd<(K, W)>) -> Rdd<(K, (Option<V>, W))>
    where
        V: Clone,
    {
        self.cogroup(right).flat_map_values(|(left, right)| pairs(or_none(left), right))
    }

    /// As [`join`](Self::join), and each value whose key the other side does not have. Spark:
    /// `PairRDDFunctions.fullOuterJoin`.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.full_outer_join(right).collect(), [
    ///     (7, (Some("a"), Some(2))),
    ///     (3, (Some("b"), None)),
    ///     (5, (None, Some(1))),
    /// ]);
    /// ```
    #[must_use]
    #[allow(clippy::type_complexity)] // an alias would hide what is given
    pub fn full_outer_join<W: Clone>(self, right: Rdd<(K, W)>) -> Rdd<(K, (Option<V>, Option<W>))>
    where
        V: Clone,
    {
        self.cogroup(right).flat_map_values(|(left, right)| pairs(or_none(left), or_none(right)))
    }

    /// The pairs whose key the right side does not have. Spark: `PairRDDFunctions.subtractByKey`. Keeps partitions and order;
    /// hashes each key of both once.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let left = Rdd::from_records(vec![(7_u64, "a"), (3, "b"), (3, "c")]);
    /// let right = Rdd::from_records(vec![(5, 1), (7, 2)]);
    /// assert_eq!(left.subtract_by_key(right).collect(), [(3, "b"), (3, "c")]);
    /// ```
    #[must_use]
    pub fn subtract_by_key<W>(self, right: Rdd<(K, W)>) -> Self {
        let mut others = ByKey::new();
        for (key, _) in right {
            others.entry_or(key, || ());
        }
        self.filter(|(key, _)| !others.has(key))
    }
}

/// Every pair, by left value, then by right value.
fn pairs<V: Clone, W: Clone>(left: Vec<V>, right: Vec<W>) -> impl Iterator<Item = (V, W)> {
    each_with(right, left).flat_map(|(right, left)| each_with(left, right))
}

/// The values, or one that is none.
fn or_none<V>(values: Vec<V>) -> Vec<Option<V>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}
