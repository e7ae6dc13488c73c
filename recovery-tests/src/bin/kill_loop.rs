//! `make kill-loop`: SIGKILLs, at random and at every named point.
//!
//! Directories are made where temporary files are (`TMPDIR`); without that variable those for the named points are in memory,
//! where it can be.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use floodmark_chaos::process::kill_loop::{self, Plan, Survived};
use floodmark_chaos::process::parent::{Kills, Points, Progress, kills, points};
use floodmark_chaos::process::{ProcessError, seed};
use floodmark_chaos::scratch;

/// Kills real jobs with SIGKILL, at random moments and at every named point, and compares what they end with.
#[derive(Parser)]
struct Arguments {
    /// Decides input and moments; a random one by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Random kills of victims; 0 leaves them out.
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// How many named points to kill at; all of them by default, 0 leaves them out.
    #[arg(long)]
    points: Option<usize>,
    /// Random kills of each of the two examples; 0 leaves them out.
    #[arg(long, default_value_t = 30)]
    example_kills: u32,
    /// Victims that run at once; decided by the number of cores by default.
    #[arg(long)]
    at_once: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kill_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let seed = seed(arguments.seed);
    let mut diverged = 0;
    if arguments.kills > 0 {
        let mut plan = Kills::new(arguments.kills, seed)?;
        plan.at_once = arguments.at_once.unwrap_or(plan.at_once);
        println!("victims at random moments: {} kills, seed {seed}, in {}", arguments.kills, plan.directory.display());
        let report = kills(&plan, &Ticker::default().show())?;
        println!("{report}\n");
        diverged += u32::from(!report.survived());
    }
    if arguments.points != Some(0) {
        let mut plan = Points::new(seed)?;
        plan.at_once = arguments.at_once.unwrap_or(plan.at_once);
        plan.most = arguments.points;
        // What a kill leaves is the same there, and two thousand lives take a minute instead of a few.
        if std::env::var_os("TMPDIR").is_none() {
            plan.directory = scratch::folder();
        }
        println!("victims at named points: seed {seed}, in {}", plan.directory.display());
        let report = points(&plan, &Ticker::default().show())?;
        println!("{report}\n");
        diverged += u32::from(!report.survived());
    }
    let plan = Plan { kills: arguments.example_kills, seed };
    if plan.kills > 0 {
        play("file_word_count", plan, |directory| kill_loop::files(plan, directory, tell))?;
        play("network_word_count --acknowledged", plan, |directory| kill_loop::acknowledged(plan, directory, tell))?;
    }
    if diverged > 0 { Err("not everything survived; see above".into()) } else { Ok(()) }
}

/// A line that grows on a screen; elsewhere one for every tenth of the way.
#[derive(Default)]
struct Ticker(AtomicU32);

impl Ticker {
    fn show(self) -> impl Fn(&Progress) + Sync {
        move |progress| {
            let Progress { kills, of, lives, divergences } = progress;
            let line = format!("  {kills} of {of} kills, {lives} lives, {divergences} divergences");
            let mut output = std::io::stdout().lock();
            let tenth = kills * 10 / (*of).max(1);
            let written = if output.is_terminal() {
                write!(output, "\r{line}{}", if kills == of { "\n" } else { "" }).and_then(|()| output.flush())
            } else if self.0.fetch_max(tenth, Ordering::Relaxed) < tenth {
                writeln!(output, "{line}")
            } else {
                Ok(())
            };
            // Who does not look does not mind.
            drop(written);
        }
    }
}

fn tell(line: &str) {
    println!("  {line}");
}

fn play(
    name: &str,
    plan: Plan,
    scenario: impl FnOnce(&Path) -> Result<Survived, ProcessError>,
) -> Result<(), Box<dyn Error>> {
    println!("{name}: {} kills, seed {}", plan.kills, plan.seed);
    let directory = tempfile::Builder::new().prefix("floodmark-kill-loop-").tempdir()?;
    match scenario(directory.path()) {
        Ok(Survived { kills, comparisons, words }) => {
            println!(
                "{name}: {kills} kills survived, {comparisons} comparisons, all equal, {words} words in the end\n"
            );
            Ok(())
        }
        Err(error) => {
            // What is left is what one wants to look at.
            let kept = directory.keep();
            Err(format!("{name}, seed {}: {error}\nleft for inspection: {}", plan.seed, kept.display()).into())
        }
    }
}
