//! How fast `floodmark verify --full` reads, beside a plain loop that reads the same files in pieces of 1 MiB and computes CRC-32, as
//! `cksum` does.
//!
//! `cargo bench --bench verify [pairs] [log MB] [keys] [cold]`: makes a store with a log and a checkpoint, then
//! measures in pairs, next to each other, and prints medians. With `cold` the files leave the page cache before each run.

mod common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use common::table::{self, Figure};
use floodmark::testing::TestJob;
use floodmark::{Queue, Result};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

const BLOB: usize = 64 << 10;
const STATE: usize = 100;
/// A batch that is gathered before it is pushed.
const KEYS_A_BATCH: u64 = 200_000;
const BLOBS_A_BATCH: usize = 256;

type Handles = (Queue<(u64, String)>, Queue<Vec<u8>>);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |index: usize, default: u64| words.get(index).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (pairs, log_mb, keys) = (number(0, 7), number(1, 750), number(2, 2_000_000));
    let cold = words.iter().any(|word| word == "cold");
    let every = Arc::new(AtomicU64::new(1));
    let mut job = make(log_mb, keys, Arc::clone(&every))?;
    job.crash();
    let files = files(job.directory());
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    println!("{}", table::machine());
    println!("{} files, {} MB, {keys} keys of {STATE} bytes", files.len(), bytes / 1_000_000);
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..pairs {
        let runs: [&dyn Fn(); 5] = [
            &|| plain(&files),
            &|| verify(job.directory(), &["--read-data", "100%"]),
            &|| verify(job.directory(), &["--full", "--threads", "1"]),
            &|| verify(job.directory(), &["--full", "--threads", "2"]),
            &|| verify(job.directory(), &["--entries", "--threads", "2"]),
        ];
        for (run, times) in runs.into_iter().zip(&mut times) {
            if cold {
                forget(&files);
            }
            let started = Instant::now();
            run();
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let mb_per_s = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        bytes as f64 / 1e6 / times[times.len() / 2]
    };
    let plain_mb_per_s = mb_per_s(&times[0]);
    println!("plain loop, one thread       {plain_mb_per_s:>8.0} MB/s");
    let names = [
        "verify --read-data 100%",
        "verify --full, one thread",
        "verify --full, two threads",
        "verify --entries, two threads",
    ];
    for (name, times) in names.into_iter().zip(&times[1..]) {
        let rate = mb_per_s(times);
        println!("{name:<28} {rate:>8.0} MB/s  {:>5.0} %", 100.0 * rate / plain_mb_per_s);
    }
    let shares = times[0].iter().zip(&times[2]).map(|(plain, verify)| plain / verify);
    let share = Figure::of(shares).show(|share| format!("{:.0} %", share * 100.0));
    table::enter("verify --full, one thread, as a share of a plain loop", &share, "")
        .expect("the table can be written");
    Ok(())
}

/// A job with `keys` keys in its checkpoint, and so much log behind it.
fn make(log_mb: u64, keys: u64, every: Arc<AtomicU64>) -> Result<TestJob<Handles>> {
    let of_builder = Arc::clone(&every);
    let mut job = TestJob::configured(
        move |builder| builder.checkpoint_every(of_builder.load(Ordering::SeqCst)).backpressure(false),
        |context| {
            let (states, stream) = context.queue_stream::<(u64, String)>("states");
            stream
                .update_state_by_key("texts", |new: &[String], old: Option<String>| new.last().cloned().or(old))
                .collect("texts out");
            let (blobs, stream) = context.queue_stream::<Vec<u8>>("blobs");
            stream.count().collect("blobs out");
            (states, blobs)
        },
    )?;
    let mut random = StdRng::seed_from_u64(5);
    for first in (0..keys).step_by(KEYS_A_BATCH as usize) {
        let text = |random: &mut StdRng| (0..STATE).map(|_| random.random_range('!'..='~')).collect::<String>();
        let records = (first..keys.min(first + KEYS_A_BATCH)).map(|key| (key, text(&mut random))).collect();
        job.handles().0.push(records)?;
        let batch = job.run_batch()?;
        job.running().wait_until(|status| status.checkpoint == batch.id)?;
    }
    every.store(1_000_000, Ordering::SeqCst);
    job.crash_and_restart()?;
    for _ in 0..(log_mb << 20) as usize / (BLOB * BLOBS_A_BATCH) {
        let blob = |random: &mut StdRng| {
            let mut blob = vec![0; BLOB];
            random.fill_bytes(&mut blob);
            blob
        };
        job.handles().1.push((0..BLOBS_A_BATCH).map(|_| blob(&mut random)).collect())?;
        job.run_batch()?;
    }
    Ok(job)
}

/// What `verify --full` reads: log, manifests and checkpoints, each file once.
fn files(store: &Path) -> Vec<(PathBuf, u64)> {
    let (mut found, mut met) = (Vec::new(), HashSet::new());
    let mut directories: Vec<PathBuf> = ["wal", "manifests", "checkpoints"].map(|name| store.join(name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("the store is there").flatten() {
            let metadata = entry.metadata().expect("the file is there");
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name() != "reserve" && met.insert(metadata.ino()) {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found
}

fn plain(files: &[(PathBuf, u64)]) {
    let mut piece = vec![0; 1 << 20];
    for (path, _) in files {
        let mut file = File::open(path).expect("the file opens");
        let mut hasher = crc32fast::Hasher::new();
        loop {
            match file.read(&mut piece).expect("the file reads") {
                0 => break,
                read => hasher.update(&piece[..read]),
            }
        }
        std::hint::black_box(hasher.finalize());
    }
}

fn verify(store: &Path, more: &[&str]) {
    let store = store.to_str().expect("a path in UTF-8");
    let outcome = floodmark_cli::run(["verify", store].iter().chain(more));
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
}

/// Takes the files out of the page cache.
fn forget(files: &[(PathBuf, u64)]) {
    for (path, _) in files {
        let asked =
            Command::new("dd").arg(format!("if={}", path.display())).args(["iflag=nocache", "count=0"]).output();
        assert!(asked.is_ok_and(|output| output.status.success()), "dd with iflag=nocache");
    }
}
