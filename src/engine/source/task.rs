//! What a worker is given to read, and how it reads it: one shape for blocks and ranges.

use std::any::Any;
use std::ops::AddAssign;

use byteview::ByteView;

use crate::dataflow::task::Before;
use crate::source::error::SourceError;
use floodmark_base::bytes::Bytes;

/// The bytes of a task, at hand.
#[derive(Clone, Debug)]
pub(crate) enum TaskBytes<'a> {
    /// A block's payload.
    Block(ByteView),
    /// An encoded range.
    Range(&'a [u8]),
}

/// What reading a task gave.
///
/// ```
/// let mut summary = floodmark::ReadSummary { records: 2, failed: 0 };
/// summary += floodmark::ReadSummary { records: 1, failed: 1 };
/// assert_eq!(summary, floodmark::ReadSummary { records: 3, failed: 1 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Records that were handed on.
    pub records: u64,
    /// Records that could not be (not UTF-8, too long); each was counted and the first reported.
    pub failed: u64,
}

impl AddAssign for ReadSummary {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.failed += other.failed;
    }
}

/// Turns a task's bytes into records, on a worker; the same bytes give the same records each time (I-3).
pub(crate) trait TaskReader<T>: Send + Sync {
    /// Hands every record to `emit`, in order.
    fn read(&self, bytes: TaskBytes<'_>, emit: &mut dyn FnMut(T)) -> Result<ReadSummary, SourceError>;

    /// As [`read`](Self::read), for a task of which records are set aside. Where the code that makes a record panics and the reader
    /// knows where the next one begins, it hands that over in the place of the record; otherwise the panic ends the reading.
    fn read_each(
        &self,
        bytes: TaskBytes<'_>,
        emit: &mut dyn FnMut(Result<T, Undecoded>),
    ) -> Result<ReadSummary, SourceError> {
        self.read(bytes, &mut |record| emit(Ok(record)))
    }

    /// As [`read`](Self::read) of an encoded range, and gives the receipt of what was read; empty where the source gives none.
    fn read_range(
        &self,
        range: &[u8],
        _before: &Before,
        emit: &mut dyn FnMut(T),
    ) -> Result<(ReadSummary, Vec<u8>), SourceError> {
        self.read(TaskBytes::Range(range), emit).map(|summary| (summary, Vec::new()))
    }
}

/// A record whose decoder panicked.
pub(crate) struct Undecoded {
    pub frame: Bytes,
    pub panic: Box<dyn Any + Send>,
}

/// A task of the other sort than its source makes: the plan and the program do not fit.
pub(crate) fn unexpected(what: &str) -> SourceError {
    SourceError::Decode { what: what.to_string(), cause: "it was planned by a source of another sort".to_string() }
}
