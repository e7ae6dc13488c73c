//! The command `floodmark`.

use std::process::ExitCode;

fn main() -> ExitCode {
    floodmark_cli::main()
}
