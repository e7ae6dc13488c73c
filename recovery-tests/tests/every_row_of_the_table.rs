//! The recovery table, row by row, on real directories: what is damaged, missing or of another program is refused or
//! mended as the table says, named in words, and never makes a wrong count.

mod common;
#[path = "every_row/changed.rs"]
mod changed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::place::{Place, add, expected, files, flip, replace, word_count};
use common::{BATCHES, Plain, World};
use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk};
use floodmark::{BatchId, Error, ErrorKind, StateSpec};

/// A run of the known job that crashed after batch 7: checkpoints of batches 3 and 6 stand.
struct Crashed {
    world: World,
    place: tempfile::TempDir,
    plain: Plain,
}

impl Crashed {
    fn new() -> Self {
        let (world, place) = (World::default(), tempfile::tempdir().unwrap());
        let life = world.start(place.path(), Arc::new(LocalDisk)).unwrap();
        life.run_to(BATCHES).unwrap();
        let plain = Plain { totals: life.totals().unwrap(), published: world.published(), timed: world.timed() };
        drop(life);
        let (world, place) = (World::default(), tempfile::tempdir().unwrap());
        let life = world.start(place.path(), Arc::new(LocalDisk)).unwrap();
        life.run_to(7).unwrap();
        assert_eq!(life.running.status().checkpoint, BatchId(6));
        Self { world, place, plain }
    }

    fn start(&self) -> Result<common::Life, Error> {
        self.world.start(self.place.path(), Arc::new(LocalDisk))
    }

    /// Recovers, finishes, compares with the plain run, and returns the words of the recovery.
    fn finish(&self) -> Result<String, Error> {
        let life = self.start()?;
        let report = life.running.recovery().to_string();
        life.run_to(BATCHES)?;
        self.plain.check(&self.world, &life).unwrap_or_else(|difference| panic!("{difference}\n{report}"));
        Ok(report)
    }

    fn refusal(&self) -> Error {
        match self.start() {
            Ok(life) => panic!("it was not refused: {}", life.running.recovery()),
            Err(error) => error,
        }
    }

    fn checkpoint_of(&self, batch: u64) -> PathBuf {
        let prefix = format!("{batch}-");
        let names = fs::read_dir(self.place.path().join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| name_of(path).starts_with(&prefix)).expect("the checkpoint is there")
    }

