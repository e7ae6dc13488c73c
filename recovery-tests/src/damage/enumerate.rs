//! All damages of a store.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};

use super::case::{Case, Change};
use super::kind::FileKind;
use super::store::{Store, StoredFile};

/// Which damages there are to be.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// Files up to this size are small.
    pub small_bytes: usize,
    /// Flipped bytes of a small file; all of them without a number.
    pub flips_of_small: Option<usize>,
    /// Flipped bytes of any other file.
    pub flips_of_large: usize,
    /// Besides 0xff, one bit of each byte is turned.
    pub single_bits: bool,
    pub seed: u64,
    /// Files of these kinds only.
    pub kinds: Option<Vec<FileKind>>,
}

const SECTOR: usize = 512;

/// Every case, in a fixed order.
pub(super) fn enumerate(store: &Store, foreign: Option<&Store>, selection: &Selection) -> Vec<Case> {
    let mut rng = StdRng::seed_from_u64(selection.seed);
    let mut cases = Vec::new();
    for file in store.files() {
        let of_file = |change| Case { target: file.name.clone(), kind: file.kind, change };
        cases.push(of_file(Change::Remove));
        if file.same_as.is_none() {
            cases.extend(in_place(file, selection, &mut rng).into_iter().map(of_file));
        }
    }
    for (name, _) in store.directories() {
        cases.push(Case { target: name, kind: FileKind::Directory, change: Change::Remove });
    }
    cases.extend(swaps(store));
    cases.extend(duplicates(store));
    cases.extend(foreign.map(|foreign| replacements(store, foreign)).unwrap_or_default());
    if let Some(kinds) = &selection.kinds {
        cases.retain(|case| kinds.contains(&case.kind));
    }
    cases
}

/// What can be done to the bytes of a file.
fn in_place(file: &StoredFile, selection: &Selection, rng: &mut StdRng) -> Vec<Change> {
    let len = file.bytes.len();
    let mut changes = Vec::new();
    for offset in flipped(file, selection, rng) {
        changes.push(Change::Flip { offset, mask: 0xff });
        if selection.single_bits {
            changes.push(Change::Flip { offset, mask: 1 << rng.random_range(0..8) });
        }
    }
    let header = file.kind.header_len();
    let lengths = BTreeSet::from([0, 1, header, len / 2, len.saturating_sub(8), len.saturating_sub(1)]);
    changes.extend(lengths.into_iter().filter(|cut| *cut < len).map(|len| Change::Cut { len }));
    let sectors: Vec<usize> = (0..len).step_by(SECTOR).collect();
    let most = selection.flips_of_small.unwrap_or(usize::MAX).min(selection.flips_of_large).div_ceil(4).max(1);
    for place in sample(sectors.len(), most, rng) {
        let (offset, len) = (sectors[place], SECTOR.min(len - sectors[place]));
        let is_zero_already = file.bytes[offset..offset + len].iter().all(|byte| *byte == 0);
        changes.extend((!is_zero_already).then_some(Change::Zero { offset, len }));
    }
    changes
}

/// The offsets of the bytes to flip.
fn flipped(file: &StoredFile, selection: &Selection, rng: &mut StdRng) -> Vec<usize> {
    let len = file.bytes.len();
    let most = match file.kind {
        // Nothing is read from these: a few bytes show that.
        FileKind::Live | FileKind::Reserve | FileKind::Lock => 4.min(selection.flips_of_large),
        _ if len <= selection.small_bytes => selection.flips_of_small.unwrap_or(len),
        _ => selection.flips_of_large,
    };
    sample(len, most, rng)
}

/// At most so many places of `len`, sorted; the last one is among them, where formats have what they need most.
fn sample(len: usize, most: usize, rng: &mut StdRng) -> Vec<usize> {
    if len <= most {
        return (0..len).collect();
    }
    let mut places: BTreeSet<usize> = index::sample(rng, len, most).into_iter().collect();
    if most > 1 {
        places.pop_last();
        places.insert(len - 1);
    }
    places.into_iter().collect()
}

/// Each file and the next one of its kind.
fn swaps(store: &Store) -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds: BTreeSet<FileKind> = store.files().map(|file| merged(file.kind)).collect();
    for kind in kinds.into_iter().filter(|kind| *kind != FileKind::Live) {
        let files: Vec<_> = store.files().filter(|file| merged(file.kind) == kind).collect();
        for pair in files.windows(2).filter(|pair| pair[0].bytes != pair[1].bytes) {
            let change = Change::Swap { with: pair[1].name.clone() };
            cases.push(Case { target: pair[0].name.clone(), kind: pair[0].kind, change });
        }
    }
    cases
}

/// Each numbered file once more, under the number after the highest.
fn duplicates(store: &Store) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, extension) in [(FileKind::Manifest, ""), (FileKind::Segment, ".log")] {
        let files: Vec<_> = store.files().filter(|file| merged(file.kind) == kind).collect();
        let number = |file: &&StoredFile| {
            file.name.rsplit('/').next()?.strip_suffix(extension).and_then(|digits| digits.parse::<u64>().ok())
        };
        let Some(highest) = files.iter().filter_map(number).max() else { continue };
        for file in files {
            let directory = file.name.rsplit_once('/').map_or("", |(directory, _)| directory);
            let change = Change::Duplicate { name: format!("{directory}/{:020}{extension}", highest + 1) };
            cases.push(Case { target: file.name.clone(), kind: file.kind, change });
        }
    }
    cases
}

/// Each file with the one of another store of the same job in its place: that of the same name, or else the last of its kind.
fn replacements(store: &Store, foreign: &Store) -> Vec<Case> {
    let files = store.files().filter(|file| !matches!(file.kind, FileKind::Live | FileKind::Lock));
    let replaced = files.filter_map(|file| {
        let of_kind = || foreign.files().filter(|other| merged(other.kind) == merged(file.kind)).last();
        let other = foreign.file(&file.name).or_else(of_kind).filter(|other| other.bytes != file.bytes)?;
        let change = Change::Foreign { name: other.name.clone() };
        Some(Case { target: file.name.clone(), kind: file.kind, change })
    });
    replaced.collect()
}

/// Segments are one kind here.
fn merged(kind: FileKind) -> FileKind {
    if kind == FileKind::NewestSegment { FileKind::Segment } else { kind }
}
