//! The program that is killed; see `floodmark_chaos::process::victim`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    floodmark_chaos::process::victim::main()
}
