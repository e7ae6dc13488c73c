//! A store that strikes by a script: which requests fail, and what was done of them by then.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// An object in one piece, in any mode.
    Put,
    /// A part of an upload.
    Part,
    /// The end of an upload, with which the object is there.
    Complete,
    /// Bytes of an object.
    Get,
    /// One object or many at once.
    Delete,
    /// Names.
    List,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nothing: it goes well. For scripts in which a later one does not.
    Spare,
    /// It fails with this answer, and nothing was done.
    Refuse(Refusal),
    /// It was done, but fails with this answer.
    Deny(Refusal),
    /// Nothing was done, and no answer comes.
    Swallow,
    /// It was done, and no answer comes.
    Silence,
}

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// "Something is wrong here", as a status of 500.
    Broken,
    /// "Not you", as a status of 403.
    Forbidden,
    /// "The name is taken, or somebody is at it", as a status of 409 or 412.
    Taken,
    /// "I cannot do that."
    Unknown,
}

/// A store around another; clones share the script.
#[derive(Clone)]
pub struct StrikingStore {
    inner: Arc<dyn ObjectStore>,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    next: BTreeMap<Request, VecDeque<Strike>>,
    always: Option<Strike>,
    asked: BTreeMap<Request, u64>,
}

impl StrikingStore {
    /// A store that does not strike yet.
    #[must_use]
    pub fn around(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// What the next requests of this kind meet, one each, after those that were said before.
    pub fn next(&self, request: Request, strikes: &[Strike]) {
        self.lock().next.entry(request).or_default().extend(strikes);
    }

    /// What every request meets for which nothing else is said; nothing ends it.
    pub fn always(&self, strike: Option<Strike>) {
        self.lock().always = strike;
    }

    /// How often this was asked for.
    #[must_use]
    pub fn asked(&self, request: Request) -> u64 {
        self.lock().asked.get(&request).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn meet<T>(&self, request: Request, at: &str, act: impl Future<Output = Result<T>>) -> Result<T> {
        let strike = {
            let mut script = self.lock();
            *script.asked.entry(request).or_default() += 1;
            let next = script.next.get_mut(&request).and_then(VecDeque::pop_front);
            next.or(script.always).unwrap_or(Strike::Spare)
        };
        match strike {
            Strike::Spare => act.await,
            Strike::Refuse(refusal) => Err(refusal.of(at)),
            Strike::Deny(refusal) => act.await.and(Err(refusal.of(at))),
            Strike::Swallow => std::future::pending().await,
            Strike::Silence => {
                act.await?;
                std::future::pending().await
            }
        }
    }
}

impl Refusal {
    fn of(self, at: &str) -> Error {
        let (path, source) = (at.to_string(), "struck".into());
        match self {
            Self::Broken => Error::Generic { store: NAME, source },
            Self::Forbidden => Error::PermissionDenied { path, source },
            Self::Taken => Error::AlreadyExists { path, source },
            Self::Unknown => Error::NotImplemented { operation: path, implementer: NAME.into() },
        }
    }
}

const NAME: &str = "StrikingStore";

impl fmt::Debug for StrikingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Display for StrikingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for StrikingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, options);
        self.meet(Request::Put, location.as_ref(), put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(Upload { inner, store: self.clone(), at: location.to_string() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.meet(Request::Get, location.as_ref(), self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = async move {
            let delete = async { store.inner.delete_stream(locations).try_collect::<Vec<_>>().await };
            let deleted = store.meet(Request::Delete, "many", delete).await?;
            Ok::<_, Error>(stream::iter(deleted.into_iter().map(Ok)))
        };
        stream::once(deleted).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let list = async { store.inner.list(prefix.as_ref()).try_collect::<Vec<_>>().await };
            let listed = store.meet(Request::List, "a list", list).await?;
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meet(Request::List, "a list", self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meet(Request::Put, to.as_ref(), self.inner.copy_opts(from, to, options)).await
    }
}

/// An upload in parts, each of which may be struck.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    store: StrikingStore,
    at: String,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, store, at) = (self.inner.put_part(data), self.store.clone(), self.at.clone());
        Box::pin(async move { store.meet(Request::Part, &at, put).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.meet(Request::Complete, &self.at, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
