//! Ten million keys that come and go leave nothing behind: the memory of a job follows the keys that are there. Alone in its
//! binary: it counts what the whole process allocates.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use floodmark::testing::TestJob;
use floodmark::{KeyedState, Queue, StateSpec};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// One test at a time: they share the counter.
static ALONE: Mutex<()> = Mutex::new(());

/// Ten million, unless `KEYS` says less, for a quick turn.
fn keys() -> u64 {
    std::env::var("KEYS").map_or(10_000_000, |keys| keys.parse().expect("KEYS is a number"))
}

const BATCHES: u64 = 100;
const MOST_GROWN_MB: f32 = 8.0;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs the batches, each with keys of its own, and compares the peak of the last half with that of the batches before.
fn stays_flat(mut job: TestJob<Queue<(u64, bool)>>, of_key: &[bool]) {
    let of_batch = keys() / BATCHES;
    let mut peaks = Vec::new();
    for half in 0..2 {
        ALLOCATOR.reset_peak_usage();
        for batch in 0..BATCHES / 2 {
            let first = (half * BATCHES / 2 + batch) * of_batch;
            let records = (first..first + of_batch).flat_map(|key| of_key.iter().map(move |value| (key, *value)));
            job.handles().push(records.collect()).unwrap();
            job.run_batch().unwrap();
        }
        peaks.push(ALLOCATOR.peak_usage_as_mb());
    }
    assert_eq!(job.running().status().keys, 0, "no key is left");
    println!("{peaks:?} MB");
    assert!(peaks[1] - peaks[0] < MOST_GROWN_MB, "from {} MB to {} MB", peaks[0], peaks[1]);
}

#[test]
fn keys_that_end_long_before_their_timeout_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let job = TestJob::new(|context| {
        let (input, stream) = context.queue_stream::<(u64, bool)>("input");
        let spec = || StateSpec::new("open").timeout(DAY);
        // The first record of a key opens it, the second one closes it.
        let closed = stream.map_with_state(
            spec(),
            |_, _, open: &mut KeyedState<u64>| {
                if open.exists() { open.remove() } else { open.update(1) }
            },
        );
        closed.count().foreach_rdd(|_, _| {});
        input
    });
    stays_flat(job.unwrap(), &[true, false]);
}

#[test]
fn keys_that_a_filter_refuses_leave_nothing_behind_in_a_long_window() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let job = TestJob::new(|context| {
        let (input, stream) = context.queue_stream::<(u64, bool)>("input");
        let sums = stream.map_values(u64::from).reduce_by_key_and_window_filtered(
            "sums",
            |one, other| one + other,
            |one, other| one - other,
            DAY,
            Duration::from_millis(100),
            |_, sum| *sum == 0,
        );
        sums.count().foreach_rdd(|_, _| {});
        input
    });
    stays_flat(job.unwrap(), &[true]);
}
