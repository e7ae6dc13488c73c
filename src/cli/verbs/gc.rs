//! `floodmark gc`: what lies in a store and is needed by nobody, and moving it away.
//!
//! The job's own collection removes the same at its next checkpoint; a job that does not run any more has none.

mod bucket;

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::{Store, quoted};
use crate::operation::pins::PINNED;
use crate::operation::{BackupArgs, Moved, Operation, WriteArgs, refuse_the_owned};
use crate::page::{Page, bytes, count};
use crate::sizes::walk;
use crate::view;
use floodmark_base::disk::{Disk, TEMPORARY_SUFFIX};
use floodmark_store::checkpoint::{MANIFESTS, manifest_file_name, unneeded};
use floodmark_store::recovery::facts::{CHECKPOINTS, WAL};

/// (writes) Moves away what nobody needs any more.
///
/// Unnamed checkpoints, leftovers of interrupted writes, superseded manifests. Writes only with --apply. With --apply it moves to
/// the backup folder. The state that the job would recover to, and every other that its manifests name, stay as they are, and so
/// does the log.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    backup: BackupArgs,
}

#[derive(Serialize)]
struct GcReport {
    store: String,
    applied: bool,
    garbage: Vec<Garbage>,
    bytes: u64,
    moved: Vec<Moved>,
    next: Option<String>,
}

/// One thing that may go.
#[derive(Serialize)]
struct Garbage {
    /// Below the store's directory.
    path: String,
    /// `unnamed checkpoint`, `leftover` or `superseded manifest`.
    kind: &'static str,
    /// What becomes free when it is gone: files that other checkpoints share do not count.
    bytes: u64,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    match store.remote() {
        Some(remote) => bucket::refuse(remote, &store)?,
        None => refuse_the_owned(&store)?,
    }
    let (mut garbage, job) = look(console, &store)?;
    let things = if store.remote().is_some() { "objects" } else { "things" };
    let mut report = GcReport {
        store: store.name(),
        applied: args.write.apply && !garbage.is_empty(),
        bytes: garbage.iter().map(|it| it.bytes).sum(),
        garbage: Vec::new(),
        moved: Vec::new(),
        next: None,
    };
    if report.applied {
        let question = format!("Move {} {things} that nobody needs to the backup folder?", garbage.len());
        let backup = Some(&args.backup);
        let mut operation = Operation::begin(console, &store, &job, "gc", &args.write, backup, &question)?;
        // Now that no driver can start: what was looked at before may have been taken up meanwhile.
        store.refresh()?;
        garbage = look(console, &store)?.0;
        let what = format!("{} {things} that nobody needs move to the backup folder", garbage.len());
        operation.begins(&what)?;
        for it in &garbage {
            console.check()?;
            match store.remote() {
                Some(_) => bucket::move_away(&mut operation, &it.path)?,
                None => operation.move_to_backup(&it.path)?,
            }
        }
        report.moved = operation.done(&what)?;
    } else if !garbage.is_empty() {
        let (shown, job) = (store.shown(), quoted(&job));
        report.next = Some(format!("floodmark gc {shown} --apply --backup DIR --confirm {job}"));
    }
    report.garbage = garbage;
    console.show(&report)?;
    Ok(Exit::Healthy)
}

/// What may go, and the name of the job.
fn look(console: &Console<'_>, store: &Store) -> Result<(Vec<Garbage>, String)> {
    match store.remote() {
        Some(remote) => bucket::look(remote),
        None => look_at_directory(console, store),
    }
}

/// Superseded manifests come first, oldest first: as the engine removes them.
fn look_at_directory(console: &Console<'_>, store: &Store) -> Result<(Vec<Garbage>, String)> {
    let disk = console.disk();
    let chain = view::chain(store.path())?;
    let job = chain.newest().map(|manifest| manifest.point.job_name.clone()).unwrap_or_default();
    let mut found: Vec<(String, &'static str)> = Vec::new();
    found.extend(
        chain.superseded.iter().map(|it| (format!("{MANIFESTS}/{}", manifest_file_name(*it)), "superseded manifest")),
    );
    for place in [MANIFESTS, WAL, CHECKPOINTS] {
        let names = names(&*disk, store, place)?;
        if place == CHECKPOINTS {
            let unnamed = unneeded(&chain, &names).into_iter().filter(|name| !name.ends_with(TEMPORARY_SUFFIX));
            found.extend(unnamed.map(|name| (format!("{place}/{name}"), "unnamed checkpoint")));
        }
        let leftovers = names.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX));
        found.extend(leftovers.map(|name| (format!("{place}/{name}"), "leftover")));
    }
    // Files that stay, by all their names; what is not among them becomes free.
    let mut stays = HashSet::new();
    let gone: HashSet<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    for place in [CHECKPOINTS, PINNED] {
        walk(store.path(), Path::new(place), &mut |path, file| {
            let of: PathBuf = path.iter().take(2).collect();
            if of.to_str().is_none_or(|of| !gone.contains(of)) {
                stays.insert((file.dev(), file.ino()));
            }
        })?;
    }
    let mut garbage = Vec::new();
    for (path, kind) in found {
        let full = store.path().join(&path);
        let mut bytes = 0;
        if full.is_dir() {
            walk(store.path(), Path::new(&path), &mut |_, file| {
                bytes += if stays.insert((file.dev(), file.ino())) { file.len() } else { 0 };
            })?;
        } else {
            bytes = disk.len(&full).map_err(|error| Failure::io("look at", &full, &error))?;
        }
        garbage.push(Garbage { path, kind, bytes });
    }
    Ok((garbage, job))
}

fn names(disk: &dyn Disk, store: &Store, place: &str) -> Result<Vec<String>> {
    let directory = store.path().join(place);
    match disk.list(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| Failure::io("list", &directory, &error)),
    }
}

impl Report for GcReport {
    const SCHEMA: &'static str = "floodmark.gc/1";

    fn write(&self, page: &mut Page) {
        if self.garbage.is_empty() {
            page.line("Everything here is needed.");
            return;
        }
        let (things, free) = (count(self.garbage.len() as u64), bytes(self.bytes));
        page.line(&if self.applied {
            format!("{things} things that nobody needs were moved to the backup folder: {free}.")
        } else {
            format!("Nobody needs {things} things: {free}. Nothing was written; the job's next checkpoint removes them, too.")
        });
        let row = |it: &Garbage| vec![it.kind.to_string(), bytes(it.bytes), it.path.clone()];
        page.table(&["what", "bytes", "where"], &self.garbage.iter().map(row).collect::<Vec<_>>());
        if let Some(next) = &self.next {
            page.next(next);
        }
    }
}
