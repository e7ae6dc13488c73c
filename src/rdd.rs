//! `Rdd`: one batch of a stream, as partitions.

/// One batch of a [`DStream`](crate::DStream), in partitions whose number and contents do not depend on the number of workers.
/// Spark: `RDD`, without laziness: the records are there.
///
/// ```
/// use floodmark::Rdd;
///
/// let rdd = Rdd::new(vec![vec![1, 2], vec![3]]);
/// assert_eq!(rdd.count(), 3);
/// assert_eq!(rdd.collect(), [1, 2, 3]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdd<T> {
    partitions: Vec<Vec<T>>,
}

impl<T> Rdd<T> {
    /// A batch of these partitions.
    ///
    /// ```
    /// assert!(floodmark::Rdd::<u8>::new(vec![]).is_empty());
    /// ```
    #[must_use]
    pub fn new(partitions: Vec<Vec<T>>) -> Self {
        Self { partitions }
    }

    /// The partitions, in their order.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1], vec![2]]).partitions().len(), 2);
    /// ```
    #[must_use]
    pub fn partitions(&self) -> &[Vec<T>] {
        &self.partitions
    }

    /// All records, partition by partition.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1], vec![2]]).collect(), [1, 2]);
    /// ```
    #[must_use]
    pub fn collect(self) -> Vec<T> {
        self.into_iter().collect()
    }

    /// The number of records.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1], vec![2]]).count(), 2);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.len() as u64).sum()
    }

    /// Whether there is no record.
    ///
    /// ```
    /// assert!(floodmark::Rdd::<u8>::new(vec![vec![], vec![]]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(Vec::is_empty)
    }

    /// The records, partition by partition.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1], vec![2]]).iter().sum::<u64>(), 3);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.partitions.iter().flatten()
    }
}

impl<T> IntoIterator for Rdd<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.partitions.into_iter().flatten()
    }
}
