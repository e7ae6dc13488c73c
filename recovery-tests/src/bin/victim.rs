//! The program that is killed; see `recovery_tests::process::victim`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    recovery_tests::process::victim::main()
}
