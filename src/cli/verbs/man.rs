//! `floodmark man`: the manual pages, from the same definitions.
#![allow(clippy::disallowed_methods)] // writes manual pages where the user wants them

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::CommandLine;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// Prints the manual page, or writes those of all verbs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write `floodmark.1`, `floodmark-status.1` and so on here, in place of those that are there.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    match &args.directory {
        None => console.text(&String::from_utf8_lossy(&page(&command)?))?,
        Some(directory) => {
            fs::create_dir_all(directory).map_err(|error| Failure::io("create", directory, &error))?;
            write(directory, "floodmark.1", &command)?;
            for verb in command.get_subcommands() {
                let name = format!("floodmark-{}", verb.get_name());
                write(directory, &format!("{name}.1"), &verb.clone().name(name))?;
            }
        }
    }
    Ok(Exit::Healthy)
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::new(Exit::Failed, format!("the manual page cannot be made: {error}")))?;
    Ok(page)
}

fn write(directory: &Path, name: &str, command: &Command) -> Result<()> {
    let path = directory.join(name);
    fs::write(&path, page(command)?).map_err(|error| Failure::io("write", &path, &error))
}
