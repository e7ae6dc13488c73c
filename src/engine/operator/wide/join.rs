//! `join` and the outer joins: the values of each key in two streams, paired.

use crate::dataflow::emit::Emit;
use crate::dstream::DStream;
use floodmark_base::codec::{Key, Record};

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// For each key, every value of this stream in a batch with every value of the other. Keys that occur in one of them only
    /// are dropped. Spark: `PairDStreamFunctions.join`.
    ///
    /// The pairs of a key come value by value of this stream, and for each in the order of the other. Wide, as
    /// [`cogroup`](Self::cogroup), and a clone per pair; a key with m and n values gives m · n pairs, which flow on without
    /// being held. Keyed output leaves in the order (hash, encoded key). Both streams must be of one context and slide alike;
    /// otherwise the job does not start. Keeps nothing in a checkpoint.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (prices, one) = context.queue_stream::<(String, u64)>("prices");
    ///     let (orders, other) = context.queue_stream::<(String, char)>("orders");
    ///     ((prices, orders), one.join(&other).collect("priced"))
    /// })?;
    /// let ((prices, orders), priced) = job.handles();
    /// prices.push(vec![("tea".into(), 3), ("rum".into(), 9)])?;
    /// orders.push(vec![("tea".into(), 'a'), ("tea".into(), 'b'), ("gin".into(), 'c')])?;
    /// job.run_batch()?;
    /// assert_eq!(priced.last(), [("tea".to_string(), (3, 'a')), ("tea".to_string(), (3, 'b'))]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn join<W: Record>(&self, other: &DStream<'c, (K, W)>) -> DStream<'c, (K, (V, W))> {
        self.joined("join", other, |pairs| {
            pairs.product(|one, other| (one.clone(), other.clone()));
        })
    }

    /// As [`join`](Self::join), with every key of this stream: where the other has none, its side is `None`. Spark:
    /// `PairDStreamFunctions.leftOuterJoin`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (views, one) = context.queue_stream::<(String, u64)>("views");
    ///     let (clicks, other) = context.queue_stream::<(String, char)>("clicks");
    ///     ((views, clicks), one.left_outer_join(&other).collect("all views"))
    /// })?;
    /// let ((views, clicks), all_views) = job.handles();
    /// views.push(vec![("ann".into(), 1), ("bob".into(), 2)])?;
    /// clicks.push(vec![("ann".into(), 'x'), ("eve".into(), 'y')])?;
    /// job.run_batch()?;
    /// assert_eq!(all_views.last_sorted(), [("ann".to_string(), (1, Some('x'))), ("bob".to_string(), (2, None))]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn left_outer_join<W: Record>(&self, other: &DStream<'c, (K, W)>) -> DStream<'c, (K, (V, Option<W>))> {
        self.joined("left_outer_join", other, |pairs| {
            if pairs.others.is_empty() {
                pairs.ones(|one| (one.clone(), None));
            } else {
                pairs.product(|one, other| (one.clone(), Some(other.clone())));
            }
        })
    }

    /// As [`join`](Self::join), with every key of the other stream: where this one has none, its side is `None`. Spark:
    /// `PairDStreamFunctions.rightOuterJoin`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (views, one) = context.queue_stream::<(String, u64)>("views");
    ///     let (clicks, other) = context.queue_stream::<(String, char)>("clicks");
    ///     ((views, clicks), one.right_outer_join(&other).collect("all clicks"))
    /// })?;
    /// let ((views, clicks), all_clicks) = job.handles();
    /// views.push(vec![("ann".into(), 1), ("bob".into(), 2)])?;
    /// clicks.push(vec![("ann".into(), 'x'), ("eve".into(), 'y')])?;
    /// job.run_batch()?;
    /// assert_eq!(all_clicks.last_sorted(), [("ann".to_string(), (Some(1), 'x')), ("eve".to_string(), (None, 'y'))]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn right_outer_join<W: Record>(&self, other: &DStream<'c, (K, W)>) -> DStream<'c, (K, (Option<V>, W))> {
        self.joined("right_outer_join", other, |pairs| {
            if pairs.ones.is_empty() {
                pairs.others(|other| (None, other.clone()));
            } else {
                pairs.product(|one, other| (Some(one.clone()), other.clone()));
            }
        })
    }

    /// As [`join`](Self::join), with every key of both streams: where one of them has none, its side is `None`. Spark:
    /// `PairDStreamFunctions.fullOuterJoin`.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (views, one) = context.queue_stream::<(String, u64)>("views");
    ///     let (clicks, other) = context.queue_stream::<(String, char)>("clicks");
    ///     ((views, clicks), one.full_outer_join(&other).collect("all"))
    /// })?;
    /// let ((views, clicks), all) = job.handles();
    /// views.push(vec![("ann".into(), 1)])?;
    /// clicks.push(vec![("eve".into(), 'y')])?;
    /// job.run_batch()?;
    /// assert_eq!(all.last_sorted(), [("ann".to_string(), (Some(1), None)), ("eve".to_string(), (None, Some('y')))]);
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::type_complexity)] // what comes out is best said in full
    pub fn full_outer_join<W: Record>(&self, other: &DStream<'c, (K, W)>) -> DStream<'c, (K, (Option<V>, Option<W>))> {
        self.joined("full_outer_join", other, |pairs| {
            if pairs.others.is_empty() {
                pairs.ones(|one| (Some(one.clone()), None));
            } else if pairs.ones.is_empty() {
                pairs.others(|other| (None, Some(other.clone())));
            } else {
                pairs.product(|one, other| (Some(one.clone()), Some(other.clone())));
            }
        })
    }

    /// Groups both streams by key and puts out what `pair` makes of each group.
    fn joined<W: Record, U: Record>(
        &self,
        name: &str,
        other: &DStream<'c, (K, W)>,
        pair: impl Fn(&mut Pairs<'_, K, V, W, U>) + Send + Sync + 'static,
    ) -> DStream<'c, (K, U)> {
        self.cogroup_as(name, other).per_run_keeping_keys(name, move |run, emit| {
            for (key, (ones, others)) in run.drain(..) {
                pair(&mut Pairs { key, ones, others, emit });
            }
        })
    }
}

/// The group of one key, on its way out as pairs.
struct Pairs<'e, K, V, W, U> {
    key: K,
    ones: Vec<V>,
    others: Vec<W>,
    emit: &'e mut Emit<(K, U)>,
}

impl<K: Clone, V, W, U> Pairs<'_, K, V, W, U> {
    fn ones(&mut self, pair: impl Fn(&V) -> U) {
        self.ones.iter().for_each(|one| self.emit.emit((self.key.clone(), pair(one))));
    }

    fn others(&mut self, pair: impl Fn(&W) -> U) {
        self.others.iter().for_each(|other| self.emit.emit((self.key.clone(), pair(other))));
    }

    /// Every one with every other, unless nobody wants more.
    fn product(&mut self, pair: impl Fn(&V, &W) -> U) {
        for one in &self.ones {
            if !self.emit.wants_more() {
                return;
            }
            self.others.iter().for_each(|other| self.emit.emit((self.key.clone(), pair(one, other))));
        }
    }
}
