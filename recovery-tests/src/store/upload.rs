//! An upload in parts: nothing of it is there before it is completed, which is one step.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Attributes, MultipartUpload, PutMode, PutOptions, PutPayload, PutResult, Result, UploadPart};

use super::simulated::{SimulatedStore, refused};

type Parts = Arc<Mutex<Vec<Option<Bytes>>>>;

pub(super) struct Upload {
    store: SimulatedStore,
    location: Path,
    attributes: Attributes,
    /// In the order in which they were begun; nothing where one has not arrived.
    parts: Parts,
}

impl Upload {
    pub fn new(store: SimulatedStore, location: Path, attributes: Attributes) -> Self {
        Self { store, location, attributes, parts: Parts::default() }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (parts, index) = (self.parts.clone(), lock(&self.parts).len());
        lock(&parts).push(None);
        Box::pin(async move {
            match lock(&parts).get_mut(index) {
                Some(part) => *part = Some(data.into()),
                None => return Err(refused(format!("part {index} comes after the upload was aborted"))),
            }
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Option<Vec<Bytes>> = lock(&self.parts).iter().cloned().collect();
        let Some(parts) = parts else {
            return Err(refused(format!("a part of the upload of {} has not arrived", self.location)));
        };
        let options =
            PutOptions { mode: PutMode::Overwrite, attributes: self.attributes.clone(), ..PutOptions::default() };
        self.store.put_now("complete", &self.location, parts.concat().into(), options)
    }

    async fn abort(&mut self) -> Result<()> {
        lock(&self.parts).clear();
        Ok(())
    }
}

fn lock(parts: &Parts) -> MutexGuard<'_, Vec<Option<Bytes>>> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}
