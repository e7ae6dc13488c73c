//! Dead letters: where the job chose so, the records that no attempt survives are found by halving and set aside, durably and
//! with their batch, and the job goes on without them.
//!
//! A record whose decoder panics is set aside as any other. Where nothing after it can be read without it (records of a type whose
//! own serde code panics, and readers of the user's own), the job ends, as it does where a batch fails without its records: then the
//! panic has another cause, an idle key for example. Where the batch fails no more while the culprit is looked for, it gets all of its
//! attempts once more.
//!
//! | a crash | leaves | caught by the row |
//! |---|---|---|
//! | while looking for culprits | a plan, failed attempts | recomputed; looked for again |
//! | after the file, before the event | a file that is written again | the same |
//! | after the event | a plan with dead letters | recomputed without them |

use crate::dataflow::graph::Operator;
use crate::dataflow::worker::WorkerEvent;
use crate::driver::Driver;
use crate::driver::inputs::Trial;
use crate::driver::message::DriverMessage;
use floodmark_base::disk::Step;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::id::{BatchId, Uid};
use floodmark_store::batch::event::{BatchEvent, DeadLetter};

/// A batch with more culprits than this is not a batch with culprits, but a broken program.
const MOST_LETTERS: usize = 64;
const DIRECTORY: &str = "dead-letters";

/// A panic of user code, as an attempt showed it.
#[derive(Clone)]
struct Panic {
    operator: String,
    message: String,
}

impl Panic {
    /// The error with which it ends the job.
    fn ends(&self, what: &str) -> Error {
        Error::new(ErrorKind::UserCode, format!("{what}; \"{}\" panicked: {}", self.operator, self.message))
    }
}

impl Driver {
    /// Finds the records that make the batch fail, sets them aside, and lets the batch be computed without them.
    pub(super) fn set_letters_aside(&mut self, batch: BatchId) -> Result<()> {
        // Records that were set aside before stay aside.
        let known = self.history.get(batch).letters.len();
        let mut letters = self.history.get(batch).letters.clone();
        while let Some(panic) = self.attempt(batch, Trial { letters: letters.clone(), ..Trial::whole() })? {
            if letters.len() == known {
                self.check_that_records_matter(batch)?;
            }
            if letters.len() >= MOST_LETTERS {
                return Err(panic.ends(&format!("batch {batch} fails even without {MOST_LETTERS} records")));
            }
            let letter = self.find_culprit(batch, &letters, &panic)?;
            let DeadLetter { source, task, record, .. } = &letter;
            if letters.iter().any(|known| (&known.source, &known.task, &known.record) == (source, task, record)) {
                let what = format!(
                    "batch {batch} fails at record {record} of task {task} of source \"{source}\", which cannot be set aside: \
                     nothing after it can be read without it"
                );
                return Err(panic.ends(&what));
            }
            tracing::warn!(%batch, %source, task, record, "a record is set aside");
            letters.push(letter);
        }
        if letters.len() == known {
            tracing::warn!(%batch, "the batch fails no more, and no record is set aside: it is tried again");
            let past = self.history.get_mut(batch);
            (past.failed, past.is_unexplained) = (0, true);
            self.restart_engine()?;
            return self.begin_attempt(batch);
        }
        self.write_letters(batch, &letters, known)?;
        self.log_events(&[BatchEvent::DeadLettered { batch, letters: letters.clone() }])?;
        self.history.get_mut(batch).letters = letters;
        self.restart_engine()
    }

    /// A batch that fails without any of its records has no culprit among them.
    fn check_that_records_matter(&mut self, batch: BatchId) -> Result<()> {
        let first = self.tasks_of(batch).into_iter().next().map(|(source, task)| (source, task, 0));
        let trial = Trial { is_trial: true, until: first, ..Trial::default() };
        match self.attempt(batch, trial)? {
            None => Ok(()),
            Some(panic) => Err(panic.ends(&format!("batch {batch} fails even without its records"))),
        }
    }

    /// The record that ends the shortest part of the batch that fails, by halving: first over tasks, then over its records.
    fn find_culprit(&mut self, batch: BatchId, found: &[DeadLetter], panic: &Panic) -> Result<DeadLetter> {
        let tasks: Vec<(Uid, u32)> = self.tasks_of(batch);
        let trial = |tasks: &[(Uid, u32)], task: usize, records: u64| {
            let (source, index) = &tasks[task];
            let mut sources_before: Vec<Uid> = tasks[..task].iter().map(|(uid, _)| uid.clone()).collect();
            sources_before.retain(|uid| uid != source);
            sources_before.dedup();
            Trial {
                is_trial: true,
                until: Some((source.clone(), *index, records)),
                sources_before,
                letters: found.to_vec(),
            }
        };
        let mut last_panic = panic.clone();
        let mut fails = |driver: &mut Self, task: usize, records: u64| -> Result<bool> {
            let panicked = driver.attempt(batch, trial(&tasks, task, records))?;
            let failed = panicked.is_some();
            if let Some(panic) = panicked {
                last_panic = panic;
            }
            Ok(failed)
        };
        let (mut low, mut high) = (0, tasks.len().saturating_sub(1));
        while low < high {
            let middle = (low + high) / 2;
            if fails(self, middle, u64::MAX)? { high = middle } else { low = middle + 1 }
        }
        // The first so many records of the task fail: double until they do, then halve.
        let (mut survives, mut dies) = (0, 1);
        while !fails(self, low, dies)? {
            survives = dies;
            dies = dies.checked_mul(2).ok_or_else(|| {
                Error::new(
                    ErrorKind::UserCode,
                    format!("batch {batch} fails as a whole, but none of its records alone makes it fail"),
                )
            })?;
        }
        while survives + 1 < dies {
            let middle = survives + (dies - survives) / 2;
            if fails(self, low, middle)? { dies = middle } else { survives = middle }
        }
        let (source, task) = tasks[low].clone();
        let record = dies - 1;
        let bytes = self.record_bytes(batch, &source, task, record)?;
        Ok(DeadLetter { source, task, record, operator: last_panic.operator, panic: last_panic.message, bytes })
    }

