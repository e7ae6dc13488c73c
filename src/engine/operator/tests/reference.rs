//! Joins with reference data, over reloads, crashes and numbers of workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::job::context::StreamingContext;
use crate::source::{Queue, ReferenceFile, SourceError};
use crate::testing::{Collected, TestJob};
use floodmark_base::id::BatchId;

type Names = Vec<(u64, String)>;
type Joined = (u64, (u64, Option<String>));

/// Reference data as something outside has it: versions are put there, and loaders find them.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<(u64, Names)>>);

impl Shelf {
    fn put(&self, names: Names) {
        let mut shelf = self.0.lock().unwrap();
        *shelf = (shelf.0 + 1, names);
    }

    fn loader(&self) -> impl FnMut() -> Result<Option<Names>, SourceError> + Send + use<> {
        let (shelf, mut known) = (self.clone(), 0);
        move || {
            let (version, names) = shelf.0.lock().unwrap().clone();
            Ok((std::mem::replace(&mut known, version) != version).then_some(names))
        }
    }
}

fn names(of: impl IntoIterator<Item = u64>, name: &str) -> Names {
    of.into_iter().map(|number| (number, format!("{name}{number}"))).collect()
}

type Handles = (Queue<u64>, Collected<Joined>);

fn declare(context: &StreamingContext, shelf: &Shelf) -> Handles {
    let reference = context.reference_data("names", shelf.loader());
    let (numbers, stream) = context.queue_stream::<u64>("numbers");
    let joined = stream.map(|n| (n, n * 10)).left_outer_join_reference("named", &reference);
    (numbers, joined.collect("output"))
}

fn job(workers: u32, shelf: &Shelf) -> TestJob<Handles> {
    let shelf = shelf.clone();
    TestJob::configured(move |builder| builder.workers(workers), move |context| declare(context, &shelf)).unwrap()
}

/// What the numbers below ten are joined with in the next batch: the name of each, or `-`.
fn next_batch(job: &mut TestJob<Handles>) -> Vec<String> {
    job.handles().0.push((0..10).collect()).unwrap();
    job.run_batch().unwrap();
    seen(&job.handles().1.last_sorted())
}

fn seen(joined: &[Joined]) -> Vec<String> {
    joined.iter().map(|(_, (_, name))| name.clone().unwrap_or("-".to_string())).collect()
}

fn expected(names: &Names) -> Vec<String> {
    let name = |number| names.iter().find(|(of, _)| *of == number).map_or("-".to_string(), |(_, name)| name.clone());
    (0..10).map(name).collect()
}

/// Versions that grow, change, shrink, vanish and come back.
fn versions() -> Vec<Names> {
    vec![
        names(0..5, "a"),
        names(0..10, "a"),
        names((0..10).step_by(2), "a").into_iter().chain(names([1, 9], "b")).collect(),
        names([3], "c"),
        vec![],
        names(2..8, "d"),
    ]
}

#[test]
fn a_version_holds_from_the_batch_on_with_which_it_is_planned() {
    let shelf = Shelf::default();
    let mut job = {
        shelf.put(versions()[0].clone());
        job(2, &shelf)
    };
    for version in versions() {
        shelf.put(version.clone());
        for _ in 0..2 {
            assert_eq!(next_batch(&mut job), expected(&version));
        }
        let stored = job.running().state::<u64, Vec<String>>("named").unwrap();
        assert_eq!(stored.iter().unwrap().count(), version.len(), "the state is the version");
    }
}

#[test]
fn records_leave_in_the_order_of_the_source_and_values_in_that_of_the_loader() {
    let mut job = TestJob::configured(
        |builder| builder.partitions(1),
        |context| {
            let mut version = Some(vec![(1_u64, 'x'), (2, 'p'), (1, 'y'), (1, 'x')]);
            let reference = context.reference_data("letters", move || Ok(version.take()));
            let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
            let inner = stream.join_reference("inner", &reference).collect("inner output");
            let outer = stream.left_outer_join_reference("outer", &reference).collect("outer output");
            let rest = stream.subtract_reference("rest", &reference).collect("rest output");
            (numbers, (inner, outer, rest))
        },
    )
    .unwrap();
    let (numbers, (inner, outer, rest)) = job.handles();
    numbers.push(vec![(3, 0), (1, 1), (2, 2)]).unwrap();
    numbers.push(vec![(4, 3), (1, 4)]).unwrap();
    job.run_batch().unwrap();
    let inner = inner.last();
    assert_eq!(
        inner,
        [(1, (1, 'x')), (1, (1, 'y')), (1, (1, 'x')), (2, (2, 'p')), (1, (4, 'x')), (1, (4, 'y')), (1, (4, 'x'))]
    );
    let mut all: Vec<(u64, (u64, Option<char>))> =
        inner.iter().map(|&(key, (value, of))| (key, (value, Some(of)))).collect();
    all.insert(0, (3, (0, None)));
    all.insert(5, (4, (3, None)));
    assert_eq!(outer.last(), all);
    assert_eq!(rest.last(), [(3, 0), (4, 3)]);
}

