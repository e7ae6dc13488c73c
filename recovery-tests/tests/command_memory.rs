//! The verbs that read all of a state hold one entry at a time. Alone in its binary: it counts what the whole process allocates.

use floodmark::testing::TestJob;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const KEYS: u64 = 200_000;
const MOST_MB: f32 = 4.0;

#[test]
fn memory_does_not_grow_with_the_state() {
    let mut job = TestJob::configured(
        |builder| builder.checkpoint_every(1),
        |context| {
            let (numbers, stream) = context.queue_stream::<(String, u64)>("numbers");
            stream.update_state_by_key("sums", |new: &[u64], old: Option<u64>| {
                Some(old.unwrap_or(0) + new.iter().sum::<u64>())
            });
            numbers
        },
    )
    .unwrap();
    for round in 0..2 {
        let of = |key: u64| (format!("a key of some length, number {key}"), key * round);
        job.handles().push((0..KEYS).map(of).collect()).unwrap();
        let batch = job.run_batch().unwrap().id;
        job.running().wait_until(|status| status.checkpoint == batch && !status.checkpointing).unwrap();
    }
    job.crash();
    let store = job.directory().to_str().unwrap();
    // None of them prints much, since what is printed is collected here.
    let verbs: [&[&str]; 5] = [
        &["scan", store, "sums", "--prefix", "none has this"],
        &["scan", store, "sums", "--prefix", "none has this", "--json"],
        &["diff", store, "1", "2", "--summary"],
        &["operators", store],
        &["history", store, "sums", "a key of some length, number 7"],
    ];
    for verb in verbs {
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage_as_mb();
        let outcome = floodmark_cli::run(verb.iter().copied());
        let grown = ALLOCATOR.peak_usage_as_mb() - before;
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        assert!(grown < MOST_MB, "{verb:?} took {grown} MB for {KEYS} keys");
    }
}
