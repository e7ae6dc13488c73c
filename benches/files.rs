//! A directory in which a million files stay that were taken: what a manifest takes, and what a new file costs.
//!
//! `cargo bench --bench files [files] [directory]`: makes small files in a new directory below the one that is given (default
//! `/dev/shm`, where that is there: the figures are then ours and the system's, not the disk's), has a job take them all, and restarts
//! it. Then it measures batches of the job with all files known: with nothing new in an unchanged directory; after a change of the
//! directory, so that it is listed, with nothing new; and with one new file. A million files take about 5 GB of `/dev/shm`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::Result;
use common::table::{self, Figure};
use floodmark::TextFiles;
use floodmark::testing::TestJob;

const ROUNDS: u64 = 15;
/// Files that one batch takes: a plan names them all.
const FILES_A_BATCH: usize = 20_000;
/// After this time without a change a directory is not listed again.
const SETTLED_AFTER: Duration = Duration::from_millis(3_200);
/// What a manifest may take for a million files that are there.
const MANIFEST_BYTES: u64 = 64 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let files = arguments.first().map_or(Ok(1_000_000), |number| number.parse::<u64>())?;
    let memory = Path::new("/dev/shm");
    let below = match arguments.get(1) {
        Some(directory) => PathBuf::from(directory),
        None if memory.is_dir() => memory.to_path_buf(),
        None => common::bench_directory()?,
    };
    println!("{}", table::machine());
    let place = tempfile::Builder::new().prefix("files-bench-").tempdir_in(below)?;
    let directory = place.path().join("in");
    fs::create_dir(&directory)?;
    let mut job = job(&directory)?;
    job.run_batch()?;
    job.running().stop(true)?;
    let empty = manifest_bytes(job.directory())?;
    println!("  manifest without files     {empty:>10} bytes");

    let (made, took) = timed(|| (0..files).try_for_each(|number| put(&directory, number)));
    made?;
    println!("  {files} files made          {took:>10.2?}");
    job.crash_and_restart()?;
    let (taken, took) = timed(|| -> Result<()> {
        while job.running().status().records < files {
            job.run_batch()?;
        }
        Ok(())
    });
    taken?;
    println!("  all taken                  {took:>10.2?}   {:.0} files/s", files as f64 / took.as_secs_f64());
    job.running().stop(true)?;
    let manifest = manifest_bytes(job.directory())?;
    println!("  manifest with them         {manifest:>10} bytes");
    if manifest > empty + MANIFEST_BYTES {
        return Err(format!("the manifest has grown by {} bytes", manifest - empty).into());
    }
    let (restarted, took) = timed(|| job.crash_and_restart());
    restarted?;
    println!("  restart                    {took:>10.2?}");
    println!("  memory of the process      {:>10} MB", memory_megabytes()?);

    let listed = floor(&directory, files)?;
    let (mut idle, mut nothing_new, mut one_new) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let records = job.running().status().records;
        // A hidden name is a change of the directory, and no file.
        fs::write(directory.join(format!(".hidden-{round}")), "")?;
        nothing_new.push(batch(&mut job)?);
        put(&directory, files + round)?;
        one_new.push(batch(&mut job)?);
        let found = job.running().status().records - records;
        if found != 1 {
            return Err(format!("expected the one new file, found {found}").into());
        }
    }
    std::thread::sleep(SETTLED_AFTER);
    batch(&mut job)?;
    idle.extend((0..ROUNDS).map(|_| batch(&mut job)).collect::<Result<Vec<_>>>()?);
    report("a listing by a plain loop", listed, files, "")?;
    report("a batch with an unchanged directory", idle, files, "")?;
    report("a batch that lists the directory, nothing new", nothing_new, files, "")?;
    report("a batch that takes one new file", one_new, files, "")?;
    table::enter(
        &format!("manifest, {files} present files"),
        &format!("{manifest} bytes; {empty} without files"),
        "64 KB more",
    )
}

/// A job that counts the lines of the files.
fn job(directory: &Path) -> Result<TestJob<()>> {
    let directory = directory.to_path_buf();
    Ok(TestJob::new(move |context| {
        let files = TextFiles::new(&directory).max_files_per_batch(FILES_A_BATCH);
        let words = context.direct_stream("files", files).map(|line| (line.len() as u64, 1_u64));
        words.update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
            Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
        });
    })?)
}

fn put(directory: &Path, number: u64) -> std::io::Result<()> {
    fs::write(directory.join(format!("part-{number:08}.txt")), "a line\n")
}

/// The bytes of the newest manifest.
fn manifest_bytes(job: &Path) -> Result<u64> {
    let mut names = fs::read_dir(job.join("manifests"))?.collect::<std::io::Result<Vec<_>>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    Ok(names.last().ok_or("there is no manifest")?.metadata()?.len())
}

/// From the tick until the batch is published.
fn batch(job: &mut TestJob<()>) -> Result<f64> {
    let (batch, took) = timed(|| job.run_batch());
    batch?;
    // What a checkpoint takes is measured elsewhere.
    job.running().wait_until(|status| !status.checkpointing)?;
    Ok(took.as_secs_f64())
}

/// What the system takes to list the names.
fn floor(directory: &Path, files: u64) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (found, took) = timed(|| fs::read_dir(directory).map(Iterator::count));
        if found? as u64 != files {
            return Err("files have gone".into());
        }
        times.push(took.as_secs_f64());
    }
    Ok(times)
}

fn report(what: &str, times: Vec<f64>, files: u64, target: &str) -> Result<()> {
    let figure = Figure::of(times).show(|seconds| format!("{:.1} ms", seconds * 1e3));
    println!("  {what:<46} {figure}");
    table::enter(&format!("{what}, {files} present files"), &figure, target)
}

fn memory_megabytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no figure of the memory")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1_000)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed())
}
