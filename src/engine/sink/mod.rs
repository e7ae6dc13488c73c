//! Sinks: where published batches go.
//!
//! A batch reaches a sink after its commit is durable, in batch order (I-4), and again after a crash if its publication
//! is not on record. Exactly once at the far end is therefore a contract between the two sides:
//!
//! - the engine hands over each batch under a name that never changes, `(lineage, batch)`, with the same records in the
//!   same partitions on every attempt (I-3);
//! - the sink makes a batch visible as a whole or not at all, takes a batch that it already holds as done, and lets no
//!   driver in that is older than the newest one it has met (I-8).
//!
//! A sink that cannot do the last two is at least once, and its documentation says so. The suite in [`conformance`] shows
//! whether a sink keeps the contract.

#[cfg(test)]
mod crash_tests;
#[cfg(feature = "testing")]
pub(crate) mod decoding;
pub(crate) mod directory;
mod file;
pub(crate) mod layout;
mod memory;
pub(crate) mod object_files;
mod object_reader;
pub(crate) mod part;
#[cfg(test)]
mod saved_tests;
mod summary;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use floodmark_base::error::ErrorKind;
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage};

pub use file::FileSink;
pub use memory::MemorySink;
pub use object_reader::{ObjectFileError, read_object_files};

/// A place that takes published batches: atomically, idempotently, and from one driver only.
///
/// Calls come from one thread, in this order: [`fence`](Sink::fence) once per life of the driver, then
/// [`publish`](Sink::publish) for each batch in rising order.
///
/// ```
/// use floodmark::{BatchId, Epoch, Lineage, PublishedBatch, Sink, SinkError};
///
/// /// Keeps the newest batch only. It cannot fence, so it is at least once.
/// #[derive(Default)]
/// struct Newest(Option<(Lineage, BatchId)>, Vec<u64>);
///
/// impl Sink<u64> for Newest {
///     fn fence(&mut self, _: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
///         Ok(None)
///     }
///
///     fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
///         if self.0 != Some((batch.lineage, batch.batch)) {
///             *self = Self(Some((batch.lineage, batch.batch)), batch.records().copied().collect());
///         }
///         Ok(())
///     }
/// }
/// # fn is_a_sink(_: impl Sink<u64>) {}
/// # is_a_sink(Newest::default());
/// ```
pub trait Sink<T>: Send + 'static {
    /// Lets the driver of this epoch in and shuts every older one out, durably. Returns the last batch of this lineage
    /// that the sink holds, if it knows.
    ///
    /// The same epoch may come again (a retry); it changes nothing.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] when a driver of a larger epoch was here; anything else when the fence could not be made
    /// durable: then the driver does not go on.
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError>;

    /// Makes a batch visible, as a whole and durably. A batch that the sink already holds, by lineage and number, is
    /// left as it is and counts as done.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] when a newer driver has taken over. After any error the batch is either wholly visible or
    /// not at all, and it will be handed over again.
    fn publish(&mut self, batch: &PublishedBatch<T>) -> Result<(), SinkError>;
}

/// A committed batch on its way to a sink.
///
/// ```
/// use floodmark::{BatchId, BatchTime, Epoch, Lineage, PublishedBatch};
///
/// let batch = PublishedBatch {
///     lineage: Lineage(7),
///     batch: BatchId(1),
///     time: BatchTime(1_500),
///     epoch: Epoch(1),
///     partitions: vec![vec!["a", "b"], vec![], vec!["c"]],
/// };
/// assert_eq!(batch.records().copied().collect::<String>(), "abc");
/// assert_eq!(batch.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBatch<T> {
    /// The history that the batch belongs to.
    pub lineage: Lineage,
    /// Its number in that history.
    pub batch: BatchId,
    /// Its planned time; the same on every attempt.
    pub time: BatchTime,
    /// The life of the driver that publishes it; differs between attempts.
    pub epoch: Epoch,
    /// Its records by partition, in their fixed order (I-3).
    pub partitions: Vec<Vec<T>>,
}

impl<T> PublishedBatch<T> {
    /// All records: partition by partition, each in its order.
    pub fn records(&self) -> impl Iterator<Item = &T> {
        self.partitions.iter().flatten()
    }

    /// How many records there are. Time in the number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }

    /// Whether there is no record; such a batch is published too.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(Vec::is_empty)
    }
}

/// Why a sink did not take a batch, or did not let a driver in.
///
/// ```
/// use floodmark::{ErrorKind, SinkError};
///
/// let error = SinkError::other("the table is locked");
/// assert_eq!(error.kind(), ErrorKind::Environment);
/// assert_eq!(error.to_string(), "the table is locked");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A newer driver has taken the sink over (I-8).
    #[error("epoch {epoch} is fenced: epoch {newer} has taken over {place}")]
    Fenced {
        /// The sink, as people would name it.
        place: String,
        /// The epoch that was refused.
        epoch: Epoch,
        /// The epoch that holds the sink.
        newer: Epoch,
    },
    /// [`Sink::publish`] came before [`Sink::fence`], or from another lineage than the one that was let in.
    #[error("{place} was not fenced for epoch {epoch} and lineage {lineage} before batch {batch} came")]
    NotFenced {
        /// The sink, as people would name it.
        place: String,
        /// The epoch of the batch.
        epoch: Epoch,
        /// The lineage of the batch.
        lineage: Lineage,
        /// The batch.
        batch: BatchId,
    },
    /// Another batch is there under this batch's name: other contents, or another lineage. It is left as it is.
    #[error("{place} holds another batch {batch}: expected {expected}, found {found}")]
    Conflict {
        /// Where, as people would look it up.
        place: String,
        /// The batch.
        batch: BatchId,
        /// What this driver would have put there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// What the sink holds cannot be read as what it should be; nothing was changed (I-6).
    #[error("{place} is damaged: {reason}")]
    Damaged {
        /// Where, as people would look it up.
        place: String,
        /// What was expected and found.
        reason: String,
    },
    /// The file system refused a step.
    #[error("{action} {path}: {source}")]
    Io {
        /// The step, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another reason, from a sink outside of this crate.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl SinkError {
    /// Any other error; its kind is [`ErrorKind::Environment`].
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::NotFenced { .. } => ErrorKind::Configuration,
            Self::Conflict { .. } | Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Io { .. } | Self::Other(_) => ErrorKind::Environment,
        }
    }

    /// For `map_err` at a step of the file system.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}

/// What a sink remembers of the newest driver it has met, with the rules of fencing, the same for every sink here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence {
    epoch: Epoch,
    lineage: Lineage,
}

impl Fence {
    /// Whether a driver of this epoch may come in past `held`.
    fn admit(place: &str, held: Option<Fence>, epoch: Epoch) -> Result<(), SinkError> {
        match held {
            Some(held) if held.epoch > epoch => {
                Err(SinkError::Fenced { place: place.to_string(), epoch, newer: held.epoch })
            }
            _ => Ok(()),
        }
    }

    /// Whether this batch comes from the driver that was let in last.
    fn check<T>(place: &str, held: Option<Fence>, batch: &PublishedBatch<T>) -> Result<(), SinkError> {
        Self::admit(place, held, batch.epoch)?;
        if held == Some(Fence { epoch: batch.epoch, lineage: batch.lineage }) {
            return Ok(());
        }
        Err(SinkError::NotFenced {
            place: place.to_string(),
            epoch: batch.epoch,
            lineage: batch.lineage,
            batch: batch.batch,
        })
    }
}
