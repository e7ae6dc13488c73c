//! The checkpoints of a store that can be asked for, and opening one beside a running job.
//!
//! A job that collects old checkpoints may take one away between finding and opening it. Then the store is looked at again: what is
//! still named by the newest manifests and yet not there is missing, all else was collected.

use std::path::PathBuf;

use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, Result};
use super::finding::Code;
use super::location::{Store, quoted};
use super::operation::pins::{Pin, pins};
use super::page::time;
use super::view;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::BatchId;
use floodmark_base::pursuit::Pursuit;
use floodmark_store::checkpoint::{CheckpointFiles, DROPPED, Manifest, OperatorEntry, Standing};
use floodmark_store::recovery::facts::CHECKPOINTS;
use floodmark_store::state::StateError;
use floodmark_store::state::view::CheckpointView;

/// A checkpoint that can be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The newest manifest that names it.
    pub manifest: Manifest,
    pub files: CheckpointFiles,
    pub path: PathBuf,
    pub pinned: bool,
}

/// What a store can be asked about its state.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// Newest first.
    pub known: Vec<Known>,
    /// Checkpoints that were rejected or abandoned, and why they are not to be had.
    given_up: Vec<(BatchId, String)>,
    /// Manifests that are damaged and for which no recovery has made up.
    damaged: Vec<String>,
}

/// A checkpoint that is open.
pub(crate) struct Opened {
    pub known: Known,
    pub view: CheckpointView,
    /// Which others there were when it was opened.
    pub checkpoints: Checkpoints,
    question: Question,
}

/// What the user has asked, for the command that asks another checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Question(String);

impl Question {
    /// A verb with what follows the location.
    pub fn of(verb: &str, store: &Store, arguments: &[&str]) -> Self {
        let words = [format!("floodmark {verb} {}", store.shown())].into_iter();
        let words = words.chain(arguments.iter().map(|argument| quoted(argument)));
        Self(words.collect::<Vec<_>>().join(" "))
    }

    /// The same question to the next older checkpoint, or else to whoever looks at the damage.
    fn next(&self, store: &Store, checkpoints: &Checkpoints, damaged: &Known) -> String {
        match checkpoints.older(damaged) {
            Some(older) => format!("{} --as-of {}", self.0, older.batch()),
            None => format!("floodmark verify {}", store.shown()),
        }
    }
}

impl Known {
    pub fn batch(&self) -> BatchId {
        self.manifest.point.batch
    }

    /// `batch 8 of 2026-11-21 17:42:12.300Z`.
    pub fn name(&self) -> String {
        let pinned = if self.pinned { ", pinned" } else { "" };
        format!("batch {} of {}{pinned}", self.batch(), time(self.manifest.point.last_batch_time.0))
    }

    /// Its operators with state.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorEntry> {
        self.manifest.point.operators.iter().filter(|operator| operator.kind != DROPPED)
    }

    /// The operator of this uid.
    ///
    /// # Errors
    /// Usage, with the uids that there are, where there is none, or its state was dropped.
    pub fn operator(&self, uid: &str) -> Result<&OperatorEntry> {
        match self.manifest.point.operators.iter().find(|operator| operator.uid.as_str() == uid) {
            Some(operator) if operator.kind == DROPPED => {
                let batch = self.batch();
                Err(Failure::usage(format!("the state of operator \"{uid}\" was dropped before batch {batch}")))
            }
            Some(operator) => Ok(operator),
            None => {
                let uids: Vec<String> = self.operators().map(|operator| format!("\"{}\"", operator.uid)).collect();
                let there =
                    if uids.is_empty() { "there is none".to_string() } else { format!("there is {}", uids.join(", ")) };
                Err(Failure::usage(format!("no operator \"{uid}\" with state at {}: {there}", self.name())))
            }
        }
    }
}

