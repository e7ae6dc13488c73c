//! Operations over records of any type that give a value.

use std::iter::Sum;

use super::Rdd;

impl<T> Rdd<T> {
    /// The first records, at most this many. Spark: `RDD.take`. Copies these only.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1, 2], vec![3]]);
    /// assert_eq!(rdd.take(2), [1, 2]);
    /// assert_eq!(rdd.take(10), [1, 2, 3]);
    /// ```
    #[must_use]
    pub fn take(&self, count: usize) -> Vec<T>
    where
        T: Clone,
    {
        self.iter().take(count).cloned().collect()
    }

    /// The first record; none of an empty batch, where Spark's `RDD.first` throws.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![], vec![1, 2]]).first(), Some(&1));
    /// assert_eq!(floodmark::Rdd::<u8>::default().first(), None);
    /// ```
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// The last record. Time in the number of partitions.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1, 2], vec![]]).last(), Some(&2));
    /// ```
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// Merges all records, from the first to the last; none of an empty batch, where Spark's `RDD.reduce` throws.
    ///
    /// The function need not be commutative.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec!["a".to_string(), "b".into()], vec!["c".into()]]);
    /// assert_eq!(rdd.reduce(|a, b| a + &b).as_deref(), Some("abc"));
    /// ```
    #[must_use]
    pub fn reduce(self, function: impl FnMut(T, T) -> T) -> Option<T> {
        self.into_iter().reduce(function)
    }

    /// Merges all records into `zero`, from the first to the last. Spark: `RDD.fold`; there `zero` must be neutral, since it
    /// counts once for each partition and once more. Here it counts once.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1, 2], vec![3]]).fold(10, |a, b| a + b), 16);
    /// ```
    #[must_use]
    pub fn fold(self, zero: T, function: impl FnMut(T, T) -> T) -> T {
        self.into_iter().fold(zero, function)
    }

    /// Adds up each partition, beginning with `zero`, then merges what the partitions gave into `zero`, in their order. Spark:
    /// `RDD.aggregate`. `zero` should be neutral: it counts once for each partition and once more.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1_u64, 2], vec![6]]);
    /// let (sum, count) = rdd.aggregate((0, 0), |(sum, n), next| (sum + next, n + 1), |a, b| (a.0 + b.0, a.1 + b.1));
    /// assert_eq!(sum / count, 3);
    /// ```
    #[must_use]
    pub fn aggregate<U: Clone>(self, zero: U, mut add: impl FnMut(U, T) -> U, merge: impl FnMut(U, U) -> U) -> U {
        let sums: Vec<U> =
            self.partitions.into_iter().map(|partition| partition.into_iter().fold(zero.clone(), &mut add)).collect();
        sums.into_iter().fold(zero, merge)
    }

    /// The sum of all records; of floating-point numbers, too, from the first to the last. Spark: `DoubleRDDFunctions.sum`.
    ///
    /// ```
    /// let total: f64 = floodmark::Rdd::new(vec![vec![0.5], vec![1.5]]).sum();
    /// assert_eq!(total, 2.0);
    /// ```
    #[must_use]
    pub fn sum<S: Sum<T>>(self) -> S {
        self.into_iter().sum()
    }

    /// Calls a function with each record, in order. Spark: `RDD.foreach`.
    ///
    /// ```
    /// let mut seen = Vec::new();
    /// floodmark::Rdd::new(vec![vec![1], vec![2]]).for_each(|n| seen.push(n));
    /// assert_eq!(seen, [1, 2]);
    /// ```
    pub fn for_each(self, function: impl FnMut(T)) {
        self.into_iter().for_each(function);
    }

    /// Calls a function with an iterator over each partition, also an empty one. Spark: `RDD.foreachPartition`.
    ///
    /// ```
    /// let mut sizes = Vec::new();
    /// floodmark::Rdd::new(vec![vec![1, 2], vec![]]).for_each_partition(|records| sizes.push(records.len()));
    /// assert_eq!(sizes, [2, 0]);
    /// ```
    pub fn for_each_partition(self, mut function: impl FnMut(std::vec::IntoIter<T>)) {
        for partition in self.partitions {
            function(partition.into_iter());
        }
    }
}
