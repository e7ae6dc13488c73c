//! What is asked of an object store: synchronous outside, with a small runtime inside.
//!
//! The one call that decides something is [`Bucket::create`], a create of a name that must be free. Any answer to it but success is
//! ambiguous, "the name is taken" included: an earlier try may have been applied and its answer lost. So the same bytes are put again,
//! and where the name is taken it is read back: our bytes mean success, others' bytes that they were first, nothing that the
//! other write came to nothing, and so again. What is not clear within the limit is [`RemoteError::CommitUnknown`].
//!
//! A crash before a create leaves nothing, a crash in it the object or nothing, a crash after it the object. A delete that was cut
//! off has deleted any subset of its names.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Builder, Runtime};

use super::download::Download;
use super::error::{Answer, RemoteError};
use super::location::{Absent, RemoteLocation};
use super::retry::{ObjectStoreHealth, Patience, Tries};
use super::settings::BucketSettings;
use super::upload::Upload;
use super::{download, probe, upload};

/// Names that one delete is asked for; what a bulk delete of S3 takes.
const DELETED_AT_ONCE: usize = 1000;
/// Threads that wait for the network; what reads and writes files has threads of its own.
const THREADS: usize = 2;

/// A place in an object store that is open. Clones are handles to the same one.
#[derive(Clone)]
pub struct Bucket {
    shared: Arc<Shared>,
    runtime: Arc<OwnRuntime>,
}

/// Whose bytes have the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// Those that were to be put.
    Ours,
    /// These, of another writer.
    Theirs(Bytes),
}

/// An object, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Below the bucket's prefix.
    pub name: String,
    pub size: u64,
    /// When it was written, by the store's own clock, in milliseconds since 1970.
    pub modified_ms: u64,
}

impl Bucket {
    /// Connects, and refuses a store on which nothing exact can stand. Says soon where that is impossible.
    pub fn open(location: &RemoteLocation, settings: BucketSettings) -> Result<Self, RemoteError> {
        let stores = location.connect(Absent::Make)?;
        let bucket = Self::over(stores.store, stores.parts, &stores.prefix, location.to_string(), settings);
        bucket.probe()?;
        Ok(bucket)
    }

    /// Connects for whoever reads only: nothing is probed, nothing is made, and nothing is written.
    pub fn open_to_read(location: &RemoteLocation, settings: BucketSettings) -> Result<Self, RemoteError> {
        let stores = location.connect(Absent::Refuse)?;
        Ok(Self::over(stores.store, stores.parts, &stores.prefix, location.to_string(), settings))
    }

    /// The same on a store that is there already, which is not probed.
    #[must_use]
    pub fn on(store: Arc<dyn ObjectStore>, prefix: &str, settings: BucketSettings) -> Self {
        let place = format!("{store}/{prefix}");
        Self::over(store, None, prefix, place, settings)
    }

    /// As [`on`](Self::on), with a way to upload in parts that have ids.
    #[must_use]
    pub fn on_with_parts(
        store: Arc<dyn ObjectStore>,
        parts: Arc<dyn MultipartStore>,
        prefix: &str,
        settings: BucketSettings,
    ) -> Self {
        let place = format!("{store}/{prefix}");
        Self::over(store, Some(parts), prefix, place, settings)
    }

    fn over(
        store: Arc<dyn ObjectStore>,
        parts: Option<Arc<dyn MultipartStore>>,
        prefix: &str,
        place: String,
        settings: BucketSettings,
    ) -> Self {
        let patience = Arc::new(Patience::new(&settings));
        let shared = Arc::new(Shared { store, parts, prefix: Path::from(prefix), place, settings, patience });
        Self { shared, runtime: Arc::new(OwnRuntime::start()) }
    }

    /// Whether the store keeps what is assumed of it; says why not, and what to use.
    pub fn probe(&self) -> Result<(), RemoteError> {
        let shared = self.shared.clone();
        self.run(async move { probe::probe(&shared).await })
    }

    /// Creates an object under a name that must be free, and says whose bytes it has.
    pub fn create(&self, name: &str, bytes: Bytes) -> Result<Created, RemoteError> {
        let (shared, name) = (self.shared.clone(), name.to_string());
        self.run(async move { shared.create(&name, bytes, shared.settings.give_up_after).await })
    }

