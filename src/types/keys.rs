//! The way of keys into the engine: hashed, and in one form.
//!
//! Keys are told apart by their encodings. A type in which 0.0 equals −0.0, or one NaN another, would have several encodings for
//! keys that are equal; so such keys are brought into one form where they enter: −0.0 becomes 0.0, every NaN the same NaN. Where
//! the type tells them apart, they stay what they are, and are different keys.

use std::marker::PhantomData;

use super::as_key;
use crate::codec::{Key, KeyHash, KeyHasher, decode, encode_with_one_zero};

/// Takes keys of one type in.
pub(crate) struct Keys<K> {
    hasher: KeyHasher,
    has_one_zero: bool,
    keys: PhantomData<fn(K)>,
}

impl<K: Key> Keys<K> {
    pub fn new() -> Self {
        Self { hasher: KeyHasher::default(), has_one_zero: as_key::<K>().has_one_zero, keys: PhantomData }
    }

    /// A key in the form in which it is kept, and its hash.
    #[inline]
    pub fn take(&mut self, key: K) -> (KeyHash, K) {
        let key = if self.has_one_zero { in_one_form(&key) } else { key };
        (self.hasher.hash(&key), key)
    }

    /// The hash of a key in the form in which it is kept.
    pub fn hash(&mut self, key: &K) -> KeyHash {
        if self.has_one_zero { self.hasher.hash(&in_one_form(key)) } else { self.hasher.hash(key) }
    }
}

#[cold]
fn in_one_form<K: Key>(key: &K) -> K {
    let bytes = encode_with_one_zero(key).expect("a key encodes");
    decode(&bytes).expect("a key type was sampled when the job was declared")
}
