//! The past, computed again: the state of every batch that can be had equals a model, and nothing leaves a replay.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::place::{Place, add, word_count};
use floodmark::{BatchId, ErrorKind, FileSink, Queue, Replay, StreamingContext};

/// One word of each batch is its own: the state tells which batches are in it.
fn words(batch: u64) -> Vec<String> {
    vec!["every".to_string(), format!("batch {batch}"), format!("third {}", batch % 3)]
}

fn model(batch: u64) -> Vec<(String, u64)> {
    let mut counts = BTreeMap::new();
    (1..=batch).flat_map(words).for_each(|word| *counts.entry(word).or_insert(0_u64) += 1);
    counts.into_iter().collect()
}

/// Counts words and writes all counts to files.
fn with_files(output: PathBuf) -> impl Fn(&StreamingContext) -> Queue<String> {
    move |context| {
        let (words, stream) = context.queue_stream::<String>("words");
        let counts = stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add);
        counts.map(|(word, count)| format!("{word} {count}")).sink("out", FileSink::new(&output));
        words
    }
}

fn replay(
    place: &Place,
    directory: &Path,
    declare: impl Fn(&StreamingContext) -> Queue<String>,
    to: u64,
) -> floodmark::Result<Replay> {
    let context = place.builder().checkpoint(directory).build()?;
    declare(&context);
    context.replay(BatchId(to))
}

fn counts(replay: &Replay) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = replay.state::<String, u64>("counts").unwrap().iter().unwrap().collect();
    counts.sort_unstable();
    counts
}

/// A job of ten batches with checkpoints of batches 6 and 9, still running.
fn ten_batches(place: &Place, output: &Path) -> common::place::Started<Queue<String>> {
    let job = place.start(|builder| builder, with_files(output.to_path_buf())).unwrap();
    for batch in 1..=10 {
        job.handles.push(words(batch)).unwrap();
        job.run_batch().unwrap();
        if batch % 3 == 0 {
            job.running.wait_until(|status| status.checkpoint == BatchId(batch)).unwrap();
        }
    }
    job
}

fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    common::place::files(directory).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

#[test]
fn the_state_of_every_batch_that_can_be_had_is_that_of_the_model_beside_the_running_job_and_after_it() {
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    let out = output.path().join("out");
    let job = ten_batches(&place, &out);
    let mut running = Some(job);
    for lives in [true, false] {
        if !lives {
            drop(running.take());
        }
        let before = (tree(&place.path()), tree(&out));
        for batch in 6..=10 {
            let replayed = replay(&place, &place.path(), with_files(out.clone()), batch).unwrap();
            assert_eq!(counts(&replayed), model(batch), "batch {batch}, lives: {lives}");
            let checkpoint = batch / 3 * 3;
            assert_eq!((replayed.batch(), replayed.checkpoint()), (BatchId(batch), BatchId(checkpoint)));
            assert_eq!(replayed.batches_recomputed(), batch - checkpoint);
            assert_eq!(replayed.differences(), []);
            assert_eq!(replayed.time().0 % 100, 0);
            assert!(replayed.time().0 > 1_700_000_000_000);
        }
        assert_eq!(
            (tree(&place.path()), tree(&out)),
            before,
            "nothing is written, neither to the store nor to the sink"
        );
        for (batch, kind) in [(0, ErrorKind::Past), (5, ErrorKind::Past), (11, ErrorKind::Configuration)] {
            let error = replay(&place, &place.path(), with_files(out.clone()), batch).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("batches 6 to 10 can be replayed"), "{error}");
        }
    }
    if let Some(job) = running {
        assert_eq!(job.counts("counts"), model(10), "the job has not noticed");
    }
}

