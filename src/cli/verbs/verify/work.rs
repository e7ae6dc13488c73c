//! The work, and the threads that do it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::entries::{CountedEntries, EntryRange};
use super::files::{ReadFile, UniqueFile};
use super::panicked;
use super::segments::{Log, ReadSegment};
use crate::console::Interruption;
use crate::failure::{Failure, Result};
use crate::finding::Finding;
use crate::location::Store;
use crate::progress::Progress;
use floodmark_store::wal::SurveyedSegment;

/// Something to read.
pub(super) enum Task {
    Segment(SurveyedSegment),
    File(UniqueFile),
    Entries(EntryRange),
}

impl Task {
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.bytes,
            Self::File(file) => file.bytes,
            Self::Entries(range) => range.bytes,
        }
    }
}

/// The threads.
pub(super) struct Workers {
    pub threads: usize,
    pub interruption: Interruption,
    pub progress: Progress,
}

/// What came of the work.
#[derive(Default)]
pub(super) struct Done {
    pub segments: Vec<ReadSegment>,
    /// What was found in each file, by its number.
    pub files: HashMap<usize, ReadFile>,
    pub entries: Vec<CountedEntries>,
}

impl Done {
    /// What was found in the log.
    pub fn findings(&self, store: &Store) -> Vec<Finding> {
        self.segments.iter().flat_map(|segment| segment.findings(store)).collect()
    }

    fn add(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.files.extend(other.files);
        self.entries.extend(other.entries);
    }
}

impl Workers {
    /// Does all tasks, the largest first; ends early when interrupted.
    pub fn run(&self, log: &Log, mut tasks: Vec<Task>) -> Result<Done> {
        tasks.sort_by_key(|task| std::cmp::Reverse(task.bytes()));
        let next = AtomicUsize::new(0);
        let all: Result<Vec<Done>> = thread::scope(|scope| {
            let worker = || {
                let mut done = Done::default();
                let mut buffer = Vec::new();
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if self.interruption.is_raised() {
                        break;
                    }
                    self.run_one(log, task, &mut buffer, &mut done);
                }
                done
            };
            let spawn = |number: usize| {
                let builder = thread::Builder::new().name(format!("verify-{number}"));
                let spawned = builder.spawn_scoped(scope, worker);
                spawned.map_err(|error| Failure::new(crate::Exit::Failed, format!("cannot start a thread: {error}")))
            };
            let threads: Vec<_> = (1..self.threads).map(spawn).collect::<Result<_>>()?;
            let mut all = vec![worker()];
            for thread in threads {
                all.push(thread.join().map_err(|_| panicked())?);
            }
            Ok(all)
        });
        let mut done = Done::default();
        all?.into_iter().for_each(|part| done.add(part));
        done.segments.sort_by_key(|segment| segment.number);
        Ok(done)
    }

    fn run_one(&self, log: &Log, task: &Task, buffer: &mut Vec<u8>, done: &mut Done) {
        match task {
            Task::Segment(segment) => done.segments.push(log.read(segment, self)),
            Task::File(file) => drop(done.files.insert(file.number, file.read(buffer, self))),
            Task::Entries(range) => done.entries.push(range.count(self)),
        }
    }
}
