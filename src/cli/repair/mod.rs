//! Repairing a store that does not start: what is the matter, and what can be done about it, decided from the facts of a start.
//!
//! What recovery mends by itself is left to recovery. What is left is a chain of manifests with a hole, and a log that a start refuses.
//! Both end in one new manifest, the commit point:
//!
//! - **A hole** becomes superfluous: the newest manifest alone says where the job stands, so a claim behind it states the first
//!   manifest behind the hole as the boundary.
//! - **A log** is written anew, under a new id, from every frame that is whole and still needed after the newest usable checkpoint: blocks
//!   that no plan has taken, and the plans, commits and publications of the batches since, as far as they stand without a hole. Blocks of
//!   plans behind that are free again: the next batch takes them. So only the frames that cannot be read are lost. Where the end of the
//!   log cannot be read, and nothing behind it says how far it went, nobody knows how many these are.
//!
//! Where a plan may be lost, the batches from there on are others than those that outputs may have got under these numbers (I-2): the job
//! goes on as a new lineage then, as after a rollback.

mod rebuild;
mod salvage;

use std::path::{Path, PathBuf};

use super::failure::{Failure, Result};
use super::location::Store;
use super::operation::journal::OPERATIONS;
use super::operation::{LOST_AND_FOUND, is_there};
use super::view;
use crate::exit::Exit;
use floodmark_base::disk::{Disk, LocalDisk};
use floodmark_base::id::{BatchId, LogId};
use floodmark_store::checkpoint::{ChainError, ChainFacts, MANIFESTS, Manifest, Standing};
use floodmark_store::recovery::decide::Decision;
use floodmark_store::recovery::facts::{CHECKPOINTS, WAL, observe_behind};
use floodmark_store::recovery::look::decide_as_a_start;
use floodmark_store::recovery::refusal::Refusal;
use floodmark_store::state::files::verify_files;
use floodmark_store::wal::{LogSurvey, WalError};

pub(crate) use rebuild::apply;
pub(crate) use salvage::Salvage;

/// What can be done about a store.
pub(crate) enum Diagnosis {
    /// A start takes it as it is, or mends it by itself.
    Starts(Box<Decision>),
    /// It can be repaired.
    Repairable(Box<Repair>),
    /// Nothing that is here repairs it.
    Hopeless {
        why: Vec<String>,
        looked_at: Vec<String>,
        /// A pin that is whole, which `rollback` may be able to go back to.
        pin: Option<BatchId>,
    },
}

/// A repair.
pub(crate) struct Repair {
    /// In the words of the start that is refused.
    pub why: Vec<String>,
    /// The chain that counts: what lies behind the newest hole.
    pub chain: ChainFacts,
    /// The newest checkpoint that can be used, or the beginning, by its newest manifest.
    pub from: Manifest,
    /// The log, where it is to be written anew.
    pub log: Option<Salvage>,
    /// Where the log lies: not in its place where an earlier repair died.
    pub log_place: LogPlace,
}

/// Where the log lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogPlace {
    /// Where it belongs.
    InPlace,
    /// An earlier repair had put it aside and died before its manifest; below the store's directory.
    SetAside(String),
}

impl Repair {
    /// Whether anything that was acknowledged is lost by it, or may be.
    pub fn loses(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.lost.is_empty() || log.lost_end.is_some())
    }

    /// Whether the job goes on as a new lineage.
    pub fn begins_lineage(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.keeps_lineage)
    }
}

/// Looks what is the matter.
///
/// # Errors
/// When the disk refuses, or the store is of another version.
pub(crate) fn diagnose(disk: &dyn Disk, store: &Store) -> Result<Diagnosis> {
    let path = store.path();
    let (chain, errors) = view::surveyed_chain(path)?;
    let is_final = |error: &&ChainError| {
        matches!(error, ChainError::Io { .. } | ChainError::Version { .. } | ChainError::Parts { .. })
    };
    if let Some(error) = errors.iter().find(is_final) {
        return Err(Failure::new(Failure::from(Refusal::Chain(copy_of(error))).exit, error.to_string()));
    }
    let mut why: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let is_only_holes = errors.iter().all(|error| matches!(error, ChainError::Hole { .. }));
    if !is_only_holes || chain.newest().is_none() {
        // A job that died in its first start has no manifest yet, and starts.
        if let Ok(facts) = view::facts(path)
            && let Ok(decision) = decide_as_a_start(path, &facts)
        {
            return Ok(Diagnosis::Starts(Box::new(decision)));
        }
        return Ok(hopeless(disk, store, why, false));
    }
    let chain = behind_holes(chain);
    let log_place = log_place(disk, store, &chain)?;
    let refusal = match &log_place {
        LogPlace::InPlace => match observe_behind(&LocalDisk, path, chain.clone()) {
            Ok(facts) => decide_as_a_start(path, &facts),
            Err(refusal) => Err(refusal),
        },
        LogPlace::SetAside(below) => {
            let newest = chain.newest().map(|manifest| manifest.point.batch).unwrap_or_default();
            why.push(format!("an earlier repair died: it had moved the log to {below}"));
            Err(Refusal::LogGone { checkpoint: newest })
        }
    };
    let refusal = match refusal {
        Ok(decision) if errors.is_empty() => return Ok(Diagnosis::Starts(Box::new(decision))),
        Ok(_) => None,
        Err(refusal) => Some(refusal),
    };
    if let Some(refusal) = &refusal {
        match refusal {
            Refusal::Io { .. } | Refusal::Log(WalError::Io { .. }) => {
                return Err(Failure::new(Exit::Failed, refusal.to_string()));
            }
            Refusal::NoCheckpoint { .. } => {
                why.push(refusal.to_string());
                return Ok(hopeless(disk, store, why, true));
            }
            _ => why.push(refusal.to_string()),
        }
    }
    let Some(from) = newest_usable(path, &chain) else {
        return Ok(hopeless(disk, store, why, true));
    };
    let log = match refusal {
        None => None,
        Some(_) => {
            let directory = log_directory(store, &log_place);
            let known = chain.newest().map_or(from.point.log, |newest| newest.point.log);
            Some(Salvage::of(disk, &directory, &from, chain.lineage().unwrap_or(from.point.lineage), known)?)
        }
    };
    Ok(Diagnosis::Repairable(Box::new(Repair { why, chain, from, log, log_place })))
}

