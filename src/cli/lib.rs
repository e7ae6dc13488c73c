//! The command `floodmark`: what is stored, what recovery would do, whether anything is lost, and what to type next.
//!
//! It calls `observe`, `decide` and the decoders of `floodmark-store`, as a start of the job does:
//! one truth, and no second parser of any format. `docs/cli.md` describes it for its users.
//!
//! # Invariants
//! - Verbs that read take no lock and no epoch, and write nothing into a store, nor into a bucket.
//! - What is printed on standard output is data; hints, questions and progress go to standard error.
// Tests make files and threads of their own; what they test is linted without them.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod args;
mod checkpoints;
mod console;
mod entries;
mod exit;
mod failure;
mod finding;
mod frames;
mod location;
mod operation;
mod page;
mod progress;
mod repair;
mod range;
mod reading;
mod remote;
mod sizes;
mod start;
mod verbs;
mod view;

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;

use clap::Parser;

use args::CommandLine;
use console::{Console, Interruption, Terminal};
pub use exit::Exit;
use failure::Failure;

/// Columns where the output is no terminal.
const WIDTH_WITHOUT_TERMINAL: usize = 100;

/// What a run of the command left: for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub code: u8,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs the command with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let interruption = Interruption::default();
    listen_to_interruptions(interruption.clone());
    let output_is_terminal = io::stdout().is_terminal();
    let width = if output_is_terminal { terminal_width() } else { WIDTH_WITHOUT_TERMINAL };
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let terminal = Terminal {
        width,
        output_is_terminal,
        error_is_terminal: io::stderr().is_terminal(),
        input_is_terminal: io::stdin().is_terminal(),
        colour: output_is_terminal && !no_colour,
    };
    let output = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut console = Console::new(output, io::stderr(), io::stdin().lock(), terminal, interruption);
    run_on(&mut console, std::env::args_os()).into()
}

/// Runs the command within this process: the arguments without the program's name, no terminal, nobody to ask.
///
/// ```
/// let outcome = floodmark_cli::run(["status", "no/such/place"]);
/// assert_eq!(outcome.code, 10);
/// ```
pub fn run<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    run_in(WIDTH_WITHOUT_TERMINAL, arguments)
}

/// As [`run`], on a page of so many columns.
pub fn run_in<A: Into<OsString>>(width: usize, arguments: impl IntoIterator<Item = A>) -> Outcome {
    run_with(width, arguments, |_| ())
}

/// As [`run`], with verbs that write going through this door to the disk.
#[cfg(feature = "testing")]
pub fn run_on_disk<A: Into<OsString>>(
    disk: std::sync::Arc<dyn floodmark_base::disk::Disk>,
    arguments: impl IntoIterator<Item = A>,
) -> Outcome {
    run_with(WIDTH_WITHOUT_TERMINAL, arguments, |console| console.set_disk(disk))
}

/// As [`run_on_disk`], with every URL naming a prefix of this object store.
#[cfg(feature = "testing")]
pub fn run_on_store<A: Into<OsString>>(
    disk: std::sync::Arc<dyn floodmark_base::disk::Disk>,
    store: std::sync::Arc<dyn object_store::ObjectStore>,
    arguments: impl IntoIterator<Item = A>,
) -> Outcome {
    run_with(WIDTH_WITHOUT_TERMINAL, arguments, |console| {
        console.set_disk(disk);
        console.set_store(store);
    })
}

fn run_with<A: Into<OsString>>(
    width: usize,
    arguments: impl IntoIterator<Item = A>,
    configure: impl FnOnce(&mut Console<'_>),
) -> Outcome {
    let terminal = Terminal {
        width,
        output_is_terminal: false,
        error_is_terminal: false,
        input_is_terminal: false,
        colour: false,
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut stdout, &mut stderr, io::empty(), terminal, Interruption::default());
    configure(&mut console);
    let program = std::iter::once(OsString::from("floodmark"));
    let exit = run_on(&mut console, program.chain(arguments.into_iter().map(Into::into)));
    drop(console);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { code: exit.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn run_on(console: &mut Console<'_>, arguments: impl Iterator<Item = OsString>) -> Exit {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => return told_by_clap(console, &error),
    };
    console.set_json(line.json);
    console.set_store_access(line.store_option, line.cache);
    let done = line.verb.run(console).and_then(|exit| console.flush().map(|()| exit));
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            // What was found before stays visible; where the pipe is closed there is nobody to tell.
            drop(console.flush());
            if !failure.pipe_closed {
                tell(console, &failure);
            }
            failure.exit
        }
    }
}

/// Says why there is no answer: in words, and with JSON as an object of its own where nothing else was printed.
fn tell(console: &mut Console<'_>, failure: &Failure) {
    if console.is_json() && !console.has_printed() && console.object(failure).and_then(|()| console.flush()).is_ok() {
        return;
    }
    let code = failure.code.map(|code| format!("{code}: ")).unwrap_or_default();
    console.hint(&format!("floodmark: {code}{failure}"));
    if let Some(next) = &failure.next {
        console.hint(&format!("next: {next}"));
    }
    if let Some(code) = failure.code {
        console.hint(&format!("      floodmark explain {code}"));
    }
}

/// Help and version are answers, all else is a mistake in the command line.
fn told_by_clap(console: &mut Console<'_>, error: &clap::Error) -> Exit {
    let text = if console.terminal().colour { error.render().ansi().to_string() } else { error.render().to_string() };
    if error.use_stderr() {
        console.hint(text.trim_end());
        return Exit::Usage;
    }
    match console.text(&text).and_then(|()| console.flush()) {
        Ok(()) => Exit::Healthy,
        Err(failure) => failure.exit,
    }
}

/// The first interruption asks the verb to end; the second does not wait for it.
fn listen_to_interruptions(interruption: Interruption) {
    let listen = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if interruption.raise() {
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            }
        });
    };
    // Without the thread an interruption ends the process at once, which every verb survives as it survives a crash.
    drop(std::thread::Builder::new().name("interruptions".to_string()).spawn(listen));
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| usize::from(width))
}