    /// The table files that only the newest checkpoint has.
    fn newest_tables(&self) -> Vec<PathBuf> {
        let older: Vec<String> = files(&self.checkpoint_of(3)).iter().map(|path| name_of(path)).collect();
        let tables = files(&self.checkpoint_of(6)).into_iter().filter(|path| name_of(path).ends_with(".sst"));
        let new: Vec<PathBuf> = tables.filter(|path| !older.contains(&name_of(path))).collect();
        assert!(!new.is_empty());
        new
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn contains(text: &impl ToString, parts: &[&str]) {
    let text = text.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn error_of<T>(result: Result<T, Error>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("expected an error of kind {kind:?}: {parts:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    contains(&error, parts);
}

#[test]
fn a_newest_checkpoint_with_a_damaged_table_file_gives_way_to_the_older_one() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("a byte of its data is flipped", |file| flip(file, 20)),
        ("a byte in its middle is flipped", |file| flip(file, fs::metadata(file).unwrap().len() as usize / 2)),
        ("its last byte is flipped", |file| flip(file, fs::metadata(file).unwrap().len() as usize - 1)),
        ("it is cut", |file| {
            let bytes = fs::read(file).unwrap();
            replace(file, &bytes[..bytes.len() - 9]);
        }),
        ("it is removed", |file| fs::remove_file(file).unwrap()),
    ];
    for (what, damage) in damages {
        let crashed = Crashed::new();
        damage(&crashed.newest_tables()[0]);
        let report = crashed.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
        contains(&report, &["checkpoint of batch 3", "checkpoint of batch 6", "rejected"]);
        // It is said once: the rejection is on record.
        let again = crashed.start().unwrap();
        assert!(!again.running.recovery().to_string().contains("rejected"), "{what}: {}", again.running.recovery());
    }
}

#[test]
fn a_newest_checkpoint_with_any_other_damaged_file_gives_way_to_the_older_one() {
    let names: Vec<String> = files(&Crashed::new().checkpoint_of(6)).iter().map(|path| name_of(path)).collect();
    for name in names.iter().filter(|name| !name.ends_with(".sst")) {
        let crashed = Crashed::new();
        let directory = crashed.checkpoint_of(6);
        let same_kind = |path: &PathBuf| name_of(path).split('-').next() == name.split('-').next();
        let file = files(&directory).into_iter().find(same_kind).unwrap();
        if fs::metadata(&file).unwrap().len() == 0 {
            continue; // RocksDB's own log, which is off
        }
        flip(&file, 3);
        let report = crashed.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        contains(&report, &["checkpoint of batch 3", "checkpoint of batch 6", "rejected"]);
    }
}

#[test]
fn without_any_usable_checkpoint_the_start_is_refused() {
    let crashed = Crashed::new();
    for batch in [3, 6] {
        let tables = files(&crashed.checkpoint_of(batch)).into_iter().filter(|path| name_of(path).ends_with(".sst"));
        tables.for_each(|table| fs::remove_file(table).unwrap());
    }
    let before = files(&crashed.place.path().join("manifests"));
    let refusal = crashed.refusal();
    assert_eq!(refusal.kind(), ErrorKind::Damaged);
    contains(&refusal, &["no usable checkpoint", "manifest", ".sst"]);
    assert_eq!(files(&crashed.place.path().join("manifests")), before, "a refusal changes nothing");
}

#[test]
fn a_flipped_byte_in_a_manifest_is_told_and_never_makes_a_wrong_count() {
    let count = files(&Crashed::new().place.path().join("manifests")).len();
    for index in 0..count {
        for part in [0, 9, 13, 17, 25, 60, 100] {
            let crashed = Crashed::new();
            let manifest = files(&crashed.place.path().join("manifests")).remove(index);
            let offset = (part * fs::metadata(&manifest).unwrap().len() as usize / 101).max(part.min(20));
            let sound = fs::read(&manifest).unwrap();
            flip(&manifest, offset);
            match crashed.finish() {
                Ok(report) if index + 1 == count => contains(&report, &["manifest", "rejected"]),
                Ok(report) => contains(&report, &["damaged, but not needed", "manifests"]),
                Err(refusal) if index + 1 == count => panic!("the newest one is not given up: {refusal}"),
                Err(refusal) => {
                    assert_eq!(refusal.kind(), ErrorKind::Damaged, "manifest {index}, offset {offset}: {refusal}");
                    replace(&manifest, &sound);
                    crashed.finish().unwrap_or_else(|error| panic!("the refusal has changed something: {error}"));
                }
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_a_durable_frame_is_refused_with_its_place() {
    let count = segments(&Crashed::new()).len();
    for index in 0..count {
        for part in [1, 20, 50, 80] {
            let crashed = Crashed::new();
            let segment = segments(&crashed).remove(index);
            let sound = fs::read(&segment).unwrap();
            // The end of the newest segment is in doubt, as the last group may be.
            let end = if index + 1 == count { sound.len() / 2 } else { sound.len() };
            flip(&segment, end * part / 100);
            let refusal = crashed.refusal();
            assert_eq!(refusal.kind(), ErrorKind::Damaged, "{refusal}");
            contains(&refusal, &[&name_of(&segment), "at byte", "expected", "found", "lost"]);
            assert_ne!(fs::read(&segment).unwrap(), sound, "what is damaged is not overwritten");
            replace(&segment, &sound);
            crashed.finish().unwrap_or_else(|error| panic!("the refusal has changed something: {error}"));
        }
    }
}

fn segments(crashed: &Crashed) -> Vec<PathBuf> {
    files(&crashed.place.path().join("wal")).into_iter().filter(|path| name_of(path).ends_with(".log")).collect()
}

#[test]
fn a_missing_segment_is_refused() {
    for index in 0..segments(&Crashed::new()).len() {
        let crashed = Crashed::new();
        let segment = segments(&crashed).remove(index);
        let sound = fs::read(&segment).unwrap();
        fs::remove_file(&segment).unwrap();
        assert_eq!(crashed.refusal().kind(), ErrorKind::Damaged, "segment {index}");
        fs::write(&segment, sound).unwrap();
        crashed.finish().unwrap();
    }
}

#[test]
fn a_lost_log_is_refused_unless_the_job_goes_on_without_it() {
    let crashed = Crashed::new();
    fs::remove_dir_all(crashed.place.path().join("wal")).unwrap();
    error_of(crashed.start(), ErrorKind::Damaged, &["log is gone", "batch 6", "go_on_without_log"]);
    let life = crashed.world.start_with(crashed.place.path(), |builder| builder.go_on_without_log()).unwrap();
    contains(life.running.recovery(), &["checkpoint of batch 6", "new lineage", "lost"]);
    assert_eq!(sorted(&crashed.plain.published[5].1), life.totals().unwrap(), "the state is that of batch 6");
    life.run_to(BATCHES).unwrap();
    assert_eq!(life.totals().unwrap(), crashed.plain.totals);
    drop(life);
    let life = crashed.start().unwrap();
    assert_eq!(life.totals().unwrap(), crashed.plain.totals, "the new lineage recovers as any other");
    assert!(!life.running.recovery().to_string().contains("lineage"));
}

#[test]
fn a_job_that_goes_on_without_its_log_before_its_first_checkpoint_can_start_again() {
    let place = Place::default();
    let rare = |builder: floodmark::StreamingContextBuilder| builder.checkpoint_every(1_000);
    let life = place.start(rare, word_count).unwrap();
    life.count("a", 1).unwrap();
    drop(life);
    fs::remove_dir_all(place.path().join("wal")).unwrap();
    let life = place.start(|builder| rare(builder).go_on_without_log(), word_count).unwrap();
    life.count("b", 1).unwrap();
    drop(life);
    for _ in 0..2 {
        let life = place.start(rare, word_count).unwrap();
        assert_eq!(life.counts("counts"), expected(&[("b", 1)]));
    }
}

fn sorted(partitions: &[Vec<common::Entry>]) -> Vec<common::Entry> {
    let mut entries = partitions.concat();
    entries.sort_unstable();
    entries
}

#[test]
fn a_crash_while_a_job_goes_on_without_its_log_is_survived() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for step in 1.. {
            let crashed = Crashed::new();
            fs::remove_dir_all(crashed.place.path().join("wal")).unwrap();
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            disk.arm(step, fault);
            let door = Arc::new(disk.clone());
            drop(crashed.world.start_with(crashed.place.path(), |builder| builder.disk(door).go_on_without_log()));
            let life = crashed.world.start_with(crashed.place.path(), |builder| builder.go_on_without_log());
            let life = life.unwrap_or_else(|error| panic!("{fault:?} at {step}: {error}\n{:?}", disk.trace()));
            life.run_to(BATCHES).unwrap();
            assert_eq!(life.totals().unwrap(), crashed.plain.totals, "{fault:?} at {step}");
            if !disk.fired() {
                break;
            }
        }
    }
}

#[test]
fn the_manifests_of_a_job_that_has_lived_are_missed() {
    let crashed = Crashed::new();
    fs::remove_dir_all(crashed.place.path().join("manifests")).unwrap();
    error_of(crashed.start(), ErrorKind::Damaged, &["manifests"]);
}

#[test]
fn an_interrupted_tail_is_cut_and_reported() {
    let crashed = Crashed::new();
    let segment = segments(&crashed).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend([0x5a; 77]);
    replace(&segment, &bytes);
    contains(&crashed.finish().unwrap(), &["77 bytes of an interrupted append cut"]);
}

#[test]
fn the_directory_of_another_job_is_refused() {
    let place = Place::default();
    let life = place.start(|builder| builder, word_count).unwrap();
    life.count("a b", 2).unwrap();
    drop(life);
    let context = floodmark::StreamingContext::builder("other").checkpoint(place.path()).clock(place.clock.clone());
    let context = context.build().unwrap();
    word_count(&context);
    error_of(context.start(), ErrorKind::Incompatible, &["\"job\"", "\"other\"", "give each job its own"]);
    let life = place.start(|builder| builder, word_count).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 2), ("b", 2)]));
}

