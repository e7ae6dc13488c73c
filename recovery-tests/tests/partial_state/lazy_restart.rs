//! A restart that does not wait for the state: the same results at every batch as one that does, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use floodmark::{BatchId, ErrorKind, MemorySink, Queue, StreamingContext, StreamingContextBuilder, TextFiles};
use floodmark_chaos::sweep::{Env, Fault, Restart as SweptRestart, Sweep};

use crate::common::place::Place;
use crate::common::scramble;
use crate::job::{KEYS, Life, Pair, PutOut, SEEDS, Seen, add, declare, look, put_out, records, run_one, same};

/// How a job starts again.
#[derive(Clone, Debug)]
enum Restart {
    Eager,
    /// Nothing is read in the background until somebody waits for it.
    Held(Arc<AtomicBool>),
    /// The background runs beside the batches.
    Free,
}

impl Restart {
    fn held() -> Self {
        Self::Held(Arc::new(AtomicBool::new(true)))
    }

    fn configure(&self, builder: StreamingContextBuilder) -> StreamingContextBuilder {
        match self {
            Self::Eager => builder.lazy_restart_above(u64::MAX),
            Self::Held(held) => builder.lazy_restart_above(0).hold_background_load(held.clone()),
            Self::Free => builder.lazy_restart_above(0),
        }
    }

    fn release(&self) {
        if let Self::Held(held) = self {
            held.store(false, Ordering::Relaxed);
        }
    }
}

/// Only the first of the two: what is damaged is not read before the first batch.
fn declare_sums(context: &StreamingContext, sink: &MemorySink<Pair>) -> Queue<Pair> {
    let (queue, pairs) = context.queue_stream::<Pair>("pairs");
    pairs.map_with_state("sums", add).sink("out", sink.clone());
    queue
}

/// A job of 24 batches that crashes twice and stops gracefully once; what is seen after each batch, and what was put out.
fn run(seed: u64, restart: &Restart, workers: [u32; 4]) -> (BTreeMap<u64, Seen>, PutOut) {
    let (place, sink) = (Place::default(), MemorySink::default());
    let start = |workers: u32| {
        place.start(|builder| restart.configure(builder).workers(workers), |context| declare(context, &sink)).unwrap()
    };
    let mut life = start(workers[0]);
    let mut seen = BTreeMap::new();
    for batch in 1..=24 {
        life.handles.push(records(seed, batch)).unwrap();
        life.run_batch().unwrap();
        seen.insert(batch, look(&life, batch));
        life.running.wait_until(|status| !status.checkpointing).unwrap();
        if batch % 6 == 2 {
            if batch == 14 {
                life.running.stop(true).unwrap();
            }
            drop(life);
            life = start(workers[(batch / 6) as usize]);
            let is_lazy = matches!(restart, Restart::Held(_)) && batch >= 8;
            assert_eq!(life.running.status().loading, is_lazy, "after batch {batch}");
        }
    }
    (seen, put_out(&sink))
}

#[test]
fn a_lazy_restart_gives_what_an_eager_one_gives_at_every_batch_with_any_number_of_workers() {
    for seed in SEEDS {
        let eager = run(seed, &Restart::Eager, [2, 2, 2, 2]);
        assert_eq!(eager.0.len(), 24);
        same(&eager, &run(seed, &Restart::held(), [2, 2, 2, 2]), &format!("seed {seed}"));
        same(&eager, &run(seed, &Restart::held(), [1, 4, 2, 3]), &format!("seed {seed}, other workers"));
    }
}

