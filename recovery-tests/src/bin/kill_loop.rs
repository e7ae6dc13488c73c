//! `make kill-loop`: SIGKILLs, at random and at every named point.
//!
//! `kill_loop [--seed N] [--kills N] [--points N] [--example-kills N] [--at-once N]`: so many random kills of victims (500 by
//! default), so many named points (all of them by default), and so many random kills of each of the examples
//! `file_word_count` and `network_word_count --acknowledged` (30 by default); 0 leaves that part out. Directories are made
//! where temporary files are (`TMPDIR`); without that variable those for the named points are in memory, where it can be.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use recovery_tests::process::kill_loop::{self, Plan, Survived};
use recovery_tests::process::parent::{Kills, Points, Progress, kills, points};
use recovery_tests::process::{ProcessError, argument, seed};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kill_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let number = |name: &str, default: u32| -> Result<u32, Box<dyn Error>> {
        Ok(argument(name)?.map_or(Ok(default), u32::try_from)?)
    };
    let (seed, at_once) = (seed()?, argument("--at-once")?);
    let mut diverged = 0;
    let count = number("--kills", 500)?;
    if count > 0 {
        let mut plan = Kills::new(count, seed)?;
        plan.at_once = at_once.map_or(Ok(plan.at_once), usize::try_from)?;
        println!("victims at random moments: {count} kills, seed {seed}, in {}", plan.directory.display());
        let report = kills(&plan, &Ticker::default().show())?;
        println!("{report}\n");
        diverged += u32::from(!report.survived());
    }
    let most = argument("--points")?.map(usize::try_from).transpose()?;
    if most != Some(0) {
        let mut plan = Points::new(seed)?;
        plan.at_once = at_once.map_or(Ok(plan.at_once), usize::try_from)?;
        plan.most = most;
        // What a kill leaves is the same there, and two thousand lives take a minute instead of a few.
        let memory = Path::new("/dev/shm");
        if memory.is_dir() && std::env::var_os("TMPDIR").is_none() {
            plan.directory = memory.to_path_buf();
        }
        println!("victims at named points: seed {seed}, in {}", plan.directory.display());
        let report = points(&plan, &Ticker::default().show())?;
        println!("{report}\n");
        diverged += u32::from(!report.survived());
    }
    let plan = Plan { kills: number("--example-kills", 30)?, seed };
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
