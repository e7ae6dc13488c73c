//! `floodmark log`: the checkpoints, as the chain of manifests has them.

use std::path::Path;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::Result;
use crate::finding::{Code, Finding, write_findings};
use crate::location::Store;
use crate::operation::{journal, pins};
use crate::page::{Page, bytes, count, counted, time};
use crate::view;
use floodmark_base::disk::LocalDisk;
use floodmark_store::checkpoint::{ChainFacts, CheckpointFiles, Link, Manifest, ManifestKind, Standing};

/// The checkpoints, and what else the chain of manifests holds.
///
/// Batch, epoch, files shared and new, new bytes, keys, and whether each may be used; then what verbs that write have done. A row
/// is a manifest. Claims, rejections and rollbacks repeat the checkpoint that is then in force.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
}

#[derive(Serialize)]
struct LogReport {
    store: String,
    exit_code: Exit,
    job: Option<String>,
    lineage: Option<String>,
    log_id: Option<String>,
    /// Manifests below this one are no longer part of the chain.
    boundary: u64,
    /// Such manifests that are still there.
    superseded: Vec<u64>,
    manifests: Vec<ManifestRow>,
    /// Batches whose checkpoints are pinned and no longer named by the chain.
    pinned_only: Vec<u64>,
    findings: Vec<Finding>,
    /// What writing verbs have done to the store, oldest first.
    operations: Vec<journal::Entry>,
    /// Lines of the history that cannot be read: an operation died while it wrote one.
    unreadable_operations: usize,
}

#[derive(Serialize)]
struct ManifestRow {
    manifest: u64,
    kind: &'static str,
    batch: u64,
    batch_time_ms: u64,
    epoch: u64,
    lineage: String,
    /// A lineage begins here.
    new_lineage: bool,
    /// Why a checkpoint was rejected, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejects: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    keys: u64,
    published_through: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointRow>,
}

/// A checkpoint, at the first manifest that names it.
#[derive(Serialize)]
struct CheckpointRow {
    directory: String,
    files: usize,
    bytes: u64,
    /// Files that the checkpoint before it has, too; nothing where that one is gone.
    shared_files: Option<usize>,
    new_bytes: Option<u64>,
    standing: &'static str,
    /// The manifest by which it was rejected or abandoned.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<u64>,
    pinned: bool,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let (chain, errors) = view::surveyed_chain(store.path())?;
    let mut findings: Vec<Finding> = errors.iter().map(|error| Finding::of_chain(store.path(), error)).collect();
    let damaged = chain.damaged().map(|(_, file, reason)| {
        Finding::new(Code::ManifestDamaged).file(store.path(), file).concerning(reason.to_string())
    });
    findings.extend(damaged);
    let exit_code = findings.iter().map(|finding| finding.code.exit()).fold(Exit::Healthy, Exit::or_worse);
    let pinned = pinned(store.path())?;
    let (manifests, named) = rows(&chain, &pinned);
    let newest = chain.newest();
    let (operations, unreadable_operations) = journal::read(&LocalDisk, store.path())?;
    let report = LogReport {
        store: store.name(),
        exit_code,
        job: newest.map(|manifest| manifest.point.job_name.clone()),
        lineage: newest.map(|manifest| manifest.point.lineage.to_string()),
        log_id: newest.map(|manifest| manifest.point.log.log.to_string()),
        boundary: chain.boundary().0,
        superseded: chain.superseded.iter().map(|sequence| sequence.0).collect(),
        manifests,
        pinned_only: pinned
            .iter()
            .filter(|(directory, _)| !named.contains(directory))
            .map(|(_, batch)| *batch)
            .collect(),
        findings,
        operations,
        unreadable_operations,
    };
    console.show(&report)?;
    Ok(exit_code)
}

/// The rows of the chain, and the directories that they name.
fn rows(chain: &ChainFacts, pinned: &[(String, u64)]) -> (Vec<ManifestRow>, Vec<String>) {
    let known = chain.checkpoints();
    let (mut rows, mut named): (Vec<ManifestRow>, Vec<String>) = (Vec::new(), Vec::new());
    let mut before: Option<&Manifest> = None;
    let mut parent: Option<&CheckpointFiles> = None;
    for manifest in chain.links.values().filter_map(Link::manifest) {
        let mut row = ManifestRow::of(manifest, before);
        let first_named = known.iter().find(|checkpoint| checkpoint.sequence == manifest.sequence);
        if let Some(checkpoint) = first_named {
            let is_pinned = pinned.iter().any(|(directory, _)| *directory == checkpoint.files.directory);
            row.checkpoint = Some(CheckpointRow::of(checkpoint.files, parent, &checkpoint.standing, is_pinned));
            named.push(checkpoint.files.directory.clone());
        }
        // The next one is made beside what is in force after this manifest.
        parent = manifest.checkpoint.as_ref().or(parent);
        before = Some(manifest);
        rows.push(row);
    }
    (rows, named)
}