    /// A whole object; nothing where there is none.
    pub fn read(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let (shared, name) = (self.shared.clone(), name.to_string());
        self.run(async move { shared.read(&name, shared.settings.give_up_after).await })
    }

    /// The objects below a directory, by name; with `""` all. A list may be behind: it is a hint.
    pub fn list(&self, below: &str) -> Result<Vec<RemoteFile>, RemoteError> {
        let (shared, below) = (self.shared.clone(), below.to_string());
        self.run(async move { shared.list(&below, shared.settings.give_up_after).await })
    }

    /// How long an object is, without reading it; nothing where there is none.
    pub fn size(&self, name: &str) -> Result<Option<u64>, RemoteError> {
        let (shared, name) = (self.shared.clone(), name.to_string());
        self.run(async move { shared.size(&name, shared.settings.give_up_after).await })
    }

    /// Uploads files in parallel, and says how many bytes. A name that has the same bytes already may be given again.
    pub fn upload_all(&self, files: &[Upload]) -> Result<u64, RemoteError> {
        let (shared, files) = (self.shared.clone(), files.to_vec());
        self.run(async move { upload::upload_all(&shared, files, None).await })
    }

    /// As [`upload_all`](Self::upload_all). While files go up in parts an object of this name, which must be new, says which uploads these are, so
    /// that whoever comes after a crash can end them: see [`abort_uploads`](Self::abort_uploads).
    pub fn upload_noted(&self, files: &[Upload], note: &str) -> Result<u64, RemoteError> {
        let (shared, files, note) = (self.shared.clone(), files.to_vec(), note.to_string());
        self.run(async move { upload::upload_all(&shared, files, Some(note)).await })
    }

    /// Ends the uploads that this note tells of, and removes it. What was completed is left alone.
    pub fn abort_uploads(&self, note: &str) -> Result<(), RemoteError> {
        let (shared, note) = (self.shared.clone(), note.to_string());
        self.run(async move { upload::abort_noted(&shared, &note).await })
    }

    /// Downloads objects in parallel, each checked, synced and only then under its name. `progress` is called on this thread, with
    /// the bytes that have come since it was called before.
    pub fn download_all(&self, files: &[Download], progress: &dyn Fn(u64)) -> Result<(), RemoteError> {
        let (shared, files) = (self.shared.clone(), files.to_vec());
        let (tell, told) = mpsc::channel();
        let done = tell.clone();
        self.runtime.spawn(async move {
            let progress = move |bytes| drop(tell.send(Told::Progress(bytes)));
            let outcome = download::download_all(&shared, files, progress).await;
            done.send(Told::Done(outcome))
        });
        loop {
            match told.recv().expect("downloads end with an outcome") {
                Told::Progress(bytes) => progress(bytes),
                Told::Done(outcome) => return outcome,
            }
        }
    }

    /// Deletes objects; one that is not there is deleted already. Whoever deletes must bear that one comes back: a write of it that
    /// was on its way may arrive later, and a directory may lose a delete with the machine.
    pub fn delete_all(&self, names: &[String]) -> Result<(), RemoteError> {
        let (shared, names) = (self.shared.clone(), names.to_vec());
        self.run(async move { shared.delete_all(&names, shared.settings.give_up_after).await })
    }

    /// Hears from now on whenever requests fail, and when one is answered again.
    pub fn on_health(&self, hear: impl Fn(&ObjectStoreHealth) + Send + Sync + 'static) {
        self.shared.patience.on_health(Box::new(hear));
    }

    /// Nobody hears any more.
    pub fn end_health(&self) {
        self.shared.patience.end_health();
    }

    /// How the store has been answering lately.
    #[must_use]
    pub fn health(&self) -> ObjectStoreHealth {
        self.shared.patience.health()
    }

    /// Waits for a task, on a thread that may be anybody's: also one on which a runtime cannot block.
    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let (done, outcome) = mpsc::channel();
        self.runtime.spawn(async move { done.send(task.await) });
        outcome.recv().expect("a task ends with an outcome")
    }
}

