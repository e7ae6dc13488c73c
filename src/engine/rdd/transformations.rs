//! Operations over records of any type that give another `Rdd`.

use super::Rdd;
use super::by_key::ByKey;
use floodmark_base::codec::Key;

impl<T> Rdd<T> {
    /// Applies a function to each record. Spark: `RDD.map`. Keeps partitions and order.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1, 2], vec![3]]);
    /// assert_eq!(rdd.map(|n| n * 10).partitions(), [vec![10, 20], vec![30]]);
    /// ```
    #[must_use]
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> Rdd<U> {
        self.each_partition(|records| records.into_iter().map(&mut function).collect())
    }

    /// Applies a function to each record and takes all that it gives. Spark: `RDD.flatMap`. Keeps partitions and order.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec!["to be", "or not"]);
    /// assert_eq!(rdd.flat_map(str::split_whitespace).collect(), ["to", "be", "or", "not"]);
    /// ```
    #[must_use]
    pub fn flat_map<U, I: IntoIterator<Item = U>>(self, mut function: impl FnMut(T) -> I) -> Rdd<U> {
        self.each_partition(|records| records.into_iter().flat_map(&mut function).collect())
    }

    /// Keeps the records for which the function says yes. Spark: `RDD.filter`. Keeps partitions and order.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1, 2], vec![3]]);
    /// assert_eq!(rdd.filter(|n| n % 2 == 1).partitions(), [[1], [3]]);
    /// ```
    #[must_use]
    pub fn filter(mut self, mut function: impl FnMut(&T) -> bool) -> Self {
        for partition in &mut self.partitions {
            partition.retain(&mut function);
        }
        self
    }

    /// Applies a function to an iterator over each partition, also an empty one. Spark: `RDD.mapPartitions`. Keeps the
    /// number of partitions.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1, 2], vec![], vec![3]]);
    /// assert_eq!(rdd.map_partitions(|numbers| [numbers.sum::<u64>()]).collect(), [3, 0, 3]);
    /// ```
    #[must_use]
    pub fn map_partitions<U, I: IntoIterator<Item = U>>(
        self,
        mut function: impl FnMut(std::vec::IntoIter<T>) -> I,
    ) -> Rdd<U> {
        self.each_partition(|records| function(records.into_iter()).into_iter().collect())
    }

    /// Makes each partition one record. Spark: `RDD.glom`. Copies nothing.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1, 2], vec![]]);
    /// assert_eq!(rdd.glom().collect(), [vec![1, 2], vec![]]);
    /// ```
    #[must_use]
    pub fn glom(self) -> Rdd<Vec<T>> {
        self.each_partition(|partition| vec![partition])
    }

