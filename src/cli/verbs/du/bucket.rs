//! `floodmark du` on a URL: objects by kind.

use std::collections::{BTreeMap, HashSet};

use super::{DuReport, Kind, KindRow};
use crate::failure::Result;
use crate::location::Store;
use crate::remote::RemoteStore;
use floodmark_store::remote::{Look, RemoteFile};

pub(super) fn report(store: &Store, remote: &RemoteStore) -> Result<DuReport> {
    let look = remote.look();
    let unneeded = remote.disk().unneeded(&look)?;
    let unneeded: HashSet<&str> = unneeded.iter().map(|it| &*it.name).collect();
    let mut kinds: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
    for object in &look.objects {
        let kind = if unneeded.contains(&*object.name) { Kind::Unneeded } else { kind_of(object, &look) };
        let sum = kinds.entry(kind).or_default();
        *sum = (sum.0 + object.size, sum.1 + 1);
    }
    let kinds: Vec<KindRow> = kinds.into_iter().map(|(kind, (bytes, files))| KindRow { kind, bytes, files }).collect();
    Ok(DuReport {
        store: store.name(),
        total_bytes: kinds.iter().map(|row| row.bytes).sum(),
        files: kinds.iter().map(|row| row.files).sum(),
        garbage_bytes: kinds.iter().filter(|row| row.kind.is_garbage()).map(|row| row.bytes).sum(),
        kinds,
        operators: Vec::new(),
        as_of_batch: None,
        operators_unknown: Some(format!("`floodmark operators {}` fetches the checkpoint and tells", store.shown())),
    })
}

fn kind_of(object: &RemoteFile, look: &Look) -> Kind {
    let number = object.name.rsplit('/').next().and_then(|digits| digits.parse::<u64>().ok());
    match object.name.split('/').next() {
        Some("log") if number.is_some_and(|number| number < look.log_range().0) => Kind::KeptForEver,
        Some("log") => Kind::LogNeeded,
        Some("manifests") => {
            let counts = look.manifests.oldest();
            let first = counts.map_or(0, |first| first.0);
            if number.is_some_and(|number| number < first) { Kind::KeptForEver } else { Kind::Manifests }
        }
        Some("files") => match look.users_of(&object.name) {
            (0, true) => Kind::Pinned,
            (0, false) => Kind::CheckpointsUnnamed,
            (1, _) => Kind::Checkpoints,
            _ => Kind::CheckpointsShared,
        },
        Some("pins") => Kind::Pins,
        Some("operations") => Kind::Record,
        Some("probe") => Kind::Temporary,
        _ => Kind::Other,
    }
}