enum Told {
    Progress(u64),
    Done(Result<(), RemoteError>),
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

/// What the tasks of a bucket share.
pub(super) struct Shared {
    pub store: Arc<dyn ObjectStore>,
    /// For uploads in parts, where they have ids.
    pub parts: Option<Arc<dyn MultipartStore>>,
    prefix: Path,
    /// How errors call it.
    pub place: String,
    pub settings: BucketSettings,
    patience: Arc<Patience>,
}

impl Shared {
    pub fn tries(&self, doing: impl Into<String>, limit: Duration) -> Tries {
        self.patience.tries(doing, &self.place, limit)
    }

    pub fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    pub async fn create(&self, name: &str, bytes: Bytes, limit: Duration) -> Result<Created, RemoteError> {
        let path = self.path(name);
        let mut tries = self.tries(format!("create {name}"), limit);
        let mut may_be_there = false;
        loop {
            let options = PutMode::Create.into();
            let put = self.store.put_opts(&path, PutPayload::from(bytes.clone()), options);
            let Err(mut error) = tries.ask(put).await else { return Ok(Created::Ours) };
            if Answer::of(&error) == Answer::Taken {
                match tries.ask(self.get(&path)).await {
                    Ok(Some(found)) if found == bytes => return Ok(Created::Ours),
                    Ok(Some(found)) => return Ok(Created::Theirs(found)),
                    Ok(None) => {}
                    Err(failed) => error = failed,
                }
                may_be_there = true;
            } else if !Answer::of(&error).is_refusal() {
                may_be_there = true;
            }
            if !tries.may_repeat(&error).await {
                return Err(if may_be_there { tries.unknown(name) } else { tries.given_up() });
            }
        }
    }

    pub async fn read(&self, name: &str, limit: Duration) -> Result<Option<Bytes>, RemoteError> {
        let path = self.path(name);
        self.tries(format!("read {name}"), limit).repeat(|| self.get(&path)).await
    }

    pub async fn list(&self, below: &str, limit: Duration) -> Result<Vec<RemoteFile>, RemoteError> {
        let directory = self.path(below);
        let list = || async { self.store.list(Some(&directory)).try_collect::<Vec<_>>().await };
        let found = self.tries(format!("list {below}/"), limit).repeat(list).await?;
        let mut files = Vec::with_capacity(found.len());
        for object in found {
            let parts = object.location.prefix_match(&self.prefix).into_iter().flatten();
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_string()).collect();
            let modified_ms = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or_default();
            files.push(RemoteFile { name: parts.join("/"), size: object.size, modified_ms });
        }
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    async fn size(&self, name: &str, limit: Duration) -> Result<Option<u64>, RemoteError> {
        let path = self.path(name);
        let head = || async {
            match self.store.head(&path).await {
                Ok(found) => Ok(Some(found.size)),
                Err(error) if Answer::of(&error) == Answer::Gone => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.tries(format!("look at {name}"), limit).repeat(head).await
    }

    pub async fn delete_all(&self, names: &[String], limit: Duration) -> Result<(), RemoteError> {
        for names in names.chunks(DELETED_AT_ONCE) {
            let paths: Vec<Path> = names.iter().map(|name| self.path(name)).collect();
            self.tries(format!("delete {} objects", names.len()), limit).repeat(|| self.delete(paths.clone())).await?;
        }
        Ok(())
    }

    async fn delete(&self, paths: Vec<Path>) -> object_store::Result<()> {
        let mut deleted = self.store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let mut failed = Ok(());
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Err(error) if Answer::of(&error) != Answer::Gone => failed = Err(error),
                _ => {}
            }
        }
        failed
    }

    async fn get(&self, path: &Path) -> object_store::Result<Option<Bytes>> {
        let outcome = match self.store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if Answer::of(&error) == Answer::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A runtime that may be dropped anywhere. No task outlives the call that began it, but for one that did not wait for another.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("object-storage").enable_all().build();
        Self(Some(runtime.expect("the system gives two threads")))
    }

    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) {
        let runtime = self.0.as_ref().expect("it is taken only when it is dropped");
        drop(runtime.spawn(task)); // it goes on; whoever waits for it has its channel
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
