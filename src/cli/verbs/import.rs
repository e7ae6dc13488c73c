//! `floodmark import`: makes a store of what `export` wrote.
//!
//! # What a crash leaves
//! | step | a crash before or in it leaves |
//! |---|---|
//! | the mark `import.unfinished`, the line `begins` (`operation.write`) | a place that only an import takes up again |
//! | the state in `live/`, the checkpoint, synced (`checkpoint.files`) | the same, with files that the next import removes; a start is refused: it finds a checkpoint, and no manifest |
//! | the log's first segment (`wal.roll`) | the same |
//! | the manifest (`manifest.create`) | the same, or the store: the create is the commit point |
//! | the line `done`, the mark goes (`operation.write`) | the store; another import of the same finishes this |
//!
//! In object storage the mark stays on this machine. What an import that died has left there is a log without frames and files that no
//! manifest names: the next import goes on behind them, and the job's first life deletes them.
#![allow(clippy::disallowed_methods)] // reads a file of the user

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::{Store, quoted};
use crate::operation::{Operation, WriteArgs, is_there, refuse_the_owned};
use crate::page::{Mood, Page, count, time};
use crate::remote::RemoteStore;
use floodmark_base::codec::KeyHash;
use floodmark_base::disk::{Disk, Step};
use floodmark_base::id::{BatchId, BatchTime, Epoch, Lineage, ManifestSequence, Sequence, Uid, WriterNonce};
use floodmark_store::checkpoint::{
    ChainFacts, CheckpointFiles, DROPPED, JobPoint, KeyLayout, LogPoint, MANIFESTS, Manifest, ManifestChain,
    ManifestDraft, ManifestKind, OperatorEntry, SourceEntry, SourcePosition, directory_name, manifest_file_name,
};
use floodmark_store::export::{ExportError, ExportReader, Header, StoredEntry};
use floodmark_store::recovery::facts::{CHECKPOINTS, LIVE, WAL};
use floodmark_store::state::files::list_files;
use floodmark_store::state::shape::from_hex;
use floodmark_store::state::{FrozenRun, OperatorNumber, StateStore};
use floodmark_store::wal::{Wal, WalSettings};

/// (writes) Makes a store of an export, in an empty place.
///
/// Writes only with --apply. The job that starts there has the state and the positions in its sources of the batch that was
/// exported, and goes on in the same lineage: stop the job that was exported, and do not start it again. With --new-lineage both
/// may go on, as two histories.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory, or the URL, that becomes the store: empty, or not there.
    location: String,
    /// What `export` wrote.
    file: PathBuf,
    /// Begin a new lineage: outputs that know the job take its batches for those of another one.
    #[arg(long)]
    new_lineage: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// Says whose unfinished import lies in a place: the nonce of its manifest, in hex.
const MARK: &str = "import.unfinished";
/// Bytes of entries that are held before they are handed to the store.
const CHUNK_BYTES: usize = 64 << 20;

#[derive(Serialize)]
struct ImportReport {
    store: String,
    applied: bool,
    /// An import that had died was all but done, and is finished.
    finished_earlier: bool,
    job: String,
    batch: u64,
    batch_time_ms: u64,
    operators: usize,
    keys: u64,
    lineage: String,
    next: String,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::place(&args.location, console)?;
    refuse_the_owned(&store)?;
    let unfinished = if store.remote().is_some() { None } else { unfinished(console, &store)? };
    // Before anything is made: every line is read, and the last one says that nothing is missing.
    let mut reader = open(&args.file)?;
    let header = reader.header().clone();
    let point = point(&args.file, &header, args.new_lineage)?;
    let is_there = store.remote().map_or(Ok(false), |remote| is_imported(remote, &store, &point, args.new_lineage))?;
    let mut keys = 0;
    while reader.next_entry().map_err(|error| unreadable(&args.file, &error))?.is_some() {
        console.check()?;
        keys += 1;
    }
    let mut report = ImportReport {
        store: store.name(),
        applied: args.write.apply,
        finished_earlier: false,
        job: header.job.clone(),
        batch: header.batch,
        batch_time_ms: header.last_batch_time_ms,
        operators: header.operators.iter().filter(|operator| operator.kind != DROPPED).count(),
        keys,
        lineage: point.lineage.to_string(),
        next: format!("floodmark plan {}", store.shown()),
    };
    if is_there {
        report.finished_earlier = true;
    } else if !args.write.apply {
        let (file, job) = (quoted(&args.file.display().to_string()), quoted(&header.job));
        report.next = format!("floodmark import {} {file} --apply --confirm {job}", store.shown());
    } else {
        let question = format!("Make a store of the job \"{}\" in {}?", header.job, store.shown());
        report.finished_earlier = apply(args, console, &store, &header, point, unfinished, &question)?;
    }
    console.show(&report)?;
    Ok(Exit::Healthy)
}

