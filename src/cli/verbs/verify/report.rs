//! What `verify` tells.

use serde::Serialize;

use super::Depth;
use super::files::Checkpoints;
use super::segments::Log;
use super::work::Done;
use crate::console::Report;
use crate::exit::Exit;
use crate::finding::{Finding, write_findings};
use crate::location::Store;
use crate::page::{Page, bytes, count, counted, duration_ms};
use crate::start::Start;
use floodmark_store::checkpoint::ChainFacts;

#[derive(Serialize)]
pub(super) struct VerifyReport {
    store: String,
    pub exit_code: Exit,
    /// `quick`, `usual`, `share`, `full`, `entries`.
    depth: &'static str,
    /// From which the share was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    is_running: bool,
    looked_at: Looked,
    findings: Vec<Finding>,
    start: Start,
    next: Option<String>,
}

/// What was looked at.
#[derive(Serialize)]
pub(super) struct Looked {
    manifests: usize,
    segments: usize,
    /// 0 where only heads were read.
    frames: u64,
    log_bytes: u64,
    checkpoints: usize,
    /// Each once, however many checkpoints have it.
    files: usize,
    /// Files that were read whole, and their bytes.
    read_files: usize,
    read_bytes: u64,
    /// Table files of which only sizes and ends were read.
    unread_tables: usize,
    entries: u64,
    took_ms: u64,
    /// Of the job in its bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
}

impl Looked {
    /// The same, of a job in object storage.
    pub fn in_bucket(self, objects: Option<usize>) -> Self {
        Self { objects, ..self }
    }

    pub fn of(chain: &ChainFacts, log: &Log, checkpoints: &Checkpoints, done: &Done, took_ms: u64) -> Self {
        Self {
            manifests: chain.links.len(),
            segments: log.survey.segments.len(),
            frames: done.segments.iter().map(|segment| segment.frames).sum(),
            log_bytes: done.segments.iter().map(|segment| segment.bytes).sum(),
            checkpoints: checkpoints.known.len(),
            files: checkpoints.file_count(),
            read_files: done.files.len(),
            read_bytes: checkpoints.read_bytes(),
            unread_tables: checkpoints.left_out(),
            entries: done.entries.iter().map(|entries| entries.entries).sum(),
            took_ms,
            objects: None,
        }
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        let log = match self.frames {
            0 => counted(self.segments as u64, "segment"),
            frames => {
                let segments = counted(self.segments as u64, "segment");
                format!("{} in {segments}, {}", counted(frames, "frame"), bytes(self.log_bytes))
            }
        };
        let unread = match self.unread_tables {
            0 => String::new(),
            tables => format!("; of {} table files sizes and ends only", count(tables as u64)),
        };
        let files = format!(
            "{} of {}; {} of them read whole, {}{unread}",
            counted(self.files as u64, "file"),
            counted(self.checkpoints as u64, "checkpoint"),
            count(self.read_files as u64),
            bytes(self.read_bytes)
        );
        let mut fields = vec![("manifests", count(self.manifests as u64)), ("log", log), ("checkpoints", files)];
        if let Some(objects) = self.objects {
            fields.insert(0, ("objects", count(objects as u64)));
        }
        if self.entries > 0 {
            fields.push(("entries", count(self.entries)));
        }
        fields.push(("took", duration_ms(self.took_ms)));
        fields
    }
}

impl VerifyReport {
    pub fn new(
        store: &Store,
        depth: Depth,
        exit_code: Exit,
        is_running: bool,
        findings: Vec<Finding>,
        start: Start,
        looked_at: Looked,
    ) -> Self {
        let shown = store.shown();
        let next = match exit_code {
            Exit::Healthy => None,
            Exit::Incomplete => Some(format!("floodmark verify {shown} --full")),
            Exit::Degraded => Some(format!("floodmark plan {shown}")),
            _ => findings.first().map(|finding| format!("floodmark explain {}", finding.code)),
        };
        let (depth, seed) = match depth {
            Depth::Quick => ("quick", None),
            Depth::Usual => ("usual", None),
            Depth::Share(_, seed) => ("share", Some(seed)),
            Depth::Full => ("full", None),
            Depth::Entries => ("entries", None),
        };
        let store = store.name();
        Self { store, exit_code, depth, seed, is_running, looked_at, findings, start, next }
    }
}

impl Report for VerifyReport {
    const SCHEMA: &'static str = "floodmark.verify/1";

    fn write(&self, page: &mut Page) {
        page.fields(self.looked_at.words());
        if let Some(seed) = self.seed {
            page.fields([("seed", seed.to_string())]);
        }
        page.gap();
        match self.findings.len() {
            0 => page.line("Nothing is wrong with what was read."),
            1 => page.line("1 finding:"),
            findings => page.line(&format!("{findings} findings:")),
        }
        write_findings(page, &self.findings);
        if !self.findings.is_empty() {
            page.gap();
        }
        self.start.write(page);
        if let Some(next) = &self.next {
            page.next(next);
        }
    }
}
