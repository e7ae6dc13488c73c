//! A job with everything that keeps state, and with every kind of output.

use std::time::Duration;

use floodmark::{DStream, FileSink, KeyedState, StateSpec, StreamingContext, StreamingContextBuilder};

use super::hurried::HurriedClock;
use crate::sweep::{Env, Restart, Run, Sweep};

/// Batches of the script.
pub const BATCHES: u64 = 12;
const BLOCK_RECORDS: u64 = 12;
const RANGE_RECORDS: u64 = 8;
const KEYS: u64 = 7;

/// How often a key came, and a fold of its values that depends on their order (I-3).
type Total = (u64, u64);
type Entry = (u64, Total);

/// A sweep over the job, with its input and its checks; faults, seed and pairs are the caller's.
///
/// Twelve batches, a checkpoint every four, a graceful restart and a killed one.
pub fn everything() -> Sweep {
    everything_with(|_, builder| builder)
}

/// The same job, with its state and its log in an object store, of which its directory is a working copy: every request of the store is a
/// step, too. Blocks are logged where `log_blocks` says: in the store, or in the working copy only.
pub fn everything_in_object_storage(log_blocks: bool) -> Sweep {
    let name = if log_blocks { "in-object-storage" } else { "beside-object-storage" };
    sweep(name, move |env, builder| {
        // What a bucket holds of a job is no output: hidden names are not compared.
        let builder = builder.object_store(env.object_store("bucket"), ".job").working_directory(env.state_directory());
        builder
            .log_in_object_storage(log_blocks)
            .object_store_clock(HurriedClock::default())
            .object_store_patience(Duration::from_secs(20))
    })
    .on_a_working_copy()
}

/// As [`everything`], with other settings.
pub fn everything_with(
    configure: impl Fn(&Env, StreamingContextBuilder) -> StreamingContextBuilder + Send + Sync + 'static,
) -> Sweep {
    sweep("everything", configure)
}

fn sweep(
    name: &str,
    configure: impl Fn(&Env, StreamingContextBuilder) -> StreamingContextBuilder + Send + Sync + 'static,
) -> Sweep {
    inputs(Sweep::new(name, move |env| job(env, &configure)), BATCHES)
        .restarts([Restart::Graceful(4), Restart::Kill(9)])
        .check("every record counts once", |run| counts_once(run, BATCHES))
        .check("every batch is a directory", |run| {
            let is_there = |batch: u64| {
                let directory = format!("lines/batch-{batch:020}/");
                run.files().keys().any(|path| path.starts_with(&directory))
            };
            // A clock that jumps may tick before anything was received: the batch of that tick is empty, and writes nothing.
            let first = if is_there(1) { 1 } else { 2 };
            (first..=BATCHES).all(is_there)
        })
}

/// Whether the state has every record of the first `batches` batches once.
pub(super) fn counts_once(run: &Run<'_>, batches: u64) -> bool {
    let totals = run.state::<u64, Total>("totals");
    totals.values().map(|(count, _)| count).sum::<u64>() == batches * (BLOCK_RECORDS + RANGE_RECORDS)
}

/// The inputs of the job: `batches` batches of each.
pub(super) fn inputs(sweep: Sweep, batches: u64) -> Sweep {
    sweep
        .input("blocks", (1..=batches).map(|batch| records(batch, BLOCK_RECORDS, 0, KEYS)))
        .input("ranges", (1..=batches).map(|batch| records(batch, RANGE_RECORDS, 32, KEYS + 3)))
}

/// A number that looks random and is always the same.
fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn records(batch: u64, count: u64, shift: u32, keys: u64) -> Vec<(u64, u64)> {
    let numbers = (batch * count..(batch + 1) * count).map(|index| scramble(index << shift));
    numbers.map(|number| (number % keys, number)).collect()
}

fn fold(a: u64, b: u64) -> u64 {
    a.wrapping_mul(31).wrapping_add(b)
}

pub(super) fn job(
    env: &Env,
    configure: &dyn Fn(&Env, StreamingContextBuilder) -> StreamingContextBuilder,
) -> floodmark::Result<StreamingContext> {
    let context = configure(env, env.builder("everything")).build()?;
    let blocks = env.input::<(u64, u64)>(&context, "blocks");
    let ranges = env.direct_input::<(u64, u64)>(&context, "ranges");
    totals(env, &blocks, &ranges);
    windows(env, &blocks, &ranges);
    sessions(env, &blocks, &ranges);
    Ok(context)
}

/// `update_state_by_key` over both inputs, whole in every batch, into files and a sink that keeps the contract.
fn totals(env: &Env, blocks: &DStream<'_, (u64, u64)>, ranges: &DStream<'_, (u64, u64)>) {
    let totals = blocks.union(ranges).update_state_by_key("totals", |values: &[u64], total: Option<Total>| {
        let (count, so_far) = total.unwrap_or_default();
        Some((count + values.len() as u64, values.iter().copied().fold(so_far, fold)))
    });
    totals.sink("totals out", env.sink::<Entry>("totals"));
    let lines = FileSink::new(env.directory().join("lines")).on_disk(env.disk());
    totals.map(|(key, (count, so_far))| format!("{key} {count} {so_far}")).sink("lines out", lines);
}

/// Windows with and without an inverse, joined with each other.
fn windows(env: &Env, blocks: &DStream<'_, (u64, u64)>, ranges: &DStream<'_, (u64, u64)>) {
    let (length, slide) = (3 * Env::INTERVAL, 2 * Env::INTERVAL);
    let sums = blocks.reduce_by_key_and_window_inverse("sums", u64::wrapping_add, u64::wrapping_sub, length, slide);
    let folds = ranges.window("plain", length, slide).reduce_by_key(fold);
    let joined = sums.full_outer_join(&folds).map(|(key, (sum, fold))| (key, (sum.unwrap_or(1), fold.unwrap_or(2))));
    joined.sink("windows out", env.sink::<Entry>("windows"));
}

/// `map_with_state` with timeouts and initial state, and windows that slide in every batch.
fn sessions(env: &Env, blocks: &DStream<'_, (u64, u64)>, ranges: &DStream<'_, (u64, u64)>) {
    let initial = (0..KEYS).map(|key| (1_000 + key, (key, 1)));
    let spec = StateSpec::new("sessions").initial_state(initial).timeout(2 * Env::INTERVAL);
    let sessions = ranges.map(|(key, value)| (key * 7, value)).map_with_state_and_time(
        spec,
        |time, key, value, state: &mut KeyedState<Total>| {
            let (count, so_far) = state.get().copied().unwrap_or_default();
            match value {
                None => return Some((*key, (count, so_far ^ time.0))),
                Some(value) if value % 5 == 0 && state.exists() => state.remove(),
                Some(value) => state.update((count + 1, fold(so_far, value))),
            }
            (count % 3 == 0).then_some((*key, (count, so_far)))
        },
    );
    let length = 3 * Env::INTERVAL;
    let counts = blocks.count_by_window("count", length, Env::INTERVAL).map(|count| (0, (count, 0)));
    let merged = blocks.reduce_by_key_and_window("merged", fold, length, Env::INTERVAL).map_values(|value| (0, value));
    sessions.union(&counts).union(&merged).sink("sessions out", env.sink::<Entry>("sessions"));
}
