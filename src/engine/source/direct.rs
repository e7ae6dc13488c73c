//! Direct sources: their data can be read again, so only the ranges are logged, with the plan.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataflow::task::Before;
use crate::source::error::SourceError;
use crate::source::files_status::FilesStatus;
use crate::source::memory::{MemoryChange, SourceMemory};
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, unexpected};
use floodmark_base::codec::{self, Record};
use floodmark_base::id::BatchId;

/// What a direct source may offer to one batch.
///
/// ```
/// let limits = floodmark::OfferLimits { records: 1_000, bytes: 1 << 20 };
/// assert!(limits.records < floodmark::OfferLimits::UNLIMITED.records);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferLimits {
    /// Records; a source that cannot count them before it reads estimates.
    pub records: u64,
    /// Bytes, as they are read.
    pub bytes: u64,
}

impl OfferLimits {
    /// No limits.
    pub const UNLIMITED: Self = Self { records: u64::MAX, bytes: u64::MAX };
}

/// A replayable source: files, a log, partitions of a broker.
///
/// The driver asks for ranges of new input, plans them, and workers read them, perhaps more than once: after a crash the same
/// ranges are read again, so nothing is lost and everything counts exactly once, as long as a range always reads as the same
/// records (I-3).
///
/// A panic of a method that the driver calls ends the job, as an error does, with kind [`UserCode`](floodmark_base::error::ErrorKind::UserCode) and
/// the source's name. A panic of the reader fails the attempt at the batch, as one in any function of the job.
///
/// ```
/// use floodmark::{DirectSource, OfferLimits, RangeReader, ReadSummary, SourceError};
/// use std::sync::Arc;
///
/// /// All numbers below a bound.
/// struct Numbers(u64);
/// struct NumbersReader;
///
/// impl DirectSource for Numbers {
///     type Item = u64;
///     type Range = (u64, u64);
///     type Position = u64;
///
///     fn offer(&mut self, position: &u64, limits: &OfferLimits) -> Result<Vec<(u64, u64)>, SourceError> {
///         let end = self.0.min(position.saturating_add(limits.records));
///         Ok(if *position < end { vec![(*position, end)] } else { vec![] })
///     }
///
///     fn advance(position: &mut u64, range: &(u64, u64)) {
///         *position = range.1;
///     }
///
///     fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = (u64, u64)>> {
///         Arc::new(NumbersReader)
///     }
/// }
///
/// impl RangeReader for NumbersReader {
///     type Item = u64;
///     type Range = (u64, u64);
///
///     fn read(&self, range: &(u64, u64), emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
///         (range.0..range.1).for_each(emit);
///         Ok(ReadSummary { records: range.1 - range.0, failed: 0 })
///     }
/// }
/// # let limits = OfferLimits { records: 2, bytes: u64::MAX };
/// # assert_eq!(Numbers(3).offer(&0, &limits).unwrap(), [(0, 2)]);
/// ```
pub trait DirectSource: Send + 'static {
    /// The records of the stream.
    type Item: Record;
    /// What one task reads, and reads again. It stands in the plan, so its encoding should be small and must stay readable.
    type Range: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// How far the source was taken. It stands in every checkpoint; `default` is the beginning.
    type Position: Serialize + DeserializeOwned + Clone + Default + Send + 'static;

    /// New input since `position`, in the order in which it is to count, within the limits, at least one range if there is
    /// any input. Called in every batch on the driver's thread, so it must not block for long. What was offered is not taken
    /// before [`advance`](Self::advance).
    ///
    /// # Errors
    /// When the source cannot be asked, or what was taken before is no longer what it was; the job stops with the error.
    fn offer(&mut self, position: &Self::Position, limits: &OfferLimits) -> Result<Vec<Self::Range>, SourceError>;

    /// The position after a planned range; a pure function.
    fn advance(position: &mut Self::Position, range: &Self::Range);

    /// What reads ranges on the workers.
    fn reader(&self) -> Arc<dyn RangeReader<Item = Self::Item, Range = Self::Range>>;

    /// Drops from the position what is no longer needed to tell new input from old. Called before each
    /// [`offer`](Self::offer).
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    fn prune(&mut self, _position: &mut Self::Position) -> Result<(), SourceError> {
        Ok(())
    }

    /// Nothing before `position` will be asked for again: no retained checkpoint needs it.
    fn release(&mut self, _position: &Self::Position) {}

    /// The name of this sort of source. Checkpoints keep it, and a start is refused where the source under the same uid was of
    /// another kind: its positions and ranges would be read as something that they are not. Give each sort of source its own;
    /// what else changes the meaning of a stored position or range belongs into it, such as the size of a record.
    fn kind(&self) -> String {
        "direct_stream".to_string()
    }

    /// What the source remembers beside its position; part of the sources of files.
    #[doc(hidden)]
    fn memory(&mut self) -> Option<&mut dyn SourceMemory<Self::Range, Self::Position>> {
        None
    }

    /// Whether a planned range can still be read, as far as that shows without reading it; `deeply`, also where it has to be read.
    #[doc(hidden)]
    fn check(&self, _range: &Self::Range, _before: &Before, _deeply: bool) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether the job goes on without planned ranges that cannot be read any more.
    #[doc(hidden)]
    fn goes_on_without(&self) -> bool {
        false
    }

    /// What a source of files has met; part of [`Status`](crate::Status).
    #[doc(hidden)]
    fn files_status(&self) -> Option<FilesStatus> {
        None
    }
}

