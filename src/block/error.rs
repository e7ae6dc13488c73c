//! Why a receiver's records were not stored.

/// Why records were not stored. Whoever gets this has no acknowledgement: the source must send them again.
///
/// ```
/// let error = floodmark::StoreError::Stopped;
/// assert_eq!(error.to_string(), "the job has stopped: nothing more is stored");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The job has stopped.
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
}
