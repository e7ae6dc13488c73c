//! The handle through which a life of the driver sees the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use floodmark::testing::disk::{FaultyDisk, LocalDisk, Step};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::contents::Contents;
use super::upload::Upload;

/// An object store in memory; clones are handles to the same objects, through the same door.
///
/// ```
/// use object_store::path::Path;
/// use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
/// use floodmark_chaos::store::SimulatedStore;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let (store, name) = (SimulatedStore::new(), Path::from("manifests/00000000000000000001"));
/// store.put_opts(&name, "ours".into(), PutMode::Create.into()).await.unwrap();
/// let second = store.put_opts(&name, "theirs".into(), PutMode::Create.into()).await;
/// assert!(matches!(second, Err(Error::AlreadyExists { .. })));
/// assert_eq!(store.get(&name).await.unwrap().bytes().await.unwrap(), "ours");
/// # });
/// ```
#[derive(Clone)]
pub struct SimulatedStore {
    contents: Arc<Mutex<Contents>>,
    door: FaultyDisk,
}

impl SimulatedStore {
    /// A store without objects, whose door nothing is wrong with.
    #[must_use]
    pub fn new() -> Self {
        Self { contents: Arc::default(), door: FaultyDisk::new(Arc::new(LocalDisk)) }
    }

    /// A handle to the same objects, of which every put, delete and list is a step of this door.
    #[must_use]
    pub fn through(&self, door: FaultyDisk) -> Self {
        Self { contents: self.contents.clone(), door }
    }

    /// All objects by name, whatever the door says.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.lock().all()
    }

    /// One line for each object that readers of the store would look at: no part of its name begins with a dot.
    pub(crate) fn visible(&self) -> Vec<String> {
        let is_hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
        let objects = self.objects();
        let shown = objects.iter().filter(|(name, _)| !is_hidden(name));
        shown.map(|(name, bytes)| format!("{name} {}", bytes.escape_ascii())).collect()
    }

    pub(super) fn put_now(&self, what: &str, at: &Path, bytes: Bytes, options: PutOptions) -> Result<PutResult> {
        let what = format!("{what} {}", without_chance(at));
        self.step(Step::StorePut, what, |contents| contents.put(at, bytes, options.attributes, options.mode))
    }

    fn list_now(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let what = format!("list {}", without_chance(prefix));
        let listed = self.door.look(Step::StoreList, what, |behind| Ok(self.lock().list(prefix, behind)));
        listed.map_err(failed)
    }

    /// What the store answers to a step is an answer, also where it is a refusal; the door may lose it.
    fn step<T>(&self, step: Step, what: String, act: impl FnOnce(&mut Contents) -> Result<T>) -> Result<T> {
        self.door.perform(step, what, || Ok(act(&mut self.lock()))).map_err(failed)?
    }

    fn alive(&self) -> Result<()> {
        if self.door.is_dead() { Err(refused("the process is dead (injected)")) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimulatedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore").field("objects", &self.objects().len()).finish_non_exhaustive()
    }
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait]
impl ObjectStore for SimulatedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let verb = match options.mode {
            PutMode::Overwrite => "put",
            PutMode::Create => "create",
            PutMode::Update(_) => "update",
        };
        self.put_now(verb, location, payload.into(), options)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.alive()?;
        Ok(Box::new(Upload::new(self.clone(), location.clone(), options.attributes)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        let contents = self.lock();
        let object = contents.get(location)?;
        let meta = object.meta(location);
        options.check_preconditions(&meta)?;
        let (range, bytes) = object.range(options.range.as_ref())?;
        // A head has the size in its meta data, and no bytes.
        let bytes = if options.head { Bytes::new() } else { bytes };
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        let attributes = object.attributes.clone();
        Ok(GetResult { payload, meta, range, attributes, extensions: object_store::Extensions::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let location = location?;
            let what = format!("delete {}", without_chance(&location));
            store.step(Step::StoreDelete, what, |contents| {
                contents.delete(&location);
                Ok(())
            })?;
            Ok(location)
        };
        locations.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        // The step is taken when the list is read, not when it is made.
        let listed = async move { store.list_now(&prefix).map(|objects| stream::iter(objects.into_iter().map(Ok))) };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let (mut objects, mut common_prefixes) = (Vec::new(), BTreeSet::new());
        for object in self.list_now(&prefix)? {
            let mut parts = object.location.prefix_match(&prefix).expect("it is below the prefix");
            let child = parts.next().map(|part| prefix.clone().join(part));
            let is_deeper = parts.next().is_some();
            drop(parts);
            match child {
                Some(directory) if is_deeper => {
                    common_prefixes.insert(directory);
                }
                _ => objects.push(object),
            }
        }
        let common_prefixes = common_prefixes.into_iter().collect();
        Ok(ListResult { objects, common_prefixes, extensions: object_store::Extensions::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let what = format!("copy {} to {}", without_chance(from), without_chance(to));
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        self.step(Step::StorePut, what, |contents| {
            let object = contents.get(from)?;
            let (bytes, attributes) = (object.bytes.clone(), object.attributes.clone());
            contents.put(to, bytes, attributes, mode).map(drop)
        })
    }
}

const NAME: &str = "SimulatedStore";

/// An error of the store that has no kind of its own.
pub(super) fn refused(why: impl Into<String>) -> Error {
    Error::Generic { store: NAME, source: why.into().into() }
}

fn failed(source: io::Error) -> Error {
    Error::Generic { store: NAME, source: Box::new(source) }
}

/// The name by which a trace calls an object: without random parts, so that two runs have the same trace.
fn without_chance(path: &Path) -> String {
    let is_random = |part: &str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = path.as_ref();
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts.filter(|part| is_random(part)).fold(name.to_string(), |name, part| name.replacen(part, "…", 1))
}
