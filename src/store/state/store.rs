//! The store under the tables: one RocksDB directory per job, fed with sorted files, never through its memtable.
//!
//! # Crash safety
//! None here, on purpose. The live directory is disposable: it is built afresh from a checkpoint's files each time a job
//! starts, so nothing rests on RocksDB's own log. What is durable is a checkpoint's immutable files, once they are synced
//! and a manifest names them.
//!
//! # Format
//! `docs/formats/state.md`: keys are `[operator u32 BE][hash u64 BE][encoded key]`, values are encoded states.
#![allow(clippy::disallowed_methods)] // RocksDB has files of its own; where they become ours the disk marks the step

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, ChecksumType, DB, DBCompactionStyle, DBCompressionType, DEFAULT_COLUMN_FAMILY_NAME, Env,
    IngestExternalFileOptions, LogLevel, Options, SstFileWriter, UniversalCompactOptions,
};

use super::key::write_store_key;
use super::{FrozenRun, OperatorNumber, StateError, StateReader};
use crate::state::files::CheckpointFile;

/// How large a sorted file may grow before the next one is begun, in bytes.
const SORTED_FILE_BYTES: u64 = 256 << 20;

/// Files that RocksDB keeps open at most; it must be finite, or an open reads them all.
const OPEN_FILES: i32 = 256;

/// Sorted runs that may pile up before some are merged: more means fewer bytes written and slower scans.
const RUNS_BEFORE_MERGE: i32 = 8;

/// RocksDB begins a new MANIFEST beyond this size, in bytes; each checkpoint copies it, so it must stay small.
const ROCKSDB_MANIFEST_BYTES: usize = 32 << 10;

/// All keyed state of a job, as of the last ingest.
#[derive(Debug)]
pub struct StateStore {
    db: Arc<DB>,
    live: PathBuf,
    ingests: AtomicU64,
}

impl StateStore {
    /// An empty store. Whatever is in `live` goes: it is a working directory that nothing relies on.
    ///
    /// # Errors
    /// When the directory cannot be made afresh.
    pub fn create(live: &Path) -> Result<Self, StateError> {
        make_afresh(live)?;
        Self::open(live)
    }

    /// A store that holds what a checkpoint holds. `live` is built afresh: table files are linked, since they never change;
    /// the small files, which RocksDB goes on writing, are copied. Costs a few milliseconds, whatever the size of the state.
    ///
    /// # Errors
    /// When a file of the checkpoint is missing or has another size than the manifest lists, or RocksDB refuses it.
    pub fn open_from(checkpoint_dir: &Path, live: &Path, files: &[CheckpointFile]) -> Result<Self, StateError> {
        for file in files {
            file.verify_size(checkpoint_dir)?;
        }
        make_afresh(live)?;
        for file in files {
            let (from, to) = (checkpoint_dir.join(&file.name), live.join(&file.name));
            if file.is_table() {
                fs::hard_link(&from, &to).map_err(|source| io_error("link", &from, source))?;
            } else {
                fs::copy(&from, &to).map_err(|source| io_error("copy", &from, source))?;
            }
        }
        Self::open(live)
    }

    fn open(live: &Path) -> Result<Self, StateError> {
        let ingest = live.join("ingest");
        fs::create_dir(&ingest).map_err(|source| io_error("create", &ingest, source))?;
        let mut options = options();
        // Only an empty directory may become a new database: a checkpoint without its CURRENT is damage (I-6).
        let empty = fs::read_dir(live).map_err(|source| io_error("list", live, source))?.count() == 1;
        options.create_if_missing(empty);
        let family = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let db = DB::open_cf_with_opts(&options, live, family).map_err(|source| StateError::Store {
            doing: "open the state store",
            directory: live.to_path_buf(),
            source,
        })?;
        Ok(Self { db: Arc::new(db), live: live.to_path_buf(), ingests: AtomicU64::new(0) })
    }

    /// Takes runs in: writes them as sorted files and hands those to RocksDB, all at once or not at all. Returns the bytes
    /// written; 0 when nothing changed.
    ///
    /// # Errors
    /// When two runs of an operator overlap, or a write fails.
    pub fn ingest(&self, runs: Vec<(OperatorNumber, FrozenRun)>) -> Result<u64, StateError> {
        let runs = in_order(runs)?;
        let options = options();
        let mut files: Vec<PathBuf> = Vec::new();
        let mut bytes = 0;
        let mut writer: Option<SstFileWriter<'_>> = None;
        let mut key = Vec::new();
        for (operator, run) in &runs {
            for entry in run.iter() {
                let file = match &mut writer {
                    Some(file) => file,
                    None => {
                        let number = self.ingests.fetch_add(1, Ordering::Relaxed);
                        let path = self.live.join("ingest").join(format!("{number}.sst"));
                        let file = SstFileWriter::create(&options);
                        file.open(&path).map_err(self.failed("create a sorted file"))?;
                        files.push(path);
                        writer.insert(file)
                    }
                };
                write_store_key(&mut key, *operator, entry.hash, entry.key);
                match entry.value {
                    Some(value) => file.put(&key, value),
                    None => file.delete(&key),
                }
                .map_err(self.failed("write a sorted file"))?;
                // The size is that of whole blocks written, so this is asked rarely enough and is cheap.
                if file.file_size() >= SORTED_FILE_BYTES {
                    bytes += self.finish(&mut writer)?;
                }
            }
        }
        bytes += self.finish(&mut writer)?;
        if !files.is_empty() {
            let mut ingest = IngestExternalFileOptions::default();
            ingest.set_move_files(true);
            // Nothing is ever put through the memtable, so no ingest may find something to flush.
            ingest.set_allow_blocking_flush(false);
            self.db.ingest_external_file_opts(&ingest, files).map_err(self.failed("ingest sorted files"))?;
        }
        Ok(bytes)
    }

