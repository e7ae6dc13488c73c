//! Reading the state of a running job, as of a batch.

#[cfg(test)]
mod tests;

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, channel};

use crate::dataflow::graph::NodeId;
use crate::dataflow::worker::{EncodedEntry, Select, SelectedKey};
use crate::driver::message::DriverMessage;
use crate::driver::questions::{Question, Reply};
use crate::job::running::Running;
use floodmark_base::codec::{Key, KeyHash, Record, decode, encode};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{Batch, BatchId};
use floodmark_base::types::Keys;
use floodmark_base::user_code;

/// The committed state of one operator of a running job; see [`Running::state`].
///
/// Every answer is of one batch: it is given between batches, and no batch changes the state while it is put together. Two
/// questions may be answered after two different batches; what must fit together is asked for at once, with
/// [`get_many`](Self::get_many) or [`snapshot`](Self::snapshot), which also say as of which batch they are. Or ask for a batch
/// by its number: [`as_of`](Self::as_of).
///
/// A question costs the job the time from the end of one batch to the beginning of the next one, in which the workers look
/// up and encode what was asked for; whoever asks decodes it, on their own thread. A job does not wait for whoever asks.
///
/// Ask from any thread, but not from functions that run inside of the job (operators, outputs): a batch cannot end before
/// they have returned.
#[derive(Debug)]
pub struct StateHandle<'r, K, S> {
    running: &'r Running,
    node: NodeId,
    as_of: Option<BatchId>,
    types: PhantomData<fn(K) -> S>,
}

impl<K, S> Clone for StateHandle<'_, K, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, S> Copy for StateHandle<'_, K, S> {}

impl<'r, K: Key, S: Record> StateHandle<'r, K, S> {
    pub(crate) fn new(running: &'r Running, node: NodeId) -> Self {
        Self { running, node, as_of: None, types: PhantomData }
    }

    /// A handle on the state after exactly this batch. Each of its questions waits until the batch is the newest committed one,
    /// and is answered before the next one is given to the dataflow; a batch that is to come holds nothing up until then.
    ///
    /// A question must be under way before the next batch is planned: when the job is already past the batch, the answer is
    /// the error `Past`, which names the batch asked for and the batch that the state is at. Two questions through one such handle
    /// need not both come in time; ask at once for what belongs together.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    /// use floodmark::{BatchId, ErrorKind};
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
    ///     stream.update_state_by_key("counts", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
    ///     words
    /// })?;
    /// let apple = "apple".to_string();
    /// for _ in 1..=3 {
    ///     job.handles().push(vec![(apple.clone(), 1)])?;
    ///     job.run_batch()?;
    /// }
    /// let counts = job.running().state::<String, u64>("counts")?;
    /// assert_eq!(counts.as_of(BatchId(3)).get(&apple)?, Some(3));
    /// assert_eq!(counts.as_of(BatchId(2)).get(&apple).unwrap_err().kind(), ErrorKind::Past);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_of(&self, batch: BatchId) -> Self {
        Self { as_of: Some(batch), ..*self }
    }

    /// The state of a key. Costs a look-up between two batches.
    ///
    /// # Errors
    /// `Stopped` when the job has ended, or ends before it answers. `Past` as [`as_of`](Self::as_of) says. `Damaged` when the
    /// state cannot be decoded. `UserCode` when the serde code of the key or the state fails or panics, with the name of the type;
    /// the job goes on.
    pub fn get(&self, key: &K) -> Result<Option<S>> {
        let (_, entries) = self.ask(Select::Keys(vec![self.select(key)?]))?;
        entries.into_iter().next().map(|(_, _, state)| decode_stored(&state)).transpose()
    }

    /// The states of several keys, all as of one batch: a snapshot of those of them that have a state. Costs a look-up for each
    /// between two batches.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # use floodmark::testing::TestJob;
    /// let mut job = TestJob::new(|context| {
    ///     let (transfers, stream) = context.queue_stream::<(u32, i64)>("transfers");
    ///     stream.update_state_by_key("accounts", |new: &[i64], old: Option<i64>| {
    ///         Some(old.unwrap_or(0) + new.iter().sum::<i64>())
    ///     });
    ///     transfers
    /// })?;
    /// job.handles().push(vec![(1, -30), (2, 30)])?;
    /// let batch = job.run_batch()?;
    /// let accounts = job.running().state::<u32, i64>("accounts")?.get_many(&[1, 2, 3])?;
    /// assert_eq!((accounts.get(&1), accounts.get(&2), accounts.get(&3)), (Some(&-30), Some(&30), None));
    /// assert_eq!(accounts.batch(), batch);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Result<StateSnapshot<K, S>> {
        let keys = keys.into_iter().map(|key| self.select(key)).collect::<Result<_>>()?;
        let (batch, entries) = self.ask(Select::Keys(keys))?;
        StateSnapshot::new(batch, entries)
    }

    /// The whole state as of one batch. Holds it in memory once more, and the workers encode it between two batches.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # use floodmark::testing::TestJob;
    /// # let mut job = TestJob::new(|context| {
    /// #     let (words, stream) = context.queue_stream::<(String, u64)>("words");
    /// #     stream.update_state_by_key("counts", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
    /// #     words
    /// # })?;
    /// # job.handles().push(vec![("apple".to_string(), 1), ("pear".to_string(), 1)])?;
    /// # job.run_batch()?;
    /// let snapshot = job.running().state::<String, u64>("counts")?.snapshot()?;
    /// println!("after batch {}: {} keys", snapshot.batch().id, snapshot.len());
    /// assert_eq!(snapshot.iter().map(|(_, count)| count).sum::<u64>(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Result<StateSnapshot<K, S>> {
        let (batch, entries) = self.ask(Select::All)?;
        StateSnapshot::new(batch, entries)
    }

    /// Every key with its state, in the order (hash, encoded key): the entries of a [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn iter(&self) -> Result<impl Iterator<Item = (K, S)> + use<K, S>> {
        Ok(self.snapshot()?.into_iter())
    }

    fn select(&self, key: &K) -> Result<SelectedKey> {
        let key = user_code::call(format_args!("the encoding of {}", type_name::<K>()), || {
            let (hash, key) = Keys::new().take(key.clone());
            let key = encode(&key).expect("a key encodes that has a hash");
            SelectedKey { partition: hash.bucket(self.running.width().partitions), hash, key }
        });
        key.map_err(|error| Error::caused_by(error.kind(), "the key cannot be asked for", error))
    }

    /// The number of entries, and an order-free fingerprint of all of them, with their keys.
    #[cfg(feature = "testing")]
    pub(crate) fn fingerprint(&self) -> Result<(u64, u64)> {
        use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
        let (_, entries) = self.ask(Select::All)?;
        let digest = |(_, key, state): &EncodedEntry| xxh3_64_with_seed(state, xxh3_64(key));
        Ok((entries.len() as u64, entries.iter().map(digest).fold(0, u64::wrapping_add)))
    }

    fn ask(&self, select: Select) -> Result<(Batch, Vec<EncodedEntry>)> {
        let replies = self.send(select)?;
        self.receive(&replies)
    }

    fn send(&self, select: Select) -> Result<Receiver<Reply>> {
        self.running.check_not_inside()?;
        let (reply, replies) = channel();
        let question = Question { node: self.node, select, as_of: self.as_of, reply };
        self.running.tell_driver(DriverMessage::Question(question))?;
        Ok(replies)
    }

    fn receive(&self, replies: &Receiver<Reply>) -> Result<(Batch, Vec<EncodedEntry>)> {
        let next = || replies.recv().map_err(|_| Error::new(ErrorKind::Stopped, "the job has ended"));
        let batch = match next()? {
            Reply::AsOf(batch) => batch,
            Reply::Past(newest) => return Err(past(self.as_of.unwrap_or_default(), newest)),
            Reply::Failed(_) | Reply::Entries(_) => unreachable!("the batch comes before its entries"),
        };
        let mut entries = Vec::new();
        for _ in 0..self.running.width().workers {
            match next()? {
                Reply::Entries(mut found) => entries.append(&mut found),
                Reply::Failed(error) => return Err(error),
                Reply::AsOf(_) | Reply::Past(_) => unreachable!("a question has one batch"),
            }
        }
        Ok((batch, entries))
    }
}

