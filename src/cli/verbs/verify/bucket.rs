//! What is wrong in a bucket: envelopes, holes in the chain, objects of the log, table objects that are missing or of another size; with
//! `--full` the bytes of all objects.
//!
//! The rest of `verify` looks at the scratch directory, in which everything lies that could be had. What it finds about files that an
//! object is to blame for is told once, as a finding about the object.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::Depth;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::finding::{Code, Finding};
use crate::location::Store;
use crate::start::Start;
use floodmark_store::recovery::facts::CHECKPOINTS;
use floodmark_store::remote::words_of;

/// What was found in the bucket.
pub(super) struct InBucket {
    findings: Vec<Finding>,
    /// The first finding for which a start is refused, with its words.
    refusal: Option<(Code, String)>,
    /// The objects that the findings name.
    blamed: HashSet<String>,
    /// How many objects the job has.
    pub objects: usize,
}

impl InBucket {
    /// Looks; nothing where the store is a directory.
    pub fn of(store: &Store, depth: Depth, console: &Console<'_>) -> Result<Option<Self>> {
        let Some(remote) = store.remote() else { return Ok(None) };
        if let Depth::Share(..) = depth {
            let message = "--read-data draws from the files of a directory; on a URL --full reads all objects";
            return Err(Failure::usage(message).try_next(format!("floodmark verify {} --full", store.shown())));
        }
        let mut found = {
            let look = remote.look();
            let findings: Vec<Finding> = look.damage.iter().map(Finding::of_object).collect();
            let refusal = look.refusal().map(|damage| (Code::of_object(&damage.error), damage.error.to_string()));
            let blamed = look.damage.iter().map(|damage| damage.object().to_string()).collect();
            Self { findings, refusal, blamed, objects: look.objects.len() }
        };
        if matches!(depth, Depth::Full | Depth::Entries) {
            found.read_files(store, console)?;
            for damage in remote.disk().read_the_rest(&remote.look())? {
                found.blamed.insert(damage.object().to_string());
                found.findings.push(Finding::of_object(&damage));
            }
        }
        Ok(Some(found))
    }

    /// Brings all table files; what is damaged is told, and has its stand-in still.
    fn read_files(&mut self, store: &Store, console: &Console<'_>) -> Result<()> {
        let Some(remote) = store.remote() else { return Ok(()) };
        let directories: Vec<PathBuf> = remote.look().directories().cloned().collect();
        let mut damaged: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for directory in directories {
            console.check()?;
            let given_up = self.blamed.iter().cloned().collect();
            for error in remote.bring_what_can_be(&directory, given_up)? {
                let is_known = self.blamed.contains(&error.object);
                if !is_known {
                    let of_chain = remote.look().users_of(&error.object).0 > 0; // then a start does without the checkpoint
                    let code = if of_chain { error.code } else { Code::PinDamaged };
                    let finding = Finding { file: Some(error.object.clone()), ..Finding::new(code) };
                    self.findings.push(finding.differs(error.expected, error.found));
                    self.blamed.insert(error.object.clone());
                }
                damaged.entry(error.object).or_default().push(directory.clone());
            }
        }
        for (object, directories) in damaged {
            let finding = self.findings.iter_mut().find(|finding| finding.file.as_ref() == Some(&object));
            if let Some(finding) = finding.filter(|finding| finding.concerns.is_empty()) {
                finding.concerns = directories.iter().map(|it| format!("listed by {}", words_of(it))).collect();
            }
        }
        Ok(())
    }

    /// Puts the findings about the bucket before those about the scratch directory that they do not explain.
    pub fn merge(&self, store: &Store, findings: Vec<Finding>) -> Vec<Finding> {
        let Some(remote) = store.remote() else { return findings };
        let look = remote.look();
        let mut merged = self.findings.clone();
        for mut finding in findings {
            let file = finding.file.clone().unwrap_or_default();
            let object = look.object_at(Path::new(&file)).map(str::to_string);
            if self.blamed.contains(&file) || object.as_ref().is_some_and(|object| self.blamed.contains(object)) {
                continue;
            }
            if let Some(object) = object {
                finding = finding.concerning(format!(
                    "listed by {}",
                    words_of(Path::new(&file).parent().unwrap_or(Path::new(CHECKPOINTS)))
                ));
                finding.file = Some(object);
            }
            merged.push(finding);
        }
        merged
    }

    /// Objects that are missing where a truncation may have deleted them: to be told where the log turns out to lack something.
    pub fn holes(&self, store: &Store) -> Vec<Finding> {
        let Some(remote) = store.remote() else { return Vec::new() };
        let missing = remote.look().last_hole_of_the_log();
        let finding = |name: String| {
            let finding = Finding { file: Some(name), ..Finding::new(Code::ObjectMissing) };
            finding
                .differs("an object of the log, or its deletion behind a checkpoint", "no such object")
                .concerning("what it held is missing in the log")
        };
        missing.into_iter().filter(|name| !self.blamed.contains(name)).map(finding).collect()
    }

    /// What a start would do, where the bucket alone decides that.
    pub fn refused(&self) -> Option<Start> {
        let (code, words) = self.refusal.as_ref()?;
        Some(Start {
            starts: false,
            exit_code: Exit::DataLost,
            code: Some(*code),
            words: format!("A start is refused: object storage: {words}"),
            checkpoint: None,
            replay_batches: 0,
            rejected: Vec::new(),
            unneeded_damage: Vec::new(),
        })
    }
}