    /// The records of both: these partitions, then those of the other. Spark: `RDD.union`. Time in the number of partitions.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let both = Rdd::from_records(vec![1, 2]).union(Rdd::from_records(vec![2, 3]));
    /// assert_eq!(both.partitions(), [[1, 2], [2, 3]]);
    /// ```
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.partitions.extend(other.partitions);
        self
    }

    /// Pairs each record with its place in the order, from 0. Spark: `RDD.zipWithIndex`.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec!["a", "b"], vec!["c"]]);
    /// assert_eq!(rdd.zip_with_index().collect(), [("a", 0), ("b", 1), ("c", 2)]);
    /// ```
    #[must_use]
    pub fn zip_with_index(self) -> Rdd<(T, u64)> {
        let mut indices = 0..;
        self.map(|record| (record, indices.next().expect("fewer than 2^64 records")))
    }

    /// The same records, in the same order, in this many partitions of nearly equal size: the first ones have one record more.
    /// Spark: `RDD.repartition`, which does not keep the order. Moves every record.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![1, 2, 3, 4, 5]);
    /// assert_eq!(rdd.repartition(2).partitions(), [vec![1, 2, 3], vec![4, 5]]);
    /// ```
    ///
    /// # Panics
    /// When `partitions` is 0.
    #[must_use]
    pub fn repartition(self, partitions: usize) -> Self {
        assert!(partitions > 0, "records need at least 1 partition, 0 were asked for");
        let records = self.collect();
        let (each, more) = (records.len() / partitions, records.len() % partitions);
        let mut records = records.into_iter();
        let sizes = (0..partitions).map(|partition| each + usize::from(partition < more));
        Self::new(sizes.map(|size| records.by_ref().take(size).collect()).collect())
    }

    /// At most this many partitions: neighbours are joined, none is split. Spark: `RDD.coalesce`. Keeps the order; moves
    /// the records of all but the first partition of each group.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![1], vec![2, 3], vec![4]]);
    /// assert_eq!(rdd.coalesce(2).partitions(), [vec![1, 2, 3], vec![4]]);
    /// ```
    ///
    /// # Panics
    /// When `partitions` is 0.
    #[must_use]
    pub fn coalesce(self, partitions: usize) -> Self {
        assert!(partitions > 0, "records need at least 1 partition, 0 were asked for");
        let count = self.partitions.len();
        if count <= partitions {
            return self;
        }
        let mut joined: Vec<Vec<T>> = Vec::with_capacity(partitions);
        for (at, mut partition) in self.partitions.into_iter().enumerate() {
            // Rounded so that the first groups are the larger ones, as in `repartition`.
            let group = (at * partitions) / count;
            match joined.get_mut(group) {
                Some(group) => group.append(&mut partition),
                None => joined.push(partition),
            }
        }
        Self::new(joined)
    }

    /// Pairs each record with a key. Spark: `RDD.keyBy`. Keeps partitions and order.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec!["one", "three"]);
    /// assert_eq!(rdd.key_by(|word| word.len()).collect(), [(3, "one"), (5, "three")]);
    /// ```
    #[must_use]
    pub fn key_by<K>(self, mut key: impl FnMut(&T) -> K) -> Rdd<(K, T)> {
        self.map(|record| (key(&record), record))
    }

    /// Brings the records of each key together. Spark: `RDD.groupBy`. Order as said at [`Rdd`]; hashes each record's key once.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec![1_u64, 2, 3, 4]);
    /// assert_eq!(rdd.group_by(|n| n % 2).collect(), [(1, vec![1, 3]), (0, vec![2, 4])]);
    /// ```
    #[must_use]
    pub fn group_by<K: Key>(self, key: impl FnMut(&T) -> K) -> Rdd<(K, Vec<T>)> {
        self.key_by(key).group_by_key()
    }

    fn each_partition<U>(self, function: impl FnMut(Vec<T>) -> Vec<U>) -> Rdd<U> {
        Rdd::new(self.partitions.into_iter().map(function).collect())
    }
}

impl<T: Key> Rdd<T> {
    /// Each record once: where it stands first. Spark: `RDD.distinct`. Hashes each record once.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::new(vec![vec![2_u64, 1, 2], vec![1, 3]]);
    /// assert_eq!(rdd.distinct().partitions(), [vec![2, 1], vec![3]]);
    /// ```
    #[must_use]
    pub fn distinct(self) -> Self {
        let mut met = ByKey::new();
        for partition in self.partitions {
            for record in partition {
                met.entry_or(record, || ());
            }
            met.end_partition();
        }
        met.into_rdd(|(record, ())| record)
    }

    /// How often each record comes. Spark: `RDD.countByValue`. Order as said at [`Rdd`]; hashes each record once.
    ///
    /// ```
    /// let rdd = floodmark::Rdd::from_records(vec!["b".to_string(), "a".into(), "b".into()]);
    /// assert_eq!(rdd.count_by_value().collect(), [("b".to_string(), 2), ("a".to_string(), 1)]);
    /// ```
    #[must_use]
    pub fn count_by_value(self) -> Rdd<(T, u64)> {
        self.map(|record| (record, ())).count_by_key()
    }

    /// The records that the other has, too, each once. Spark: `RDD.intersection`. Order and partitions of this one; hashes
    /// each record of both once.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let common = Rdd::from_records(vec![3_u64, 2, 1, 2]).intersection(Rdd::from_records(vec![2, 3, 4]));
    /// assert_eq!(common.collect(), [3, 2]);
    /// ```
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let mut others = other.met();
        self.distinct().filter(|record| others.has(record))
    }

    /// The records that the other does not have; they may repeat. Spark: `RDD.subtract`. Order and partitions of this one;
    /// hashes each record of both once.
    ///
    /// ```
    /// use floodmark::Rdd;
    /// let rest = Rdd::from_records(vec![1_u64, 2, 3, 1]).subtract(Rdd::from_records(vec![2]));
    /// assert_eq!(rest.collect(), [1, 3, 1]);
    /// ```
    #[must_use]
    pub fn subtract(self, other: Self) -> Self {
        let mut others = other.met();
        self.filter(|record| !others.has(record))
    }

    fn met(self) -> ByKey<T, ()> {
        let mut met = ByKey::new();
        for record in self {
            met.entry_or(record, || ());
        }
        met
    }
}