#[test]
fn a_load_that_ends_between_any_two_batches_changes_nothing() {
    for seed in SEEDS {
        let (place, sink) = (Place::default(), MemorySink::default());
        let (other_place, other_sink) = (Place::default(), MemorySink::default());
        let restart = Restart::held();
        let start = |restart: &Restart, place: &Place, sink: &MemorySink<Pair>| {
            place.start(|builder| restart.configure(builder), |context| declare(context, sink)).unwrap()
        };
        let mut lives = [start(&Restart::Eager, &other_place, &other_sink), start(&restart, &place, &sink)];
        let both = |lives: &[Life; 2], batch: u64| {
            for life in lives {
                life.handles.push(records(seed, batch)).unwrap();
                life.run_batch().unwrap();
                life.running.wait_until(|status| !status.checkpointing).unwrap();
            }
            assert_eq!(look(&lives[0], batch), look(&lives[1], batch), "seed {seed}, batch {batch}");
        };
        (1..=7).for_each(|batch| both(&lives, batch));
        drop(lives);
        lives = [start(&Restart::Eager, &other_place, &other_sink), start(&restart, &place, &sink)];
        assert!(lives[1].running.status().loading);
        (8..=10).for_each(|batch| both(&lives, batch));
        assert_eq!(lives[1].running.status().checkpoint, BatchId(6), "no checkpoint while the state is read");
        restart.release();
        lives[1].running.wait_until(|status| !status.loading).unwrap();
        (11..=14).for_each(|batch| both(&lives, batch));
        assert!(lives[1].running.status().checkpoint > BatchId(10));
        // The checkpoint of a table that began partial holds all of it.
        drop(lives);
        lives = [start(&restart, &other_place, &other_sink), start(&Restart::Eager, &place, &sink)];
        (15..=16).for_each(|batch| both(&lives, batch));
    }
}

#[test]
fn a_graceful_stop_waits_for_the_state_and_leaves_nothing_to_replay() {
    let (place, sink) = (Place::default(), MemorySink::default());
    let start = |restart: &Restart| {
        place.start(|builder| restart.configure(builder), |context| declare(context, &sink)).unwrap()
    };
    let life = start(&Restart::held());
    for batch in 1..=7 {
        life.handles.push(records(1, batch)).unwrap();
        life.run_batch().unwrap();
        life.running.wait_until(|status| !status.checkpointing).unwrap();
    }
    drop(life);
    let life = start(&Restart::held());
    life.handles.push(records(1, 8)).unwrap();
    life.run_batch().unwrap();
    let before = look(&life, 8);
    assert!(life.running.status().loading);
    life.running.stop(true).unwrap();
    let life = start(&Restart::Eager);
    assert_eq!(life.running.recovery().batches_replayed(), 0);
    assert_eq!(look(&life, 8).0, before.0);
}

// ---- damage that shows up late