/// Makes the store; whether that was done before already, up to its record.
fn apply(
    args: &Args,
    console: &mut Console<'_>,
    store: &Store,
    header: &Header,
    point: JobPoint,
    unfinished: Option<WriterNonce>,
    question: &str,
) -> Result<bool> {
    let disk = console.disk();
    disk.create_dir_all(Step::Operation, store.path()).map_err(|error| Failure::io("make", store.path(), &error))?;
    let operation = Operation::begin(console, store, &header.job, "import", &args.write, None, question)?;
    let what = format!("the state after batch {} of the job \"{}\" is imported", header.batch, header.job);
    let mark = store.path().join(MARK);
    let is_done = match unfinished {
        Some(nonce) => is_published(&*disk, store, nonce)?,
        None => false,
    };
    if !is_done {
        let nonce = WriterNonce::random();
        let temporary = store.path().join(format!(".{MARK}.tmp"));
        disk.replace_whole(Step::Operation, &mark, &temporary, nonce.to_string().as_bytes())
            .map_err(|error| Failure::io("write", &mark, &error))?;
        operation.begins(&what)?;
        clear(&*disk, store)?;
        let epoch = Epoch(header.epoch).next();
        operation.take_log(epoch, nonce)?;
        make(&args.file, console, store, point, (epoch, nonce), operation.shared_disk())?;
    }
    operation.done(&what)?;
    disk.remove(Step::Operation, &mark).map_err(|error| Failure::io("remove", &mark, &error))?;
    Ok(is_done)
}

fn make(
    file: &Path,
    console: &Console<'_>,
    store: &Store,
    mut point: JobPoint,
    (epoch, nonce): (Epoch, WriterNonce),
    disk: Arc<dyn Disk>,
) -> Result<()> {
    let job = store.path();
    let live = job.join(LIVE);
    let state = StateStore::create(&live)?;
    fill(file, console, &state, &mut point)?;
    let (name, checkpoints) = (directory_name(point.batch, epoch, nonce), job.join(CHECKPOINTS));
    disk.create_dir_all(Step::Operation, &checkpoints).map_err(|error| Failure::io("make", &checkpoints, &error))?;
    let directory = checkpoints.join(&name);
    state.checkpoint(&directory)?;
    drop(state);
    disk.sync_tree(Step::CheckpointFiles, &directory).map_err(|error| Failure::io("sync", &directory, &error))?;
    let files = list_files(&*disk, &directory).map_err(|error| Failure::io("read", &directory, &error))?;

    let wal =
        Wal::create(disk.clone(), &job.join(WAL), epoch, WalSettings { reserve_bytes: 0, ..WalSettings::default() })?;
    point.log = LogPoint { log: wal.log_id(), next: Sequence(1), oldest_needed: Sequence(1) };
    wal.abandon();

    let checkpoint = Some(CheckpointFiles { directory: name, files });
    let draft = ManifestDraft { epoch, nonce, kind: ManifestKind::Checkpoint, point, checkpoint };
    ManifestChain::new(job, ChainFacts::default(), usize::MAX).publish(&*disk, draft)?;
    Ok(())
}

/// Whether a bucket holds what an earlier import of the same made; what holds anything else is refused. Files and a log without a manifest
/// are what an import, or a first start, leaves that has died.
fn is_imported(remote: &RemoteStore, store: &Store, point: &JobPoint, new_lineage: bool) -> Result<bool> {
    let look = remote.look();
    if look.manifests.newest().is_none() {
        return Ok(false);
    }
    let only = look.manifests.newest_sound();
    let is_same = |manifest: &Manifest| {
        let found = &manifest.point;
        let same_lineage = new_lineage || found.lineage == point.lineage;
        manifest.sequence == ManifestSequence(1)
            && manifest.kind == ManifestKind::Checkpoint
            && (&found.job_name, found.batch, same_lineage) == (&point.job_name, point.batch, true)
    };
    if only.is_some_and(is_same) {
        return Ok(true);
    }
    let message = format!("{} holds a job already: an import makes a store in an empty place only", store.name());
    Err(Failure::usage(message).try_next(format!("floodmark status {}", store.shown())))
}

