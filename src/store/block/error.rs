//! Why a receiver's records were not stored.

use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Position;

/// Why records were not stored. Whoever gets this has no acknowledgement: the source must send them again.
///
/// ```
/// # extern crate floodmark_store as floodmark;
/// let error = floodmark::StoreError::Stopped;
/// assert_eq!(error.to_string(), "the job has stopped: nothing more is stored");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The job has stopped, or its receivers have.
    #[error("the job has stopped: nothing more is stored")]
    Stopped,
    /// The log did not take the block; the job stops with the log's own error.
    #[error("the log did not take a block of source {source_uid}: {cause}")]
    Log {
        /// The source's uid.
        source_uid: String,
        /// The log's error.
        cause: String,
    },
    /// The records are more than one block may hold: store fewer at a time.
    #[error(
        "a block of source {source_uid} would have {bytes} bytes, the limit is {limit}: store fewer records at a time"
    )]
    TooLarge {
        /// The source's uid.
        source_uid: String,
        /// Bytes of the encoded records.
        bytes: u64,
        /// Bytes that a block may have.
        limit: u64,
    },
    /// A record cannot be encoded so that it can be read again. Nothing of the call was stored.
    #[error("a record of source {source_uid} cannot be encoded: {cause}")]
    Encode {
        /// The source's uid.
        source_uid: String,
        /// The type, and what is wrong with it.
        cause: String,
    },
    /// A block with a higher position is already on its way to the log, and no block covers this one: the calls of a source must
    /// be made in rising order of their positions. The records of this call are not stored.
    #[error(
        "a block of source {source_uid} at position {position} is out of order: position {newest} is already on its way to the \
         log; call in rising order of positions, or begin again at stored_position()"
    )]
    OutOfOrder {
        /// The source's uid.
        source_uid: String,
        /// The block's position.
        position: Position,
        /// The highest position on its way to the log.
        newest: Position,
    },
    /// A block with a lower position was called for before and is not stored, because its call was dropped, refused or failed. This
    /// block would claim that the missing records were taken, so it is not stored either. Begin again at
    /// `stored_position`, or with the missing block.
    #[error(
        "a block of source {source_uid} at position {position} is not stored, because the block at position {missing} before it is \
         not: begin again at stored_position()"
    )]
    Gap {
        /// The source's uid.
        source_uid: String,
        /// The block's position.
        position: Position,
        /// The position of the missing block.
        missing: Position,
    },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Stopped => ErrorKind::Stopped,
            StoreError::Log { .. } => ErrorKind::Environment,
            StoreError::TooLarge { .. } | StoreError::Encode { .. } => ErrorKind::Configuration,
            StoreError::OutOfOrder { .. } | StoreError::Gap { .. } => ErrorKind::UserCode,
        };
        Error::caused_by(kind, "records were not stored", error)
    }
}