/// The table files of the newest checkpoint, which are not in the one before: a damaged file that both share spoils both.
fn newest_tables(job: &Path) -> Vec<PathBuf> {
    let batch_of = |path: &PathBuf| -> u64 {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.split('-').next().unwrap().parse().unwrap()
    };
    let mut checkpoints: Vec<PathBuf> =
        fs::read_dir(job.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort_by_key(batch_of);
    let tables = |directory: &PathBuf| -> Vec<PathBuf> {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
    };
    let (newest, older) = (checkpoints.pop().unwrap(), checkpoints.pop().unwrap());
    let shared: Vec<_> = tables(&older).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    tables(&newest).into_iter().filter(|path| !shared.contains(&path.file_name().unwrap().to_owned())).collect()
}

/// Flips a bit in a copy that takes the file's place.
fn flip(path: &Path, at: impl Fn(usize) -> Vec<usize>) {
    let mut bytes = fs::read(path).unwrap();
    for place in at(bytes.len()) {
        bytes[place] ^= 1;
    }
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Batches of a job that is damaged behind batch 7: the next two are as told.
fn records_around_damage(batch: u64, next_two: &[Pair]) -> Vec<Pair> {
    if batch == 8 || batch == 9 { next_two.to_vec() } else { records(9, batch) }
}

/// Seven batches, checkpoints of batch 3 and batch 6, and a crash.
fn crashed(place: &Place, sink: &MemorySink<Pair>) {
    let life = place.start(|builder| Restart::Eager.configure(builder), |context| declare_sums(context, sink)).unwrap();
    (1..=7).for_each(|batch| run_one(&life, records(9, batch)));
    assert_eq!(life.running.status().checkpoint, BatchId(6));
}

/// What a job without damage comes to, batch by batch.
fn undamaged(next_two: &[Pair]) -> (BTreeMap<u64, Seen>, PutOut) {
    let (place, sink) = (Place::default(), MemorySink::default());
    let life =
        place.start(|builder| Restart::Eager.configure(builder), |context| declare_sums(context, &sink)).unwrap();
    let mut seen = BTreeMap::new();
    for batch in 1..=16 {
        run_one(&life, records_around_damage(batch, next_two));
        seen.insert(batch, look(&life, batch));
    }
    (seen, put_out(&sink))
}

/// Damages what the newest checkpoint alone holds, starts, and expects the job to go back while it runs.
fn goes_back(next_two: &[Pair], found_by_look_up: bool) {
    let (place, sink) = (Place::default(), MemorySink::default());
    crashed(&place, &sink);
    newest_tables(&place.path()).iter().for_each(|path| flip(path, |_| vec![100]));
    let (expected, expected_out) = undamaged(next_two);

    let restart = Restart::held();
    let life = place.start(|builder| restart.configure(builder), |context| declare_sums(context, &sink)).unwrap();
    assert_eq!(life.running.recovery().checkpoint(), Some(BatchId(6)), "the damage is not seen at the start");
    (8..=9).for_each(|batch| run_one(&life, records_around_damage(batch, next_two)));
    assert_eq!(life.running.status().checkpoints_given_up, u64::from(found_by_look_up));
    restart.release();
    let status = life.running.wait_until(|status| status.checkpoints_given_up == 1 && !status.loading).unwrap();
    assert_eq!(status.published, BatchId(9));
    let mut seen = BTreeMap::new();
    for batch in 10..=13 {
        run_one(&life, records_around_damage(batch, next_two));
        seen.insert(batch, look(&life, batch));
    }
    assert!(life.running.status().checkpoint >= BatchId(10));
    drop(life);

    // What was rejected stays so, and what was written since stands.
    let life =
        place.start(|builder| Restart::Eager.configure(builder), |context| declare_sums(context, &sink)).unwrap();
    for batch in 14..=16 {
        run_one(&life, records_around_damage(batch, next_two));
        seen.insert(batch, look(&life, batch));
    }
    assert!(seen.iter().all(|(batch, seen)| expected[batch] == *seen));
    assert!(put_out(&sink) == expected_out, "every batch is put out once, as without damage");
}

#[test]
fn damage_that_the_background_meets_sends_the_job_back_without_a_restart() {
    goes_back(&[], false);
}

#[test]
fn damage_that_a_look_up_meets_sends_the_job_back_in_the_middle_of_a_batch() {
    goes_back(&(0..KEYS).map(|key| (key, 11)).collect::<Vec<Pair>>(), true);
}

/// A record with this key makes its batch wait until the background load has failed.
const WAITS_FOR_THE_LOAD: u64 = u64::MAX;

#[test]
fn a_batch_that_ends_between_a_failed_load_and_its_report_stands_and_the_job_goes_back() {
    let (place, sink) = (Place::default(), MemorySink::default());
    crashed(&place, &sink);
    newest_tables(&place.path()).iter().for_each(|path| flip(path, |_| vec![100]));

    let (restart, barrier, has_waited) = (Restart::held(), Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let declare = |context: &StreamingContext| {
        let (queue, pairs) = context.queue_stream::<Pair>("pairs");
        let (barrier, has_waited, held) = (barrier.clone(), has_waited.clone(), restart.clone());
        let others = pairs.filter(move |(key, _)| {
            if *key == WAITS_FOR_THE_LOAD && !has_waited.swap(true, Ordering::SeqCst) {
                held.release();
                barrier.wait();
            }
            *key != WAITS_FOR_THE_LOAD
        });
        others.map_with_state("sums", add).sink("out", sink.clone());
        queue
    };
    let configure = |builder| restart.configure(builder).hold_background_report(barrier.clone());
    let life = place.start(configure, declare).unwrap();
    life.handles.push(vec![(WAITS_FOR_THE_LOAD, 0)]).unwrap();
    life.tick();
    // A job that fails here waits for the background, and that for the barrier: so not without a limit.
    let published = |status: &floodmark::Status| status.published == BatchId(8);
    let outcome = life.running.wait_until_timeout(published, Duration::from_secs(30));
    barrier.wait();
    let status = outcome.unwrap().expect("the batch is published before the load reports its failure");
    assert_eq!(status.checkpoints_given_up, 0);
    life.running.wait_until(|status| status.checkpoints_given_up == 1 && !status.loading).unwrap();
    life.running.stop(true).unwrap();
}

#[test]
fn a_name_of_a_file_that_was_forgotten_stays_so_when_the_job_goes_back_to_a_checkpoint_that_has_it() {
    let (place, directory, lines) = (Place::default(), tempfile::tempdir().unwrap(), MemorySink::<String>::default());
    let declare = |context: &StreamingContext| {
        let (queue, pairs) = context.queue_stream::<Pair>("pairs");
        pairs.map_with_state("sums", add).sink("out", MemorySink::<Pair>::default());
        let files = TextFiles::new(directory.path());
        context.direct_stream("files", files).map(|line| line.to_string()).sink("lines", lines.clone());
        queue
    };
    let every_key = |batch: u64| (0..KEYS).map(|key| (key, 35 * batch + 1)).collect::<Vec<Pair>>();
    let known = |life: &Life| life.running.status().files[0].1.known;
    for name in ["stays", "goes"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    let life = place.start(|builder| Restart::Eager.configure(builder), declare).unwrap();
    for batch in 1..=21 {
        run_one(&life, every_key(batch));
        if batch == 3 {
            fs::remove_file(directory.path().join("goes")).unwrap();
        }
        // Files are counted before the batch takes new ones.
        let expected = [(1, 0), (19, 2), (21, 1)].into_iter().find(|(until, _)| batch <= *until).unwrap().1;
        assert_eq!(known(&life), expected, "after batch {batch}");
    }
    assert_eq!(life.running.status().checkpoint, BatchId(21));
    drop(life);

    // The damage is among the keys of "sums", which come first: what the source remembers is read at the start.
    newest_tables(&place.path()).iter().for_each(|path| flip(path, |_| vec![100]));
    let restart = Restart::held();
    let life = place.start(|builder| restart.configure(builder), declare).unwrap();
    assert_eq!(life.running.recovery().checkpoint(), Some(BatchId(21)), "the damage is not seen at the start");
    restart.release();
    life.running.wait_until(|status| status.checkpoints_given_up == 1 && !status.loading).unwrap();
    (22..=27).for_each(|batch| run_one(&life, every_key(batch)));
    assert!(life.running.status().checkpoint >= BatchId(24));
    drop(life);

    // A file under that name is a new one.
    let life = place.start(|builder| Restart::Eager.configure(builder), declare).unwrap();
    fs::write(directory.path().join("goes"), "and comes").unwrap();
    run_one(&life, every_key(28));
    assert_eq!(known(&life), 1, "the name is not known, so the file is new");
    let mut read: Vec<String> = lines.batches().into_iter().flat_map(|batch| batch.partitions).flatten().collect();
    read.sort();
    assert_eq!(read, ["and comes", "goes", "stays"]);
}

#[test]
fn where_no_older_checkpoint_is_kept_every_byte_is_read_before_the_first_batch() {
    let (place, sink) = (Place::default(), MemorySink::default());
    let start = || {
        let configure = |builder: StreamingContextBuilder| Restart::held().configure(builder).keep_checkpoints(1);
        place.start(configure, |context| declare(context, &sink)).unwrap()
    };
    let life = start();
    for batch in 1..=7 {
        life.handles.push(records(9, batch)).unwrap();
        life.run_batch().unwrap();
    }
    life.running.wait_until(|status| !status.checkpointing).unwrap();
    drop(life);
    assert!(!start().running.status().loading);
}

#[test]
fn where_a_file_was_given_up_between_the_checkpoints_every_byte_is_read_before_the_first_batch() {
    let (place, directory) = (Place::default(), tempfile::tempdir().unwrap());
    let start = |restart: &Restart| {
        let declare = |context: &StreamingContext| {
            let (queue, pairs) = context.queue_stream::<Pair>("pairs");
            pairs.map_with_state("sums", add).sink("out", MemorySink::<Pair>::default());
            let files = TextFiles::new(directory.path()).go_on_without_files(true);
            context.direct_stream("files", files).map(|line| line.to_string()).foreach_rdd(|_, _| ());
            queue
        };
        place.start(|builder| restart.configure(builder), declare).unwrap()
    };
    let life = start(&Restart::Eager);
    (1..=3).for_each(|batch| run_one(&life, records(9, batch)));
    let path = directory.path().join("lost");
    fs::write(&path, "lost").unwrap();
    run_one(&life, records(9, 4));
    drop(life);
    fs::remove_file(&path).unwrap();
    let life = start(&Restart::Eager);
    (5..=6).for_each(|batch| run_one(&life, records(9, batch)));
    assert_eq!(life.running.status().checkpoint, BatchId(6));
    drop(life);
    let life = start(&Restart::held());
    assert_eq!(life.running.recovery().checkpoint(), Some(BatchId(6)));
    assert!(!life.running.status().loading);
    // As soon as both checkpoints are behind the decision a start does not wait for the state again.
    (7..=12).for_each(|batch| run_one(&life, records(9, batch)));
    drop(life);
    assert!(start(&Restart::held()).running.status().loading);
}

#[test]
fn a_lazy_job_fails_as_damaged_when_the_older_checkpoint_is_damaged_too() {
    let (place, sink) = (Place::default(), MemorySink::default());
    crashed(&place, &sink);
    for checkpoint in fs::read_dir(place.path().join("checkpoints")).unwrap() {
        for file in fs::read_dir(checkpoint.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                flip(&path, |_| vec![100]);
            }
        }
    }
    let restart = Restart::held();
    let life = place.start(|builder| restart.configure(builder), |context| declare_sums(context, &sink)).unwrap();
    restart.release();
    let error = life.running.await_termination().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

// ---- crashes at every step

fn swept(env: &Env) -> floodmark::Result<StreamingContext> {
    let context = env
        .builder("lazy")
        .lazy_restart_above(0)
        .hold_background_load(Arc::new(AtomicBool::new(true)))
        .checkpoint_every(2)
        .build()?;
    let sums = env.input::<Pair>(&context, "pairs").map_with_state("sums", add);
    sums.sink("out", env.sink("sums"));
    Ok(context)
}

#[test]
fn a_lazy_job_survives_a_fault_at_every_durable_step() {
    let batch = |batch: u64| (0..30).map(move |index| (scramble(batch * 64 + index) % 50, batch + index)).collect();
    Sweep::new("lazy", swept)
        .input("pairs", (1..=10).map(batch).collect::<Vec<Vec<Pair>>>())
        .restarts([SweptRestart::Kill(5), SweptRestart::Graceful(7)])
        .seed(7)
        .faults([Fault::CrashBefore, Fault::CrashAfter, Fault::PowerCut, Fault::IoError])
        .run()
        .assert_survived();
}

#[test]
fn an_idle_job_ends_its_load_without_batches() {
    let (place, sink) = (Place::default(), MemorySink::default());
    crashed(&place, &sink);
    let life = place.start(|builder| Restart::Free.configure(builder), |context| declare_sums(context, &sink)).unwrap();
    let status = life.running.wait_until_timeout(|status| !status.loading, Duration::from_secs(60)).unwrap();
    assert!(status.is_some());
}
