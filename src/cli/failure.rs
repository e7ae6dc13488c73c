//! Why a verb cannot do its work: an exit code, words, and the next command to try.

use std::fmt;
use std::io;
use std::path::Path;

use super::exit::Exit;
use crate::checkpoint::ChainError;
use crate::error::{Error, ErrorKind};
use crate::recovery::refusal::Refusal;
use crate::state::StateError;
use crate::wal::{Lost, WalError};

/// The result of every verb.
pub type Result<T = Exit, E = Failure> = std::result::Result<T, E>;

/// A verb that ends without its answer.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Lower case; names file, offset, expected and found where there are any.
    pub message: String,
    /// The next command to try.
    pub next: Option<String>,
    /// Whoever read the output has gone: nothing is said, and it is no failure.
    pub(super) pipe_closed: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: None, pipe_closed: false }
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(exit_of(&refusal), refusal.to_string())
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
        let exit = if error.is_damage() { Exit::Degraded } else { Exit::Failed };
        Self::new(exit, error.to_string())
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

/// What a start that is refused means to whoever looks: is anything lost that was acknowledged?
pub(super) fn exit_of(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::Log(WalError::Damage(damage)) if damage.lost == Lost::Nothing => Exit::Incompatible,
        Refusal::Io { .. } | Refusal::Chain(ChainError::Io { .. }) | Refusal::Log(WalError::Io { .. }) => Exit::Failed,
        Refusal::Chain(ChainError::Version { .. })
        | Refusal::AnotherJob { .. }
        | Refusal::KeyLayout { .. }
        | Refusal::OperatorGone { .. }
        | Refusal::SourceGone { .. }
        | Refusal::PlannedSourceGone { .. }
        | Refusal::StateType { .. }
        | Refusal::StateVersion { .. }
        | Refusal::OperatorKind { .. }
        | Refusal::NoSchema { .. } => Exit::Incompatible,
        Refusal::Chain(ChainError::Fenced { .. }) => Exit::Owned,
        _ => Exit::DataLost,
    }
}
