//! The victim's job: every kind of source, state and output.

use std::sync::Arc;

use floodmark::testing::disk::Disk;
use floodmark::testing::wal::WalSettings;
use floodmark::{
    DStream, Error, FileSink, KeyedState, ManualClock, Running, StateSpec, StreamingContext, StreamingContextBuilder,
};

use super::data::{self, Change, INTERVAL, Pair, SLIDE, TIMEOUT, Total, WINDOW, line};
use super::options::{Options, Planted};
use super::place::Place;
use super::source::BlockReceiver;

/// A checkpoint after so many batches.
pub const CHECKPOINT_EVERY: u64 = 3;

/// The settings: small ones, so that the log rolls and is cut, and checkpoints come, all the time.
pub(super) fn builder(options: &Options, disk: &Arc<dyn Disk>, clock: Option<ManualClock>) -> StreamingContextBuilder {
    let builder = StreamingContext::builder("victim")
        .disk(disk.clone())
        .checkpoint(options.place.state())
        .batch_interval(INTERVAL)
        .checkpoint_every(CHECKPOINT_EVERY)
        .workers(options.workers)
        .partitions(4)
        .backpressure(false)
        .job_version("1")
        .log_settings(WalSettings { segment_bytes: 1_500, reserve_bytes: 16 << 10, ..WalSettings::default() });
    match clock {
        Some(clock) => builder.clock(clock),
        None => builder,
    }
}

/// Where, and by which door, the job publishes.
#[derive(Clone, Copy)]
struct Outputs<'p> {
    place: &'p Place,
    disk: &'p Arc<dyn Disk>,
}

/// Starts the job.
pub(super) fn start(
    builder: StreamingContextBuilder,
    options: &Options,
    disk: &Arc<dyn Disk>,
    receiver: BlockReceiver,
) -> Result<Running, Error> {
    let context = builder.build()?;
    let outputs = Outputs { place: &options.place, disk };
    // 0, unless that bug is planted: then every life has its own.
    let life = u64::from(options.planted == Some(Planted::LifeInState)) * u64::from(std::process::id());
    let received = context.receiver_stream("blocks", receiver);
    let read = context.text_file_stream("files", options.place.input()).map(|line| data::parse(&line));
    declare_results(&context, outputs, life, &received, &read);
    declare_windows(outputs, &received, &read);
    context.start()
}

/// What yields in every batch: the input itself, totals, sessions, and both sources joined.
fn declare_results<'c>(
    context: &'c StreamingContext,
    outputs: Outputs<'_>,
    life: u64,
    received: &DStream<'c, Pair>,
    read: &DStream<'c, Pair>,
) {
    let input = received.union(read);
    let totals = input.update_state_by_key("totals", move |values: &[u64], old: Option<Total>| {
        data::total(values, old).map(|(count, fold)| (count, fold.wrapping_add(life)))
    });
    let sessions = StateSpec::new("sessions").initial_state(data::first_sessions()).timeout(TIMEOUT);
    let sessions =
        read.map_with_state_and_time(sessions, |time, key, value: Option<u64>, state: &mut KeyedState<Total>| {
            let (out, change) = data::session(time.0, value, state.get().copied());
            match change {
                Change::Keep => {}
                Change::To(new) => state.update(new),
                Change::Remove => state.remove(),
            }
            out.map(|out| line::session(*key, out))
        });
    let lines = [
        input.map(line::input),
        totals.map(|(key, total)| line::total(key, total)),
        sessions.map(|line| line),
        received.join(read).map(|(key, values)| line::joined(key, values)),
    ];
    // One partition, so that a batch costs few syncs.
    context
        .union(&lines)
        .repartition(1)
        .sink("results", FileSink::new(outputs.place.results()).on_disk(outputs.disk.clone()));
}

/// What yields less often: windows over both sources, with an inverse and without, joined.
fn declare_windows<'c>(outputs: Outputs<'_>, received: &DStream<'c, Pair>, read: &DStream<'c, Pair>) {
    let sums = received.reduce_by_key_and_window_inverse("sums", u64::wrapping_add, u64::wrapping_sub, WINDOW, SLIDE);
    let chains = read.map_values(data::link).window("recent", WINDOW, SLIDE).reduce_by_key(data::chained);
    let lines = sums.full_outer_join(&chains).map(|(key, (sum, chain))| line::windows(key, sum, chain));
    lines.repartition(1).sink("windows", FileSink::new(outputs.place.windows()).on_disk(outputs.disk.clone()));
}

/// The state after one batch, as text: a line that names the batch, then the entries, sorted; for each operator.
pub(super) fn dump(running: &Running) -> Result<String, Error> {
    let mut text = String::new();
    for (uid, entry) in [("totals", line::total as fn(u64, Total) -> String), ("sessions", line::session)] {
        let snapshot = running.state::<u64, Total>(uid)?.snapshot()?;
        text += &format!("{uid} {}\n", snapshot.batch().id);
        let mut entries: Vec<(u64, Total)> = snapshot.into_iter().collect();
        entries.sort_unstable();
        for (key, state) in entries {
            text += &format!("{}\n", entry(key, state));
        }
    }
    Ok(text)
}
