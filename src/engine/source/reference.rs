//! Reference data: what streams are joined with, and what is loaded again when it changes.
//!
//! To the driver it is a direct source whose only range is a whole version. The range *is* the version, not a name of it: so a
//! version is durable with the plan before anything is computed with it (I-2), is read again exactly by every replay (I-3), and is
//! kept exactly as long as a checkpoint may need it, whatever became of the file that it was loaded from.
//!
//! # Format
//! A range is the encodings of the (key, value) pairs in the loader's order, then their number as 8 bytes, little-endian: a
//! block of typed records (see `records`). The position is a `ReferencePosition`: the fingerprint (XXH3, 128 bits) of the newest
//! range, and the uids of the operators that have it, so that neither an unchanged version is planned again after a restart,
//! nor an operator that is new to the program is left without one.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::source::direct::{ErasedDirect, OfferLimits};
use crate::source::error::SourceError;
use crate::source::records::{RecordBlock, read_records};
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, unexpected};
use floodmark_base::codec::{self, Key, Record};
use floodmark_base::id::Uid;
use floodmark_store::recovery::descriptor::StoredType;

/// The largest version, in encoded bytes: a quarter of what a frame of the log can hold.
const MAX_VERSION_BYTES: usize = 1 << 30;

/// Loads reference data. A closure of the shape of [`load`](Self::load) is one, too.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::testing::TestJob;
///
/// let mut job = TestJob::new(|context| {
///     let mut loaded = false;
///     let names = context.reference_data("names", move || {
///         let first = !std::mem::replace(&mut loaded, true);
///         Ok(first.then(|| vec![(1_u64, "one".to_string()), (2, "two".to_string())]))
///     });
///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
///     let named = stream.map(|n| (n, ())).join_reference("named", &names).map(|(_, ((), name))| name);
///     (numbers, named.collect("output"))
/// })?;
/// let (numbers, named) = job.handles();
/// numbers.push(vec![2, 7])?;
/// job.run_batch()?;
/// assert_eq!(named.last(), ["two"]);
/// # Ok(())
/// # }
/// ```
pub trait ReferenceLoader: Send + 'static {
    /// What records are joined by.
    type Key: Key;
    /// What they are joined with; a key may have several.
    type Value: Record;

    /// The newest version as a whole, or `None` if there is no newer one than the last that this loader gave. The first call in
    /// the life of a loader must give one.
    ///
    /// Called at every plan on the driver's thread, so it must not block for long. A version with the same contents as the one
    /// before, in the same order, is not planned again.
    ///
    /// # Errors
    /// When it cannot be loaded. The job stops with the error while it has no version; later the one that it has stays, and the error
    /// is logged. A panic counts as an error.
    #[allow(clippy::type_complexity)] // spelled out, as whoever implements it writes it
    fn load(&mut self) -> Result<Option<Vec<(Self::Key, Self::Value)>>, SourceError>;
}

impl<K, V, F> ReferenceLoader for F
where
    K: Key,
    V: Record,
    F: FnMut() -> Result<Option<Vec<(K, V)>>, SourceError> + Send + 'static,
{
    type Key = K;
    type Value = V;

    fn load(&mut self) -> Result<Option<Vec<(K, V)>>, SourceError> {
        self()
    }
}

/// The uids of the operators that a reference is joined by, as they are declared; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joins(Arc<Mutex<Vec<Uid>>>);

impl Joins {
    pub fn add(&self, uid: &Uid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(uid.clone());
    }

    fn declared(&self) -> Vec<Uid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a checkpoint holds of reference data.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ReferencePosition {
    /// Of the newest version that was planned.
    fingerprint: Option<u128>,
    /// The operators that have it in their state.
    joins: Vec<Uid>,
}

/// Reference data as the driver sees it.
pub(crate) struct ReferenceInput<L> {
    uid: Uid,
    loader: L,
    joins: Joins,
    /// The fingerprint of the newest planned version, if every operator that wants it has it.
    version: Option<u128>,
    /// What was last said about a failure, so that it is said once.
    complaint: Option<String>,
}

impl<L: ReferenceLoader> ReferenceInput<L> {
    pub fn new(uid: Uid, loader: L) -> Self {
        Self { uid, loader, joins: Joins::default(), version: None, complaint: None }
    }

    /// The type of its position.
    pub fn position_type() -> StoredType {
        StoredType::of::<ReferencePosition>()
    }

    /// Where its operators enter themselves.
    pub fn joins(&self) -> Joins {
        self.joins.clone()
    }