#[test]
fn a_second_driver_is_refused_while_the_first_lives() {
    let place = Place::default();
    let first = place.start(|builder| builder, word_count).unwrap();
    let process = format!("process {}", std::process::id());
    error_of(place.start(|builder| builder, word_count), ErrorKind::Owned, &["owned by", &process]);
    first.count("a", 3).unwrap();
    assert_eq!(first.counts("counts"), expected(&[("a", 3)]));
    drop(first);
    let second = place.start(|builder| builder, word_count).unwrap();
    assert_eq!(second.counts("counts"), expected(&[("a", 3)]));
}

/// Counts under another uid.
fn other_count(context: &floodmark::StreamingContext) -> floodmark::Queue<String> {
    let (words, stream) = context.queue_stream::<String>("words");
    stream.map(|word| (word, 1_u64)).update_state_by_key("others", add);
    words
}

#[test]
fn state_whose_operator_is_gone_is_refused_unless_it_is_dropped() {
    let place = Place::default();
    let life = place.start(|builder| builder, word_count).unwrap();
    life.count("a b", 3).unwrap();
    life.running.stop(true).unwrap();
    error_of(
        place.start(|builder| builder, other_count),
        ErrorKind::Incompatible,
        &["\"counts\"", "drop_state(\"counts\")"],
    );
    let life = place.start(|builder| builder.drop_state("counts"), other_count).unwrap();
    contains(life.running.recovery(), &["the state of \"counts\" is dropped", "\"others\" is new and starts empty"]);
    life.count("b", 4).unwrap();
    assert_eq!(life.counts("others"), expected(&[("b", 4)]));
    life.running.stop(true).unwrap();
    // What was dropped is gone: under its old name it begins anew.
    let both = |context: &floodmark::StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        let ones = stream.map(|word| (word, 1_u64));
        ones.update_state_by_key("others", add);
        ones.update_state_by_key("counts", add);
        words
    };
    let life = place.start(|builder| builder, both).unwrap();
    contains(life.running.recovery(), &["\"counts\" is new and starts empty"]);
    life.count("b", 1).unwrap();
    assert_eq!(life.counts("others"), expected(&[("b", 5)]));
    assert_eq!(life.counts("counts"), expected(&[("b", 1)]));
}

