//! Why a verb cannot do its work: an exit code, words, and the next command to try.

use std::fmt;
use std::io;
use std::path::Path;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::exit::Exit;
use super::finding::Code;
use floodmark_base::error::{Error, ErrorKind};
use floodmark_store::checkpoint::ChainError;
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::remote::{FetchError, PinError, RemoteError};
use floodmark_store::state::StateError;
use floodmark_store::wal::WalError;

/// The result of every verb.
pub type Result<T = Exit, E = Failure> = std::result::Result<T, E>;

/// A verb that ends without its answer.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// The finding that it is about, which `floodmark explain` knows.
    pub code: Option<Code>,
    /// Lower case; names file, offset, expected and found where there are any.
    pub message: String,
    /// The next command to try.
    pub next: Option<String>,
    /// Whoever read the output has gone: nothing is said, and it is no failure.
    pub(super) pipe_closed: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), next: None, pipe_closed: false }
    }

    /// A finding because of which the verb has no answer.
    pub fn about(code: Code, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(exit_of(code), message) }
    }

    /// The same, with the next command to try.
    #[must_use]
    pub fn try_next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// The command line asks for what there is not.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The file system refuses: `doing` is what was tried, such as "read".
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// The output cannot be written.
    pub(super) fn output(error: &io::Error) -> Self {
        let pipe_closed = error.kind() == io::ErrorKind::BrokenPipe;
        let exit = if pipe_closed { Exit::Healthy } else { Exit::Failed };
        Self { pipe_closed, ..Self::new(exit, format!("cannot write the output: {error}")) }
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Failure", 5)?;
        fields.serialize_field("schema", "floodmark.error/1")?;
        fields.serialize_field("exit_code", &self.exit)?;
        fields.serialize_field("code", &self.code)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("next", &self.next)?;
        fields.end()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::about(Code::of_refusal(&refusal), refusal.to_string())
    }
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::about(Code::of_state(&error), error.to_string())
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::from(&error)
    }
}

impl From<&RemoteError> for Failure {
    fn from(error: &RemoteError) -> Self {
        let message = error.to_string();
        match error {
            RemoteError::Damaged { .. } => Self::about(Code::of_object(error), message),
            RemoteError::Version { .. } | RemoteError::Parts { .. } => Self::about(Code::VersionUnknown, message),
            RemoteError::NoSuchBucket { .. } => Self::new(Exit::NotAStore, message),
            RemoteError::Location { .. } => Self::usage(message),
            _ => Self::new(Exit::Failed, message),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Remote(error) => error.into(),
            other => Self::new(Exit::Failed, other.to_string()),
        }
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Fetch(error) => error.into(),
            other @ PinError::Collected { .. } => Self::usage(other.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Configuration => Exit::Usage,
            ErrorKind::Incompatible => Exit::Incompatible,
            ErrorKind::Owned | ErrorKind::Fenced => Exit::Owned,
            ErrorKind::Damaged => Exit::DataLost,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

/// What a start that is refused means to whoever looks. What cannot be read says nothing about the store.
pub(super) fn exit_of(code: Code) -> Exit {
    match code {
        Code::Unreadable => Exit::Failed,
        code => code.exit(),
    }
}
