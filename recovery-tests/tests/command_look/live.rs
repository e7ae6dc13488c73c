//! Beside a job at work, and as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use floodmark::testing::TestJob;
use floodmark::{Queue, Result};

use crate::{LINES, files, floodmark, json};

/// A job with a state that grows; checkpoints every two batches.
fn job() -> Result<TestJob<Queue<(u64, u64)>>> {
    TestJob::configured(
        |builder| builder.checkpoint_every(2),
        |context| {
            let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
            stream
                .update_state_by_key("sums", |new: &[u64], sum: Option<u64>| {
                    Some(sum.unwrap_or(0) + new.iter().sum::<u64>())
                })
                .collect("out");
            numbers
        },
    )
}

/// The lines that ask for no range.
fn lines() -> impl Iterator<Item = &'static str> {
    LINES.into_iter().filter(|line| !line.starts_with("batches 7") && !line.contains(".."))
}

fn run_batches(job: &mut TestJob<Queue<(u64, u64)>>, batches: u64) {
    for batch in 1..=batches {
        job.handles().push((0..50).map(|key| (key, batch)).collect()).unwrap();
        job.run_batch().unwrap();
    }
}

#[test]
fn a_job_at_work_is_looked_at_and_goes_on() {
    let mut job = job().unwrap();
    for round in 0..6 {
        run_batches(&mut job, 3);
        for line in lines() {
            let (report, code) = json(line, job.directory());
            let expected = if line.contains("--read-data") && code == 8 { 8 } else { 0 };
            assert_eq!(code, expected, "round {round}, {line}: {report}");
        }
    }
    assert_eq!(json("verify", job.directory()).0["is_running"], true);
    run_batches(&mut job, 1);
}

#[test]
fn a_store_is_verified_while_its_driver_removes_what_it_does_not_need() {
    let mut job = job().unwrap();
    run_batches(&mut job, 4);
    let directory = job.directory().to_path_buf();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            for _ in 0..60 {
                let (report, code) = json("verify --entries", &directory);
                assert_eq!(code, 0, "{report}");
                assert_eq!(floodmark("tail", &directory).code, 0);
                assert_eq!(floodmark("log", &directory).code, 0);
                assert_eq!(floodmark("wal", &directory).code, 0);
                assert_eq!(floodmark("du", &directory).code, 0);
            }
        });
        while !looking.is_finished() {
            run_batches(&mut job, 2);
        }
        looking.join().unwrap();
    });
}

#[test]
fn nothing_is_left_in_the_store_of_a_job_that_stands_still() {
    let mut job = job().unwrap();
    run_batches(&mut job, 5);
    job.crash();
    let before = files(job.directory());
    lines().for_each(|line| drop(floodmark(line, job.directory())));
    assert_eq!(files(job.directory()), before);
}

fn spawn(line: &str, store: &Path) -> Child {
    let binary = Path::new(env!("CARGO_BIN_EXE_victim")).with_file_name("floodmark");
    let mut command = Command::new(binary);
    command.args(crate::words(line, store)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the command is built beside the tests: make command")
}

/// Reads lines up to one that has this in it.
fn read_up_to(lines: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the command has ended before it said {text}");
    }
}

#[test]
fn what_is_appended_is_followed_across_segments_and_truncations_until_the_pipe_closes() {
    let mut job = job().unwrap();
    run_batches(&mut job, 1);
    let mut child = spawn("wal --follow", job.directory());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    read_up_to(&mut lines, "Committed batch 1");
    for batch in 2..=7 {
        run_batches(&mut job, 1);
        read_up_to(&mut lines, &format!("Committed batch {batch}"));
    }
    // A new life goes on in a new segment, and carries the unproven end of the old one over.
    job.crash_and_restart().unwrap();
    run_batches(&mut job, 1);
    read_up_to(&mut lines, "Committed batch 8");
    drop(lines);
    // What comes next finds nobody who reads.
    run_batches(&mut job, 1);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn following_ends_when_it_is_interrupted() {
    let mut job = job().unwrap();
    run_batches(&mut job, 1);
    let mut child = spawn("wal --follow --json", job.directory());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let frame: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((frame["schema"].as_str(), frame["sequence"].as_u64()), (Some("floodmark.wal.frame/1"), Some(1)));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_pipe_that_closes_early_ends_the_listing_quietly() {
    let mut job = job().unwrap();
    run_batches(&mut job, 30);
    for line in ["wal", "wal --json", "batches", "verify"] {
        let mut child = spawn(line, job.directory());
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{line}");
    }
}