    /// The newest version, encoded, if the loader has a newer one than before.
    fn load(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let loader = &mut self.loader;
        let load = || loader.load()?.map(|entries| encode_version(&entries)).transpose();
        match SourceError::if_panics("its loader", load)?? {
            Some(version) => Ok(Some(version)),
            None if self.version.is_none() => {
                Err(SourceError::other("the loader says that nothing has changed before it gave a first version"))
            }
            None => Ok(None),
        }
    }

    /// Whether a failure is another than the last one, so that it is to be reported.
    pub(super) fn is_news(&mut self, error: &SourceError) -> bool {
        let complaint = Some(error.to_string());
        let is_news = self.complaint != complaint;
        self.complaint = complaint;
        is_news
    }
}

impl<L: ReferenceLoader> ErasedDirect for ReferenceInput<L> {
    fn restore(&mut self, position: Option<&[u8]>) -> Result<(), SourceError> {
        let stored: ReferencePosition = match position {
            Some(bytes) => codec::decode(bytes).map_err(|error| SourceError::Decode {
                what: "a position of reference data".to_string(),
                cause: error.to_string(),
            })?,
            None => ReferencePosition::default(),
        };
        // An operator that is new to the program starts empty, so the version is planned again for it.
        let all_have_it = self.joins.declared().iter().all(|uid| stored.joins.contains(uid));
        self.version = stored.fingerprint.filter(|_| all_have_it);
        Ok(())
    }

    fn offer(&mut self, _limits: &OfferLimits) -> Result<Vec<Vec<u8>>, SourceError> {
        match self.load() {
            Err(error) if self.version.is_none() => Err(error),
            Err(error) => {
                if self.is_news(&error) {
                    tracing::warn!(uid = %self.uid, %error, "reference data cannot be loaded; the version before it stays");
                }
                Ok(Vec::new())
            }
            Ok(version) => {
                if self.complaint.take().is_some() {
                    tracing::info!(uid = %self.uid, "reference data can be loaded again");
                }
                Ok(version.into_iter().filter(|version| self.version != Some(xxh3_128(version))).collect())
            }
        }
    }

    fn advance(&mut self, range: &[u8]) -> Result<(), SourceError> {
        self.version = Some(xxh3_128(range));
        tracing::debug!(uid = %self.uid, bytes = range.len(), "a version of reference data is planned");
        Ok(())
    }

    fn position(&self) -> Result<Vec<u8>, SourceError> {
        let position = ReferencePosition { fingerprint: self.version, joins: self.joins.declared() };
        Ok(codec::encode(&position).expect("numbers and texts encode"))
    }

    fn release(&mut self, _position: &[u8]) -> Result<(), SourceError> {
        Ok(())
    }

    fn is_reference(&self) -> bool {
        true
    }

    fn is_missing(&self) -> bool {
        self.version.is_none()
    }
}

/// A version as the range that is planned. It is read back here once: a plan that no worker can read would stop the job for good.
fn encode_version<K: Key, V: Record>(entries: &[(K, V)]) -> Result<Vec<u8>, SourceError> {
    let what = std::any::type_name::<(K, V)>();
    let unfit = |reason: String| SourceError::other(format!("reference data of {what} cannot be stored: {reason}"));
    let mut block = RecordBlock::default();
    for (index, entry) in entries.iter().enumerate() {
        block.push(entry).map_err(|error| unfit(format!("entry {index} cannot be encoded: {error}")))?;
        if block.bytes() > MAX_VERSION_BYTES {
            return Err(unfit(format!(
                "expected at most {MAX_VERSION_BYTES} bytes, found more with entry {index} of {}",
                entries.len()
            )));
        }
    }
    let version = block.finish().to_vec();
    let mut again = RecordBlock::default();
    let mut encoded = Ok(());
    read_records::<(K, V)>(&version, &mut |entry| {
        if encoded.is_ok() {
            encoded = again.push(&entry);
        }
    })?;
    if encoded.is_err() || *again.finish() != *version {
        return Err(unfit(
            "an entry does not survive its own encoding: serde attributes such as skip_serializing_if cannot be used"
                .into(),
        ));
    }
    Ok(version)
}

/// Reads a planned version.
pub(crate) struct ReferenceReader<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> Default for ReferenceReader<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: Key, V: Record> TaskReader<(K, V)> for ReferenceReader<K, V> {
    fn read(&self, bytes: TaskBytes<'_>, emit: &mut dyn FnMut((K, V))) -> Result<ReadSummary, SourceError> {
        match bytes {
            TaskBytes::Range(version) => read_records(version, emit),
            TaskBytes::Block(_) => Err(unexpected("a version of reference data")),
        }
    }
}
