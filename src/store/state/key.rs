//! The key of an entry in the store: `[operator number u32][key hash u64][encoded key]`, numbers big-endian, so that the
//! order of bytes is the order of tables (operator, hash, encoded key).

use std::fmt;

use serde::{Deserialize, Serialize};

use floodmark_base::codec::KeyHash;

/// The number that stands for an operator's uid in the store; the manifest maps one to the other (I-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperatorNumber(pub u32);

impl fmt::Display for OperatorNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes before the encoded key.
const PREFIX_LEN: usize = 12;

/// Overwrites `bytes` with the store's key.
pub(super) fn write_store_key(bytes: &mut Vec<u8>, operator: OperatorNumber, hash: KeyHash, key: &[u8]) {
    bytes.clear();
    write_prefix(bytes, operator, hash);
    bytes.extend_from_slice(key);
}

#[inline]
fn write_prefix(bytes: &mut Vec<u8>, operator: OperatorNumber, hash: KeyHash) {
    bytes.extend_from_slice(&operator.0.to_be_bytes());
    bytes.extend_from_slice(&hash.0.to_be_bytes());
}

/// The store's key as a value of its own.
pub(super) fn store_key(operator: OperatorNumber, hash: KeyHash, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX_LEN + key.len());
    write_store_key(&mut bytes, operator, hash, key);
    bytes
}

/// Many keys of the store in one buffer, in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct StoreKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl StoreKeys {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn push(&mut self, operator: OperatorNumber, hash: KeyHash, encode: impl FnOnce(&mut Vec<u8>)) {
        write_prefix(&mut self.bytes, operator, hash);
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// The first key after all of `operator` whose hash is `last`; `None` when nothing can follow.
pub(super) fn end_of_range(operator: OperatorNumber, last: KeyHash) -> Option<Vec<u8>> {
    match (operator.0, last.0) {
        (u32::MAX, u64::MAX) => None,
        (operator, u64::MAX) => Some(store_key(OperatorNumber(operator + 1), KeyHash(0), b"")),
        (operator, hash) => Some(store_key(OperatorNumber(operator), KeyHash(hash + 1), b"")),
    }
}

/// The operator, the hash and the encoded key of a store's key; `None` when it is too short to be one.
pub(super) fn split_store_key(bytes: &[u8]) -> Option<(OperatorNumber, KeyHash, &[u8])> {
    let (operator, rest) = bytes.split_first_chunk::<4>()?;
    let (hash, key) = rest.split_first_chunk::<8>()?;
    Some((OperatorNumber(u32::from_be_bytes(*operator)), KeyHash(u64::from_be_bytes(*hash)), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_key_has_pinned_bytes_and_reads_back() {
        let key = store_key(OperatorNumber(2), KeyHash(0x0102_0304_0506_0708), b"\x05apple");
        assert_eq!(key, b"\0\0\0\x02\x01\x02\x03\x04\x05\x06\x07\x08\x05apple");
        let (operator, hash, encoded) = split_store_key(&key).unwrap();
        assert_eq!((operator, hash, encoded), (OperatorNumber(2), KeyHash(0x0102_0304_0506_0708), &b"\x05apple"[..]));
        assert!(split_store_key(&key[..11]).is_none());
    }

    #[test]
    fn many_store_keys_are_those_of_one_after_the_other() {
        let mut keys = StoreKeys::default();
        keys.push(OperatorNumber(9), KeyHash(9), |_| ());
        keys.clear();
        let encoded: [&[u8]; 3] = [b"apple", b"", b"pear"];
        for (hash, key) in (1..).zip(encoded) {
            keys.push(OperatorNumber(2), KeyHash(hash), |bytes| bytes.extend_from_slice(key));
        }
        let expected = (1..).zip(encoded).map(|(hash, key)| store_key(OperatorNumber(2), KeyHash(hash), key));
        assert!(keys.iter().eq(expected));
    }

    #[test]
    fn the_end_of_a_range_is_beyond_its_last_key_and_before_the_next() {
        let end = end_of_range(OperatorNumber(2), KeyHash(7)).unwrap();
        assert!(store_key(OperatorNumber(2), KeyHash(7), &[0xff; 40]) < end);
        assert!(store_key(OperatorNumber(2), KeyHash(8), b"") >= end);
        let end = end_of_range(OperatorNumber(2), KeyHash(u64::MAX)).unwrap();
        assert!(store_key(OperatorNumber(3), KeyHash(0), b"") >= end);
        assert!(end_of_range(OperatorNumber(u32::MAX), KeyHash(u64::MAX)).is_none());
    }
}
