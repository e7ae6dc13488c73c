//! What can be wrong with an object store, in words that say what to do.
//!
//! Stores tell the same thing in several ways: by the status, by a code in the body, by the error of the machine's own file
//! system. [`Answer::of`] is the one place where they are told apart.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use floodmark_base::error::{Error, ErrorKind};

/// What is found where an object should be.
pub(super) const NO_SUCH_OBJECT: &str = "no such object: restore it";

/// Why the object store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The text of the location or one of its options means nothing.
    #[error("the location {location} cannot be used: {reason}")]
    Location { location: String, reason: String },
    /// No answer, or answers that mean "later", for as long as was to be waited.
    #[error(
        "cannot {doing} in {place}: the store has been failing for {failing_ms} ms, in {tries} tries; the last one: {last}"
    )]
    Unavailable { doing: String, place: String, failing_ms: u64, tries: u32, last: String },
    /// The job was stopped hard while a call waited for the store. What the call did is unknown.
    #[error("cannot {doing} in {place}: the job was stopped meanwhile")]
    Stopped { doing: String, place: String },
    /// The credentials are missing or do not allow it.
    #[error(
        "cannot {doing} in {place}: access denied: {last}; the credentials (from the environment or the builder's options) must be \
         valid and must allow to read, create, list and delete below this location"
    )]
    Denied { doing: String, place: String, last: String },
    /// There is no such bucket or container.
    #[error("{place}: there is no such bucket: create it first, or correct its name or the endpoint: {last}")]
    NoSuchBucket { place: String, last: String },
    /// The bucket is in another region.
    #[error("{place}: the bucket is in another region: set its region (AWS_REGION, or the option aws_region): {last}")]
    WrongRegion { place: String, last: String },
    /// Whether an object was created is not known: stop, delete nothing, recover.
    #[error(
        "cannot tell whether {name} was created in {place}: {tries} tries in {failing_ms} ms; the last one: {last}"
    )]
    CommitUnknown { name: String, place: String, failing_ms: u64, tries: u32, last: String },
    /// The store lacks what exactness stands on.
    #[error(
        "{place} cannot be used: {reason}; two drivers could both publish there. Use a store that creates an object only if its name is \
         free (S3's `If-None-Match: *`): Amazon S3, Google Cloud Storage, Azure Blob Storage, or a newer release of this one"
    )]
    Unsupported { place: String, reason: String },
    /// An object or a file is not what its manifest says.
    #[error("{name} is damaged: expected {expected}, found {found}")]
    Damaged { name: String, expected: String, found: String },
    /// An object that another release has written.
    #[error("{name}: expected format version {expected}, which this build reads, found version {found}")]
    Version { name: String, expected: u32, found: u32 },
    /// A manifest of a checkpoint in several parts, as a later build writes them.
    #[error(
        "{name} names a checkpoint in parts: expected one part with all key hashes, found {found}; run the build that wrote it"
    )]
    Parts { name: String, found: String },
    /// This machine's file system refused.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl RemoteError {
    /// Whether an object that should be there is not.
    pub fn is_missing_object(&self) -> bool {
        matches!(self, Self::Damaged { found, .. } if found == NO_SUCH_OBJECT)
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// Never `NotFound` or `AlreadyExists`: at the door to the disk those are answers about a name, and this is none.
impl From<RemoteError> for io::Error {
    fn from(error: RemoteError) -> Self {
        let kind = match &error {
            RemoteError::Location { .. } => io::ErrorKind::InvalidInput,
            RemoteError::Unavailable { .. } => io::ErrorKind::TimedOut,
            RemoteError::Stopped { .. } => io::ErrorKind::ConnectionAborted,
            RemoteError::Denied { .. } => io::ErrorKind::PermissionDenied,
            RemoteError::Unsupported { .. } => io::ErrorKind::Unsupported,
            RemoteError::Damaged { .. } | RemoteError::Version { .. } | RemoteError::Parts { .. } => {
                io::ErrorKind::InvalidData
            }
            RemoteError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => io::ErrorKind::Other,
                kind => kind,
            },
            RemoteError::NoSuchBucket { .. } | RemoteError::WrongRegion { .. } | RemoteError::CommitUnknown { .. } => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, error)
    }
}

impl From<RemoteError> for Error {
    fn from(error: RemoteError) -> Self {
        let kind = match &error {
            RemoteError::Location { .. }
            | RemoteError::NoSuchBucket { .. }
            | RemoteError::WrongRegion { .. }
            | RemoteError::Unsupported { .. } => ErrorKind::Configuration,
            RemoteError::Damaged { .. } => ErrorKind::Damaged,
            RemoteError::Version { .. } | RemoteError::Parts { .. } => ErrorKind::Incompatible,
            RemoteError::Stopped { .. } => ErrorKind::Stopped,
            RemoteError::Unavailable { .. }
            | RemoteError::Denied { .. }
            | RemoteError::CommitUnknown { .. }
            | RemoteError::Io { .. } => ErrorKind::Environment,
        };
        Error::caused_by(kind, "object storage", error)
    }
}

/// What an error of the store means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is no such object.
    Gone,
    /// The name is taken, or another write of it is under way.
    Taken,
    Denied,
    /// Credentials that have run out, or none that could be had just now: denied, if it stays so.
    NotYetAllowed,
    NoSuchBucket,
    WrongRegion,
    Unsupported,
    /// The request cannot be made.
    Invalid,
    /// Anything else: what was asked for may have been done or not, and may be asked for again.
    Unclear,
}

impl Answer {
    pub fn of(error: &object_store::Error) -> Self {
        use object_store::Error as Store;
        let text = whole_text(error);
        let has_code = |codes: &[&str]| codes.iter().any(|code| text.contains(&format!("<Code>{code}</Code>")));
        if has_code(&["NoSuchBucket", "ContainerNotFound"]) {
            return Self::NoSuchBucket;
        }
        let is_elsewhere = has_code(&["PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"])
            || has_code(&["AuthorizationHeaderMalformed"]) && text.contains("region")
            || text.contains("incorrectly configured region");
        if is_elsewhere {
            return Self::WrongRegion;
        }
        if has_code(&["ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"]) || no_credentials(&text) {
            return Self::NotYetAllowed;
        }
        match error {
            Store::NotFound { .. } => Self::Gone,
            Store::AlreadyExists { .. } | Store::Precondition { .. } | Store::NotModified { .. } => Self::Taken,
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Self::Denied,
            Store::NotSupported { .. } | Store::NotImplemented { .. } => Self::Unsupported,
            Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => Self::Invalid,
            _ if has_code(&["NotImplemented"]) || text.contains("501 Not Implemented") => Self::Unsupported,
            _ if refused_by_the_system(error) => Self::Denied,
            _ => Self::Unclear,
        }
    }

    /// Whether the store has not done what it was asked for, and would not if it were asked again.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Denied | Self::NoSuchBucket | Self::WrongRegion | Self::Unsupported | Self::Invalid)
    }
}

/// An error with what caused it, so far as it does not say so itself.
pub(super) fn whole_text(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Whether the request failed at the addresses where machines of the clouds ask for their role.
fn no_credentials(text: &str) -> bool {
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal"].iter().any(|address| text.contains(address))
}

fn refused_by_the_system(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}