/// The directory that holds the log.
pub(crate) fn log_directory(store: &Store, place: &LogPlace) -> PathBuf {
    match place {
        LogPlace::InPlace => store.path().join(WAL),
        LogPlace::SetAside(below) => store.path().join(below),
    }
}

/// The manifests behind the newest hole.
fn behind_holes(mut chain: ChainFacts) -> ChainFacts {
    let mut first = None;
    let mut expected = None;
    for &sequence in chain.links.keys() {
        if expected != Some(sequence) {
            first = Some(sequence);
        }
        expected = Some(sequence.next());
    }
    if let Some(first) = first {
        chain.links = chain.links.split_off(&first);
    }
    chain
}

/// The newest manifest that names a checkpoint all of whose bytes are what they were; or the beginning.
fn newest_usable(store: &Path, chain: &ChainFacts) -> Option<Manifest> {
    let known = chain.checkpoints().into_iter().filter(|known| known.standing == Standing::Usable);
    for known in known {
        let directory = store.join(CHECKPOINTS).join(&known.files.directory);
        if verify_files(&directory, &known.files.files, true).is_ok() {
            return Some(known.newest.clone());
        }
    }
    let mut manifests = chain.links.values().filter_map(|link| link.manifest());
    manifests.find(|manifest| manifest.checkpoint.is_none()).cloned()
}

/// Where the log of the chain lies. A repair that died between its two moves has put it aside.
fn log_place(disk: &dyn Disk, store: &Store, chain: &ChainFacts) -> Result<LogPlace> {
    let wanted = chain.newest().map(|manifest| manifest.point.log.log);
    if wanted.is_none() || log_id(disk, &store.path().join(WAL))? == wanted {
        return Ok(LogPlace::InPlace);
    }
    let aside = store.path().join(LOST_AND_FOUND);
    let times = match disk.list(&aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|error| Failure::io("list", &aside, &error))?,
    };
    for time in times.iter().rev() {
        let below = format!("{LOST_AND_FOUND}/{time}/{WAL}");
        if log_id(disk, &store.path().join(&below))? == wanted {
            return Ok(LogPlace::SetAside(below));
        }
    }
    Ok(LogPlace::InPlace)
}

/// The id of the log in a directory, as far as any of its segments tells.
fn log_id(disk: &dyn Disk, directory: &Path) -> Result<Option<LogId>> {
    let survey = LogSurvey::of(disk, directory, None)?;
    Ok(survey.segments.last().map(|segment| segment.header.log))
}

fn hopeless(disk: &dyn Disk, store: &Store, why: Vec<String>, has_manifests: bool) -> Diagnosis {
    let mut looked_at = vec![format!("{MANIFESTS}/, {WAL}/ and {CHECKPOINTS}/ of {}", store.path().display())];
    let mut whole = None;
    match super::operation::pins::pins(disk, store.path()) {
        Ok((pins, _)) if !pins.is_empty() => {
            for pin in pins {
                let damage = pin.damage(store.path());
                if damage.is_none() {
                    whole = Some(pin.batch());
                }
                let state = damage.unwrap_or_else(|| "whole".to_string());
                looked_at.push(format!("the pin of batch {}, {}: {state}", pin.batch(), pin.below()));
            }
        }
        _ => looked_at.push("pins: there are none".to_string()),
    }
    for name in [LOST_AND_FOUND, OPERATIONS] {
        if is_there(disk, &store.path().join(name)).unwrap_or(false) {
            looked_at.push(format!("{name}: what earlier verbs have put aside is there"));
        }
    }
    // Where the manifests are gone nobody can go back to anything.
    let pin = whole.filter(|_| has_manifests);
    Diagnosis::Hopeless { why, looked_at, pin }
}

/// The same error, to be judged: those that are asked about hold nothing that cannot be copied.
fn copy_of(error: &ChainError) -> ChainError {
    match error {
        ChainError::Version { file, expected, found } => {
            ChainError::Version { file: file.clone(), expected: *expected, found: *found }
        }
        ChainError::Parts { file, found } => ChainError::Parts { file: file.clone(), found: found.clone() },
        ChainError::Io { doing, path, source } => {
            ChainError::Io { doing, path: path.clone(), source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        other => unreachable!("{other} is not asked about"),
    }
}
