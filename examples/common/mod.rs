//! What the examples share: their arguments, and what they print.
//!
//! The jobs themselves are whole in their own files.
#![allow(dead_code)] // each example uses its part

pub mod arguments;
pub mod report;
pub mod simulation;
pub mod top;
pub mod words;

use std::error::Error;
use std::process::ExitCode;

use arguments::ArgumentError;

/// Frees memory that another thread allocated without a lock between the two, which is what a shuffle asks for all the
/// time: about a third more words a second than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shows what went wrong, in words; an exit code of 2 for a wrong command line, 1 for everything else.
pub fn exit(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    if error.is::<ArgumentError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Warnings and more, on stderr; `RUST_LOG` is not read, so that measurements are alike.
pub fn show_warnings() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
}
