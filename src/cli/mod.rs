//! The command `floodmark`: what is stored, what recovery would do, whether anything is lost, and what to type next.

mod exit;
mod failure;

pub use exit::Exit;

/// Runs the command with the arguments of the process.
#[must_use]
pub fn main() -> std::process::ExitCode {
    Exit::Usage.into()
}
