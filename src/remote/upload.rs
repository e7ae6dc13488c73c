//! Files on their way up: in parallel, large ones in parts.
//!
//! An upload overwrites, because no name is ever used for other bytes: a crash leaves the object or nothing (parts of an upload
//! that was not completed are no object), and the file is uploaded again. The bytes are compared with the checksum while they are
//! read, so that what was damaged on this machine never takes its place in the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt, iter};
use object_store::{Error, MultipartUpload, ObjectStoreExt, PutPayload};

use super::bucket::Shared;
use super::error::RemoteError;
use super::retry::Tries;

/// A file that is to become an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Of the object, below the bucket's prefix.
    pub name: String,
    pub file: PathBuf,
    pub size: u64,
    pub crc32: u32,
}

pub(super) async fn upload_all(shared: &Arc<Shared>, files: Vec<Upload>) -> Result<u64, RemoteError> {
    let (parallel, shared) = (shared.settings.parallel, shared.clone());
    let uploads = iter(files).map(move |file| upload(shared.clone(), file));
    uploads.buffer_unordered(parallel).try_fold(0, |sum, size| async move { Ok(sum + size) }).await
}

async fn upload(shared: Arc<Shared>, upload: Upload) -> Result<u64, RemoteError> {
    let mut tries = shared.tries(format!("upload {}", upload.name), shared.settings.give_up_after);
    if upload.size > shared.settings.in_parts_beyond {
        loop {
            match in_parts(&shared, &upload, &tries).await {
                Ok(()) => return Ok(upload.size),
                Err(Failed::Here(error)) => return Err(error),
                Err(Failed::There(error)) if tries.may_repeat(&error).await => {}
                Err(Failed::There(_)) => return Err(tries.given_up()),
            }
        }
    }
    let mut source = Source::open(&upload).await?;
    // One more, so that a file that has grown is noticed.
    let bytes = source.next(upload.size + 1).await?.unwrap_or_default();
    source.check()?;
    let path = shared.path(&upload.name);
    tries.repeat(|| shared.store.put(&path, PutPayload::from(bytes.clone()))).await?;
    Ok(upload.size)
}

/// Why one try of an upload in parts came to nothing.
enum Failed {
    Here(RemoteError),
    There(Error),
}

impl From<RemoteError> for Failed {
    fn from(error: RemoteError) -> Self {
        Self::Here(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::There(error)
    }
}

async fn in_parts(shared: &Shared, upload: &Upload, tries: &Tries) -> Result<(), Failed> {
    let path = shared.path(&upload.name);
    let mut parts = tries.ask(shared.bulk.put_multipart(&path)).await?;
    let sent = send(shared, upload, tries, &mut *parts).await;
    if sent.is_err()
        && let Err(error) = tries.ask(parts.abort()).await
    {
        // The error that led here is the one to report; the store's own rule for such parts removes them.
        tracing::warn!(object = %path, %error, "parts of an upload that was not completed may stay behind");
    }
    sent
}

async fn send(shared: &Shared, upload: &Upload, tries: &Tries, parts: &mut dyn MultipartUpload) -> Result<(), Failed> {
    let mut source = Source::open(upload).await?;
    let mut under_way = FuturesUnordered::new();
    while let Some(bytes) = source.next(shared.settings.part_size).await? {
        if under_way.len() == shared.settings.parallel {
            under_way.next().await.transpose()?;
        }
        under_way.push(tries.ask(parts.put_part(bytes.into())));
    }
    while under_way.next().await.transpose()?.is_some() {}
    source.check()?;
    tries.ask(parts.complete()).await?;
    Ok(())
}

/// A file that is read from its beginning to its end, with its checksum so far.
struct Source<'a> {
    upload: &'a Upload,
    file: Arc<File>,
    hash: crc32fast::Hasher,
    length: u64,
}

impl<'a> Source<'a> {
    async fn open(upload: &'a Upload) -> Result<Self, RemoteError> {
        let path = upload.file.clone();
        let file = on_disk(move || File::open(path)).await.map_err(RemoteError::io("open", &upload.file))?;
        Ok(Self { upload, file: Arc::new(file), hash: crc32fast::Hasher::new(), length: 0 })
    }

    /// The next so many bytes, or fewer at the end; nothing after it.
    async fn next(&mut self, length: u64) -> Result<Option<Bytes>, RemoteError> {
        let file = self.file.clone();
        let read = move || {
            let mut bytes = Vec::with_capacity(length as usize);
            (&*file).take(length).read_to_end(&mut bytes).map(|_| Bytes::from(bytes))
        };
        let bytes = on_disk(read).await.map_err(RemoteError::io("read", &self.upload.file))?;
        self.hash.update(&bytes);
        self.length += bytes.len() as u64;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    fn check(self) -> Result<(), RemoteError> {
        let (length, crc32) = (self.length, self.hash.finalize());
        if (length, crc32) == (self.upload.size, self.upload.crc32) {
            return Ok(());
        }
        Err(damaged(self.upload.file.display(), (self.upload.size, self.upload.crc32), (length, crc32)))
    }
}

/// What to say of bytes whose length or checksum is another.
pub(super) fn damaged(name: impl ToString, expected: (u64, u32), found: (u64, u32)) -> RemoteError {
    let words = |(length, crc32)| format!("{length} bytes with crc32 {crc32:08x}");
    RemoteError::Damaged { name: name.to_string(), expected: words(expected), found: words(found) }
}

/// Does what may wait for the disk, off the threads that wait for the network.
pub(super) async fn on_disk<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