#[test]
fn a_source_with_blocks_in_no_batch_is_refused_unless_it_is_dropped() {
    let place = Place::default();
    let two = |context: &floodmark::StreamingContext| {
        let words = word_count(context);
        let (more, stream) = context.queue_stream::<String>("more");
        stream.map(|word| (word, 1_u64)).update_state_by_key("more counts", add);
        (words, more)
    };
    let life = place.start(|builder| builder, two).unwrap();
    life.handles.1.push(vec!["x".into()]).unwrap();
    (0..3).for_each(|_| life.run_batch().unwrap());
    life.running.wait_until(|status| status.checkpoint == BatchId(3)).unwrap();
    life.handles.1.push(vec!["y".into()]).unwrap();
    drop(life);
    let dropped = |builder: floodmark::StreamingContextBuilder| builder.drop_state("more counts");
    error_of(
        place.start(dropped, word_count),
        ErrorKind::Incompatible,
        &["source \"more\" has 1 block", "drop_state(\"more\")"],
    );
    let life = place.start(|builder| dropped(builder).drop_state("more"), word_count).unwrap();
    life.count("a", 1).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 1)]));
}

/// The words, and a source of files, each counted by itself.
fn count_of_files(directory: &Path) -> impl Fn(&floodmark::StreamingContext) -> floodmark::Queue<String> {
    let directory = directory.to_path_buf();
    move |context| {
        let words = word_count(context);
        let lines = context.text_file_stream("files", &directory);
        lines.map(|line| (line.to_string(), 1_u64)).update_state_by_key("lines", add);
        words
    }
}

/// A program without the source of files used to be refused for good, as if the position of the source were damaged.
#[test]
fn a_direct_source_that_is_gone_is_kept_where_it_was_and_can_come_back() {
    let (place, incoming) = (Place::default(), tempfile::tempdir().unwrap());
    let put = |name: &str, lines: &str| {
        fs::write(incoming.path().join(format!(".{name}")), lines).unwrap();
        fs::rename(incoming.path().join(format!(".{name}")), incoming.path().join(name)).unwrap();
    };
    put("one", "x\n");
    let with_files = || count_of_files(incoming.path());
    let life = place.start(|builder| builder, with_files()).unwrap();
    life.count("a", 1).unwrap();
    life.running.stop(true).unwrap();
    let without_files = |builder: floodmark::StreamingContextBuilder| builder.drop_state("lines");
    for _ in 0..2 {
        let life = place.start(without_files, word_count).unwrap();
        life.count("a", 1).unwrap();
        life.running.stop(true).unwrap();
    }
    put("two", "y\n");
    let life = place.start(|builder| builder, with_files()).unwrap();
    life.count("a", 1).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 4)]));
    assert_eq!(life.counts("lines"), expected(&[("y", 1)]), "the first file was taken before the source went away");
}

#[test]
fn a_planned_batch_whose_source_is_gone_is_refused() {
    let place = Place::default();
    let life = place.start(|builder| builder, word_count).unwrap();
    life.count("a", 1).unwrap();
    drop(life);
    let renamed = |context: &floodmark::StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("renamed");
        stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add);
        words
    };
    error_of(
        place.start(|builder| builder, renamed),
        ErrorKind::Incompatible,
        &["batch 1", "\"words\"", "graceful stop"],
    );
}

