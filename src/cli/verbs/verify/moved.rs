//! What a driver at work has taken away while the store was verified is no damage.

use std::collections::HashSet;
use std::path::Path;

use crate::checkpoint::{ChainFacts, Link};
use crate::cli::finding::{Code, Finding};
use crate::cli::frames::oldest_needed;
use crate::cli::location::{MANIFESTS, Store};
use crate::cli::view;
use crate::disk::LocalDisk;
use crate::id::ManifestSequence;
use crate::recovery::facts::{CHECKPOINTS, WAL};
use crate::wal::LogSurvey;

/// The findings that are left when the chain has gone on: about files that it does not name any more nothing is said.
pub(super) fn without_what_has_gone(
    findings: Vec<Finding>,
    store: &Store,
    newest_before: Option<ManifestSequence>,
    before: &ChainFacts,
) -> Vec<Finding> {
    if findings.is_empty() || view::newest_manifest(store.path()) == newest_before {
        return findings;
    }
    let Ok(now) = view::chain(store.path()) else { return findings };
    let directories = |chain: &ChainFacts| -> HashSet<String> {
        let manifests = chain.links.values().filter_map(Link::manifest);
        manifests.filter_map(|manifest| manifest.checkpoint.as_ref()).map(|files| files.directory.clone()).collect()
    };
    let (named, known) = (directories(&now), directories(before));
    let gone: Vec<String> = known.difference(&named).map(|name| format!("{CHECKPOINTS}/{name}")).collect();
    let oldest_segment = oldest_segment(store);
    let is_gone = |finding: &Finding| {
        let of_gone = |text: &str| gone.iter().any(|directory| text.starts_with(directory.as_str()));
        let of_checkpoint = finding.file.as_deref().is_some_and(of_gone)
            || (finding.file.is_none()
                && finding
                    .concerns
                    .iter()
                    .any(|concern| known.difference(&named).any(|name| concern.contains(name.as_str()))));
        let of_log = finding.file.as_deref().is_some_and(|file| {
            let number = file.strip_prefix(WAL).and_then(|name| name.trim_matches('/').strip_suffix(".log"));
            number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| Some(number) < oldest_segment)
        });
        let of_chain = finding.file.as_deref().is_some_and(|file| {
            let number = Path::new(file).strip_prefix(MANIFESTS).ok().and_then(Path::to_str);
            number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number < now.boundary().0)
        });
        of_checkpoint || of_log || of_chain || (finding.code == Code::MissingSegment && oldest_segment.is_some())
    };
    let survey = LogSurvey::of(&LocalDisk, &store.path().join(WAL), oldest_needed(store.path()));
    let log_is_whole = survey.is_ok_and(|survey| survey.damage.is_empty());
    let keep = |finding: &Finding| !is_gone(finding) || (finding.code == Code::MissingSegment && !log_is_whole);
    findings.into_iter().filter(keep).collect()
}

fn oldest_segment(store: &Store) -> Option<u64> {
    let survey = LogSurvey::of(&LocalDisk, &store.path().join(WAL), None).ok()?;
    survey.segments.first().map(|segment| segment.header.number.0)
}