    fn finish(&self, writer: &mut Option<SstFileWriter<'_>>) -> Result<u64, StateError> {
        let Some(mut file) = writer.take() else { return Ok(0) };
        file.finish().map_err(self.failed("finish a sorted file"))?;
        Ok(file.file_size())
    }

    /// Writes a consistent copy of the store, made of hard links, into `directory`, which must not exist. Nothing of it is
    /// durable before the directory, its files and its parent are synced.
    ///
    /// # Errors
    /// When RocksDB refuses, or the directory exists.
    pub fn checkpoint(&self, directory: &Path) -> Result<(), StateError> {
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(directory)).map_err(|source| {
            StateError::Store { doing: "write a checkpoint", directory: directory.to_path_buf(), source }
        })?;
        remove_settings(directory)
    }

    /// A view for reading, for any thread; it sees every ingest that has returned.
    pub fn reader(&self) -> StateReader {
        StateReader::new(Arc::clone(&self.db), self.live.clone())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rocksdb::Error) -> StateError + '_ {
        move |source| StateError::Store { doing, directory: self.live.clone(), source }
    }
}

/// Opens the files in `directory` for reading only, whatever is wrong with some of them: what lies in damaged ones fails when it
/// is read. Messages name `shown` as the place. With `keep_all_open` no name in the directory is looked up later.
///
/// # Errors
/// When RocksDB's small files are damaged or missing: then nothing can be read.
pub(super) fn open_to_read(directory: &Path, shown: &Path, keep_all_open: bool) -> Result<StateReader, StateError> {
    let mut options = options();
    options.set_paranoid_checks(false);
    options.set_max_open_files(if keep_all_open { -1 } else { OPEN_FILES });
    options.set_skip_stats_update_on_db_open(true);
    let family = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
    let db = DB::open_cf_with_opts_for_read_only(&options, directory, family, false)
        .map_err(|source| StateError::Store { doing: "open the checkpoint", directory: shown.to_path_buf(), source })?;
    Ok(StateReader::new(Arc::new(db), shown.to_path_buf()))
}

/// Runs in the order of the store. Partitions are ranges of hashes, so ordering the runs orders their entries.
fn in_order(runs: Vec<(OperatorNumber, FrozenRun)>) -> Result<Vec<(OperatorNumber, FrozenRun)>, StateError> {
    let mut runs: Vec<_> = runs.into_iter().filter(|(_, run)| !run.is_empty()).collect();
    runs.sort_unstable_by_key(|(operator, run)| (*operator, run.first_hash()));
    for pair in runs.windows(2) {
        let ((before, earlier), (operator, later)) = (&pair[0], &pair[1]);
        if let (Some(last), Some(first)) = (earlier.last_hash(), later.first_hash())
            && before == operator
            && first <= last
        {
            return Err(StateError::RunsOverlap { operator: *operator, hash: first });
        }
    }
    Ok(runs)
}

fn make_afresh(live: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(live) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(io_error("empty", live, source)),
    }
    fs::create_dir_all(live).map_err(|source| io_error("create", live, source))
}

/// RocksDB's file of its settings: nobody reads it, since the program gives them at every open, and one that checkpoints share
/// by a link would spoil all of them when it rots.
fn remove_settings(checkpoint: &Path) -> Result<(), StateError> {
    let list = |source| io_error("list", checkpoint, source);
    for entry in fs::read_dir(checkpoint).map_err(list)? {
        let entry = entry.map_err(list)?;
        if entry.file_name().to_string_lossy().starts_with("OPTIONS-") {
            fs::remove_file(entry.path()).map_err(|source| io_error("remove", &entry.path(), source))?;
        }
    }
    Ok(())
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { doing, path: path.to_path_buf(), source }
}

/// RocksDB's own threads, which merge files: they give way to the batches, as the one that writes checkpoints does.
fn background() -> Env {
    static BACKGROUND: OnceLock<Env> = OnceLock::new();
    let lowered = || {
        let mut env = Env::new().expect("RocksDB has its environment");
        env.lower_thread_pool_cpu_priority();
        env
    };
    BACKGROUND.get_or_init(lowered).clone()
}

/// RocksDB's settings: the same for the database and for the files that are written for it.
fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(10.0, false);
    blocks.set_checksum_type(ChecksumType::XXH3);

    // Size-tiered merging: a small change is merged with small ones, so that bytes written per checkpoint follow what
    // changed, on average too; the large first load is rewritten only when as much again has changed.
    let mut universal = UniversalCompactOptions::default();
    universal.set_size_ratio(10);
    universal.set_min_merge_width(2);
    universal.set_max_size_amplification_percent(100);

    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_universal_compaction_options(&universal);
    options.set_level_zero_file_num_compaction_trigger(RUNS_BEFORE_MERGE);
    options.set_target_file_size_base(SORTED_FILE_BYTES);
    options.set_periodic_compaction_seconds(0); // age alone is no reason to write
    options.set_max_background_jobs(1);
    options.set_env(&background());
    options.set_max_open_files(OPEN_FILES);
    options.set_max_manifest_file_size(ROCKSDB_MANIFEST_BYTES);
    options.set_write_buffer_size(64 << 10); // the memtable stays empty
    options.set_paranoid_checks(true);
    options.set_log_level(LogLevel::Error); // one of its warnings comes with every file that is ingested
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}
