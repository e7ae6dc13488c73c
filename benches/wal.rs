//! What the log costs beside the disk itself: `dd oflag=dsync` with blocks as large as the log's groups, in the same directory,
//! run in turn with the log; medians of five. Then small appends, each of which waits for its sync, from 1, 8 and 64 threads.
//! Last, how fast a log is scanned and its blocks are read again.
//!
//! `cargo bench --bench wal`; `FLOODMARK_BENCH_DIR` chooses the directory, and with it the disk.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use byteview::ByteView;
use common::Result;
use common::table::{self, Figure};
use floodmark::Epoch;
use floodmark::testing::disk::LocalDisk;
use floodmark::testing::wal::{FrameKind, NewFrame, Wal, WalError, WalSettings, observe};

const RUNS: usize = 5;
/// A frame's header and the head that the bench gives it.
const OVERHEAD: usize = 48 + 16;
const SMALL_BYTES: usize = 200;

fn main() -> Result<()> {
    println!("{}", table::machine());
    let base = std::env::var_os("FLOODMARK_BENCH_DIR").unwrap_or_else(|| ".".into());
    let directory = tempfile::tempdir_in(base).expect("the bench's directory");
    println!("{:<10} {:>12} {:>12} {:>12} {:>8}", "group", "log MB/s", "not synced", "dd MB/s", "log/dd");
    for (group, total) in [(64 << 10, 64 << 20), (256 << 10, 128 << 20), (1 << 20, 256 << 20), (4 << 20, 512 << 20)] {
        let (mut log, mut unsynced, mut dd) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..RUNS {
            log.push(log_throughput(&directory.path().join(format!("log-{group}-{run}")), group, total, true));
            dd.push(dd_throughput(&directory.path().join("dd"), group, total));
            unsynced.push(log_throughput(&directory.path().join("unsynced"), group, total, false));
        }
        let name = format!("{} KiB", group >> 10);
        let shares = Figure::of(log.iter().zip(&dd).map(|(log, dd)| log / dd));
        let share = shares.show(|share| format!("{:.0} %", share * 100.0));
        let (log, unsynced, dd) = (median(log), median(unsynced), median(dd));
        table::enter(&format!("log / dd oflag=dsync, groups of {name}"), &format!("{share}, {log:.0} MB/s"), "90 %")?;
        println!("{name:<10} {log:>12.0} {unsynced:>12.0} {dd:>12.0} {:>8.2}", log / dd);
    }
    println!("\n{:<10} {:>12} {:>12} {:>12}", "appenders", "appends/s", "syncs/s", "per sync");
    for (appenders, each) in [(1, 1000), (8, 1000), (64, 500)] {
        let runs = (0..RUNS).map(|_| small_appends(&directory.path().join("small"), appenders, each));
        let (rates, syncs): (Vec<f64>, Vec<f64>) = runs.unzip();
        let figure = Figure::of(rates.iter().copied()).show(|rate| format!("{rate:.0}"));
        let (rate, syncs) = (median(rates), median(syncs));
        let figure = format!("{figure}, {:.1} a sync", rate / syncs);
        table::enter(&format!("synced appends/s of {SMALL_BYTES} bytes, {appenders} receivers"), &figure, "")?;
        println!("{appenders:<10} {rate:>12.0} {syncs:>12.0} {:>12.1}", rate / syncs);
    }
    let (scans, reads): (Vec<f64>, Vec<f64>) = (0..RUNS).map(|_| reading(&directory.path().join("reading"))).unzip();
    println!("\nscan {:.0} MB/s, frame by frame {:.0} MB/s, from the page cache", median(scans), median(reads));
    Ok(())
}