/// Reads ranges of a direct source.
///
/// See [`DirectSource`] for an example.
pub trait RangeReader: Send + Sync {
    /// The records.
    type Item;
    /// What is read.
    type Range;

    /// Hands every record of `range` to `emit`, in order. May be asked twice for the same range, on any worker.
    ///
    /// # Errors
    /// When the range cannot be read as it was planned. The job then ends with this error: a batch that was planned cannot be computed
    /// without its input, and reading it again at once would hardly give another answer. So a reader repeats by itself what may
    /// succeed later, such as a request over a network.
    fn read(&self, range: &Self::Range, emit: &mut dyn FnMut(Self::Item)) -> Result<ReadSummary, SourceError>;

    /// As [`read`](Self::read), and gives a receipt of what was read: it is kept with the batch's commit, and handed in when the
    /// range is read again.
    #[doc(hidden)]
    fn read_with_receipt(
        &self,
        range: &Self::Range,
        _before: &Before,
        emit: &mut dyn FnMut(Self::Item),
    ) -> Result<(ReadSummary, Vec<u8>), SourceError> {
        self.read(range, emit).map(|summary| (summary, Vec::new()))
    }
}

/// A direct source as the driver sees it: ranges and positions are bytes.
pub(crate) trait ErasedDirect: Send {
    /// Goes back to a stored position, or to the beginning.
    fn restore(&mut self, position: Option<&[u8]>) -> Result<(), SourceError>;
    /// Encoded ranges of new input; does not advance.
    fn offer(&mut self, limits: &OfferLimits) -> Result<Vec<Vec<u8>>, SourceError>;
    /// Takes a range that was planned, now or before a restart.
    fn advance(&mut self, range: &[u8]) -> Result<(), SourceError>;
    /// Takes a decision about ranges of `batch` that it made in an earlier life and that stands in the log.
    fn decided(&mut self, _batch: BatchId, _decision: &[u8]) -> Result<(), SourceError> {
        Ok(())
    }
    /// The encoded position, for a checkpoint.
    fn position(&self) -> Result<Vec<u8>, SourceError>;
    /// Nothing before this encoded position will be asked for again.
    fn release(&mut self, position: &[u8]) -> Result<(), SourceError>;

    /// Whether it remembers anything beside its position; the types of that, for the manifest.
    fn memory_types(&mut self) -> Option<(String, String)> {
        None
    }

    /// How many keys it remembers.
    fn remembered(&mut self) -> u64 {
        0
    }

    /// What the checkpoint of `batch` holds of a key that it remembers.
    fn recall(&mut self, _key: &[u8], _value: &[u8], _batch: BatchId) -> Result<(), SourceError> {
        Ok(())
    }

    /// A range that was planned for `batch` was committed, with its receipt, which is empty where the range was given up. May be told
    /// again.
    fn committed(&mut self, _range: &[u8], _receipt: &[u8], _batch: BatchId) -> Result<(), SourceError> {
        Ok(())
    }

    /// From now on keeps track of the files that a recovery may read again.
    fn track_use(&mut self) {}

    /// No recovery reads batches up to `through` again: returns files that are not needed any more, as many as one event names.
    fn release_files(&mut self, _through: BatchId) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What changed of what it remembers.
    fn freeze(&mut self) -> Vec<MemoryChange> {
        Vec::new()
    }

    /// What was frozen of these keys, or of all, is in no checkpoint.
    fn thaw(&mut self, _keys: Option<Vec<Vec<u8>>>) {}

    /// Whether a planned range can still be read. `deeply`, also as far as only reading it shows.
    fn check(&self, _range: &[u8], _before: &Before, _deeply: bool) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether the job goes on without planned ranges that cannot be read any more.
    fn goes_on_without(&self) -> bool {
        false
    }

    /// Gives up ranges that were planned for `batch`. Returns the decision, for the log.
    fn give_up(&mut self, _batch: BatchId, _ranges: Vec<Vec<u8>>) -> Vec<u8> {
        Vec::new()
    }