/// Counts in 32 bits, as version 1.
fn narrow_count(context: &floodmark::StreamingContext) -> floodmark::Queue<String> {
    let (words, stream) = context.queue_stream::<String>("words");
    stream.map(|word| (word, 1_u32)).update_state_by_key("counts", |ones: &[u32], total: Option<u32>| {
        Some(total.unwrap_or(0) + ones.iter().sum::<u32>())
    });
    words
}

/// Counts in 64 bits, as version 2.
fn wide_count(context: &floodmark::StreamingContext) -> floodmark::Queue<String> {
    let (words, stream) = context.queue_stream::<String>("words");
    let spec = StateSpec::<String, u64>::new("counts").version(2).migrate_from(1, |old: u32| u64::from(old));
    stream.map(|word| (word, 1_u64)).update_state_by_key(spec, add);
    words
}

#[test]
fn another_state_type_is_refused_and_a_new_version_migrates() {
    let place = Place::default();
    let life = place.start(|builder| builder, narrow_count).unwrap();
    life.count("a b a", 4).unwrap(); // a checkpoint of batch 3, and a batch after it
    drop(life);
    error_of(
        place.start(|builder| builder, word_count),
        ErrorKind::Incompatible,
        &["state type", "\"counts\"", "u32", "u64", "migration"],
    );
    // The process dies before the first checkpoint in the new version: it migrates again.
    for _ in 0..2 {
        let life = place.start(|builder| builder, wide_count).unwrap();
        contains(life.running.recovery(), &["\"counts\" is migrated from version 1 to 2"]);
        assert_eq!(life.counts("counts"), expected(&[("a", 8), ("b", 4)]));
    }
    let life = place.start(|builder| builder, wide_count).unwrap();
    life.count("a", 3).unwrap();
    life.running.stop(true).unwrap();
    let life = place.start(|builder| builder, wide_count).unwrap();
    assert!(!life.running.recovery().to_string().contains("migrated"), "{}", life.running.recovery());
    assert_eq!(life.counts("counts"), expected(&[("a", 11), ("b", 4)]));
    drop(life);
    let older = place.start(|builder| builder, narrow_count);
    error_of(older, ErrorKind::Incompatible, &["\"counts\"", "version 2", "1", "run the newer program"]);
}

#[test]
fn an_older_version_without_a_migration_is_refused() {
    let place = Place::default();
    let life = place.start(|builder| builder, word_count).unwrap();
    life.count("a", 3).unwrap();
    life.running.stop(true).unwrap();
    let unmigrated = |context: &floodmark::StreamingContext| {
        let (_, stream) = context.queue_stream::<String>("words");
        let spec = StateSpec::<String, u64>::new("counts").version(3);
        stream.map(|word| (word, 1_u64)).update_state_by_key(spec, add);
    };
    error_of(
        place.start(|builder| builder, unmigrated),
        ErrorKind::Incompatible,
        &["version 1", "is 3", "migrate_from"],
    );
}

#[test]
fn another_number_of_partitions_is_refused() {
    let place = Place::default();
    let life = place.start(|builder| builder, word_count).unwrap();
    life.count("a", 1).unwrap();
    drop(life);
    let refused = place.start(|builder| builder.partitions(5), word_count);
    error_of(refused, ErrorKind::Incompatible, &["8 partitions", "5", "fixed for the life of a job"]);
}

#[test]
fn a_result_that_differs_stops_the_same_version_and_stands_under_a_new_one() {
    let place = Place::default();
    let salt = Arc::new(AtomicU64::new(0));
    let salted = || {
        let salt = salt.clone();
        move |context: &floodmark::StreamingContext| {
            let (words, stream) = context.queue_stream::<String>("words");
            stream.map(|word| (word, 1_u64)).update_state_by_key("counts", move |ones: &[u64], total: Option<u64>| {
                add(ones, total).map(|total| total + salt.load(Ordering::SeqCst))
            });
            words
        }
    };
    let life = place.start(|builder| builder, salted()).unwrap();
    life.count("a", 2).unwrap();
    drop(life);
    salt.store(100, Ordering::SeqCst);
    error_of(
        place.start(|builder| builder, salted()),
        ErrorKind::UserCode,
        &["batch 1", "\"counts\"", "digest", "version"],
    );
    let life = place.start(|builder| builder.job_version("2"), salted()).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 202)]));
    drop(life);
    // The new result stands: the same program finds it again.
    let life = place.start(|builder| builder.job_version("2"), salted()).unwrap();
    assert_eq!(life.counts("counts"), expected(&[("a", 202)]));
}
