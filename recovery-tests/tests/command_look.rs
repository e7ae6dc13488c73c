//! The verbs that look at the log and at files, on stores that are well, live, read-only, and damaged in every way that the harness
//! knows.

mod common;

use std::path::Path;

use common::stored::Stored;
use floodmark::cli::{Outcome, run};

fn floodmark(verb: &str, store: &Path, more: &[&str]) -> Outcome {
    let mut line = vec![verb.to_string(), store.display().to_string()];
    line.extend(more.iter().map(ToString::to_string));
    run(line)
}

#[test]
fn samples() {
    for stored in [Stored::crashed(), Stored::stopped()] {
        let place = stored.place.path();
        for line in ["log", "batches", "batches 7", "wal", "wal ..6 --records", "wal --stats", "tail", "verify", "verify --full", "verify --quick", "verify --read-data 30% --seed 7", "du"] {
            let words: Vec<&str> = line.split(' ').collect();
            for json in [false, true] {
                let mut more = words[1..].to_vec();
                more.extend(json.then_some("--json"));
                let out = floodmark(words[0], place, &more);
                println!("$ floodmark {} {}\n{}{}[{}]\n", words[0], more.join(" "), out.stdout, out.stderr, out.code);
            }
        }
    }
}
