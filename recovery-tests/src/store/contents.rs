//! What a simulated store holds, and what it decides.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{Attributes, Error, GetRange, ObjectMeta, PutMode, PutResult, Result};

use super::simulated::refused;

/// When the first object is written; every write after it comes a millisecond later, so that times are the same in every run.
const FIRST_WRITE_MS: i64 = 1_700_000_000_000;
/// How many of the newest objects a list lacks that is behind.
const BEHIND: usize = 2;

pub(super) struct Object {
    pub bytes: Bytes,
    pub attributes: Attributes,
    /// Which write it was, from 1: its version.
    written: u64,
}

#[derive(Default)]
pub(super) struct Contents {
    objects: BTreeMap<Path, Object>,
    writes: u64,
}

impl Contents {
    pub fn put(&mut self, at: &Path, bytes: Bytes, attributes: Attributes, mode: PutMode) -> Result<PutResult> {
        let there = self.objects.get(at).map(Object::e_tag);
        match mode {
            PutMode::Overwrite => {}
            PutMode::Create if there.is_none() => {}
            PutMode::Create => {
                return Err(Error::AlreadyExists { path: at.to_string(), source: "another put was first".into() });
            }
            PutMode::Update(version) => {
                let Some(expected) = version.e_tag else { return Err(refused("an update needs an etag")) };
                if there.as_ref() != Some(&expected) {
                    let found = there.as_deref().unwrap_or("nothing");
                    let source = format!("expected the version {expected}, found {found}").into();
                    return Err(Error::Precondition { path: at.to_string(), source });
                }
            }
        }
        self.writes += 1;
        let object = Object { bytes, attributes, written: self.writes };
        let e_tag = Some(object.e_tag());
        self.objects.insert(at.clone(), object);
        Ok(PutResult { e_tag, version: None, extensions: object_store::Extensions::default() })
    }

    pub fn get(&self, at: &Path) -> Result<&Object> {
        let absent = || Error::NotFound { path: at.to_string(), source: "there is no such object".into() };
        self.objects.get(at).ok_or_else(absent)
    }

    /// Deleting what is not there is no error, as in the stores of the clouds.
    pub fn delete(&mut self, at: &Path) {
        self.objects.remove(at);
    }

    /// The objects below a prefix, by name; without the newest ones, where the list is behind.
    pub fn list(&self, prefix: &Path, behind: bool) -> Vec<ObjectMeta> {
        let is_below = |path: &Path| path.prefix_match(prefix).is_some_and(|mut parts| parts.next().is_some());
        let mut found: Vec<_> = self.objects.iter().filter(|(path, _)| is_below(path)).collect();
        if behind {
            let mut newest: Vec<u64> = found.iter().map(|(_, object)| object.written).collect();
            newest.sort_unstable();
            let seen = newest.len().saturating_sub(BEHIND);
            found.retain(|(_, object)| newest[..seen].contains(&object.written));
        }
        found.into_iter().map(|(path, object)| object.meta(path)).collect()
    }

    pub fn all(&self) -> BTreeMap<String, Bytes> {
        self.objects.iter().map(|(path, object)| (path.to_string(), object.bytes.clone())).collect()
    }
}

impl Object {
    pub fn e_tag(&self) -> String {
        format!("\"{}\"", self.written)
    }

    pub fn meta(&self, at: &Path) -> ObjectMeta {
        ObjectMeta {
            location: at.clone(),
            last_modified: self.last_modified(),
            size: self.bytes.len() as u64,
            e_tag: Some(self.e_tag()),
            version: None,
        }
    }

    /// The bytes of a range, and where they are.
    pub fn range(&self, range: Option<&GetRange>) -> Result<(std::ops::Range<u64>, Bytes)> {
        let len = self.bytes.len() as u64;
        let range = match range {
            None => 0..len,
            Some(range) => range.as_range(len).map_err(|error| refused(error.to_string()))?,
        };
        Ok((range.clone(), self.bytes.slice(range.start as usize..range.end as usize)))
    }

    fn last_modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(FIRST_WRITE_MS + self.written as i64).expect("a year that chrono knows")
    }
}
