//! `floodmark completions`: what a shell needs to complete the command line, from the same definitions.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::CommandLine;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Result;

/// Prints the completions for a shell.
///
/// For bash: `floodmark completions bash > ~/.local/share/bash-completion/completions/floodmark`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bash, zsh or fish.
    shell: KnownShell,
}

/// The shells that completions are tested with.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut CommandLine::command(), "floodmark", &mut script);
    console.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Healthy)
}
