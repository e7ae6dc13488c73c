//! Real processes under SIGKILL.
//!
//! A [`Job`] is one life of an example program. What it counts is known beforehand: a [`Text`] that is fed through a
//! socket by a [`Sender`], or files that are moved into a directory. The [`kill_loop`] kills it at random moments, starts it
//! again, lets it finish, and compares its [`Counts`] with a plain count. `make demo` does the same, for people to watch.
//!
//! A [`victim`] has everything that a job can have, and tells what it does; its [`parent`] kills it at random moments
//! ([`parent::kills`]) and at every named point ([`parent::points`]), and knows record for record what must come out.
//!
//! What this cannot show: a power cut. A killed process loses its memory, not what the kernel holds for the disk.

mod counts;
mod job;
pub mod kill_loop;
pub mod parent;
mod sender;
mod text;
pub mod victim;

pub use counts::{Counts, Difference};
pub use job::{Job, Line, Watched, example, program};
pub use sender::{Connection, Pace, Sender};
pub use text::{Text, generated, of_repository};

use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Why a scenario could not be played, or how it failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not there: build it with `cargo build --release --workspace --bins --examples`")]
    NotBuilt { path: PathBuf },
    #[error("{program} ended with {status}; its last words:\n{last_words}")]
    Died { program: String, status: std::process::ExitStatus, last_words: String },
    #[error("a job that has no end has ended before it was killed ({last})")]
    EndedByItself { last: String },
    #[error("{path}, line {line}: expected `word count`, found {found:?}")]
    Dump { path: PathBuf, line: usize, found: String },
    #[error(
        "the receiver asked for byte {asked} after it had acknowledged {acknowledged}: acknowledged bytes were lost"
    )]
    LostAcknowledged { asked: u64, acknowledged: u64 },
    #[error("the receiver acknowledged byte {acknowledged}, but only {sent} were sent")]
    NotSent { acknowledged: u64, sent: u64 },
    #[error("the receiver has ended, but acknowledged only {acknowledged} of {sent} bytes")]
    NotAcknowledged { acknowledged: u64, sent: u64 },
    #[error("the receiver said {0:?}, which is not a byte offset")]
    NotAnOffset(String),
    #[error("{name} wants a number, not {found:?}")]
    Argument { name: String, found: String },
    #[error("there is no argument {name} (followed by {found:?})")]
    Unknown { name: String, found: String },
    #[error("expected a point as `[stage/]step[+operation]:nth[:before|within|after]`, found {0:?}")]
    NotAPoint(String),
    #[error("{0}")]
    Diverged(String),
    #[error("seed {seed}: {count} words differ from the plain count, for example:\n{examples}")]
    Different { seed: u64, count: usize, examples: String },
}

impl ProcessError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_path_buf(), source }
    }
}

/// The seed that was given, or a new one.
pub fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| StdRng::from_os_rng().random_range(0..1_000_000))
}