impl ManifestRow {
    fn of(manifest: &Manifest, before: Option<&Manifest>) -> Self {
        let point = &manifest.point;
        let (kind, rejects, reason) = match &manifest.kind {
            ManifestKind::Checkpoint => ("checkpoint", None, None),
            ManifestKind::Claim => ("claim", None, None),
            ManifestKind::Rollback => ("rollback", None, None),
            ManifestKind::Rejection { of, reason, .. } => ("rejection", Some(of.0), Some(reason.clone())),
        };
        Self {
            manifest: manifest.sequence.0,
            kind,
            batch: point.batch.0,
            batch_time_ms: point.last_batch_time.0,
            epoch: manifest.epoch.0,
            lineage: point.lineage.to_string(),
            new_lineage: before.is_some_and(|before| before.point.lineage != point.lineage),
            rejects,
            reason,
            keys: point.keyed_entries(),
            published_through: point.published_through.0,
            checkpoint: None,
        }
    }

    fn row(&self) -> Vec<String> {
        let time = if self.batch == 0 { "-".to_string() } else { time(self.batch_time_ms) };
        let mut row = vec![count(self.manifest), self.kind.to_string(), count(self.batch), time, count(self.epoch)];
        match &self.checkpoint {
            Some(checkpoint) => row.extend([
                checkpoint.form(),
                checkpoint.new_bytes.map_or(bytes(checkpoint.bytes), bytes),
                count(self.keys),
                checkpoint.words(),
            ]),
            None => row.extend(["-", "-", "-", "-"].map(str::to_string)),
        }
        row
    }
}

impl CheckpointRow {
    fn of(files: &CheckpointFiles, parent: Option<&CheckpointFiles>, standing: &Standing, pinned: bool) -> Self {
        let has = |parent: &CheckpointFiles| {
            let shared = files.files.iter().filter(|file| file.is_table() && parent.files.contains(file));
            (shared.clone().count(), shared.map(|file| file.size).sum::<u64>())
        };
        let bytes = files.files.iter().map(|file| file.size).sum();
        let shared = parent.map(has);
        let (standing, by) = match standing {
            Standing::Usable => ("usable", None),
            Standing::Rejected { by, .. } => ("rejected", Some(by.0)),
            Standing::Abandoned { by } => ("abandoned", Some(by.0)),
        };
        Self {
            directory: files.directory.clone(),
            files: files.files.len(),
            bytes,
            shared_files: shared.map(|(files, _)| files),
            new_bytes: shared.map(|(_, shared)| bytes - shared),
            standing,
            by,
            pinned,
        }
    }

    fn form(&self) -> String {
        match self.shared_files {
            Some(0) => format!("{}, full", self.files),
            Some(shared) => format!("{}, {shared} old", self.files),
            None => self.files.to_string(),
        }
    }

    fn words(&self) -> String {
        let by = self.by.map(|by| format!(" by {by}")).unwrap_or_default();
        let pinned = if self.pinned { ", pinned" } else { "" };
        format!("{}{by}{pinned}", self.standing)
    }
}

/// The directories that are pinned, with their batches; what is not whole is for `verify`.
fn pinned(store: &Path) -> Result<Vec<(String, u64)>> {
    let named = |(name, manifest): (String, Result<Manifest, String>)| {
        let manifest = manifest.ok()?;
        Some((manifest.checkpoint.map_or(name, |files| files.directory), manifest.point.batch.0))
    };
    Ok(pins::manifests(&LocalDisk, store)?.into_iter().filter_map(named).collect())
}

impl Report for LogReport {
    const SCHEMA: &'static str = "floodmark.log/1";

    fn write(&self, page: &mut Page) {
        if let (Some(job), Some(lineage)) = (&self.job, &self.lineage) {
            page.line(&format!("Job {job}, lineage {lineage}"));
            page.gap();
        }
        let headers = ["no", "kind", "batch", "time", "epoch", "files", "new", "keys", "standing"];
        match self.manifests.is_empty() {
            true => page.line("There is no manifest that can be read."),
            false => page.table(&headers, &self.manifests.iter().map(ManifestRow::row).collect::<Vec<_>>()),
        }
        for row in &self.manifests {
            if let (Some(rejects), Some(reason)) = (row.rejects, &row.reason) {
                page.line(&format!("manifest {} rejects manifest {rejects}: {reason}", row.manifest));
            }
            if row.new_lineage {
                page.line(&format!("manifest {} begins lineage {}", row.manifest, row.lineage));
            }
        }
        if !self.superseded.is_empty() {
            let superseded = self.superseded.len() as u64;
            let verb = if superseded == 1 { "is" } else { "are" };
            page.line(&format!("{} below {} {verb} superseded.", counted(superseded, "manifest"), self.boundary));
        }
        for batch in &self.pinned_only {
            page.line(&format!("The checkpoint of batch {batch} is pinned."));
        }
        if !self.findings.is_empty() {
            page.gap();
            write_findings(page, &self.findings);
        }
        if !self.operations.is_empty() {
            page.gap();
            let row = |entry: &journal::Entry| {
                let journal::Entry { time_ms, verb, stage, what, .. } = entry;
                vec![time(*time_ms), verb.clone(), stage.clone(), what.clone()]
            };
            let rows: Vec<_> = self.operations.iter().map(row).collect();
            page.table(&["operation of", "verb", "stage", "what"], &rows);
        }
        if self.unreadable_operations > 0 {
            page.line(&format!("{} lines of operations.jsonl cannot be read.", self.unreadable_operations));
        }
    }
}
