//! A frozen run: what one table changed between two checkpoints, sorted and encoded.
//!
//! Flat: one buffer of bytes (`key, value, key, value, …`) and one small record of lengths per entry, so that a run of a
//! million entries is two allocations, and moving it to another thread moves two pointers.

use floodmark_base::codec::KeyHash;

/// Changed and removed entries in the order (hash, encoded key). A removed one is a tombstone.
#[derive(Debug, Default)]
pub struct FrozenRun {
    lengths: Vec<Lengths>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    hash: KeyHash,
    key: u32,
    value: u32,
}

/// The length that marks a tombstone.
const REMOVED: u32 = u32::MAX;

/// One entry of a run: `value` is `None` where the key was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrozenEntry<'a> {
    pub hash: KeyHash,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl FrozenRun {
    /// An empty run with room for `entries`.
    pub fn with_capacity(entries: usize) -> Self {
        Self { lengths: Vec::with_capacity(entries), bytes: Vec::with_capacity(entries * 16) }
    }

    /// Adds the next entry; `write_key` and `write_value` append its encoding.
    ///
    /// # Panics
    /// When a key or a value takes 4 GiB or more: not a size that a state entry can have.
    pub(super) fn push(
        &mut self,
        hash: KeyHash,
        write_key: impl FnOnce(&mut Vec<u8>),
        write_value: Option<impl FnOnce(&mut Vec<u8>)>,
    ) {
        let start = self.bytes.len();
        write_key(&mut self.bytes);
        let key_end = self.bytes.len();
        let value = match write_value {
            Some(write_value) => {
                write_value(&mut self.bytes);
                length(self.bytes.len() - key_end)
            }
            None => REMOVED,
        };
        self.lengths.push(Lengths { hash, key: length(key_end - start), value });
    }

    /// Adds the next entry as it is stored; one without a value is removed.
    pub fn push_encoded(&mut self, hash: KeyHash, key: &[u8], value: Option<&[u8]>) {
        let write_value = value.map(|value| |bytes: &mut Vec<u8>| bytes.extend_from_slice(value));
        self.push(hash, |bytes| bytes.extend_from_slice(key), write_value);
    }

    /// How many entries changed, tombstones included.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The hash of the first entry.
    pub(super) fn first_hash(&self) -> Option<KeyHash> {
        self.lengths.first().map(|entry| entry.hash)
    }

    /// The hash of the last entry.
    pub(super) fn last_hash(&self) -> Option<KeyHash> {
        self.lengths.last().map(|entry| entry.hash)
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = FrozenEntry<'_>> {
        let mut at = 0;
        self.lengths.iter().map(move |lengths| {
            let key = &self.bytes[at..at + lengths.key as usize];
            at += key.len();
            let value = (lengths.value != REMOVED).then(|| &self.bytes[at..at + lengths.value as usize]);
            at += value.map_or(0, <[u8]>::len);
            FrozenEntry { hash: lengths.hash, key, value }
        })
    }
}

fn length(bytes: usize) -> u32 {
    let length = u32::try_from(bytes).expect("a state entry is smaller than 4 GiB");
    assert_ne!(length, REMOVED, "a state entry is smaller than 4 GiB");
    length
}
