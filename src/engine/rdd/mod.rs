//! `Rdd`: one batch of a stream, as partitions, with the operations of Spark's `RDD` and `PairRDDFunctions`.
//!
//! Invariant: what an operation gives depends on the records, their order and their partitions, and on nothing else: never
//! on a hash map's order, a clock or the number of workers (I-3).

mod actions;
mod by_key;
mod joins;
mod order;
mod pairs;
#[cfg(test)]
mod tests;
mod transformations;

/// One batch of a [`DStream`](crate::DStream), in partitions whose number and contents do not depend on the number of workers.
/// Spark: `RDD`, without laziness: the records are there, and an operation is done when it returns.
///
/// # Order
/// Records have an order: partition by partition, in each as they stand. Operations that look at single records keep it,
/// and the partitions. Operations by key ([`reduce_by_key`](Rdd::reduce_by_key), [`join`](Rdd::join),
/// [`distinct`](Rdd::distinct) and their like) follow one rule:
///
/// - the result has as many partitions as the left input;
/// - keys leave in the order in which they were first met, left input first: a key stands in the partition in which the
///   left input has it first, and a key that only the right input has stands at the end of the last partition;
/// - the values of a key are in the order of the input.
///
/// # Cost
/// Everything runs in the caller's thread and in memory. Operations that take the `Rdd` move its records; those that
/// borrow it copy what they give. Keys need `serde` and `Eq` only ([`Key`](floodmark_base::codec::Key)); they are hashed by their
/// encoding, as everywhere in Floodmark. A key whose own serde code fails is a panic.
///
/// ```
/// use floodmark::Rdd;
///
/// let rdd = Rdd::new(vec![vec!["to", "be", "or"], vec!["not", "to", "be"]]);
/// let words = rdd.map(|word| (word.to_string(), 1_u64));
/// let counts = words.reduce_by_key(|a, b| a + b);
/// assert_eq!(counts.count(), 4);
/// assert_eq!(counts.partitions()[1], [("not".to_string(), 1)]);
/// assert_eq!(counts.lookup(&"be".to_string()), [2]);
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

    /// A batch of one partition. Spark: `SparkContext.parallelize`; for more partitions see
    /// [`repartition`](Self::repartition).
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![1, 2, 3]);
    /// assert_eq!(rdd.partitions(), [[1, 2, 3]]);
    /// ```
    #[must_use]
    pub fn from_records(records: Vec<T>) -> Self {
        Self::new(vec![records])
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

    /// The partitions, taken out.
    ///
    /// ```
    /// assert_eq!(floodmark::Rdd::new(vec![vec![1], vec![2]]).into_partitions(), [[1], [2]]);
    /// ```
    #[must_use]
    pub fn into_partitions(self) -> Vec<Vec<T>> {
        self.partitions
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

    /// The number of records. Time in the number of partitions.
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
    pub fn iter(&self) -> Iter<'_, T> {
        self.partitions.iter().flatten()
    }
}

/// What [`Rdd::iter`] gives.
type Iter<'a, T> = std::iter::Flatten<std::slice::Iter<'a, Vec<T>>>;

/// A batch without partitions.
impl<T> Default for Rdd<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// One partition, as [`Rdd::from_records`].
impl<T> From<Vec<T>> for Rdd<T> {
    fn from(records: Vec<T>) -> Self {
        Self::from_records(records)
    }
}

/// One partition, as [`Rdd::from_records`].
impl<T> FromIterator<T> for Rdd<T> {
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        Self::from_records(records.into_iter().collect())
    }
}

impl<T> IntoIterator for Rdd<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.partitions.into_iter().flatten()
    }
}

impl<'a, T> IntoIterator for &'a Rdd<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