impl Checkpoints {
    /// Looks at a store.
    ///
    /// # Errors
    /// When the chain of manifests cannot be believed, or a directory cannot be read.
    pub fn of(store: &Store) -> Result<Self> {
        let verify = |failure: Failure| failure.try_next(format!("floodmark verify {}", store.shown()));
        let chain = view::chain(store.path()).map_err(|error| verify(error.into()))?;
        let mut known = Vec::new();
        let mut given_up = Vec::new();
        for checkpoint in chain.checkpoints() {
            let batch = checkpoint.manifest.point.batch;
            match checkpoint.standing {
                Standing::Usable => known.push(Known {
                    manifest: checkpoint.newest.clone(),
                    files: checkpoint.files.clone(),
                    path: store.path().join(CHECKPOINTS).join(&checkpoint.files.directory),
                    pinned: false,
                }),
                Standing::Rejected { reason, .. } => given_up.push((batch, format!("was rejected: {reason}"))),
                Standing::Abandoned { .. } => given_up.push((batch, "was abandoned by a rollback".to_string())),
            }
        }
        for pinned in pinned(store)? {
            if !known.iter().any(|known| known.files.directory == pinned.files.directory) {
                known.push(pinned);
            }
        }
        known.sort_by_key(|known| (std::cmp::Reverse(known.batch()), known.pinned));
        let damaged = chain.damaged_unanswered();
        let damaged = damaged.map(|(_, file, reason)| format!("manifest {} is damaged: {reason}", file.display()));
        Ok(Self { known, given_up, damaged: damaged.collect() })
    }

    /// The checkpoint of a batch, or the newest one.
    ///
    /// # Errors
    /// Usage, with the batches that can be asked for.
    pub fn pick(&self, as_of: Option<u64>) -> Result<&Known> {
        let Some(newest) = self.known.first() else {
            let why =
                self.given_up.first().map_or(String::new(), |(batch, why)| format!("; that of batch {batch} {why}"));
            let message = format!("the store holds no checkpoint yet, so there is no state to be read{why}");
            return Err(Failure::usage(message));
        };
        let Some(batch) = as_of else { return Ok(newest) };
        self.known.iter().find(|known| known.batch().0 == batch).ok_or_else(|| self.not_retained(batch))
    }

    fn not_retained(&self, batch: u64) -> Failure {
        let given_up = self.given_up.iter().find(|(given_up, _)| given_up.0 == batch);
        let (newest, oldest) = (self.known.first(), self.known.last());
        let is_between =
            newest.zip(oldest).is_some_and(|(newest, oldest)| (oldest.batch().0..=newest.batch().0).contains(&batch));
        let why = match given_up {
            Some((_, why)) => format!("the checkpoint of batch {batch} {why}"),
            None => format!("there is no checkpoint of batch {batch}"),
        };
        let replay = if is_between {
            "; a batch between two of them needs the job's own code: StreamingContext::replay"
        } else {
            ""
        };
        Failure::usage(format!("{why}: {} can be asked for{replay}", self.batches()))
    }

    /// `batches 4 and 8`.
    pub fn batches(&self) -> String {
        let mut batches: Vec<String> = self.known.iter().rev().map(|known| known.batch().to_string()).collect();
        batches.dedup();
        match batches.split_last() {
            None => "no batch".to_string(),
            Some((only, [])) => format!("batch {only}"),
            Some((last, others)) => format!("batches {} and {last}", others.join(", ")),
        }
    }

    /// The newest one that is older than this.
    pub fn older(&self, than: &Known) -> Option<&Known> {
        self.known.iter().find(|known| known.batch() < than.batch())
    }

    /// Whether a checkpoint that was found earlier is still among them.
    pub fn count(&self, earlier: &Known) -> bool {
        self.known.iter().any(|known| known.path == earlier.path)
    }

    /// Tells of damaged manifests; they may have named newer checkpoints.
    pub fn tell_damage(&self, store: &Store, console: &mut Console<'_>) -> Exit {
        for damage in &self.damaged {
            console.hint(&format!("floodmark: {damage}; a newer checkpoint may stand behind it"));
        }
        if self.damaged.is_empty() {
            return Exit::Healthy;
        }
        console.hint(&format!("next: floodmark plan {}", store.shown()));
        Exit::Degraded
    }
}

