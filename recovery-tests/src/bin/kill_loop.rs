//! `make kill-loop`: random SIGKILLs over `file_word_count` and over the acknowledged receiver.
//!
//! `kill_loop [--kills N] [--seed N]`: so many kills for each of the two, 30 by default.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use recovery_tests::process::kill_loop::{self, Plan, Survived};
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
    let plan = Plan { kills: u32::try_from(argument("--kills")?.unwrap_or(30))?, seed: seed()? };
    play("file_word_count", plan, |directory| kill_loop::files(plan, directory, tell))?;
    play("network_word_count --acknowledged", plan, |directory| kill_loop::acknowledged(plan, directory, tell))?;
    Ok(())
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