    fn tasks_of(&self, batch: BatchId) -> Vec<(Uid, u32)> {
        let inputs = &self.history.get(batch).plan.inputs;
        let of_input = |input: &floodmark_store::batch::event::PlannedInput| {
            let uid = input.source.clone();
            (0..input.tasks.len() as u32).map(move |task| (uid.clone(), task)).collect::<Vec<_>>()
        };
        inputs.iter().flat_map(of_input).collect()
    }

    /// One attempt at (a part of) a batch on a new dataflow, with all batches before it; nothing of it is committed.
    fn attempt(&mut self, batch: BatchId, trial: Trial) -> Result<Option<Panic>> {
        self.restart_engine()?;
        let wanted = |message: &DriverMessage| {
            use DriverMessage::{Checkpoint, Engine, Stop};
            matches!(message, Engine { .. } | Checkpoint(_) | Stop { graceful: false })
        };
        let mut outcome = None;
        loop {
            if self.in_flight.is_empty() {
                match self.history.give() {
                    Some(before) if before < batch => self.give(before, &Trial::default())?,
                    _ => self.give(batch, &trial)?,
                }
            }
            let on_trial = self.in_flight.back().is_some_and(|last| last.batch == batch);
            match self.inbox.next_of(wanted) {
                DriverMessage::Engine { generation, .. } if generation != self.generation => {}
                DriverMessage::Engine { event: WorkerEvent::Done { report, .. }, .. } if on_trial => {
                    let front = self.in_flight.front_mut().expect("the trial is under way");
                    front.reports.push(report);
                    if front.reports.len() == self.settings.width.workers as usize {
                        break;
                    }
                }
                DriverMessage::Engine { event: WorkerEvent::Done { execution, report }, .. } => {
                    self.worker_done(execution, report)?;
                }
                DriverMessage::Engine { event: WorkerEvent::Panicked { operator, panic, .. }, .. } => {
                    outcome = Some(Panic { operator, message: panic });
                    break;
                }
                DriverMessage::Engine { event: WorkerEvent::SourceFailed(error), .. } => return Err(error),
                // Where an older checkpoint is there, all begins again from that one.
                DriverMessage::Engine { event: WorkerEvent::StateFailed(error), .. } => self.state_failed(error)?,
                DriverMessage::Checkpoint(done) => self.checkpoint_done(done)?,
                _ => return Err(self.interrupted()),
            }
        }
        self.drop_engine();
        Ok(outcome)
    }

    /// The encoding of one record of a task, read again.
    fn record_bytes(&self, batch: BatchId, source: &Uid, task: u32, record: u64) -> Result<Vec<u8>> {
        let tasks = self.inputs.tasks(self.history.get(batch), &Trial::default());
        let node = self.inputs.nodes.iter().find(|(uid, _)| uid == source).map(|(_, node)| *node);
        let found = tasks.into_iter().find(|(_, candidate)| Some(candidate.source) == node && candidate.index == task);
        let (Some((_, task)), Some(node)) = (found, node) else { return Ok(Vec::new()) };
        match &self.graph.node(node).operator {
            Operator::Source(source) => source.record(&task.payload, record, &self.blocks),
            _ => Ok(Vec::new()),
        }
    }

    /// A file per batch, for people: one line that says what happened, then the record as text where it is text.
    fn write_letters(&self, batch: BatchId, letters: &[DeadLetter], known: usize) -> Result<()> {
        let directory = self.settings.location.join(DIRECTORY);
        let path = directory.join(format!("{:020}-{:020}-{known}.txt", batch.0, self.epoch.0));
        let mut text = String::new();
        for letter in &letters[known..] {
            let DeadLetter { source, task, record, operator, panic, bytes } = letter;
            text.push_str(&format!(
                "batch {batch}, source \"{source}\", task {task}, record {record}: \"{operator}\" panicked: {panic}\n{}\n",
                String::from_utf8_lossy(bytes)
            ));
        }
        let written = self
            .settings
            .disk
            .create_dir_all(Step::DeadLetters, &directory)
            .and_then(|()| self.settings.disk.create_whole(Step::DeadLetters, &path, text.as_bytes()));
        written.map_err(|error| {
            Error::caused_by(ErrorKind::Environment, format!("cannot write {}", path.display()), error)
        })
    }
}

impl Trial {
    /// The whole batch, on trial.
    fn whole() -> Self {
        Self { is_trial: true, ..Self::default() }
    }
}
