//! Files on their way up: in parallel, large ones in parts.
//!
//! An upload overwrites, because no name is ever used for other bytes. The bytes are compared with the checksum while they are
//! read, so that what was damaged on this machine never takes its place in the store.
//!
//! Where the store's uploads in parts have ids, a part that fails is sent again by itself, and an end without an answer is looked up, so
//! nothing that has come is sent twice. Before the first part goes up, one object notes the ids of all uploads of a checkpoint.
//!
//! | step | a crash before or in it leaves |
//! |---|---|
//! | uploads are begun | uploads without parts, of which nothing tells; they hold no bytes |
//! | the note is put | the same, and perhaps the note |
//! | parts, and their end | the note, parts that are no object, objects that no manifest names: a later life ends the uploads and deletes the objects |
//! | the note is deleted | the note, of uploads that have ended |
//!
//! The files of a checkpoint whose upload was cut off are not the next life's: it computes the batches again, into files of its own.
#![allow(clippy::disallowed_methods)] // reads a file that is complete

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt, iter};
use object_store::multipart::{MultipartStore, PartId};
use object_store::{Error, MultipartId, MultipartUpload, ObjectStoreExt, PutPayload};

use super::bucket::Shared;
use super::envelope::UploadsUnderWay;
use super::error::{Answer, RemoteError, whole_text};
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

/// Uploads files; `note` is the name of an object that tells of the uploads in parts, while they are under way.
pub(super) async fn upload_all(
    shared: &Arc<Shared>,
    files: Vec<Upload>,
    note: Option<String>,
) -> Result<u64, RemoteError> {
    let large = files.iter().filter(|file| file.size > shared.settings.in_parts_beyond);
    let large: Vec<Upload> = large.cloned().collect();
    let Some(parts) = shared.parts.clone().filter(|_| !large.is_empty()) else {
        return all(shared, files, HashMap::new()).await;
    };
    let mut ids = HashMap::new();
    for file in &large {
        let tries = shared.tries(format!("begin to upload {}", file.name), shared.settings.give_up_after);
        let path = shared.path(&file.name);
        ids.insert(file.name.clone(), tries.repeat(|| parts.create_multipart(&path)).await?);
    }
    let under_way = UploadsUnderWay(ids.clone().into_iter().collect());
    if let Some(note) = &note {
        let (path, bytes) = (shared.path(note), under_way.to_bytes()?);
        let tries = shared.tries(format!("put {note}"), shared.settings.give_up_after);
        tries.repeat(|| shared.store.put(&path, PutPayload::from(bytes.clone()))).await?;
    }
    let uploaded = all(shared, files, ids).await;
    if uploaded.is_err()
        && let Err(error) = abort(shared, &under_way).await
    {
        // The error that led here is the one to report; a later life reads the note.
        tracing::warn!(%error, "parts of an upload that was not completed stay behind for now");
        return uploaded;
    }
    if let Some(note) = note {
        shared.delete_all(&[note], shared.settings.give_up_after).await?;
    }
    uploaded
}

async fn all(
    shared: &Arc<Shared>,
    files: Vec<Upload>,
    mut ids: HashMap<String, MultipartId>,
) -> Result<u64, RemoteError> {
    let (parallel, shared) = (shared.settings.parallel, shared.clone());
    let uploads = iter(files).map(move |file| {
        let id = ids.remove(&file.name);
        upload(shared.clone(), file, id)
    });
    uploads.buffer_unordered(parallel).try_fold(0, |sum, size| async move { Ok(sum + size) }).await
}

/// Ends the uploads of which a note tells; without the note there are none.
pub(super) async fn abort_noted(shared: &Arc<Shared>, note: &str) -> Result<(), RemoteError> {
    let Some(bytes) = shared.read(note, shared.settings.give_up_after).await? else { return Ok(()) };
    abort(shared, &UploadsUnderWay::from_bytes(note, &bytes)?).await?;
    shared.delete_all(&[note.to_string()], shared.settings.give_up_after).await
}

async fn abort(shared: &Shared, under_way: &UploadsUnderWay) -> Result<(), RemoteError> {
    let Some(parts) = &shared.parts else { return Ok(()) };
    for (name, id) in &under_way.0 {
        let path = shared.path(name);
        let end = || async {
            match parts.abort_multipart(&path, id).await {
                // It has ended already, one way or the other.
                Err(error) if has_ended(&error) => Ok(()),
                other => other,
            }
        };
        let tries = shared.tries(format!("end the upload of {name}"), shared.settings.give_up_after);
        tries.repeat(end).await?;
    }
    Ok(())
}

/// Whether the store no longer knows an upload. Each says so in its own words.
fn has_ended(error: &Error) -> bool {
    let text = whole_text(error);
    Answer::of(error) == Answer::Gone || text.contains("NoSuchUpload") || text.contains("Upload not found")
}

async fn upload(shared: Arc<Shared>, upload: Upload, id: Option<MultipartId>) -> Result<u64, RemoteError> {
    let mut tries = shared.tries(format!("upload {}", upload.name), shared.settings.give_up_after);
    if let (Some(id), Some(parts)) = (id, &shared.parts) {
        return in_kept_parts(&shared, &**parts, &upload, &id).await.map(|()| upload.size);
    }
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

/// Sends the parts of an upload that has begun, each until it has come, and ends it.
async fn in_kept_parts(
    shared: &Shared,
    parts: &dyn MultipartStore,
    upload: &Upload,
    id: &MultipartId,
) -> Result<(), RemoteError> {
    let path = shared.path(&upload.name);
    let mut source = Source::open(upload).await?;
    let (mut under_way, mut come) = (FuturesUnordered::new(), BTreeMap::new());
    let mut index = 0;
    while let Some(bytes) = source.next(shared.settings.part_size).await? {
        if under_way.len() == shared.settings.parallel {
            come.extend(under_way.next().await.transpose()?);
        }
        let tries = shared.tries(format!("upload {}", upload.name), shared.settings.give_up_after);
        let (path, part) = (&path, index);
        under_way.push(async move {
            let sent = tries.repeat(|| parts.put_part(path, id, part, bytes.clone().into())).await?;
            Ok::<_, RemoteError>((part, sent))
        });
        index += 1;
    }
    while let Some(sent) = under_way.next().await.transpose()? {
        come.extend([sent]);
    }
    source.check()?;
    let mut tries = shared.tries(format!("complete {}", upload.name), shared.settings.give_up_after);
    let come: Vec<PartId> = come.into_values().collect();
    loop {
        let Err(error) = tries.ask(parts.complete_multipart(&path, id, come.clone())).await else { return Ok(()) };
        // It may be done, and its answer lost: the name is nobody else's, and whole or not there.
        if tries.ask(shared.store.head(&path)).await.is_ok_and(|found| found.size == upload.size) {
            return Ok(());
        }
        if !tries.may_repeat(&error).await {
            return Err(tries.given_up());
        }
    }
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
    let mut parts = tries.ask(shared.store.put_multipart(&path)).await?;
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
