//! Exactly once from files to files, whatever happens in between.
//!
//! ```text
//! cargo run --release --example exactly_once_files -- --input ./in --output ./out --checkpoint ./state
//! ```
//!
//! Takes lines of the form `account amount` and writes, for each batch, the accounts that changed with their new balance. Each batch
//! becomes visible as a whole and once: kill the job where you like, and `--until-idle --verify` finds that the last balances
//! in the output are the sums of the input, and that no line is there twice.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use floodmark::{FileSink, StreamingContext, Text};

use common::arguments::Arguments;

const USAGE: &str =
    "exactly_once_files --input DIR --output DIR --checkpoint DIR [--batch-interval 100ms] [--until-idle [--verify]]";

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let input: PathBuf = arguments.required("--input")?;
    let output: PathBuf = arguments.required("--output")?;
    let checkpoint: PathBuf = arguments.required("--checkpoint")?;
    let batch_interval = arguments.duration("--batch-interval")?.unwrap_or(Duration::from_millis(100));
    let (until_idle, verify) = (arguments.switch("--until-idle"), arguments.switch("--verify"));
    arguments.finish()?;
    common::show_warnings();

    let context = StreamingContext::builder("balances")
        .checkpoint(&checkpoint)
        .batch_interval(batch_interval)
        .install_signal_handlers()
        .build()?;
    context
        .text_file_stream("payments", &input)
        .flat_map(|line: Text| payment(&line))
        .update_state_by_key("balances", |amounts: &[i64], balance: Option<Balance>| Some(add(amounts, balance)))
        .filter(|(_, balance)| balance.changed)
        .map(|(account, balance)| format!("{account} {} {}", balance.payments, balance.cents))
        .sink("output", FileSink::new(&output));

    let running = context.start()?;
    println!("{}", running.recovery());
    if !until_idle {
        running.await_termination()?;
        return Ok(());
    }
    running.wait_until(|status| status.input_used_up)?;
    running.stop(true)?;
    if verify { compare(&input, &output) } else { Ok(()) }
}

#[derive(Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Balance {
    cents: i64,
    payments: u64,
    /// In the last batch.
    changed: bool,
}

fn payment(line: &str) -> Option<(Text, i64)> {
    let (account, amount) = line.split_once(' ')?;
    Some((Text::from(account), amount.parse().ok()?))
}

fn add(amounts: &[i64], balance: Option<Balance>) -> Balance {
    let balance = balance.unwrap_or_default();
    Balance {
        cents: balance.cents + amounts.iter().sum::<i64>(),
        payments: balance.payments + amounts.len() as u64,
        changed: !amounts.is_empty(),
    }
}

/// Reads input and output as any other program would, and compares.
fn compare(input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let mut expected: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for line in lines_below(input)? {
        if let Some((account, cents)) = payment(&line) {
            let (payments, balance) = expected.entry(account.to_string()).or_default();
            *payments += 1;
            *balance += cents;
        }
    }
    let mut found: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for line in lines_below(output)? {
        let mut words = line.split(' ');
        let (Some(account), Some(Ok(payments)), Some(Ok(cents))) =
            (words.next(), words.next().map(str::parse), words.next().map(str::parse))
        else {
            return Err(format!("{}: expected `account payments cents`, found {line:?}", output.display()).into());
        };
        let before = found.insert(account.to_string(), (payments, cents));
        // A batch that came twice would show the same number of payments again.
        if before.is_some_and(|(before, _)| before >= payments) {
            return Err(format!("{account} has {payments} payments twice in {}", output.display()).into());
        }
    }
    if expected != found {
        let differing = expected.iter().filter(|(account, sums)| found.get(*account) != Some(sums)).count();
        return Err(format!("{differing} of {} balances differ", expected.len()).into());
    }
    println!("equal: {} balances", expected.len());
    Ok(())
}

/// All lines of all files, in the order of the paths; names that begin with `.` or `_` are not output.
fn lines_below(directory: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with(['.', '_']));
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        if path.is_dir() {
            lines.extend(lines_below(&path)?);
        } else {
            lines.extend(fs::read_to_string(&path)?.lines().map(String::from));
        }
    }
    Ok(lines)
}
