//! Word count from files and through a socket, everything durable: words a second, memory, bytes written.
//!
//! `cargo bench --bench word_count [rounds]`, after `cargo build --release --examples`; medians of the rounds.

mod common;

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use common::table::{self, Figure};
use common::{Figures, Input, Result, UNIFORM_1M, ZIPF_10K, ZIPF_10K_LONG};

type Run = fn(&Input) -> Result<Figures>;

fn main() -> Result<()> {
    let rounds = common::rounds(5);
    println!("{}", table::machine());
    println!("median of {rounds}; two workers; every plan, commit and received block synced");
    println!("{:<30} {:>32} {:>8} {:>9} {:>11} {:>9}", "", "words/s", "batches", "log", "checkpoints", "memory");
    let cases: [(&str, Input, Run, &str); 5] = [
        ("files, 10,000 distinct", ZIPF_10K, from_files, "30 M"),
        ("files, 10,000 distinct, long", ZIPF_10K_LONG, from_files, ""),
        ("files, 1,000,000 distinct", UNIFORM_1M, from_files, "10 M"),
        ("socket, 10,000 distinct", ZIPF_10K, through_a_socket, "10 M"),
        ("socket, 1,000,000 distinct", UNIFORM_1M, through_a_socket, ""),
    ];
    for (name, input, run, target) in cases {
        let runs = (0..rounds).map(|_| run(&input)).collect::<Result<Vec<_>>>()?;
        let rate = Figure::of(runs.iter().map(|run| run.words_per_second as f64)).show(millions);
        let figures = common::median(runs);
        println!(
            "{name:<30} {rate:>32} {:>8} {:>6} MB {:>8} MB {:>6} MB",
            figures.batches,
            figures.log_bytes / 1_000_000,
            figures.checkpoint_bytes / 1_000_000,
            figures.peak_megabytes
        );
        table::enter(&format!("words/s, {name}"), &format!("{rate}, {} MB", figures.peak_megabytes), target)?;
    }
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (on, off) = (through_a_socket(&ZIPF_10K)?, without_log(&ZIPF_10K)?);
        ratios.push(on.words_per_second as f64 / off.words_per_second as f64);
    }
    let ratio = Figure::of(ratios).show(|ratio| format!("{:.0} %", ratio * 100.0));
    println!("socket with the log on as a share of the log switched off, run in turn: {ratio}");
    table::enter("socket, log on / switched off, in turn", &ratio, "80 %")?;
    scaling(rounds)
}

/// Two workers beside one, in turn.
fn scaling(rounds: usize) -> Result<()> {
    for (name, input) in [("10,000 distinct, long", ZIPF_10K_LONG), ("1,000,000 distinct", UNIFORM_1M)] {
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let [two, one] = [2, 1].map(|workers| files_by(&input, workers));
            ratios.push(two?.words_per_second as f64 / one?.words_per_second as f64);
        }
        let ratio = Figure::of(ratios).show(|ratio| format!("{ratio:.2}"));
        println!("files, {name}: two workers / one, run in turn: {ratio}");
        table::enter(&format!("two workers / one, files, {name}, in turn"), &ratio, "1.8")?;
    }
    Ok(())
}

fn millions(number: f64) -> String {
    format!("{:.1} M", number / 1e6)
}

fn from_files(input: &Input) -> Result<Figures> {
    files_by(input, 2)
}

fn files_by(input: &Input, workers: u32) -> Result<Figures> {
    let (files, scratch) = (input.files()?, common::scratch()?);
    let dump = scratch.path().join("dump");
    let mut command = common::example("file_word_count")?;
    command.arg("--input").arg(files).arg("--checkpoint").arg(scratch.path().join("state"));
    command.args(["--workers", &workers.to_string(), "--until-idle"]).arg("--dump").arg(&dump);
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
    command.args(["--workers", "2", "--batch-interval", "100ms", "--stop-at-eof"]).args(more).arg("--dump").arg(&dump);
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
