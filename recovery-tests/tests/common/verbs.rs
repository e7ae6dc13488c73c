//! A store for the verbs that write, and what a model says of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use floodmark::testing::disk::Fault;
use floodmark::{BatchId, Queue};
use floodmark_cli::{Outcome, run};

use super::place::{Place, Started, contents, word_count};

/// One word of each batch is its own: the state tells which batches are in it.
pub fn words(batch: u64) -> Vec<String> {
    vec!["every".to_string(), format!("batch {batch}"), format!("third {}", batch % 3)]
}

pub fn model(batches: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
    let mut counts = BTreeMap::new();
    batches.into_iter().flat_map(words).for_each(|word| *counts.entry(word).or_insert(0_u64) += 1);
    counts.into_iter().collect()
}

pub fn run_batches(job: &Started<Queue<String>>, batches: std::ops::RangeInclusive<u64>) {
    for batch in batches {
        job.handles.push(words(batch)).unwrap();
        job.run_batch().unwrap();
        if batch % 3 == 0 {
            job.running.wait_until(|status| status.checkpoint == BatchId(batch)).unwrap();
        }
    }
}

/// A store of the job "job" with batches 1 to 7 and checkpoints of 3 and 6, and where it lies.
pub struct Stored {
    pub place: Place,
    pub backup: tempfile::TempDir,
}

/// The store that all tests begin with, run once.
pub fn original() -> &'static floodmark_chaos::damage::Store {
    static ORIGINAL: OnceLock<floodmark_chaos::damage::Store> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let place = Place::default();
        run_batches(&place.start(|builder| builder, word_count).unwrap(), 1..=7);
        floodmark_chaos::damage::Store::read(&place.path(), Path::new("")).unwrap()
    })
}

impl Stored {
    pub fn new() -> Self {
        Self::of(original())
    }

    /// A copy of another store of the job.
    pub fn of(store: &floodmark_chaos::damage::Store) -> Self {
        let place = Place::default();
        store.write_to(&place.path()).unwrap();
        Self { place, backup: floodmark_chaos::scratch::directory().unwrap() }
    }

    pub fn path(&self) -> String {
        self.place.path().display().to_string()
    }

    /// Runs a verb, applied, with all that it asks for.
    pub fn apply(&self, verb: &[&str]) -> Outcome {
        run(self.line(verb, true))
    }

    pub fn line(&self, verb: &[&str], backed_up: bool) -> Vec<String> {
        let mut line = vec![verb[0].to_string(), self.path()];
        line.extend(verb[1..].iter().map(ToString::to_string));
        line.extend(["--apply", "--confirm", "job"].map(String::from));
        if backed_up {
            line.extend(["--backup".to_string(), self.backup.path().display().to_string()]);
        }
        line
    }

    pub fn dry(&self, verb: &[&str]) -> Outcome {
        let mut line = vec![verb[0].to_string(), self.path()];
        line.extend(verb[1..].iter().map(ToString::to_string));
        run(line)
    }

    /// Starts the job, and checks that it has these batches; then that it goes on.
    pub fn starts_with(&self, batches: impl IntoIterator<Item = u64> + Clone) -> String {
        let job = self.place.start(|builder| builder, word_count).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(job.counts("counts"), model(batches.clone()), "{}", job.running.recovery());
        job.handles.push(words(100)).unwrap();
        job.run_batch().unwrap();
        assert_eq!(job.counts("counts"), model(batches.into_iter().chain([100])));
        job.running.recovery().to_string()
    }

    pub fn checkpoint_of(&self, batch: u64) -> PathBuf {
        let place = self.place.path().join("checkpoints");
        let names = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
        let is_of = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{batch}-"));
        names.into_iter().find(is_of).unwrap_or_else(|| panic!("there is no checkpoint of batch {batch}"))
    }
}

pub fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    contents(directory).into_iter().filter(|(file, _)| !file.ends_with("LOCK")).collect()
}

pub fn ok(outcome: &Outcome) -> &str {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    &outcome.stdout
}

pub fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

/// The faults by which a verb dies at a step of its trace, each of which leaves something of its own: a death after a step is one before
/// the next.
pub fn deaths(step: u64, writes: bool, steps: u64) -> impl Iterator<Item = Fault> {
    [Fault::DieBefore, Fault::DieAfter, Fault::Tear { bytes: 9 }].into_iter().filter(move |fault| match fault {
        Fault::Tear { .. } => writes,
        Fault::DieAfter => step == steps,
        _ => true,
    })
}
