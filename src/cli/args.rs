//! The command line: verbs, and what all of them take.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::console::Console;
use super::failure;
use super::verbs;

/// Sees, verifies and repairs what a Floodmark job has stored.
///
/// LOCATION is what the job was given by `.checkpoint(…)`: a directory, or a URL of object storage (s3://, gs://, az://, file://). Verbs read only unless their help says otherwise: they take
/// no lock, work beside a running job, and decode as much of a damaged store as they can.
#[derive(Debug, Parser)]
#[command(name = "floodmark", version, max_term_width = 80, infer_subcommands = false, arg_required_else_help = true)]
#[command(after_help = "Begin with `floodmark status LOCATION`. Exit codes: 0 healthy or done, 1 failed, 2 usage,\n\
    3 degraded without loss, 4 acknowledged data lost, 5 incompatible, 6 owned by a live\n\
    driver, 7 differences, 8 verification incomplete, 10 not a store, 130 interrupted.")]
pub(crate) struct CommandLine {
    /// Print JSON: one object with the name of its schema in "schema".
    #[arg(long, global = true)]
    pub json: bool,
    /// For a URL: an option of the object store, in place of the environment's, such as aws_endpoint=…; may be given several times.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = store_option)]
    pub store_option: Vec<(String, String)>,
    /// For a URL: keeps the checkpoint files that are fetched in this directory, and uses those that are there and sound.
    #[arg(long, global = true, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

fn store_option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as aws_region=eu-west-1")?;
    Ok((key.to_string(), value.to_string()))
}

/// What the command can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Status(verbs::status::Args),
    Plan(verbs::plan::Args),
    Verify(verbs::verify::Args),
    Log(verbs::log::Args),
    Batches(verbs::batches::Args),
    Wal(verbs::wal::Args),
    Tail(verbs::tail::Args),
    Du(verbs::du::Args),
    Watch(verbs::watch::Args),
    Operators(verbs::operators::Args),
    Get(verbs::get::Args),
    Scan(verbs::scan::Args),
    History(verbs::history::Args),
    Diff(verbs::diff::Args),
    Export(verbs::export::Args),
    Import(verbs::import::Args),
    Compat(verbs::compat::Args),
    Rollback(verbs::rollback::Args),
    Repair(verbs::repair::Args),
    Gc(verbs::gc::Args),
    Pin(verbs::pin::Args),
    Unpin(verbs::unpin::Args),
    Explain(verbs::explain::Args),
    Completions(verbs::completions::Args),
    Man(verbs::man::Args),
}

impl Verb {
    /// Does it.
    pub fn run(&self, console: &mut Console<'_>) -> failure::Result {
        match self {
            Self::Status(args) => verbs::status::run(args, console),
            Self::Plan(args) => verbs::plan::run(args, console),
            Self::Verify(args) => verbs::verify::run(args, console),
            Self::Log(args) => verbs::log::run(args, console),
            Self::Batches(args) => verbs::batches::run(args, console),
            Self::Wal(args) => verbs::wal::run(args, console),
            Self::Tail(args) => verbs::tail::run(args, console),
            Self::Du(args) => verbs::du::run(args, console),
            Self::Watch(args) => verbs::watch::run(args, console),
            Self::Operators(args) => verbs::operators::run(args, console),
            Self::Get(args) => verbs::get::run(args, console),
            Self::Scan(args) => verbs::scan::run(args, console),
            Self::History(args) => verbs::history::run(args, console),
            Self::Diff(args) => verbs::diff::run(args, console),
            Self::Export(args) => verbs::export::run(args, console),
            Self::Import(args) => verbs::import::run(args, console),
            Self::Compat(args) => verbs::compat::run(args, console),
            Self::Rollback(args) => verbs::rollback::run(args, console),
            Self::Repair(args) => verbs::repair::run(args, console),
            Self::Gc(args) => verbs::gc::run(args, console),
            Self::Pin(args) => verbs::pin::run(args, console),
            Self::Unpin(args) => verbs::unpin::run(args, console),
            Self::Explain(args) => verbs::explain::run(args, console),
            Self::Completions(args) => verbs::completions::run(args, console),
            Self::Man(args) => verbs::man::run(args, console),
        }
    }
}
