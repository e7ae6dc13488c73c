//! Word count from files and through a socket, everything durable: words a second, memory, bytes written.
//!
//! `cargo bench --bench word_count [rounds]`, after `cargo build --release --examples`; medians of the rounds.
#![allow(clippy::disallowed_methods)] // what is measured is real time

mod common;

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use common::{Figures, Input, Result, UNIFORM_1M, ZIPF_10K};

type Run = fn(&Input) -> Result<Figures>;

fn main() -> Result<()> {
    let rounds = common::rounds(3);
    println!("median of {rounds}; two workers; every plan, commit and received block synced");
    println!("{:<28} {:>12} {:>8} {:>9} {:>11} {:>9}", "", "words/s", "batches", "log", "checkpoints", "memory");
    let cases: [(&str, Input, Run); 4] = [
        ("files, 10,000 distinct", ZIPF_10K, from_files),
        ("files, 1,000,000 distinct", UNIFORM_1M, from_files),
        ("socket, 10,000 distinct", ZIPF_10K, through_a_socket),
        ("socket, 1,000,000 distinct", UNIFORM_1M, through_a_socket),
    ];
    for (name, input, run) in cases {
        let runs = (0..rounds).map(|_| run(&input)).collect::<Result<Vec<_>>>()?;
        let figures = common::median(runs);
        println!(
            "{name:<28} {:>12} {:>8} {:>6} MB {:>8} MB {:>6} MB",
            common::millions(figures.words_per_second),
            figures.batches,
            figures.log_bytes / 1_000_000,
            figures.checkpoint_bytes / 1_000_000,
            figures.peak_megabytes
        );
    }
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (on, off) = (through_a_socket(&ZIPF_10K)?, without_log(&ZIPF_10K)?);
        ratios.push(on.words_per_second as f64 / off.words_per_second as f64);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "socket with the log on / switched off, run in turn: {:.2} (median of {ratios:.2?})",
        ratios[ratios.len() / 2]
    );
    Ok(())
}

fn from_files(input: &Input) -> Result<Figures> {
    let (files, scratch) = (input.files()?, common::scratch()?);
    let dump = scratch.path().join("dump");
    let mut command = common::example("file_word_count")?;
    command.arg("--input").arg(files).arg("--checkpoint").arg(scratch.path().join("state"));
    command.args(["--workers", "2", "--until-idle"]).arg("--dump").arg(&dump);
    let figures = common::run(&mut command)?;
    common::must_be_equal(&dump, &input.truth()?)?;
    Ok(figures)
}

fn through_a_socket(input: &Input) -> Result<Figures> {
    socket(input, &[])
}

fn without_log(input: &Input) -> Result<Figures> {
    socket(input, &["--without-log"])
}

fn socket(input: &Input, more: &[&str]) -> Result<Figures> {
    let (files, scratch) = (input.files()?, common::scratch()?);
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    // The listener comes back: closed early, it would refuse the receiver that asks for more.
    let sender = thread::spawn(move || send(&listener, &files).map(|()| listener));
    let dump = scratch.path().join("dump");
    let mut command = common::example("network_word_count")?;
    command.arg("--connect").arg(address.to_string()).arg("--checkpoint").arg(scratch.path().join("state"));
    command.args(["--workers", "2", "--stop-at-eof"]).args(more).arg("--dump").arg(&dump);
    let figures = common::run(&mut command)?;
    drop(sender.join().map_err(|_| "the sender panicked")??);
    common::must_be_equal(&dump, &input.truth()?)?;
    Ok(figures)
}

/// Sends all files to the first that connects, as fast as they are taken.
fn send(listener: &TcpListener, files: &Path) -> io::Result<()> {
    let mut paths: Vec<_> = fs::read_dir(files)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let (mut stream, _) = listener.accept()?;
    for path in paths {
        io::copy(&mut File::open(path)?, &mut stream)?;
    }
    Ok(())
}