fn past(asked: BatchId, newest: BatchId) -> Error {
    let message = format!("the state is not as of batch {asked} any more: it is at batch {newest}");
    Error::new(ErrorKind::Past, message)
}

/// The state of an operator, or of some of its keys, as of one batch; see [`StateHandle::snapshot`] and
/// [`StateHandle::get_many`], which have examples. A copy: the job goes on without it.
pub struct StateSnapshot<K, S> {
    batch: Batch,
    /// In the order (hash, encoded key).
    entries: Vec<(K, S)>,
    /// The hash of each entry's key.
    hashes: Vec<KeyHash>,
}

impl<K: Key, S: Record> StateSnapshot<K, S> {
    fn new(batch: Batch, mut found: Vec<EncodedEntry>) -> Result<Self> {
        found.sort_unstable_by(|(a_hash, a_key, _), (b_hash, b_key, _)| (a_hash, a_key).cmp(&(b_hash, b_key)));
        // A key that was asked for twice was found twice.
        found.dedup_by(|(_, later, _), (_, earlier, _)| later == earlier);
        let hashes = found.iter().map(|(hash, ..)| *hash).collect();
        let decoded = found.into_iter().map(|(_, key, state)| Ok((decode_stored(&key)?, decode_stored(&state)?)));
        Ok(Self { batch, entries: decoded.collect::<Result<_>>()?, hashes })
    }

    /// The batch after which it is; number and time 0 before the first batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// The state of a key. Costs a binary search.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        let hash = Keys::new().hash(key);
        let first = self.hashes.partition_point(|before| *before < hash);
        let same = self.hashes[first..].iter().take_while(|found| **found == hash).count();
        self.entries[first..first + same].iter().find(|(found, _)| found == key).map(|(_, state)| state)
    }

    /// Every key with its state, in the order (hash, encoded key).
    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.entries.iter().map(|(key, state)| (key, state))
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K, S> IntoIterator for StateSnapshot<K, S> {
    type Item = (K, S);
    type IntoIter = std::vec::IntoIter<(K, S)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<K, S> fmt::Debug for StateSnapshot<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSnapshot").field("batch", &self.batch).field("keys", &self.entries.len()).finish()
    }
}

fn decode_stored<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    decode(bytes)
        .map_err(|error| Error::caused_by(ErrorKind::Damaged, "an entry of the state cannot be decoded", error))
}