/// What every batch gave, partition by partition, with a restart before each batch that `crashes` names.
fn run(workers: u32, crashes: impl Fn(usize) -> bool) -> Vec<Vec<Joined>> {
    let shelf = Shelf::default();
    shelf.put(versions()[0].clone());
    let mut job = job(workers, &shelf);
    let mut batches = Vec::new();
    for (round, version) in versions().into_iter().enumerate() {
        shelf.put(version.clone());
        if crashes(round) {
            job.crash_and_restart().unwrap();
        }
        assert_eq!(next_batch(&mut job), expected(&version), "round {round}");
        batches.push(job.handles().1.last());
    }
    batches
}

#[test]
fn results_do_not_depend_on_workers_nor_on_a_crash_at_any_batch_boundary() {
    let undisturbed = run(1, |_| false);
    for workers in [2, 4] {
        assert_eq!(run(workers, |_| false), undisturbed, "{workers} workers");
    }
    for crash in 0..undisturbed.len() {
        assert_eq!(run(2, |round| round == crash), undisturbed, "a crash before batch {crash}");
    }
    assert_eq!(run(2, |_| true), undisturbed, "a crash before every batch");
}

/// A job over a file of names, and the file.
struct OverFile {
    _directory: TempDir,
    path: PathBuf,
    job: TestJob<Handles>,
}

/// Replaces the file as a whole, or removes it.
fn replace(path: &Path, names: Option<&Names>) {
    let Some(names) = names else { return fs::remove_file(path).unwrap() };
    let text: String = names.iter().map(|(number, name)| format!("{number} {name}\n")).collect();
    let temporary = path.with_extension("new");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

fn name_file(path: &Path) -> ReferenceFile<impl FnMut(&str) -> Option<(u64, String)> + Send + use<>> {
    ReferenceFile::new(path, |line: &str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name.to_string()))
    })
}

/// The map panics while `fails` is set.
fn over_file(first: &Names, fails: Arc<AtomicBool>) -> OverFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("names");
    replace(&path, Some(first));
    let of_job = path.clone();
    let job = TestJob::configured(
        |builder| builder.max_attempts(1),
        move |context| {
            let reference = context.reference_data("names", name_file(&of_job));
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            let fails = fails.clone();
            let pairs = stream.map(move |n| {
                assert!(!fails.load(Ordering::SeqCst), "told to fail");
                (n, n * 10)
            });
            (numbers, pairs.left_outer_join_reference("named", &reference).collect("output"))
        },
    );
    OverFile { _directory: directory, path, job: job.unwrap() }
}

#[test]
fn a_restart_has_the_version_of_the_checkpoint_and_the_log_though_the_file_is_gone() {
    let (old, new) = (names(0..10, "old"), names(0..4, "new"));
    // The checkpoint comes with the fourth batch: restarts before it, with it, and after it.
    for batches in [1, 4, 5] {
        let OverFile { _directory, path, mut job } = over_file(&old, Arc::default());
        for _ in 0..batches {
            assert_eq!(next_batch(&mut job), expected(&old));
        }
        replace(&path, None);
        job.crash_and_restart().unwrap();
        assert_eq!(next_batch(&mut job), expected(&old), "the file is gone after {batches} batches");
        replace(&path, Some(&new));
        assert_eq!(next_batch(&mut job), expected(&new), "the file is back");
        replace(&path, Some(&old));
        job.stop_and_restart().unwrap();
        assert_eq!(next_batch(&mut job), expected(&old), "it changed while the job was down");
    }
}

#[test]
fn a_planned_batch_is_recomputed_with_its_version_though_the_file_has_changed() {
    let (old, new, newest) = (names(0..10, "old"), names(0..4, "new"), names(5..9, "newest"));
    let fails = Arc::new(AtomicBool::new(false));
    let OverFile { _directory, path, mut job } = over_file(&old, fails.clone());
    assert_eq!(next_batch(&mut job), expected(&old));
    replace(&path, Some(&new));
    fails.store(true, Ordering::SeqCst);
    job.handles().0.push((0..10).collect()).unwrap();
    let error = job.run_batch().unwrap_err().to_string();
    assert!(error.contains("told to fail"), "{error}");
    job.crash();
    replace(&path, Some(&newest));
    fails.store(false, Ordering::SeqCst);
    job.start().unwrap();
    let recomputed = job.handles().1.batch(BatchId(2)).expect("it was planned, and not published").collect();
    let mut recomputed: Vec<Joined> = recomputed;
    recomputed.sort();
    assert_eq!(seen(&recomputed), expected(&new));
    assert_eq!(next_batch(&mut job), expected(&newest));
}

#[test]
fn a_job_whose_reference_cannot_be_loaded_at_first_stops_and_names_it() {
    let mut job = TestJob::new(|context| {
        let reference = context.reference_data("names", name_file(Path::new("/nowhere/names")));
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        stream.map(|n| (n, ())).join_reference("named", &reference).collect("output");
        numbers
    })
    .unwrap();
    let error = job.run_batch().unwrap_err().to_string();
    assert!(error.contains("source \"names\"") && error.contains("/nowhere/names"), "{error}");
}

