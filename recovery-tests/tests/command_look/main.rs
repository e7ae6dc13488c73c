//! The verbs that look at the log and at files, on stores that are well, live, read-only, and damaged in every way that the harness
//! knows.

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod healthy;
mod live;
mod tails;

use std::path::{Path, PathBuf};

use common::place::{contents as files, flip_in_place as flip};
use floodmark_cli::{Outcome, run, run_in};
use serde_json::Value;

/// Every verb of these tests, as it is typed behind the location.
const LINES: [&str; 14] = [
    "log",
    "batches",
    "batches 7",
    "wal",
    "wal 20..24 --records",
    "wal --stats",
    "wal --all",
    "tail",
    "verify",
    "verify --quick",
    "verify --full",
    "verify --entries",
    "verify --read-data 30% --seed 7",
    "du",
];

fn floodmark(line: &str, store: &Path) -> Outcome {
    run(words(line, store))
}

fn floodmark_in(width: usize, line: &str, store: &Path) -> Outcome {
    run_in(width, words(line, store))
}

fn words(line: &str, store: &Path) -> Vec<String> {
    let mut words: Vec<String> = line.split(' ').map(str::to_string).collect();
    words.insert(1, store.display().to_string());
    words
}

/// The JSON that a verb prints, and its exit code.
fn json(line: &str, store: &Path) -> (Value, u8) {
    let outcome = floodmark(&format!("{line} --json"), store);
    let value = serde_json::from_str(&outcome.stdout);
    (value.unwrap_or_else(|error| panic!("{line}: {error}: {}{}", outcome.stdout, outcome.stderr)), outcome.code)
}

/// The codes of the findings of a report, each once.
fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    let mut codes: Vec<String> = findings.iter().map(|it| it["code"].as_str().expect("a code").to_string()).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// The newest segment of a store's log.
fn newest_segment(store: &Path) -> PathBuf {
    let segments = common::place::files(&store.join("wal"));
    segments.into_iter().rfind(|file| file.extension().is_some_and(|extension| extension == "log")).unwrap()
}
