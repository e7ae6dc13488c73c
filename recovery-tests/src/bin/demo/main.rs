//! `make demo`: a word count over real text, killed three times, exact in the end.
//!
//! Feeds every text file of the repository, many times over, through a socket into `network_word_count`, kills that process
//! with SIGKILL at random moments, starts it again, resends what it had not acknowledged, and compares every count with a
//! plain count of what was sent.
#![forbid(unsafe_code)]

mod screen;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use floodmark_chaos::process::{Counts, Job, Line, Pace, ProcessError, Sender, Text, example, of_repository, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use screen::{Screen, grouped, megabytes};

const KILLS: u32 = 3;

/// Counts words from a socket in a job that is killed three times, and compares every count with a plain count.
#[derive(Parser)]
struct Arguments {
    /// Decides when the job is killed; a random one by default.
    #[arg(long)]
    seed: Option<u64>,
    /// How much text to send, in megabytes.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// For how long to send it, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut screen = Screen::new();
    match play(&mut screen, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.bad(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What the demo does, decided before it begins.
struct Script {
    seed: u64,
    text: Text,
    lasting: Duration,
    /// When to kill, counted from the beginning.
    kills: Vec<Duration>,
}

fn play(screen: &mut Screen, arguments: &Arguments) -> Result<(), ProcessError> {
    let script = script(screen, arguments)?;
    let directory = tempfile::Builder::new().prefix("floodmark-demo-").tempdir()?;
    let dump = directory.path().join("counts");
    let rate = script.text.bytes() as f64 / script.lasting.as_secs_f64();
    let sender = Sender::start(script.text.clone(), Pace::BytesPerSecond(rate))?;
    let program = example("network_word_count")?;
    let life = || {
        let mut command = Command::new(&program);
        command.arg("--connect").arg(sender.address().to_string()).arg("--acknowledged");
        command.arg("--checkpoint").arg(directory.path().join("state"));
        command.args(["--workers", "2", "--batch-interval", "200ms", "--checkpoint-every", "10", "--stop-at-eof"]);
        command.arg("--dump").arg(&dump);
        command
    };

    screen.start_clock();
    let start = Instant::now();
    for (number, &moment) in script.kills.iter().enumerate() {
        let mut job = Job::start(life())?;
        screen.life(number + 1);
        let mut running = true;
        while running && Instant::now() < start + moment {
            // Often enough to tell of a new connection when it is there.
            let until = (start + moment).min(Instant::now() + Duration::from_millis(50));
            running = job.watch(until, |line| show(screen, line, &sender));
            screen.connections(&sender.connections());
        }
        if !job.kill(|line| show(screen, line, &sender))? {
            screen.say("the text was at its end before the next kill");
            break;
        }
        screen.killed(job.age(), sender.sent(), sender.acknowledged());
    }
    if !dump.exists() {
        let mut job = Job::start(life())?;
        screen.life(script.kills.len() + 1);
        while job.watch(Instant::now() + Duration::from_millis(50), |line| show(screen, line, &sender)) {
            screen.connections(&sender.connections());
        }
        job.finish(|line| show(screen, line, &sender))?;
    }
    let acknowledged = sender.settled()?;
    compare(screen, &script, acknowledged, &dump)
}

fn script(screen: &mut Screen, arguments: &Arguments) -> Result<Script, ProcessError> {
    let seed = seed(arguments.seed);
    let lasting = Duration::from_secs(arguments.seconds);
    let bytes = arguments.megabytes * 1_000_000;
    let (text, files) = of_repository(&repository())?;
    let text = text.repeated_to(bytes);

    // One kill somewhere in each of three equal parts; the last part is left in peace.
    let mut random = StdRng::seed_from_u64(seed);
    let part = lasting.mul_f64(0.9) / KILLS;
    let kills = (0..KILLS).map(|number| part * number + part.mul_f64(random.random_range(0.15..0.95))).collect();

    screen.title(&format!("Floodmark: a word count that is killed {KILLS} times (seed {seed}: SEED={seed} make demo)"));
    screen.say(&format!(
        "text: {files} files of this repository, {} times over: {} through a socket in about {} s",
        text.times(),
        megabytes(text.bytes()),
        lasting.as_secs()
    ));
    screen.say("job:  network_word_count, 2 workers, a batch each 200 ms, a checkpoint each 10 batches;");
    screen
        .say("      a block is acknowledged when it is synced to the log, and what was not acknowledged is sent again");
    Ok(Script { seed, text, lasting, kills })
}

/// The clone that this program was built from.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn show(screen: &mut Screen, line: &Line, sender: &Sender) {
    match line {
        Line::Out(text) if text.starts_with("top ") => screen.top(text, sender.sent(), sender.acknowledged()),
        Line::Out(text) => screen.job(text),
        // Refused connections and the like are worth a look; the rest of the log is not for here.
        Line::Error(text) if text.contains("WARN") || text.contains("ERROR") || text.contains("panicked") => {
            screen.job(text);
        }
        Line::Error(_) => {}
    }
}

fn compare(screen: &mut Screen, script: &Script, acknowledged: u64, dump: &Path) -> Result<(), ProcessError> {
    let sent = script.text.bytes();
    if acknowledged != sent {
        return Err(ProcessError::NotAcknowledged { acknowledged, sent });
    }
    let (expected, found) = (script.text.count(), Counts::read(dump)?);
    let describe =
        |counts: &Counts| format!("{} words, {} distinct", grouped(counts.total()), grouped(counts.distinct() as u64));
    screen.title("Comparison");
    screen.say(&format!("sent and acknowledged: {}", megabytes(acknowledged)));
    screen.say(&format!("plain count of it:     {}", describe(&expected)));
    screen.say(&format!("the job's count:       {}", describe(&found)));
    expected.compare(&found, script.seed)?;
    screen.good(&format!("equal: each of the {} counts, across {KILLS} kills", grouped(expected.distinct() as u64)));
    Ok(())
}