    /// Whether a range that was planned for `batch` is given up. The same range in another batch is not.
    fn has_given_up(&self, _batch: BatchId, _range: &[u8]) -> bool {
        false
    }

    /// What a source of files has met beside the files that it takes.
    fn files_status(&self) -> Option<FilesStatus> {
        None
    }

    /// Whether it gives reference data: what streams are joined with, and no input by itself.
    fn is_reference(&self) -> bool {
        false
    }

    /// Whether no batch may be planned without asking it, because what it gives is missing as a whole.
    fn is_missing(&self) -> bool {
        false
    }
}

/// A direct source and its position.
pub(crate) struct Direct<S: DirectSource> {
    source: S,
    position: S::Position,
    /// Planned ranges that the job continues without, by their batches: a file that comes back can be planned with the same range.
    given_up: HashMap<BatchId, HashSet<Vec<u8>>>,
}

/// What a source decides beside its plans, as it stands in the log: a replay must decide alike.
#[derive(Serialize, Deserialize)]
enum Decision {
    /// These planned ranges cannot be read any more, and give nothing.
    GivenUp { ranges: Vec<Vec<u8>> },
}

impl<S: DirectSource> Direct<S> {
    pub fn new(source: S) -> Self {
        Self { source, position: S::Position::default(), given_up: HashMap::new() }
    }

    /// What workers read the source's tasks with.
    pub fn task_reader(&self) -> RangesReader<S::Item, S::Range> {
        RangesReader(self.source.reader())
    }
}

impl<S: DirectSource> ErasedDirect for Direct<S> {
    fn restore(&mut self, position: Option<&[u8]>) -> Result<(), SourceError> {
        self.position = match position {
            Some(bytes) => decode("a position", bytes)?,
            None => SourceError::if_panics("the default of its position", S::Position::default)?,
        };
        self.given_up.clear();
        if let Some(memory) = self.source.memory() {
            memory.take_over(&mut self.position);
        }
        Ok(())
    }

    fn offer(&mut self, limits: &OfferLimits) -> Result<Vec<Vec<u8>>, SourceError> {
        SourceError::if_panics("its \"prune\"", || self.source.prune(&mut self.position))??;
        let ranges = SourceError::if_panics("its \"offer\"", || self.source.offer(&self.position, limits))??;
        ranges.iter().map(|range| encode("a range", range)).collect()
    }

    fn advance(&mut self, range: &[u8]) -> Result<(), SourceError> {
        let range = decode("a range", range)?;
        SourceError::if_panics("its \"advance\"", || S::advance(&mut self.position, &range))?;
        if let Some(memory) = self.source.memory() {
            memory.planned(&mut self.position);
        }
        Ok(())
    }

    fn position(&self) -> Result<Vec<u8>, SourceError> {
        encode("a position", &self.position)
    }

    fn release(&mut self, position: &[u8]) -> Result<(), SourceError> {
        let position = decode("a position", position)?;
        SourceError::if_panics("its \"release\"", || self.source.release(&position))
    }

    fn memory_types(&mut self) -> Option<(String, String)> {
        self.source.memory().map(|memory| memory.types())
    }

    fn remembered(&mut self) -> u64 {
        self.source.memory().map_or(0, |memory| memory.entries())
    }

    fn recall(&mut self, key: &[u8], value: &[u8], batch: BatchId) -> Result<(), SourceError> {
        self.source.memory().map_or(Ok(()), |memory| memory.recall(key, value, batch))
    }

    fn committed(&mut self, range: &[u8], receipt: &[u8], batch: BatchId) -> Result<(), SourceError> {
        if let Some(memory) = self.source.memory() {
            memory.committed(&decode("a range", range)?, receipt, batch);
        }
        Ok(())
    }

    fn track_use(&mut self) {
        if let Some(memory) = self.source.memory() {
            memory.track_use();
        }
    }

    fn release_files(&mut self, through: BatchId) -> Vec<PathBuf> {
        self.source.memory().map_or_else(Vec::new, |memory| memory.release(through))
    }

    fn freeze(&mut self) -> Vec<MemoryChange> {
        self.source.memory().map_or_else(Vec::new, |memory| memory.freeze())
    }

    fn thaw(&mut self, keys: Option<Vec<Vec<u8>>>) {
        if let Some(memory) = self.source.memory() {
            memory.thaw(keys);
        }
    }

    fn check(&self, range: &[u8], before: &Before, deeply: bool) -> Result<(), SourceError> {
        self.source.check(&decode("a range", range)?, before, deeply)
    }

    fn goes_on_without(&self) -> bool {
        self.source.goes_on_without()
    }

