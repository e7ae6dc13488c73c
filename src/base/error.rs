//! One error outside, with a few kinds that say what to do; rich, typed errors inside each module.

use std::fmt;

/// What went wrong, and with [`Error::kind`] what to do about it.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::{Error, ErrorKind};
///
/// fn is_worth_another_try(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Environment)
/// }
/// ```
///
/// `Debug` writes the message, too, so that a `main` that returns it ends with words:
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// # fn ended_by(error: &floodmark::Error) {
/// assert!(format!("{error:?}").starts_with(&error.to_string()));
/// # }
/// ```
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Error`]: each answers whether to retry, to fix, to restart or to restore.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// assert_eq!(floodmark::ErrorKind::Owned.to_string(), "owned by another driver: stop that one first");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program or its settings are wrong: fix them.
    Configuration,
    /// Stored state does not fit this program: give a migration, drop the state, or run the old program.
    Incompatible,
    /// The environment failed (disk, network, permission): fix it, then restart; nothing acknowledged is lost.
    Environment,
    /// Stored bytes are damaged beyond what recovery repairs: look with `floodmark verify`, then restore.
    Damaged,
    /// Another driver owns the checkpoint location: stop that one first.
    Owned,
    /// A newer driver has taken over: this one must end.
    Fenced,
    /// User code failed: in a batch as often as allowed, or where it is not called again (a source, a sink, a migration). Fix the code or
    /// the record, then restart.
    UserCode,
    /// The job has stopped.
    Stopped,
    /// What was asked for is over: ask for something newer.
    Past,
}

/// The result of everything in Floodmark that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.kind)
    }
}

impl Error {
    #[doc(hidden)] // for Floodmark's own crates
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    #[doc(hidden)] // for Floodmark's own crates
    pub fn caused_by(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What to do: retry, fix, restart or restore.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration: fix the program or its settings",
            Self::Incompatible => "incompatible with what is stored: migrate, drop the state, or run the old program",
            Self::Environment => "environment: mend it and restart",
            Self::Damaged => "damaged: look with `floodmark verify`, then restore",
            Self::Owned => "owned by another driver: stop that one first",
            Self::Fenced => "fenced: a newer driver has taken over",
            Self::UserCode => "user code failed: fix it, then restart",
            Self::Stopped => "stopped",
            Self::Past => "past: ask for something newer",
        })
    }
}
