//! What can go wrong at a source while input is found or read.

use std::io;
use std::path::PathBuf;

use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::user_code;

/// What went wrong while a source looked for input or read it.
///
/// ```
/// let error = floodmark::SourceError::other("the feed has no such partition: 7");
/// assert_eq!(error.to_string(), "the feed has no such partition: 7");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A directory that is read for files cannot be listed.
    #[error("{}: the directory cannot be listed: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read at byte {offset}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where reading began, in bytes.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
    /// A planned file is gone.
    #[error("{}: the file was planned with {size} bytes and has vanished: put it back as it was, then restart", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
        /// Its size in bytes when it was planned.
        size: u64,
    },
    /// A planned file is no longer what it was.
    #[error(
        "{}: the file has changed since it was planned: expected {expected}, found {found}; \
         files must be moved in whole and left alone",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Size and modification time when it was planned.
        expected: String,
        /// Size and modification time now.
        found: String,
    },
    /// A compressed file is cut off or damaged, or is not compressed as its name says.
    #[error(
        "{}: the file cannot be read as {format}, which its name stands for: {error}: \
         it is cut off, damaged, or misnamed",
        path.display()
    )]
    Compressed {
        /// The file.
        path: PathBuf,
        /// How its name says that it is compressed.
        format: String,
        /// What is wrong with it.
        error: io::Error,
    },
    /// A file does not consist of whole records.
    #[error(
        "{}: {size} bytes are no multiple of the record length, {record_length} bytes: \
         move the file away or change the record length, then restart",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size, or that of the planned part of it, in bytes.
        size: u64,
        /// The length of a record in bytes.
        record_length: u64,
    },
    /// Stored bytes are not what this program's source would have stored.
    #[error("{what} cannot be decoded: {cause}: was the type of the source's items changed?")]
    Decode {
        /// What was to be decoded.
        what: String,
        /// Why it cannot.
        cause: String,
    },
    /// The source's own code panicked: which part of it, and what it said.
    #[error("{0}")]
    Panicked(String),
    /// What a source of the user's own says.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// An error of a source of one's own.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// Calls code of a source; `method` stands in the error of a panic.
    pub(crate) fn if_panics<R>(method: &str, code: impl FnOnce() -> R) -> Result<R, Self> {
        user_code::call(method, code).map_err(|error| Self::Panicked(error.to_string()))
    }

    /// Whether code of the source panicked.
    pub(crate) fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        let kind = match &error {
            SourceError::Decode { .. } => ErrorKind::Incompatible,
            SourceError::Panicked(_) => ErrorKind::UserCode,
            SourceError::Directory { .. }
            | SourceError::File { .. }
            | SourceError::Vanished { .. }
            | SourceError::Changed { .. }
            | SourceError::Compressed { .. }
            | SourceError::Length { .. }
            | SourceError::Other(_) => ErrorKind::Environment,
        };
        Error::caused_by(kind, "a source failed", error)
    }
}
