//! The way of keys into the engine: hashed, and in one form.
//!
//! Keys are told apart by their encodings. A type in which 0.0 equals −0.0, or one NaN another, would have several encodings for
//! keys that are equal; so such keys are brought into one form where they enter: −0.0 becomes 0.0, every NaN the same NaN. Where
//! the type tells them apart, they stay what they are, and are different keys.

use std::marker::PhantomData;

use super::{Findings, as_key, check_key};
use crate::codec::{Key, KeyHash, KeyHasher, decode, encode_with_one_zero};

/// Takes keys of one type in.
pub struct Keys<K> {
    hasher: KeyHasher,
    has_one_zero: bool,
    /// Samples of the type do not show everything: each key is checked.
    checks_each: bool,
    keys: PhantomData<fn(K)>,
}

impl<K: Key> Keys<K> {
    pub fn new() -> Self {
        let Findings { has_one_zero, is_uncertain, .. } = as_key::<K>();
        Self { hasher: KeyHasher::default(), has_one_zero, checks_each: is_uncertain, keys: PhantomData }
    }

    /// A key in the form in which it is kept, and its hash.
    ///
    /// # Panics
    /// When it shows that its type cannot be a key.
    #[inline]
    pub fn take(&mut self, key: K) -> (KeyHash, K) {
        let key = if self.has_one_zero || self.checks_each { self.in_one_form(key) } else { key };
        (self.hasher.hash(&key), key)
    }

    /// The hash of a key in the form in which it is kept.
    pub fn hash(&mut self, key: &K) -> KeyHash {
        if self.has_one_zero || self.checks_each { self.take(key.clone()).0 } else { self.hasher.hash(key) }
    }

    /// Whether keys that are equal have one encoding by themselves, as those of most types have.
    pub fn have_one_form(&self) -> bool {
        !self.has_one_zero && !self.checks_each
    }

    /// Whether a stored key with this encoding is in the form in which keys are kept. Builds of before kept keys apart that are equal.
    pub fn is_in_form(&self, key: &K, encoded: &[u8]) -> bool {
        if self.have_one_form() {
            return true;
        }
        let form = encode_with_one_zero(key).expect("a key encodes");
        form == encoded || !self.has_one_zero && decode::<K>(&form).is_ok_and(|form| form != *key)
    }

    #[cold]
    fn in_one_form(&self, key: K) -> K {
        if self.checks_each
            && let Err(problem) = check_key(&key)
        {
            panic!("{problem}");
        }
        let bytes = encode_with_one_zero(&key).expect("a key encodes");
        let form = decode(&bytes).expect("a key comes back from its encoding");
        // Of a type that was not sampled it is not known whether its zeros are equal.
        if self.has_one_zero || form == key { form } else { key }
    }
}
