//! `floodmark du`: what takes how much room.

mod bucket;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoints::{Opened, Question};
use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::Result;
use crate::frames::oldest_needed;
use crate::location::{MANIFESTS, Store};
use crate::operation::LOST_AND_FOUND;
use crate::operation::pins::PINNED;
use crate::page::{Page, bytes, count};
use crate::sizes::walk;
use crate::view;
use floodmark_base::disk::{LocalDisk, TEMPORARY_SUFFIX};
use floodmark_store::checkpoint::{DROPPED, manifest_file_name};
use floodmark_store::recovery::facts::{CHECKPOINTS, LIVE, WAL};
use floodmark_store::wal::LogSurvey;

/// What takes how much room, by kind and by operator.
///
/// A file with several names counts once, where it is needed most; so the sum is what is on the disk.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
}

/// What a file is for, the most needed first: a file with several names is of the first kind of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    LogNeeded,
    LogNotNeeded,
    LogReserve,
    Manifests,
    Checkpoints,
    CheckpointsShared,
    Pinned,
    LostAndFound,
    Live,
    ManifestsSuperseded,
    CheckpointsUnnamed,
    Temporary,
    /// Of object storage, and those below.
    KeptForEver,
    Pins,
    Record,
    Unneeded,
    Other,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::LogNeeded => "log, needed by a checkpoint that is retained",
            Self::LogNotNeeded => "log, not needed any more: goes with the next checkpoint",
            Self::LogReserve => "log, room kept for a full disk",
            Self::Manifests => "manifests",
            Self::Checkpoints => "checkpoints, in one of them only",
            Self::CheckpointsShared => "checkpoints, shared by several",
            Self::Pinned => "pinned, and nowhere else",
            Self::LostAndFound => "lost+found",
            Self::Live => "live directory, and nowhere else: disposable",
            Self::ManifestsSuperseded => "garbage: superseded manifests",
            Self::CheckpointsUnnamed => "garbage: checkpoints that no manifest names",
            Self::Temporary => "garbage: temporary files of an interrupted step",
            Self::KeptForEver => "kept for ever: first objects of each life, every 64th manifest",
            Self::Pins => "pins",
            Self::Record => "what verbs have done",
            Self::Unneeded => "garbage: objects that nobody needs",
            Self::Other => "other files",
        }
    }

    fn is_garbage(self) -> bool {
        matches!(self, Self::ManifestsSuperseded | Self::CheckpointsUnnamed | Self::Temporary | Self::Unneeded)
    }
}

#[derive(Serialize)]
struct DuReport {
    store: String,
    kinds: Vec<KindRow>,
    total_bytes: u64,
    files: u64,
    garbage_bytes: u64,
    /// Of the newest checkpoint.
    operators: Vec<OperatorRow>,
    as_of_batch: Option<u64>,
    /// Why nothing is known by operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    operators_unknown: Option<String>,
}

#[derive(Serialize)]
struct KindRow {
    kind: Kind,
    bytes: u64,
    files: u64,
}

#[derive(Serialize)]
struct OperatorRow {
    uid: String,
    keys: u64,
    /// About, since operators share files.
    approximate_bytes: u64,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    if let Some(remote) = store.remote() {
        console.show(&bucket::report(&store, remote)?)?;
        return Ok(Exit::Healthy);
    }
    let known = Known::of(&store)?;
    let mut files: HashMap<(u64, u64), Counted> = HashMap::new();
    walk(store.path(), Path::new(""), &mut |path, metadata| {
        let kind = known.kind(path);
        let checkpoint = (kind == Kind::Checkpoints).then(|| path.iter().nth(1).map(PathBuf::from)).flatten();
        let counted = files.entry((metadata.dev(), metadata.ino())).or_insert(Counted {
            kind,
            bytes: metadata.len(),
            checkpoints: HashSet::new(),
        });
        counted.kind = counted.kind.min(kind);
        counted.checkpoints.extend(checkpoint);
    })?;
    let mut report = DuReport::of(&store, files.into_values());
    report.take_operators(&store);
    console.show(&report)?;
    Ok(Exit::Healthy)
}

/// A file, under all of its names.
struct Counted {
    kind: Kind,
    bytes: u64,
    /// The checkpoints that have it.
    checkpoints: HashSet<PathBuf>,
}

/// What the manifests say of the files.
struct Known {
    /// The oldest segment that is needed.
    oldest_segment: Option<u64>,
    /// Directories that the chain names; nothing where the chain cannot be believed, and nothing counts as garbage.
    named: Option<HashSet<String>>,
    superseded: HashSet<String>,
}