/// MB/s of a scan that checks every frame, and of reading the same frames one by one from their places; from the page cache.
fn reading(directory: &Path) -> (f64, f64) {
    let settings = WalSettings { reserve_bytes: 0, ..WalSettings::without_sync() };
    let wal = Wal::create(Arc::new(LocalDisk), directory, Epoch(1), settings).expect("a new log");
    let body = ByteView::new(&vec![b'x'; 256 << 10]);
    let places: Vec<_> = (0..1024)
        .flat_map(|_| {
            let frame = NewFrame { kind: FrameKind::Block, head: vec![0; 16], body: body.clone() };
            wal.append_and_wait(vec![frame]).expect("a healthy disk")
        })
        .collect();
    let megabytes = wal.statistics().bytes_written as f64 / 1e6;
    let begin = Instant::now();
    let mut frames = 0;
    observe(&LocalDisk, directory, None, &mut |_, _, _, _| frames += 1).expect("a healthy log");
    let scan = megabytes / begin.elapsed().as_secs_f64();
    assert_eq!(frames, places.len());
    let begin = Instant::now();
    for at in places {
        let read = wal.read_bodies::<WalError>(&[at], &mut |read| {
            assert_eq!(read.len(), body.len());
            Ok(())
        });
        read.expect("a healthy log");
    }
    let read = megabytes / begin.elapsed().as_secs_f64();
    drop(wal);
    std::fs::remove_dir_all(directory).expect("the bench's directory");
    (scan, read)
}

/// MB/s of frames of up to 64 KiB in groups of `group` bytes, from the first append to the last acknowledgement.
fn log_throughput(directory: &Path, group: usize, total: usize, synced: bool) -> f64 {
    let sizes = |settings: WalSettings| WalSettings {
        group_bytes: group as u64,
        queue_bytes: 4 * group as u64,
        reserve_bytes: 0,
        ..settings
    };
    let settings = sizes(if synced { WalSettings::default() } else { WalSettings::without_sync() });
    let wal = Wal::create(Arc::new(LocalDisk), directory, Epoch(1), settings).expect("a new log");
    let frame = group.min(64 << 10);
    let body = ByteView::new(&vec![b'x'; frame - OVERHEAD]);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    for _ in 0..total / frame {
        let acknowledged = Arc::clone(&acknowledged);
        let frame = NewFrame { kind: FrameKind::Block, head: vec![0; 16], body: body.clone() };
        let done = move |result: std::result::Result<Vec<_>, _>| {
            acknowledged.fetch_add(result.expect("a healthy disk").len() as u64, Ordering::Relaxed);
        };
        wal.append(vec![frame], Box::new(done));
    }
    // A last append that is waited for: all before it are acknowledged.
    wal.append_and_wait(vec![NewFrame { kind: FrameKind::Event, head: vec![0; 16], body: ByteView::new(&[]) }])
        .expect("a healthy disk");
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!(acknowledged.load(Ordering::Relaxed), (total / frame) as u64);
    drop(wal);
    std::fs::remove_dir_all(directory).expect("the bench's directory");
    total as f64 / 1e6 / seconds
}

/// MB/s of `dd` with one synced write per block.
fn dd_throughput(file: &Path, block: usize, total: usize) -> f64 {
    let begin = Instant::now();
    let status = Command::new("dd")
        .args(["if=/dev/zero", "oflag=dsync", &format!("bs={block}"), &format!("count={}", total / block)])
        .arg(format!("of={}", file.display()))
        .stderr(Stdio::null())
        .status()
        .expect("dd");
    let seconds = begin.elapsed().as_secs_f64();
    assert!(status.success(), "dd failed");
    std::fs::remove_file(file).expect("the file that dd wrote");
    total as f64 / 1e6 / seconds
}

/// Appends per second, and syncs per second, of threads that each wait for every append.
fn small_appends(directory: &Path, appenders: usize, each: usize) -> (f64, f64) {
    let settings = WalSettings { reserve_bytes: 0, ..WalSettings::default() };
    let wal = Wal::create(Arc::new(LocalDisk), directory, Epoch(1), settings).expect("a new log");
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..appenders {
            scope.spawn(|| {
                for _ in 0..each {
                    let body = ByteView::new(&[b'x'; SMALL_BYTES]);
                    let frame = NewFrame { kind: FrameKind::Block, head: vec![0; 16], body };
                    wal.append_and_wait(vec![frame]).expect("a healthy disk");
                }
            });
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    let syncs = wal.statistics().syncs as f64;
    drop(wal);
    std::fs::remove_dir_all(directory).expect("the bench's directory");
    ((appenders * each) as f64 / seconds, syncs / seconds)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