impl Opened {
    /// Opens the checkpoint of a batch, or the newest one.
    ///
    /// # Errors
    /// As [`Checkpoints::of`] and [`Checkpoints::pick`]; or nothing of the checkpoint can be read.
    pub fn open(store: &Store, as_of: Option<u64>, question: &Question) -> Result<Self> {
        let mut checkpoints = Checkpoints::of(store)?;
        let mut pursuit = Pursuit::default();
        loop {
            let known = checkpoints.pick(as_of)?.clone();
            if let Err(failure) = store.bring(&known.path) {
                if !pursuit.goes_on(store.catch_up()?) {
                    return Err(failure.try_next(question.next(store, &checkpoints, &known)));
                }
                checkpoints = Checkpoints::of(store)?;
                continue;
            }
            let view = CheckpointView::open(&known.path, &known.files.files);
            if view.as_ref().is_ok_and(|view| view.damage().is_none()) {
                return Self::after(store, known, view, checkpoints, question);
            }
            // Damaged, or taken away meanwhile? It is damage where the checkpoint still counts.
            let again = Checkpoints::of(store)?;
            if !pursuit.goes_on(!again.count(&known)) {
                return Self::after(store, known, view, again, question);
            }
            checkpoints = again;
        }
    }

    /// Opens one of those that are known.
    ///
    /// # Errors
    /// When nothing of it can be read.
    pub fn open_known(store: &Store, known: &Known, checkpoints: Checkpoints, question: &Question) -> Result<Self> {
        store.bring(&known.path)?;
        let view = CheckpointView::open(&known.path, &known.files.files);
        Self::after(store, known.clone(), view, checkpoints, question)
    }

    fn after(
        store: &Store,
        known: Known,
        view: Result<CheckpointView, StateError>,
        checkpoints: Checkpoints,
        question: &Question,
    ) -> Result<Self> {
        match view {
            Ok(view) => Ok(Self { known, view, checkpoints, question: question.clone() }),
            Err(error) => {
                let next = question.next(store, &checkpoints, &known);
                let failure = Failure::from(error);
                let message = format!("the checkpoint of {} cannot be read: {failure}", known.name());
                Err(Failure { message, ..failure }.try_next(next))
            }
        }
    }

    /// The operators that its manifest lists, dropped ones too, each with about the bytes that its entries take.
    pub fn operators_with_bytes(&self) -> impl Iterator<Item = (&OperatorEntry, u64)> {
        let operators = &self.known.manifest.point.operators;
        let numbers: Vec<_> = operators.iter().map(|operator| operator.number).collect();
        operators.iter().zip(self.view.reader().approximate_bytes(&numbers))
    }

    /// The failure that damage in this checkpoint is, for a verb that has told what could be told.
    pub fn damaged(&self, store: &Store, told: impl std::fmt::Display, error: Option<&StateError>) -> Failure {
        // What sizes and ends of files show names the file best.
        let error = self.view.damage().or(error);
        let words = error.map_or(String::new(), |error| format!(": {}", self.view.words(error)));
        let message = format!("the checkpoint of {} is damaged: {told}{words}", self.known.name());
        let code = error.map_or(Code::EntryDamaged, Code::of_state);
        Failure::about(code, message).try_next(self.question.next(store, &self.checkpoints, &self.known))
    }
}

/// The checkpoints that were pinned. What is not whole is not to be had; `verify` tells why.
fn pinned(store: &Store) -> Result<Vec<Known>> {
    let (pins, _unreadable) = pins(&LocalDisk, store.path())?;
    let known = |pin: Pin| {
        let (path, files) = (store.path().join(pin.below()), pin.files()?.clone());
        Some(Known { manifest: pin.manifest, files, path, pinned: true })
    };
    Ok(pins.into_iter().filter_map(known).collect())
}