impl Known {
    fn of(store: &Store) -> Result<Self> {
        let (chain, errors) = view::surveyed_chain(store.path())?;
        let believed = errors.is_empty() && chain.damaged().next().is_none() && !chain.is_empty();
        let survey = LogSurvey::of(&LocalDisk, &store.path().join(WAL), None)?;
        let needed = if believed { oldest_needed(store.path()) } else { None };
        let oldest_segment = needed.and_then(|needed| {
            let needs = survey.segments.iter().rfind(|segment| segment.header.first_sequence <= needed);
            needs.map(|segment| segment.header.number.0)
        });
        let superseded = chain.superseded.iter().map(|sequence| manifest_file_name(*sequence)).collect();
        Ok(Self {
            oldest_segment,
            named: believed.then(|| chain.directories(chain.boundary()).map(str::to_string).collect()),
            superseded,
        })
    }

    /// What a file is for, by its path below the store.
    fn kind(&self, path: &Path) -> Kind {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_temporary = parts.iter().any(|part| part.ends_with(TEMPORARY_SUFFIX));
        match parts[..] {
            _ if is_temporary => Kind::Temporary,
            [WAL, "reserve"] => Kind::LogReserve,
            [WAL, name] => match name.strip_suffix(".log").and_then(|number| number.parse::<u64>().ok()) {
                Some(number) if self.oldest_segment.is_some_and(|oldest| number < oldest) => Kind::LogNotNeeded,
                Some(_) => Kind::LogNeeded,
                None => Kind::Other,
            },
            [MANIFESTS, name] if self.superseded.contains(name) => Kind::ManifestsSuperseded,
            [MANIFESTS, _] => Kind::Manifests,
            [CHECKPOINTS, directory, ..] => match &self.named {
                Some(named) if !named.contains(directory) => Kind::CheckpointsUnnamed,
                _ => Kind::Checkpoints,
            },
            [LIVE, ..] => Kind::Live,
            [PINNED, ..] => Kind::Pinned,
            [LOST_AND_FOUND, ..] => Kind::LostAndFound,
            _ => Kind::Other,
        }
    }
}

impl DuReport {
    fn of(store: &Store, files: impl Iterator<Item = Counted>) -> Self {
        let mut kinds: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        for file in files {
            let kind = match file.kind {
                Kind::Checkpoints if file.checkpoints.len() > 1 => Kind::CheckpointsShared,
                kind => kind,
            };
            let sum = kinds.entry(kind).or_default();
            *sum = (sum.0 + file.bytes, sum.1 + 1);
        }
        let rows: Vec<KindRow> =
            kinds.into_iter().map(|(kind, (bytes, files))| KindRow { kind, bytes, files }).collect();
        Self {
            store: store.name(),
            total_bytes: rows.iter().map(|row| row.bytes).sum(),
            files: rows.iter().map(|row| row.files).sum(),
            garbage_bytes: rows.iter().filter(|row| row.kind.is_garbage()).map(|row| row.bytes).sum(),
            kinds: rows,
            operators: Vec::new(),
            as_of_batch: None,
            operators_unknown: None,
        }
    }

    fn take_operators(&mut self, store: &Store) {
        let opened = match Opened::open(store, None, &Question::of("operators", store, &[])) {
            Ok(opened) => opened,
            Err(failure) => {
                self.operators_unknown = Some(failure.to_string());
                return;
            }
        };
        self.as_of_batch = Some(opened.known.batch().0);
        let rows = opened.operators_with_bytes().filter(|(operator, _)| operator.kind != DROPPED);
        self.operators = rows
            .map(|(operator, approximate_bytes)| OperatorRow {
                uid: operator.uid.to_string(),
                keys: operator.entries,
                approximate_bytes,
            })
            .collect();
    }
}

impl Report for DuReport {
    const SCHEMA: &'static str = "floodmark.du/1";

    fn write(&self, page: &mut Page) {
        let row = |row: &KindRow| vec![bytes(row.bytes), count(row.files), row.kind.words().to_string()];
        let mut rows: Vec<Vec<String>> = self.kinds.iter().map(row).collect();
        rows.push(vec![bytes(self.total_bytes), count(self.files), "all".to_string()]);
        page.table(&["bytes", "files", "what"], &rows);
        page.gap();
        match (&self.operators_unknown, self.as_of_batch) {
            (Some(reason), _) => page.line(&format!("By operator nothing is known: {reason}")),
            (None, batch) => {
                page.line(&format!("By operator, as of batch {}, about:", batch.unwrap_or_default()));
                let row = |row: &OperatorRow| vec![row.uid.clone(), count(row.keys), bytes(row.approximate_bytes)];
                page.table(&["uid", "keys", "about"], &self.operators.iter().map(row).collect::<Vec<_>>());
            }
        }
    }
}