#[test]
fn what_is_computed_at_a_stop_before_the_first_tick_is_joined_too() {
    let shelf = Shelf::default();
    shelf.put(names(0..10, "a"));
    let mut job = job(2, &shelf);
    job.handles().0.push((0..10).collect()).unwrap();
    let output = job.handles().1;
    job.stop_and_restart().unwrap();
    let joined: Vec<String> = output.all().into_iter().flat_map(|(_, rdd)| seen(&rdd.collect())).collect();
    assert_eq!(joined.len(), 10);
    assert!(!joined.contains(&"-".to_string()), "{joined:?}");
}

#[test]
fn an_operator_that_is_new_to_the_program_has_the_version_that_holds() {
    let shelf = Shelf::default();
    shelf.put(names(0..10, "a"));
    let (of_job, is_new) = (shelf.clone(), Arc::new(AtomicBool::new(false)));
    let adds = is_new.clone();
    let mut job = TestJob::new(move |context| {
        let reference = context.reference_data("names", of_job.loader());
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let pairs = stream.map(|n| (n, n * 10));
        let joined = pairs.left_outer_join_reference("named", &reference).collect("output");
        let uid = if adds.load(Ordering::SeqCst) { "added" } else { "named too" };
        if adds.load(Ordering::SeqCst) {
            return (numbers, pairs.left_outer_join_reference(uid, &reference).collect("more"));
        }
        (numbers, joined)
    })
    .unwrap();
    for _ in 0..5 {
        assert_eq!(next_batch(&mut job), expected(&names(0..10, "a")));
    }
    is_new.store(true, Ordering::SeqCst);
    job.stop_and_restart().unwrap();
    assert_eq!(next_batch(&mut job), expected(&names(0..10, "a")), "though it has not changed");
}

#[test]
fn a_version_that_comes_between_two_results_of_a_stream_that_slides_holds_for_the_next() {
    let shelf = Shelf::default();
    let of_job = shelf.clone();
    shelf.put(names(0..10, "a"));
    let mut job = TestJob::new(move |context| {
        let reference = context.reference_data("names", of_job.loader());
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let (length, slide) = (Duration::from_millis(100), Duration::from_millis(200));
        let newest = stream.window("newest", length, slide).map(|n| (n, n * 10));
        (numbers, newest.left_outer_join_reference("named", &reference).collect("output"))
    })
    .unwrap();
    // The first batch, in which the version comes, yields nothing; neither does every other one from then on.
    assert!(next_batch(&mut job).is_empty());
    assert_eq!(next_batch(&mut job), expected(&names(0..10, "a")));
    shelf.put(names(3..10, "b"));
    job.run_batch().unwrap();
    job.crash_and_restart().unwrap();
    job.handles().0.push((0..10).collect()).unwrap();
    let batch = job.run_batch().unwrap();
    let (last, joined) = job.handles().1.all().pop().unwrap();
    let mut joined: Vec<Joined> = joined.collect();
    joined.sort();
    assert_eq!((last.id, last.time), (batch.id, batch.time));
    assert_eq!(seen(&joined), expected(&names(3..10, "b")));
}

#[test]
fn reference_data_is_no_input() {
    let shelf = Shelf::default();
    shelf.put(names(0..10_000, "a"));
    let mut job = job(2, &shelf);
    job.run_batch().unwrap();
    let status = job.running().status();
    assert_eq!((status.records, status.first_record_ms, status.keys), (0, None, 10_000));
    next_batch(&mut job);
    assert_eq!(job.running().status().records, 10);
}

#[test]
fn a_version_of_a_hundred_thousand_entries_is_checkpointed_once_and_then_what_changed() {
    let mut version = names(0..100_000, "a long enough name for number ");
    let shelf = Shelf::default();
    shelf.put(version.clone());
    let mut job = job(2, &shelf);
    let of_four_batches = |job: &mut TestJob<Handles>| {
        let before = job.running().status();
        for _ in 0..4 {
            next_batch(job);
        }
        let after = job.running().wait_until(|status| status.checkpoints > before.checkpoints).unwrap();
        after.checkpoint_bytes - before.checkpoint_bytes
    };
    let whole = of_four_batches(&mut job);
    assert!(whole > 500_000, "{whole} bytes");
    version[7].1 = "another".to_string();
    shelf.put(version.clone());
    let change = of_four_batches(&mut job);
    assert!(change < whole / 10, "{change} bytes for one key, {whole} for all");
    job.crash_and_restart().unwrap();
    assert_eq!(next_batch(&mut job), expected(&version));
    assert_eq!(job.running().status().keys, 100_000);
}

#[test]
fn a_version_larger_than_the_queues_of_the_log_passes_and_is_replayed() {
    let shelf = Shelf::default();
    let large: Names = (0..34).map(|number| (number, "x".repeat(1 << 20))).collect();
    shelf.put(large.clone());
    let mut job = job(2, &shelf);
    assert_eq!(next_batch(&mut job), expected(&large));
    job.crash_and_restart().unwrap();
    assert_eq!(job.recovery().batches_replayed(), 1);
    assert_eq!(next_batch(&mut job), expected(&large));
}
