//! Pins: checkpoints that stay when the job's own collection has passed them.
//!
//! # Format
//! `pinned/<directory>/`, named as the checkpoint is: second names of its files, and `manifest`, the bytes of the newest manifest that
//! names it. The engine never looks into `pinned/`. A pin keeps state, not the log: the batches after it can be recomputed only as
//! long as the log reaches back to it.
//!
//! # What a crash leaves
//! | step, all `operation.write` | a crash before or in it leaves |
//! |---|---|
//! | link the files and write the manifest in `pinned/.<directory>.tmp`, sync all | the temporary directory, which the next try replaces |
//! | rename it, sync `pinned/` | the same, or the pin |

use std::path::{Path, PathBuf};

use super::{is_there, link_tree};
use crate::failure::{Failure, Result};
use floodmark_base::disk::{Disk, Step, TEMPORARY_SUFFIX};
use floodmark_base::id::BatchId;
use floodmark_store::checkpoint::{CheckpointFiles, MANIFESTS, Manifest, manifest_file_name};
use floodmark_store::recovery::facts::CHECKPOINTS;
pub(crate) use floodmark_store::remote::{PIN_MANIFEST as MANIFEST, PINNED};
use floodmark_store::state::files::verify_files;

/// A pinned checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub directory: String,
    pub manifest: Manifest,
}

impl Pin {
    /// The batch whose state it holds.
    pub fn batch(&self) -> BatchId {
        self.manifest.point.batch
    }

    /// Its path below the store's directory.
    pub fn below(&self) -> String {
        format!("{PINNED}/{}", self.directory)
    }

    /// Its files, as the manifest lists them.
    pub fn files(&self) -> Option<&CheckpointFiles> {
        self.manifest.checkpoint.as_ref()
    }

    /// What is wrong with its files.
    pub fn damage(&self, store: &Path) -> Option<String> {
        let files = self.files()?;
        let checked = verify_files(&store.join(self.below()), &files.files, true);
        checked.err().map(|error| error.to_string())
    }
}

/// All pins, oldest batch first, and the names of those that cannot be read, with the reason.
type Pins = (Vec<Pin>, Vec<(String, String)>);

/// Looks for pins.
///
/// # Errors
/// When `pinned/` is there and cannot be listed.
pub(crate) fn pins(disk: &dyn Disk, store: &Path) -> Result<Pins> {
    let (mut pins, mut unreadable) = (Vec::new(), Vec::new());
    for (directory, manifest) in manifests(disk, store)? {
        match manifest {
            Ok(manifest) if manifest.checkpoint.as_ref().is_some_and(|files| files.directory == directory) => {
                pins.push(Pin { directory, manifest });
            }
            Ok(_) => unreadable.push((directory, "its manifest names another checkpoint".to_string())),
            Err(reason) => unreadable.push((directory, reason)),
        }
    }
    pins.sort_by_key(Pin::batch);
    Ok((pins, unreadable))
}

/// What lies in `pinned/` and is not left over from an interrupted pin: each name with its manifest, or why that cannot be read.
///
/// # Errors
/// As [`pins`].
pub(crate) fn manifests(disk: &dyn Disk, store: &Path) -> Result<Vec<(String, Result<Manifest, String>)>> {
    let place = store.join(PINNED);
    let names = match disk.list(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Failure::io("list", &place, &error))?,
    };
    let read = |name: String| {
        let bytes = disk.read(&place.join(&name).join(MANIFEST)).map_err(|error| error.to_string());
        let manifest = bytes.and_then(|bytes| Manifest::from_bytes(&bytes).map_err(|damage| damage.to_string()));
        (name, manifest)
    };
    Ok(names.into_iter().filter(|name| !name.ends_with(TEMPORARY_SUFFIX)).map(read).collect())
}

/// Pins the checkpoint that this manifest of the chain names. One that is pinned already stays as it is; says whether it was.
///
/// # Errors
/// When a file is missing or the disk refuses.
pub(crate) fn pin(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<bool> {
    let Some(files) = &manifest.checkpoint else {
        return Err(Failure::usage("the state before the first batch is empty: there is nothing to pin"));
    };
    let place = store.join(PINNED);
    let pinned = place.join(&files.directory);
    if is_there(disk, &pinned)? {
        return Ok(true);
    }
    let temporary = temporary(&place, &files.directory);
    clear(disk, &temporary)?;
    link_tree(disk, &store.join(CHECKPOINTS).join(&files.directory), &temporary)?;
    let from = store.join(MANIFESTS).join(manifest_file_name(manifest.sequence));
    super::copy_tree(disk, &from, &temporary.join(MANIFEST))?;
    finish(disk, &temporary, &pinned)?;
    Ok(false)
}

/// Gives a pinned checkpoint its name in `checkpoints/` again, where no manifest counts it until one is published.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn bring_back(disk: &dyn Disk, store: &Path, pin: &Pin) -> Result<()> {
    let place = store.join(CHECKPOINTS);
    let back = place.join(&pin.directory);
    if is_there(disk, &back)? {
        return Ok(());
    }
    let temporary = place.join(format!("{}{TEMPORARY_SUFFIX}", pin.directory));
    clear(disk, &temporary)?;
    link_tree(disk, &store.join(pin.below()), &temporary)?;
    let manifest = temporary.join(MANIFEST);
    disk.remove(Step::Operation, &manifest).map_err(|error| Failure::io("remove", &manifest, &error))?;
    finish(disk, &temporary, &back)
}

fn temporary(place: &Path, directory: &str) -> PathBuf {
    place.join(format!(".{directory}{TEMPORARY_SUFFIX}"))
}

/// Removes what an earlier try has left: second names of files that are elsewhere, too.
fn clear(disk: &dyn Disk, temporary: &Path) -> Result<()> {
    if is_there(disk, temporary)? {
        disk.remove(Step::Operation, temporary).map_err(|error| Failure::io("remove", temporary, &error))?;
    }
    Ok(())
}

fn finish(disk: &dyn Disk, temporary: &Path, to: &Path) -> Result<()> {
    let finished = disk
        .sync_tree(Step::Operation, temporary)
        .and_then(|()| disk.rename(Step::Operation, temporary, to))
        .and_then(|()| to.parent().map_or(Ok(()), |place| disk.sync_directory(Step::Operation, place)));
    finished.map_err(|error| Failure::io("make", to, &error))
}
