//! The sweep: what a job with everything survives, and that a report is the same each time.

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use floodmark::{StreamingContext, Text, TextFiles};
use floodmark_chaos::suite;
use floodmark_chaos::sweep::{Env, Fault, Oracle, Replay, Restart, Run, Sweep};

/// Every kind of step and every fault, but not every step: `make chaos` has all of them.
#[test]
fn a_job_with_everything_survives_a_sample_of_all_faults() {
    suite::everything().seed(20_261_121).sample(500).nested(100).run().assert_survived();
}

/// The upgrade of a store and the lives after it; `make chaos` has every step of them.
#[test]
fn an_upgrade_from_version_1_survives_a_sample_of_all_faults() {
    suite::upgrade_from_version_1().seed(20_261_130).sample(250).nested(50).run().assert_survived();
}

/// Whatever strikes between the calls of a receiver that makes several at once.
#[test]
fn overlapping_calls_with_positions_and_a_limited_rate_survive_a_sample_of_all_faults() {
    suite::overlapping_calls().seed(20_261_130).sample(150).nested(40).run().assert_survived();
}

/// The store's requests are steps beside the disk's.
#[test]
fn a_job_in_object_storage_survives_a_sample_of_all_faults() {
    for log_blocks in [true, false] {
        suite::everything_in_object_storage(log_blocks).seed(20_261_121).sample(60).nested(15).run().assert_survived();
    }
}

/// The program of docs/testing.md.
fn totals(env: &Env) -> floodmark::Result<StreamingContext> {
    let context = env.builder("totals").build()?;
    env.input::<(String, u64)>(&context, "payments")
        .update_state_by_key("totals", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.iter().sum::<u64>()))
        .sink("out", env.sink("totals"));
    Ok(context)
}

/// A life died after its log had a name and before that name was durable. The next one found the log and published the first
/// manifest, which names it; then came a power cut, and every later start was refused, because that log was gone.
#[test]
fn the_log_of_an_interrupted_first_start_is_durable_before_a_manifest_names_it() {
    let sweep = || {
        Sweep::new("totals", totals)
            .input("payments", (1..=12_u64).map(|n| vec![("ann".to_string(), n), ("bob".to_string(), 2 * n)]))
    };
    let place = tempfile::tempdir().unwrap();
    for second in [
        "wal.roll:1/io-error",
        "wal.roll:6/io-error",
        "wal.roll:7/io-error",
        "wal.roll:7/crash-before",
        "sink.fence:1/crash-before",
    ] {
        let schedule = format!("1/wal.roll:4/crash-after+2/{second}");
        let file = place.path().join("replay.json");
        let replay = format!(
            r#"{{"schema":"floodmark.replay/1","sweep":"totals","seed":1,"schedule":"{schedule}","shrunk":{{"batches":null,"without_restarts":true,"every":null}}}}"#
        );
        fs::write(&file, replay).unwrap();
        sweep().replay(&Replay::read(&file).unwrap()).assert_survived();
    }
}

#[test]
fn the_same_seed_gives_the_same_report_byte_for_byte() {
    let sweep = || suite::everything().seed(7).faults(Fault::CRASHES).sample(40).nested(20);
    let (first, second) = (sweep().run(), sweep().threads(1).run());
    first.assert_survived();
    for (first, second) in first.outcomes.iter().zip(&second.outcomes) {
        assert_eq!(first, second);
    }
    assert_eq!(first.to_json(), second.to_json());
}

#[test]
fn a_fault_that_fits_nowhere_in_a_job_does_not_change_its_report() {
    let sweep = || suite::everything().seed(7).sample(15).nested(15);
    let without = Fault::ALL.into_iter().filter(|fault| *fault != Fault::ListLag);
    assert_eq!(sweep().run().to_json(), sweep().faults(without).run().to_json());
}

#[test]
fn a_divergence_that_does_not_come_again_is_told_all_the_same() {
    let calls = AtomicUsize::new(0);
    // The first two are the runs without faults.
    let check = move |_: &Run<'_>| calls.fetch_add(1, Ordering::Relaxed) != 3;
    let sweep = suite::everything().faults([Fault::CrashBefore]).sample(3).threads(1);
    let report = sweep.check("holds but once", check).run();
    assert!(!report.survived(), "{report}");
    assert_eq!(report.oracles(), [Oracle::Check], "{report}");
    assert_eq!(report.failures[0].story.last().unwrap(), "played again, it did not diverge");
}

const FILES: u64 = 8;

/// A job over files that are restored with other times before each of its lives.
fn over_files(env: &Env) -> floodmark::Result<StreamingContext> {
    static LIVES: AtomicU64 = AtomicU64::new(0);
    let life = LIVES.fetch_add(1, Ordering::Relaxed);
    // Hidden, so that it is no output that is compared.
    let directory = env.directory().join(".in");
    fs::create_dir_all(&directory).unwrap();
    for file in 0..FILES {
        let staged = directory.join(".staged");
        let lines: Vec<_> = (0..40).map(|line| format!("line {line} of {file}")).collect();
        fs::write(&staged, lines.join("\r\n")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 100 * life + file);
        fs::File::options().write(true).open(&staged).unwrap().set_modified(time).unwrap();
        fs::rename(&staged, directory.join(format!("{file}"))).unwrap();
    }
    let context = env.builder("files").build()?;
    let files = TextFiles::new(directory).max_files_per_batch(1).task_bytes(200);
    let ticks = env.input::<(Text, u64)>(&context, "ticks");
    let lines = context.direct_stream("files", files).map(|line| (line, 1_u64)).union(&ticks);
    lines
        .update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
            Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
        })
        .sink("out", env.sink("counts"));
    Ok(context)
}

#[test]
fn a_job_over_files_that_are_restored_with_other_times_before_each_life_survives_a_sample_of_all_faults() {
    Sweep::new("files", over_files)
        .input("ticks", (1..=FILES + 2).map(|tick| vec![(Text::from("tick"), tick)]))
        .restarts([Restart::Graceful(3), Restart::Kill(6)])
        .seed(20_261_130)
        .sample(120)
        .nested(20)
        .check("each line counts once", |run| {
            let counts = run.state::<Text, u64>("counts");
            counts.len() as u64 == 40 * FILES + 1
                && counts.iter().all(|(line, count)| line.as_str() == "tick" || *count == 1)
        })
        .run()
        .assert_survived();
}