/// Hands all entries to the store, and counts those of each operator.
fn fill(file: &Path, console: &Console<'_>, state: &StateStore, point: &mut JobPoint) -> Result<()> {
    let mut reader = open(file)?;
    let numbers: Vec<OperatorNumber> = reader.header().operators.iter().map(|it| OperatorNumber(it.number)).collect();
    let mut counts = vec![0_u64; numbers.len()];
    let mut chunk: BTreeMap<Place, Vec<u8>> = BTreeMap::new();
    let (mut bytes, mut newest): (usize, Option<Place>) = (0, None);
    while let Some(StoredEntry { operator, key, value }) =
        reader.next_entry().map_err(|error| unreadable(file, &error))?
    {
        console.check()?;
        let place = (numbers[operator], KeyHash::of_encoded(&key), key);
        let is_behind = newest.as_ref().is_some_and(|newest| *newest >= place);
        let is_double =
            is_behind && (chunk.contains_key(&place) || state.reader().get(place.0, place.1, &place.2)?.is_some());
        if is_double {
            let uid = &reader.header().operators[operator].uid;
            let message = format!("{}: a key of \"{uid}\" is there twice", file.display());
            return Err(Failure::usage(message));
        }
        newest = newest.max(Some(place.clone()));
        counts[operator] += 1;
        bytes += place.2.len() + value.len();
        chunk.insert(place, value);
        if bytes >= CHUNK_BYTES {
            ingest(state, &mut chunk)?;
            bytes = 0;
        }
    }
    ingest(state, &mut chunk)?;
    for entry in &mut point.operators {
        if let Some(index) = numbers.iter().position(|number| *number == entry.number) {
            entry.entries = counts[index];
        }
    }
    Ok(())
}

/// Where an entry stands in the store.
type Place = (OperatorNumber, KeyHash, Vec<u8>);

fn ingest(state: &StateStore, chunk: &mut BTreeMap<Place, Vec<u8>>) -> Result<()> {
    let mut runs: Vec<(OperatorNumber, FrozenRun)> = Vec::new();
    for ((operator, hash, key), value) in std::mem::take(chunk) {
        if runs.last().is_none_or(|(last, _)| *last != operator) {
            runs.push((operator, FrozenRun::default()));
        }
        let (_, run) = runs.last_mut().expect("it was just pushed");
        run.push_encoded(hash, &key, Some(&value));
    }
    state.ingest(runs)?;
    Ok(())
}

fn open(file: &Path) -> Result<ExportReader<impl BufRead>> {
    let opened = File::open(file).map_err(|error| Failure::io("read", file, &error))?;
    ExportReader::new(BufReader::with_capacity(1 << 20, opened)).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &ExportError) -> Failure {
    let exit = if matches!(error, ExportError::Io { .. }) { Exit::Failed } else { Exit::Usage };
    Failure::new(exit, format!("{}: {error}", file.display()))
}

/// Where the job stands, as the header says.
fn point(file: &Path, header: &Header, new_lineage: bool) -> Result<JobPoint> {
    let wrong = |what: String| Failure::usage(format!("{}: line 1: {what}", file.display()));
    if !header.complete {
        return Err(wrong("these are not all operators of the job: export without --operator".to_string()));
    }
    let number = |text: &str, what: &str| {
        u128::from_str_radix(text, 16).map_err(|error| wrong(format!("{what} {text:?}: {error}")))
    };
    let keys = KeyLayout {
        hash_name: header.keys.hash.clone(),
        test_vector: number(&header.keys.test_vector, "the test vector")? as u64,
        key_groups: header.keys.key_groups,
        partitions: header.keys.partitions,
        cells: 1,
    };
    let ours = KeyLayout::of_this_build(keys.key_groups, keys.partitions);
    if keys != ours {
        let message = format!("keys are spread by {}, this build spreads them by {}", keys.hash_name, ours.hash_name);
        return Err(Failure::new(Exit::Incompatible, format!("{}: {message}", file.display())));
    }
    let not_hex = |uid: &str| wrong(format!("the position of \"{uid}\" is not hex"));
    let of_version_1 = header.positions.iter().map(|it| {
        let bytes = from_hex(&it.position).ok_or_else(|| not_hex(&it.uid))?;
        Ok(SourceEntry::of_unknown_type(it.uid.as_str().into(), SourcePosition::Version1(bytes)))
    });
    let sources = header.sources.iter().map(|it| it.entry().ok_or_else(|| not_hex(&it.uid))).chain(of_version_1);
    let operators = header.operators.iter().map(|it| OperatorEntry {
        uid: Uid::from(it.uid.as_str()),
        number: OperatorNumber(it.number),
        kind: it.kind.clone(),
        key_type: it.key_type.clone(),
        state_type: it.state_type.clone(),
        state_version: it.state_version,
        entries: 0,
        parameters: it.parameters.clone(),
    });
    let lineage = Lineage(number(&header.lineage, "the lineage")?);
    Ok(JobPoint {
        job_name: header.job.clone(),
        job_version: header.job_version.clone(),
        lineage: if new_lineage { Lineage::random() } else { lineage },
        generation: if new_lineage { Epoch(header.epoch).next() } else { Epoch(header.generation) },
        batch: BatchId(header.batch),
        next_batch: BatchId(header.next_batch),
        last_batch_time: BatchTime(header.last_batch_time_ms),
        zero_time: BatchTime(header.zero_time_ms),
        published_through: BatchId(header.published_through),
        sources: sources.collect::<Result<_>>()?,
        log: LogPoint { log: floodmark_base::id::LogId(0), next: Sequence(1), oldest_needed: Sequence(1) },
        keys,
        interval_ms: header.interval_ms,
        operators: operators.collect(),
    })
}

