//! Operations that compare records: sorting, and the largest and smallest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Rdd;

impl<T> Rdd<T> {
    /// Sorts all records by a key. Spark: `RDD.sortBy`. For the largest first use [`Reverse`].
    ///
    /// Stable: records of equal keys keep their order. The result has as many partitions, of nearly equal size, each of a
    /// range of keys. `n log n` comparisons; the key is computed once per record.
    ///
    /// ```
    /// use std::cmp::Reverse;
    ///
    /// let rdd = floodmark::Rdd::new(vec![vec![2, 3], vec![1, 4]]);
    /// assert_eq!(rdd.clone().sort_by(|n| *n).partitions(), [[1, 2], [3, 4]]);
    /// assert_eq!(rdd.sort_by(|n| Reverse(*n)).collect(), [4, 3, 2, 1]);
    /// ```
    #[must_use]
    pub fn sort_by<K: Ord>(self, key: impl FnMut(&T) -> K) -> Self {
        self.sorted_with(|records| records.sort_by_cached_key(key))
    }

    /// The largest records, at most this many, the largest first. Spark: `RDD.top`.
    ///
    /// `n log count` comparisons; copies what it gives only.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![2, 5], vec![3, 9]]);
    /// assert_eq!(rdd.top(2), [9, 5]);
    /// ```
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<T>
    where
        T: Ord + Clone,
    {
        smallest(self.iter().map(Reverse), count).into_iter().map(|Reverse(record)| record.clone()).collect()
    }

    /// The smallest records, at most this many, the smallest first. Spark: `RDD.takeOrdered`.
    ///
    /// `n log count` comparisons; copies what it gives only.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![2, 5], vec![3, 9]]);
    /// assert_eq!(rdd.take_ordered(3), [2, 3, 5]);
    /// ```
    #[must_use]
    pub fn take_ordered(&self, count: usize) -> Vec<T>
    where
        T: Ord + Clone,
    {
        smallest(self.iter(), count).into_iter().cloned().collect()
    }

    /// The smallest record, the first of equal ones; none of an empty batch, where Spark's `RDD.min` throws.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![2, 5], vec![1]]).min(), Some(&1));
    /// ```
    #[must_use]
    pub fn min(&self) -> Option<&T>
    where
        T: Ord,
    {
        self.iter().min()
    }

    /// The largest record, the last of equal ones; none of an empty batch, where Spark's `RDD.max` throws.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![2, 5], vec![1]]).max(), Some(&5));
    /// ```
    #[must_use]
    pub fn max(&self) -> Option<&T>
    where
        T: Ord,
    {
        self.iter().max()
    }

    fn sorted_with(self, sort: impl FnOnce(&mut Vec<T>)) -> Self {
        let partitions = self.partitions.len();
        if partitions == 0 {
            return self;
        }
        let mut records = self.collect();
        sort(&mut records);
        Self::from_records(records).repartition(partitions)
    }
}

impl<K: Ord, V> Rdd<(K, V)> {
    /// Sorts all records by their keys, as [`sort_by`](Self::sort_by) does. Spark: `OrderedRDDFunctions.sortByKey`.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![("b", 1), ("a", 2), ("b", 0)]);
    /// assert_eq!(rdd.sort_by_key().collect(), [("a", 2), ("b", 1), ("b", 0)]);
    /// ```
    #[must_use]
    pub fn sort_by_key(self) -> Self {
        self.sorted_with(|records| records.sort_by(|(a, _), (b, _)| a.cmp(b)))
    }
}

/// The smallest items, sorted; of equal ones those that come first, in their order.
fn smallest<T: Ord>(items: impl Iterator<Item = T>, count: usize) -> Vec<T> {
    // The largest of those kept is on top. Its place makes no two items equal.
    let mut kept: BinaryHeap<(T, usize)> = BinaryHeap::new();
    for (place, item) in items.enumerate() {
        if kept.len() < count {
            kept.push((item, place));
        } else if let Some(mut largest) = kept.peek_mut()
            && item < largest.0
        {
            *largest = (item, place);
        }
    }
    kept.into_sorted_vec().into_iter().map(|(item, _)| item).collect()
}
