//! `make chaos`: the suite by which Floodmark proves itself. Ends with 0 when it survived, 1 when it did not, 2 when asked wrongly.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use floodmark_chaos::process::seed;
use floodmark_chaos::suite;
use floodmark_chaos::sweep::{REPLAY, Replay, Report, Sweep};
use indicatif::{ProgressBar, ProgressStyle};

/// Pairs of faults for one seed.
const NESTED: usize = 2_000;
/// Of a job in object storage a sample, unless told otherwise: nearly all of its steps are those of a job in a directory.
const IN_OBJECT_STORAGE: usize = 1_000;

/// Interrupts a job at every durable step, by every fault, and checks what it recovers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    sweeps: SweepArguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Play one run of a sweep again, from its replay file.
    Replay { file: PathBuf },
}

#[derive(Args)]
struct SweepArguments {
    /// The first seed; a random one by default.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run, counted up from the first.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Pairs of faults for each seed.
    #[arg(long, default_value_t = NESTED)]
    nested: usize,
    /// How many of the points of each sweep to try; all of them by default.
    #[arg(long)]
    sample: Option<usize>,
    /// A directory for the reports as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { verb, sweeps } = Arguments::parse();
    let survived = match verb {
        Some(Verb::Replay { file }) => replay(&file),
        None => run(&sweeps),
    };
    match survived {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &SweepArguments) -> Result<bool, String> {
    let first = seed(arguments.seed);
    let mut survived = true;
    for seed in first..first + arguments.seeds {
        println!("seed {seed}");
        for sweep in sweeps() {
            let has_most_pairs = sweep.name() == EVERY_POINT[0];
            let pairs = if has_most_pairs { arguments.nested } else { arguments.nested / 10 };
            let all = EVERY_POINT.contains(&sweep.name());
            let mut sweep = sweep.seed(seed).nested(pairs);
            if let Some(sample) = arguments.sample.or((!all).then_some(IN_OBJECT_STORAGE)) {
                sweep = sweep.sample(sample);
            }
            let report = watched("sweep", sweep);
            survived &= report.survived();
            keep(&report, arguments.report.as_deref())?;
        }
    }
    Ok(survived)
}

/// The sweeps of which every point is tried; most pairs of faults are of the first one.
const EVERY_POINT: [&str; 2] = ["everything", "upgrade"];

/// The job with everything in a directory, from an empty one on and from a store of version 1 on; in object storage with its blocks
/// there or beside it; and one whose receiver makes several calls at once.
fn sweeps() -> [Sweep; 5] {
    [
        suite::everything(),
        suite::upgrade_from_version_1(),
        suite::everything_in_object_storage(true),
        suite::everything_in_object_storage(false),
        suite::overlapping_calls(),
    ]
}

/// Runs a sweep with a progress bar, and prints its report.
fn watched(title: &str, sweep: Sweep) -> Report {
    let started = Instant::now();
    let bar = ProgressBar::new(0); // drawn on a terminal only
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} of about {duration}");
    bar.set_style(style.expect("the template is right"));
    bar.set_message(title.to_string());
    let drawn = bar.clone();
    let report = sweep
        .progress(move |through, all| {
            drawn.set_length(all as u64);
            drawn.set_position(through as u64);
        })
        .run();
    bar.finish_and_clear();
    println!("{report}");
    let (seconds, cycles) = (started.elapsed().as_secs_f64(), report.recoveries);
    println!("{seconds:.0} s, {:.0} crash-and-recover cycles a minute\n", cycles as f64 * 60.0 / seconds);
    report
}

/// Writes the report as JSON, and the replay files of its failures.
fn keep(report: &Report, directory: Option<&Path>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the report cannot be written: {error}");
    let target = Path::new("target/chaos");
    for replay in report.failures.iter().filter_map(|failure| failure.replay.as_ref()) {
        let path = replay.write_into(target).map_err(failed)?;
        println!("play it again: make replay FILE={}", path.display());
    }
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(failed)?;
        let path = directory.join(format!("{}-{}.json", report.sweep, report.seed));
        std::fs::write(&path, report.to_json()).map_err(failed)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn replay(file: &Path) -> Result<bool, String> {
    let replay = Replay::read(file)?;
    let mut sweeps = sweeps().into_iter().chain([suite::clock_in_a_map(), suite::appending_sink()]);
    let sweep = sweeps.find(|sweep| sweep.name() == replay.sweep);
    let sweep = sweep.ok_or(format!(
        "\"{}\" is no sweep of this suite; for one of a test, set {REPLAY} to the file and run the test",
        replay.sweep
    ))?;
    let report = sweep.replay(&replay);
    println!("{report}");
    Ok(report.failures.is_empty())
}