/// The place must be empty, but for an import that died here: its nonce.
fn unfinished(console: &Console<'_>, store: &Store) -> Result<Option<WriterNonce>> {
    let (disk, path) = (console.disk(), store.path());
    let names = match disk.list(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Failure::io("list", path, &error))?,
    };
    let mark = path.join(MARK);
    if names.iter().any(|name| name == MARK) {
        let text = disk.read(&mark).map_err(|error| Failure::io("read", &mark, &error))?;
        let nonce = std::str::from_utf8(&text).ok().and_then(|text| u128::from_str_radix(text, 16).ok());
        let nonce = nonce.ok_or_else(|| Failure::usage(format!("{} is not what an import wrote", mark.display())))?;
        return Ok(Some(WriterNonce(nonce)));
    }
    let of_an_import = |name: &str| ["LOCK", &format!(".{MARK}.tmp")].contains(&name);
    match names.iter().find(|name| !of_an_import(name)) {
        None => Ok(None),
        Some(first) => Err(Failure::usage(format!(
            "{} is not empty: it holds {} and {} more; an import makes a store in an empty place only",
            path.display(),
            first,
            names.len() - 1
        ))),
    }
}

/// Whether an import that died had come to its manifest.
fn is_published(disk: &dyn Disk, store: &Store, nonce: WriterNonce) -> Result<bool> {
    let first = store.path().join(MANIFESTS).join(manifest_file_name(ManifestSequence(1)));
    if !is_there(disk, &first)? {
        return Ok(false);
    }
    let bytes = disk.read(&first).map_err(|error| Failure::io("read", &first, &error))?;
    match Manifest::from_bytes(&bytes) {
        Ok(manifest) if manifest.nonce == nonce => Ok(true),
        _ => Err(Failure::usage(format!("{} holds a store already: it was begun since", store.path().display()))),
    }
}

/// Removes what an import that died has left; it was never a store.
fn clear(disk: &dyn Disk, store: &Store) -> Result<()> {
    for name in [CHECKPOINTS, WAL, MANIFESTS] {
        let path = store.path().join(name);
        if is_there(disk, &path)? {
            disk.remove(Step::Operation, &path).map_err(|error| Failure::io("remove", &path, &error))?;
        }
    }
    Ok(())
}

impl Report for ImportReport {
    const SCHEMA: &'static str = "floodmark.import/1";

    fn write(&self, page: &mut Page) {
        let job = format!("the job \"{}\" after batch {}", self.job, count(self.batch));
        if self.finished_earlier {
            page.headline(Mood::Good, &format!("An earlier import of {job} was all but done; it is finished."));
        } else if self.applied {
            page.headline(Mood::Good, &format!("Imported: {job}."));
        } else {
            page.headline(Mood::Attention, &format!("This is {job}; nothing was written."));
        }
        page.fields([
            ("time", time(self.batch_time_ms)),
            ("keys", format!("{} of {} operators", count(self.keys), self.operators)),
            ("lineage", self.lineage.clone()),
        ]);
        page.next(&self.next);
    }
}
