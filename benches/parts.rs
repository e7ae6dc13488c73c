//! The small parts, each alone: frames and their checksums, a group commit without a disk, words, a shuffle, the state table, a
//! checkpoint, decoding.
//!
//! `cargo bench --bench parts [filter]`: criterion's statistics; with `-- --save-baseline x` and `-- --baseline x` one build is compared with
//! another.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use byteview::ByteView;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use floodmark::testing::CheckpointTrial;
use floodmark::testing::decoders;
use floodmark::testing::disk::MemoryDisk;
use floodmark::testing::wal::{FrameKind, NewFrame, Wal, WalSettings, payload_checksum};
use floodmark::{Clock, Epoch, ManualClock, StreamingContext, Text};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

criterion_group! {
    name = parts;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = frames, group_commit, words, shuffle, table, decoding
}
criterion_main!(parts);

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum of a block");
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        let body = vec![b'x'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{} KiB", bytes >> 10), |bencher| {
            bencher.iter(|| payload_checksum(black_box(b"a block's head"), black_box(&body)));
        });
    }
}

/// The way of blocks through the log's thread and back, on a disk that costs nothing.
fn group_commit(criterion: &mut Criterion) {
    const BLOCKS: usize = 64;
    let mut group = criterion.benchmark_group("group commit, 64 blocks, no disk");
    for bytes in [1 << 10, 16 << 10] {
        let body = ByteView::new(&vec![b'x'; bytes]);
        group.throughput(Throughput::Elements(BLOCKS as u64));
        group.bench_function(format!("{} KiB each", bytes >> 10), |bencher| {
            let settings = WalSettings {
                segment_bytes: 8 << 20,
                quota_bytes: u64::MAX,
                reserve_bytes: 0,
                ..WalSettings::default()
            };
            let mut wal = None;
            bencher.iter(|| {
                // A disk in memory must not fill it: a new one after some commits.
                drop(wal.take_if(|log: &mut Wal| log.statistics().bytes_written > 64 << 20));
                let wal = wal.get_or_insert_with(|| {
                    let disk = Arc::new(MemoryDisk::default());
                    Wal::create(disk, Path::new("/log"), Epoch(1), settings.clone()).expect("a new log")
                });
                let (done, all) = channel();
                for _ in 0..BLOCKS {
                    let (frame, done) =
                        (NewFrame { kind: FrameKind::Block, head: vec![0; 16], body: body.clone() }, done.clone());
                    wal.append(
                        vec![frame],
                        Box::new(move |result| done.send(result.is_ok()).expect("it is waited for")),
                    );
                }
                drop(done);
                assert!(all.iter().all(|is_ok| is_ok));
            });
        });
    }
}

fn words(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("words of a line");
    let lines = [
        ("ten short", "w0000001 ".repeat(10)),
        ("ten long", "a-word-longer-than-inline ".repeat(10)),
        ("beyond ASCII", "Wörter ".repeat(10)),
    ];
    for (name, line) in lines {
        let line = Text::from(line);
        group.throughput(Throughput::Elements(10));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(line.clone()).split_words().for_each(|word| drop(black_box(word))))
        });
    }
}

/// A batch of pairs from memory to their partitions and together there: the dataflow without input, log or state.
fn shuffle(criterion: &mut Criterion) {
    const PAIRS: u64 = 200_000;
    let mut group = criterion.benchmark_group("a batch of 200,000 pairs, log off");
    for keys in [1_000, 200_000] {
        let place = tempfile::tempdir_in("target").expect("a directory under target");
        let clock = ManualClock::at(1_700_000_000_000);
        let context = StreamingContext::builder("shuffle")
            .checkpoint(place.path())
            .batch_interval(Duration::from_millis(100))
            .checkpoint_every(u64::MAX)
            .recovery_target(Duration::from_secs(3_600))
            .workers(2)
            .clock(clock.clone())
            .log_switched_off()
            .build()
            .expect("the settings are right");
        let (input, pairs) = context.queue_stream::<(u64, u64)>("pairs");
        pairs.reduce_by_key(|a, b| a + b).count().foreach_rdd(|_, _| {});
        let running = context.start().expect("the job starts");
        let mut random = StdRng::seed_from_u64(1);
        let records: Vec<(u64, u64)> = (0..PAIRS).map(|_| (random.random_range(0..keys), 1)).collect();
        group.throughput(Throughput::Elements(PAIRS));
        group.bench_function(format!("{keys} keys, reduce_by_key"), |bencher| {
            bencher.iter(|| {
                for part in records.chunks(20_000) {
                    input.push(part.to_vec()).expect("the job takes blocks");
                }
                let before = running.status().planned;
                clock.advance_to(clock.epoch_ms() + 100);
                running
                    .wait_until(|status| status.planned > before && status.published == status.planned)
                    .expect("it goes on");
            });
        });
    }
}

fn table(criterion: &mut Criterion) {
    const KEYS: u64 = 1_000_000;
    let place = tempfile::tempdir_in("target").expect("a directory under target");
    let mut trial = CheckpointTrial::start(place.path());
    trial.count(0..KEYS);
    trial.checkpoint();
    let mut random = StdRng::seed_from_u64(1);
    let mut group = criterion.benchmark_group("the state table, 1,000,000 keys");
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("get and put, 100,000 at random", |bencher| {
        bencher.iter(|| trial.count((0..100_000).map(|_| random.random_range(0..KEYS))));
    });
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("a pass in order", |bencher| bencher.iter(|| trial.pass()));
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("a checkpoint of 1,000, with its syncs", |bencher| {
        bencher.iter(|| {
            trial.count((0..1_000).map(|_| random.random_range(0..KEYS)));
            trial.checkpoint()
        });
    });
    group.finish();
    trial.end();
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode, and encode to compare");
    for decoder in decoders::ALL {
        let sample = (decoder.sample)(7);
        group.throughput(Throughput::Bytes(sample.len() as u64));
        group.bench_function(decoder.name, |bencher| {
            bencher.iter(|| (decoder.decode)(black_box(&sample)).expect("it is valid"))
        });
    }
}
