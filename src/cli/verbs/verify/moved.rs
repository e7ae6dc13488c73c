//! What a driver at work has taken away while the store was verified is no damage.

use std::collections::HashSet;
use std::path::Path;

use crate::finding::{Code, Finding};
use crate::frames::survey;
use crate::location::{MANIFESTS, Store};
use crate::view;
use floodmark_base::id::ManifestSequence;
use floodmark_store::checkpoint::ChainFacts;
use floodmark_store::recovery::facts::{CHECKPOINTS, WAL};

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
    let (named, known): (HashSet<&str>, HashSet<&str>) =
        (now.directories(now.boundary()).collect(), before.directories(before.boundary()).collect());
    let gone: Vec<String> = known.difference(&named).map(|name| format!("{CHECKPOINTS}/{name}")).collect();
    let survey = survey(store.path()).ok();
    let oldest_segment = survey.as_ref().and_then(|survey| Some(survey.segments.first()?.header.number.0));
    let is_gone = |finding: &Finding| {
        let of_gone = |text: &str| gone.iter().any(|directory| text.starts_with(directory.as_str()));
        let of_checkpoint = finding.file.as_deref().is_some_and(of_gone)
            || (finding.file.is_none()
                && finding.concerns.iter().any(|concern| known.difference(&named).any(|name| concern.contains(name))));
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
    let log_is_whole = survey.as_ref().is_some_and(|survey| survey.damage.is_empty());
    let keep = |finding: &Finding| !is_gone(finding) || (finding.code == Code::MissingSegment && !log_is_whole);
    findings.into_iter().filter(keep).collect()
}
