//! Surveys the chain of manifests: all that can be read, and all that is wrong, for those who look. A start stops at the first thing
//! that makes the chain unbelievable ([`ManifestChain::observe`](super::ManifestChain::observe)).

use std::collections::BTreeMap;
use std::path::Path;

use super::chain::{MANIFESTS, file_name, list_or_absent, parse_name, read_link, refuse_a_lost_directory};
use super::{ChainError, ChainFacts, Link};
use floodmark_base::disk::Disk;

/// Reads the manifests of a job, and says everything that makes the chain as such unbelievable. Manifests that are damaged are among
/// the facts, as always; those of another version, and those that cannot be read, are not.
///
/// # Errors
/// When the directory cannot be listed.
pub fn survey(disk: &dyn Disk, job: &Path) -> Result<(ChainFacts, Vec<ChainError>), ChainError> {
    let directory = job.join(MANIFESTS);
    let names = list_or_absent(disk, &directory)?.unwrap_or_default();
    let (mut links, mut others, mut errors) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut is_empty = true;
    for name in names {
        let Some(sequence) = parse_name(&name) else {
            others.push(name);
            continue;
        };
        is_empty = false;
        match read_link(disk, directory.join(name)) {
            Ok(link) => drop(links.insert(sequence, link)),
            Err(error) => errors.push(error),
        }
    }
    if is_empty {
        errors.extend(refuse_a_lost_directory(disk, job, &directory).err());
    }
    let is_complete = errors.is_empty();
    let mut facts = ChainFacts { links, superseded: Vec::new(), others };
    let counted = facts.links.split_off(&facts.boundary());
    facts.superseded = std::mem::replace(&mut facts.links, counted).into_keys().collect();
    // What could not be read is missing in the chain, and is told already.
    if is_complete {
        errors.extend(breaks(&facts, &directory));
    }
    Ok((facts, errors))
}

/// Every place where the chain does not go on.
fn breaks(facts: &ChainFacts, directory: &Path) -> Vec<ChainError> {
    let Some(newest) = facts.newest_sequence() else { return Vec::new() };
    let first = match facts.links.last_key_value() {
        Some((_, Link::Sound { .. })) => facts.stated_boundary(),
        _ => facts.boundary(),
    };
    let mut found = Vec::new();
    let mut expected = first;
    let mut parent: Option<&Link> = None;
    for (&sequence, link) in &facts.links {
        if sequence != expected {
            let file = directory.join(file_name(expected));
            found.push(ChainError::Hole { file, first, newest, is_at_front: parent.is_none() });
            parent = None;
        }
        if let (Some(Link::Sound { crc, .. }), Some(manifest)) = (parent, link.manifest())
            && manifest.parent_crc != *crc
        {
            let file = directory.join(file_name(sequence));
            found.push(ChainError::Forked { file, expected: manifest.parent_crc, found: *crc });
        }
        parent = Some(link);
        expected = sequence.next();
    }
    found
}