    fn give_up(&mut self, batch: BatchId, ranges: Vec<Vec<u8>>) -> Vec<u8> {
        self.given_up.entry(batch).or_default().extend(ranges.iter().cloned());
        codec::encode(&Decision::GivenUp { ranges }).expect("bytes encode")
    }

    fn decided(&mut self, batch: BatchId, decision: &[u8]) -> Result<(), SourceError> {
        let Decision::GivenUp { ranges } = decode("a decision", decision)?;
        self.given_up.entry(batch).or_default().extend(ranges);
        Ok(())
    }

    fn has_given_up(&self, batch: BatchId, range: &[u8]) -> bool {
        self.given_up.get(&batch).is_some_and(|ranges| ranges.contains(range))
    }

    fn files_status(&self) -> Option<FilesStatus> {
        self.source.files_status()
    }
}

/// Reads encoded ranges.
pub(crate) struct RangesReader<T, R>(Arc<dyn RangeReader<Item = T, Range = R>>);

impl<T, R: DeserializeOwned> TaskReader<T> for RangesReader<T, R> {
    fn read(&self, bytes: TaskBytes<'_>, emit: &mut dyn FnMut(T)) -> Result<ReadSummary, SourceError> {
        match bytes {
            TaskBytes::Range(range) => self.0.read(&decode("a range", range)?, emit),
            TaskBytes::Block(_) => Err(unexpected("a range")),
        }
    }

    fn read_range(
        &self,
        range: &[u8],
        before: &Before,
        emit: &mut dyn FnMut(T),
    ) -> Result<(ReadSummary, Vec<u8>), SourceError> {
        self.0.read_with_receipt(&decode("a range", range)?, before, emit)
    }
}

fn encode<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, SourceError> {
    SourceError::if_panics(&format!("the encoding of {what}"), || codec::encode(value))?
        .map_err(|error| SourceError::other(format!("{what} of a direct source cannot be encoded: {error}")))
}

fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, SourceError> {
    SourceError::if_panics(&format!("the decoding of {what}"), || codec::decode(bytes))?.map_err(|error| {
        SourceError::Decode { what: format!("{what} of {}", std::any::type_name::<T>()), cause: error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(u64);
    struct NumbersReader;

    impl DirectSource for Numbers {
        type Item = u64;
        type Range = (u64, u64);
        type Position = u64;

        fn offer(&mut self, position: &u64, limits: &OfferLimits) -> Result<Vec<(u64, u64)>, SourceError> {
            let end = self.0.min(position.saturating_add(limits.records));
            Ok(if *position < end { vec![(*position, end)] } else { vec![] })
        }

        fn advance(position: &mut u64, range: &(u64, u64)) {
            *position = range.1;
        }

        fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = (u64, u64)>> {
            Arc::new(NumbersReader)
        }
    }

    impl RangeReader for NumbersReader {
        type Item = u64;
        type Range = (u64, u64);

        fn read(&self, range: &(u64, u64), emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
            (range.0..range.1).for_each(emit);
            Ok(ReadSummary { records: range.1 - range.0, failed: 0 })
        }
    }

    #[test]
    fn an_offer_is_taken_only_when_it_is_planned() {
        let mut direct = Direct::new(Numbers(10));
        let limits = OfferLimits { records: 6, ..OfferLimits::UNLIMITED };
        let first = direct.offer(&limits).unwrap();
        assert_eq!(first, direct.offer(&limits).unwrap());
        direct.advance(&first[0]).unwrap();
        let second = direct.offer(&limits).unwrap();
        let mut numbers = Vec::new();
        for range in first.iter().chain(&second) {
            direct.task_reader().read(TaskBytes::Range(range), &mut |number| numbers.push(number)).unwrap();
        }
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_restored_position_goes_on_where_it_was() {
        let mut direct = Direct::new(Numbers(10));
        let offer = direct.offer(&OfferLimits::UNLIMITED).unwrap();
        direct.advance(&offer[0]).unwrap();
        let position = direct.position().unwrap();
        let mut restored = Direct::new(Numbers(12));
        restored.restore(Some(&position)).unwrap();
        assert_eq!(restored.offer(&OfferLimits::UNLIMITED).unwrap(), [codec::encode(&(10_u64, 12_u64)).unwrap()]);
        restored.restore(None).unwrap();
        assert_eq!(restored.position().unwrap(), codec::encode(&0_u64).unwrap());
    }

    #[test]
    fn a_position_of_another_type_is_an_error_that_names_the_type() {
        let error = Direct::new(Numbers(1)).restore(Some(&[1, 2, 3])).unwrap_err().to_string();
        assert!(error.starts_with("a position of u64 cannot be decoded: "), "{error}");
    }
}
