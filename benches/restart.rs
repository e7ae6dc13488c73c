//! Restart with 1,000,000 keys of state: from the start of the process until a new batch is visible in the output.
//!
//! `cargo bench --bench restart [rounds]`, after `cargo build --release --examples`. Twice: after a graceful stop, and after
//! SIGKILL, when batches have to be replayed.
#![allow(clippy::disallowed_methods)] // what is measured is real time

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Result, UNIFORM_1M};

const GIVE_UP: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let rounds = common::rounds(5);
    let scratch = common::scratch()?;
    let input = scratch.path().join("input");
    fs::create_dir(&input)?;
    for entry in fs::read_dir(UNIFORM_1M.files()?)? {
        let path = entry?.path();
        fs::hard_link(&path, input.join(path.file_name().unwrap_or_default()))?;
    }
    let mut first = job(scratch.path())?;
    let figures = common::run(first.arg("--until-idle"))?;
    println!(
        "state: {} words over up to {} keys, {} MB of memory",
        figures.words, UNIFORM_1M.distinct, figures.peak_megabytes
    );

    // The first restart follows a graceful stop; each later one follows the SIGKILL that ended the one before.
    let mut after_kill = Vec::new();
    for round in 0..=rounds {
        let (took, recovered) = restart(scratch.path(), round)?;
        let before = if round == 0 { "graceful stop" } else { "SIGKILL" };
        println!("  after {before:<14} {took:>9.1?} to the first new batch; {recovered}");
        if round > 0 {
            after_kill.push(took);
        }
    }
    after_kill.sort_unstable();
    println!("median after SIGKILL: {:.1?}", after_kill[after_kill.len() / 2]);
    Ok(())
}

fn job(scratch: &Path) -> Result<Command> {
    let mut command = common::example("file_word_count")?;
    command.arg("--input").arg(scratch.join("input")).arg("--checkpoint").arg(scratch.join("state"));
    command.arg("--output").arg(scratch.join("output")).args(["--workers", "2", "--batch-interval", "50ms"]);
    Ok(command)
}

/// Starts the job with one new file, waits for its batch in the output, and kills it. Also gives what it said of its recovery.
fn restart(scratch: &Path, round: usize) -> Result<(Duration, String)> {
    let (input, output) = (scratch.join("input"), scratch.join("output"));
    let word = format!("round-{round}");
    let hidden = input.join(format!(".new-{round}"));
    fs::write(&hidden, format!("w0000001 w0000002 {word}\n"))?;
    fs::rename(hidden, input.join(format!("new-{round}.txt")))?;

    let started = Instant::now();
    let mut child = job(scratch)?.stdout(Stdio::piped()).spawn()?;
    while !is_visible(&output, &word)? {
        if child.try_wait()?.is_some() || started.elapsed() > GIVE_UP {
            return Err("the job came to no new batch".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    // Batches without input follow: they are what a restart after SIGKILL replays.
    thread::sleep(Duration::from_millis(500));
    child.kill()?;
    let said = child.wait_with_output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    Ok((took, said.lines().next().unwrap_or("no word of its recovery").to_string()))
}

/// Whether one of the newest batches has this word. Unfinished batches have hidden names.
fn is_visible(output: &Path, word: &str) -> Result<bool> {
    let mut batches = fs::read_dir(output)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    batches.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("batch-")));
    batches.sort_unstable();
    for batch in batches.iter().rev().take(20) {
        for part in fs::read_dir(batch)? {
            if fs::read_to_string(part?.path())?.contains(word) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
