//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::WalDamage;
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Epoch;

/// An error of the log. It can be cloned, since one failed write is the answer to every append of its group.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// A write or a sync failed earlier: whether what was in flight is durable is unknown, and only recovery finds out (I-7).
    #[error("the log is poisoned until recovery: {cause}")]
    Poisoned { cause: Arc<str> },
    /// The file system refused.
    #[error("{}: at byte {offset}: {source}", file.display())]
    Io { file: PathBuf, offset: u64, source: Arc<io::Error> },
    /// The disk or the quota is full: nothing was taken, nothing is lost; stop receiving until a checkpoint has made room.
    #[error("the log is full: {reason}")]
    Full { reason: Arc<str> },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// A frame of more than 4 GiB cannot be written.
    #[error("expected a frame of at most {} bytes, found {bytes}", u32::MAX)]
    TooLarge { bytes: u64 },
    /// Another driver has been here: its epoch is larger than ours (I-8).
    #[error("{}: expected an epoch of at most {ours}, found {found}", file.display())]
    Fenced { file: PathBuf, ours: Epoch, found: Epoch },
    /// Durable bytes are not what they were.
    #[error(transparent)]
    Damage(#[from] WalDamage),
}

impl WalError {
    pub(super) fn io(file: &Path, offset: u64, source: io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), offset, source: Arc::new(source) }
    }
}

impl From<WalError> for Error {
    fn from(error: WalError) -> Self {
        let kind = match error {
            WalError::Poisoned { .. } | WalError::Io { .. } | WalError::Full { .. } => ErrorKind::Environment,
            WalError::Closed => ErrorKind::Stopped,
            WalError::TooLarge { .. } => ErrorKind::Configuration,
            WalError::Fenced { .. } => ErrorKind::Fenced,
            WalError::Damage(_) => ErrorKind::Damaged,
        };
        Self::caused_by(kind, "the log failed; restart to recover", error)
    }
}
