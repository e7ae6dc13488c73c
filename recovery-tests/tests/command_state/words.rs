//! The job whose state is looked at, and the command.

use std::path::Path;
use std::time::Duration;

use floodmark::testing::TestJob;
use floodmark::{BatchId, KeyedState, Queue, StateSpec, StreamingContext};
use floodmark_cli::{self, Outcome};
use serde_json::Value;

pub type Words = TestJob<Queue<String>>;

/// Counts words: in `update_state_by_key`, `map_with_state`, and in windows. Checkpoints after each second batch, the first one
/// at the start, with two known words.
pub fn graph(context: &StreamingContext) -> Queue<String> {
    let (words, stream) = context.queue_stream::<String>("words");
    let ones = stream.map(|word| (word, 1_u64));
    let known = [("known".to_string(), 7_u64), ("old".to_string(), 1)];
    ones.update_state_by_key(StateSpec::new("counts").initial_state(known), |ones: &[u64], total: Option<u64>| {
        Some(total.unwrap_or(0) + ones.len() as u64)
    });
    ones.map_with_state("seen", |_, one, seen: &mut KeyedState<(u64, Option<String>)>| {
        let count = seen.get().map_or(0, |(count, _)| *count) + one.unwrap_or(0);
        seen.update((count, (count > 1).then(|| "often".to_string())));
    });
    let (length, slide) = (Duration::from_millis(300), Duration::from_millis(100));
    ones.reduce_by_key_and_window("recent", |a, b| a + b, length, slide);
    stream.map(|word| word.len() as u32).window("lengths", length, slide).count().collect("in window");
    words
}

pub fn job() -> Words {
    TestJob::configured(|builder| builder.checkpoint_every(2), graph).unwrap()
}

/// Runs a batch of these words, and waits for its checkpoint where it has one.
pub fn batch(job: &mut Words, words: &str) -> BatchId {
    job.handles().push(words.split_whitespace().map(String::from).collect()).unwrap();
    let id = job.run_batch().unwrap().id;
    if id.0.is_multiple_of(2) {
        job.running().wait_until(|status| status.checkpoint == id && !status.checkpointing).unwrap();
    }
    id
}

/// A job with checkpoints of batches 2 and 4, which has died in batch 5.
pub fn crashed() -> Words {
    let mut job = job();
    for words in ["apple pear apple", "apple fig", "kiwi", "apple kiwi", "late"] {
        batch(&mut job, words);
    }
    job.crash();
    job
}

/// The command on a store: `["get", "counts", "apple"]`, the location is put in.
pub fn run(store: &Path, arguments: &[&str]) -> Outcome {
    let (verb, rest) = arguments.split_first().unwrap();
    let store = store.to_str().unwrap();
    floodmark_cli::run([*verb, store].into_iter().chain(rest.iter().copied()))
}

/// The output of a run that ended with 0.
#[track_caller]
pub fn output(store: &Path, arguments: &[&str]) -> String {
    let outcome = run(store, arguments);
    assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:#?}");
    outcome.stdout
}

/// The JSON of a run, whichever its exit code.
#[track_caller]
pub fn json(store: &Path, arguments: &[&str]) -> Value {
    let outcome = run(store, &[arguments, &["--json"]].concat());
    let parsed = serde_json::from_str(&outcome.stdout);
    parsed.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {outcome:#?}"))
}

/// A run that fails so, with these words.
#[track_caller]
pub fn fails(store: &Path, arguments: &[&str], code: u8, words: &[&str]) {
    let outcome = run(store, arguments);
    assert_eq!(outcome.code, code, "{arguments:?}: {outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{arguments:?}: expected \"{word}\" in {outcome:#?}");
    }
}

/// All files below a directory with their bytes, and the time of their last change.
pub fn everything(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let changed = path.metadata().unwrap().modified().unwrap();
                found.push((path.clone(), std::fs::read(&path).unwrap(), changed));
            }
        }
    }
    found.sort();
    found
}