#[test]
fn a_copy_that_may_only_be_read_can_be_replayed() {
    use std::os::unix::fs::PermissionsExt;
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    drop(ten_batches(&place, &output.path().join("out")));
    let copy = tempfile::tempdir().unwrap();
    let store = floodmark_chaos::damage::Store::read(&place.path(), Path::new("")).unwrap();
    let job = copy.path().join("job");
    store.write_to(&job).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let directories = ["", "manifests", "wal", "checkpoints"].map(|name| job.join(name));
    directories.iter().for_each(|directory| set(directory, 0o555));
    common::place::files(&job).iter().for_each(|file| set(file, 0o444));
    let before = tree(&job);
    let replayed = replay(&place, &job, word_count, 8).unwrap();
    assert_eq!(counts(&replayed), model(8));
    assert_eq!(tree(&job), before);
    drop(replayed);
    directories.iter().for_each(|directory| set(directory, 0o755));
}

#[test]
fn a_store_on_another_file_system_is_replayed_by_symbolic_links() {
    use std::os::unix::fs::MetadataExt;
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    drop(ten_batches(&place, &output.path().join("out")));
    let Ok(copy) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(copy.path()) == device(&std::env::temp_dir()) {
        return; // no second file system here
    }
    let store = floodmark_chaos::damage::Store::read(&place.path(), Path::new("")).unwrap();
    let job = copy.path().join("job");
    store.write_to(&job).unwrap();
    let before = tree(&job);
    let replayed = replay(&place, &job, word_count, 10).unwrap();
    assert_eq!(counts(&replayed), model(10));
    assert_eq!(tree(&job), before);
}

#[test]
fn other_code_is_replayed_and_every_difference_is_told() {
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    drop(ten_batches(&place, &output.path().join("out")));
    let other = |context: &StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        stream.map(|word| (word, 10_u64)).update_state_by_key("counts", add);
        words
    };
    let replayed = replay(&place, &place.path(), other, 8).unwrap();
    let every = counts(&replayed).into_iter().find(|(word, _)| word == "every").unwrap();
    assert_eq!(every.1, 6 + 20);
    let told: Vec<_> = replayed.differences().iter().map(|it| (it.batch.0, it.recorded.uid.to_string())).collect();
    assert_eq!(told, [(7, "counts".to_string()), (8, "counts".to_string())]);
    assert!(replayed.differences().iter().all(|it| it.recorded.entries == it.replayed.entries));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_an_older_one_and_nothing_at_all_is_an_error() {
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    drop(ten_batches(&place, &output.path().join("out")));
    let newest = fs::read_dir(place.path().join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("9-")).unwrap();
    fs::remove_file(common::place::files(&newest).into_iter().find(|file| file.ends_with("CURRENT")).unwrap()).unwrap();
    let replayed = replay(&place, &place.path(), word_count, 10).unwrap();
    assert_eq!((replayed.checkpoint(), replayed.batches_recomputed()), (BatchId(6), 4));
    assert_eq!(counts(&replayed), model(10));

    let empty = tempfile::tempdir().unwrap();
    let error = replay(&place, empty.path(), word_count, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("nothing is stored"), "{error}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn the_forks_go_with_their_replays() {
    let (place, output) = (Place::among_temporary_files(), tempfile::tempdir().unwrap());
    let job = ten_batches(&place, &output.path().join("out"));
    let forks = || {
        let entries = fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok);
        let mine = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("floodmark-replay-"));
        mine.map(|entry| entry.path()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = forks();
    let replayed = replay(&place, &place.path(), word_count, 7).unwrap();
    let made: Vec<PathBuf> = forks().difference(&before).cloned().collect();
    assert!(!made.is_empty());
    let link = made.iter().find_map(|fork| fs::read_link(fork.join("LOCK")).ok());
    assert_eq!(link, None, "the lock of a fork is its own");
    drop(replayed);
    // Other tests replay at the same time; what stays of those made meanwhile is theirs.
    assert!(made.iter().any(|fork| !fork.exists()));
    job.handles.push(words(11)).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.counts("counts"), model(11));
}
