//! Objects on their way down: in parallel, large ones in parts.
//!
//! A download is written under a temporary name, compared with the checksum, synced and renamed; then the directories are synced. A
//! crash leaves temporary files, which mean nothing, and whole ones, whose names may be lost: what is there under its name and has
//! the checksum need not be downloaded again.
#![allow(clippy::disallowed_methods)] // writes the working copy, which can be fetched again

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use tokio::sync::Semaphore;

use super::bucket::Shared;
use super::error::{Answer, NO_SUCH_OBJECT, RemoteError};
use super::upload::{damaged, on_disk};
use floodmark_base::disk::TEMPORARY_SUFFIX;

/// An object that is to become a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Of the object, below the bucket's prefix.
    pub name: String,
    /// The directory must be there; a file of this name is replaced.
    pub to: PathBuf,
    pub size: u64,
    pub crc32: u32,
}

pub(super) async fn download_all(
    shared: &Arc<Shared>,
    files: Vec<Download>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<(), RemoteError> {
    let directories: BTreeSet<PathBuf> = files.iter().map(|file| directory_of(&file.to).to_path_buf()).collect();
    let parallel = shared.settings.parallel;
    // Of all files together: each may have some parts in memory.
    let room = Arc::new(Semaphore::new(parallel * 2));
    let shared = shared.clone();
    let downloads = iter(files).map(move |file| download(shared.clone(), file, room.clone(), progress.clone()));
    downloads.buffer_unordered(parallel).try_collect::<Vec<()>>().await?;
    for directory in directories {
        let path = directory.clone();
        on_disk(move || File::open(path)?.sync_all()).await.map_err(RemoteError::io("sync", directory))?;
    }
    Ok(())
}

async fn download(
    shared: Arc<Shared>,
    download: Download,
    room: Arc<Semaphore>,
    progress: impl Fn(u64),
) -> Result<(), RemoteError> {
    let temporary = Temporary::beside(&download.to);
    let path = temporary.path.clone();
    let file = on_disk(move || File::create_new(path)).await.map_err(RemoteError::io("create", &temporary.path))?;
    let file = Arc::new(file);

    let (size, part_size) = (download.size, shared.settings.part_size);
    let ranges = (0..size.div_ceil(part_size)).map(|part| part * part_size..size.min((part + 1) * part_size));
    let parts = iter(ranges).map(|range| part(shared.clone(), download.clone(), range, room.clone()));
    let mut parts = parts.buffered(shared.settings.parallel);
    let mut hash = crc32fast::Hasher::new();
    while let Some(bytes) = parts.next().await.transpose()? {
        hash.update(&bytes);
        let (length, file) = (bytes.len() as u64, file.clone());
        on_disk(move || (&*file).write_all(&bytes)).await.map_err(RemoteError::io("write", &temporary.path))?;
        progress(length);
    }
    let found = hash.finalize();
    if found != download.crc32 {
        return Err(damaged(&download.name, (size, download.crc32), (size, found)));
    }
    on_disk(move || file.sync_all()).await.map_err(RemoteError::io("sync", &temporary.path))?;
    temporary.rename(&download.to).await
}

/// A range of an object, asked for until it is answered.
async fn part(
    shared: Arc<Shared>,
    download: Download,
    range: Range<u64>,
    room: Arc<Semaphore>,
) -> Result<Bytes, RemoteError> {
    let _permit = room.acquire_owned().await; // it is never closed; without a permit only memory would be at stake
    let path = shared.path(&download.name);
    let tries = shared.tries(format!("download {}", download.name), shared.settings.give_up_after);
    let found = tries.repeat(|| get(&shared, &path, range.clone())).await?;
    let expected = format!("an object of {} bytes", download.size);
    let other = |found: String| RemoteError::Damaged { name: download.name.clone(), expected, found };
    match found {
        None => Err(other(NO_SUCH_OBJECT.into())),
        Some((size, _)) if size != download.size => Err(other(format!("one of {size}"))),
        Some((_, bytes)) if bytes.len() as u64 != range.end - range.start => {
            Err(other(format!("{} bytes of the range {range:?}", bytes.len())))
        }
        Some((_, bytes)) => Ok(bytes),
    }
}

/// The size of the object, and the bytes of the range; nothing where there is no object.
async fn get(shared: &Shared, path: &Path, range: Range<u64>) -> object_store::Result<Option<(u64, Bytes)>> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    let found = match shared.store.get_opts(path, options).await {
        Ok(found) => found,
        Err(error) if Answer::of(&error) == Answer::Gone => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = found.meta.size;
    Ok(Some((size, found.bytes().await?)))
}

/// A file that is removed unless it gets its name.
struct Temporary {
    path: PathBuf,
    is_renamed: bool,
}

impl Temporary {
    fn beside(path: &FilePath) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        #[allow(clippy::disallowed_methods)] // a name that nobody else has
        let name = format!(".{name}.{:016x}{TEMPORARY_SUFFIX}", rand::random::<u64>());
        Self { path: directory_of(path).join(name), is_renamed: false }
    }

    async fn rename(mut self, to: &FilePath) -> Result<(), RemoteError> {
        let (from, target) = (self.path.clone(), to.to_path_buf());
        on_disk(move || fs::rename(from, target)).await.map_err(RemoteError::io("rename a download to", to))?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_renamed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(file = %self.path.display(), %error, "a temporary file stays behind, or never was");
        }
    }
}

fn directory_of(path: &FilePath) -> &FilePath {
    path.parent().filter(|parent| *parent != FilePath::new("")).unwrap_or(FilePath::new("."))
}
