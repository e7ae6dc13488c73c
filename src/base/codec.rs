//! How values become bytes: bincode 2, standard configuration: little-endian varints.
//!
//! One configuration for everything that is stored, so that a byte means the same in the log, a manifest and a state table.

mod strict;

use std::any::Any;

use bincode::config::{Configuration, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use self::strict::Strict;
use crate::text::Text;

/// A record of a stream: a plain value that serde can encode and decode.
///
/// A type that is logged by a receiver must come back from its encoding, and have the same encoding each time: without hash maps
/// and hash sets, and without serde attributes that leave fields out or need a self-describing format. Samples of the type are
/// tried before a job starts, and a type that fails is refused by name; `docs/guarantees.md` has the rules.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// fn takes_records<T: floodmark::Record>(_: T) {}
/// takes_records((1_u64, "one".to_string()));
/// ```
pub trait Record: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Record for T {}

/// A record by which others can be grouped.
///
/// Keys are told apart by their encodings, so keys that are equal must have equal encodings; a type of which samples show that
/// they do not is refused when the job starts. Floats follow the type's own `==`: where 0.0 equals −0.0, or one NaN another,
/// they are one key, which is kept as 0.0, or as one NaN. A type in which a NaN does not equal itself is refused.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// fn takes_keys<K: floodmark::Key>(_: K) {}
/// takes_keys("apple".to_string());
/// ```
pub trait Key: Record + Eq {}
impl<T: Record + Eq> Key for T {}

const CONFIGURATION: Configuration = standard();

/// Bytes that do not decode as the type that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    /// An error with this text.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Appends the encoding of `value` to `bytes`.
///
/// # Errors
/// When the type's own serde code fails, or does what cannot be read back (a sequence of unknown length, a field that is left
/// out).
pub fn encode_into<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
    bincode::serde::encode_into_std_write(Strict::<T, false>(value), bytes, CONFIGURATION).map(|_| ())
}

/// The encoding of `value`.
///
/// # Errors
/// As [`encode_into`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, bincode::error::EncodeError> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// The encoding of `value` with 0.0 for −0.0, and with one NaN for all.
///
/// # Errors
/// As [`encode_into`].
pub fn encode_with_one_zero<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, bincode::error::EncodeError> {
    bincode::serde::encode_to_vec(Strict::<T, true>(value), CONFIGURATION)
}

/// The encoding of `value`, to be compared and never to be read back: fields may be left out.
///
/// # Errors
/// When the type's own serde code fails (a sequence of unknown length, for example).
pub fn encode_loosely<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, bincode::error::EncodeError> {
    let mut bytes = Vec::new();
    encode_loosely_into(value, &mut bytes)?;
    Ok(bytes)
}

/// As [`encode_loosely`], behind what is in `bytes`.
///
/// # Errors
/// As [`encode_loosely`].
pub fn encode_loosely_into<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), bincode::error::EncodeError> {
    bincode::serde::encode_into_std_write(value, bytes, CONFIGURATION).map(|_| ())
}

/// Whether a value could not be encoded because its serde code gives a list or a map without saying how many elements it has.
pub fn lacks_length(error: &bincode::error::EncodeError) -> bool {
    use bincode::{error::EncodeError, serde::EncodeError as OfSerde};
    matches!(error, EncodeError::Serde(OfSerde::SequenceMustHaveLength))
}

/// Decodes all of `bytes`; left-over bytes are an error.
///
/// # Errors
/// When the bytes are not the encoding of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_front(bytes) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => Err(DecodeError(format!("{} bytes left over after {read}", bytes.len() - read))),
        Err(error) => Err(DecodeError(error.to_string())),
    }
}

/// Decodes one value from the front of `bytes` and says how many bytes it took.
///
/// # Errors
/// When the bytes do not begin with the encoding of a `T`.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    decode_front(bytes).map_err(|error| DecodeError(error.to_string()))
}

/// Room is made for a `String` or a run of bytes as soon as its length is read. Bytes of another type, or damaged ones, may
/// claim any length, so what is claimed is bounded by what the input can hold: no encoded byte stands for more than 16 of a
/// value (a `u128` below 251). The bounds must be constants, hence the steps. A [`Text`] or [`Bytes`](crate::Bytes) is borrowed
/// from the input before it is made, so it needs no bound, and no copy in between.
fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    use bincode::serde::borrow_decode_from_slice;
    const SMALL: usize = 4 << 10;
    const MEDIUM: usize = 256 << 10;
    const LARGE: usize = 16 << 20;
    /// The largest input is a frame: less than 4 GiB.
    const LARGEST: usize = 4 << 30;
    if bytes.len() <= SMALL {
        borrow_decode_from_slice(bytes, CONFIGURATION.with_limit::<{ 32 * SMALL }>())
    } else if bytes.len() <= MEDIUM {
        borrow_decode_from_slice(bytes, CONFIGURATION.with_limit::<{ 32 * MEDIUM }>())
    } else if bytes.len() <= LARGE {
        borrow_decode_from_slice(bytes, CONFIGURATION.with_limit::<{ 32 * LARGE }>())
    } else {
        borrow_decode_from_slice(bytes, CONFIGURATION.with_limit::<{ 32 * LARGEST }>())
    }
}

/// The pinned hash of a key: XXH3 (64 bits, seed 0) over its encoded bytes, never Rust's `Hash`, so that stored state and
/// the routing of keys outlive every build. Key groups and partitions are ranges of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// The name under which manifests record the hash.
pub const KEY_HASH_NAME: &str = "xxh3-64";

impl KeyHash {
    /// The hash of a key that is already encoded.
    #[inline]
    #[must_use]
    pub fn of_encoded(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// Which of `count` equal, contiguous ranges of hashes this one lies in: its key group, or its partition.
    #[inline]
    #[must_use]
    pub fn bucket(self, count: u32) -> u32 {
        ((u128::from(self.0) * u128::from(count)) >> 64) as u32
    }
}

/// Hashes keys with one scratch buffer; one per thread of work.
#[derive(Default)]
pub struct KeyHasher {
    scratch: Vec<u8>,
}

impl KeyHasher {
    /// The pinned hash of `key`.
    ///
    /// # Panics
    /// When the key's serde code fails, for a key that shows what no sample of its type did.
    #[inline]
    pub fn hash<K: Serialize + 'static>(&mut self, key: &K) -> KeyHash {
        // The one key type that is in every hot path; the compiler resolves the question.
        if let Some(text) = (key as &dyn Any).downcast_ref::<Text>() {
            return hash_of_text(text);
        }
        self.scratch.clear();
        if let Err(error) = encode_into(key, &mut self.scratch) {
            cannot_be_encoded::<K>(&error);
        }
        KeyHash::of_encoded(&self.scratch)
    }
}

#[cold]
fn cannot_be_encoded<K>(error: &bincode::error::EncodeError) -> ! {
    panic!("a key of type {} cannot be stored: {error}", std::any::type_name::<K>());
}

/// The hash of a text's encoding, its length as a varint and its bytes, without the way through serde.
#[inline]
fn hash_of_text(text: &str) -> KeyHash {
    const SHORT: usize = 63;
    let bytes = text.as_bytes();
    if let (Some(front), Some(back)) = (bytes.first_chunk(), bytes.last_chunk())
        && bytes.len() < 16
    {
        return hash_of_word(bytes.len() as u64, u64::from_le_bytes(*front), u64::from_le_bytes(*back));
    }
    if bytes.len() > SHORT {
        return KeyHash::of_encoded(&encode(text).expect("a text encodes"));
    }
    let mut encoded = [0_u8; SHORT + 1];
    encoded[0] = bytes.len() as u8;
    encoded[1..=bytes.len()].copy_from_slice(bytes);
    KeyHash::of_encoded(&encoded[..=bytes.len()])
}

/// XXH3 over the 9 to 16 bytes of an encoded word of this length, which is given by its first eight and its last eight bytes. The
/// library wants the encoding in memory; to put it there and read it again takes twice as long as the hash itself.
#[inline]
fn hash_of_word(length: u64, front: u64, back: u64) -> KeyHash {
    const FLIP_FRONT: u64 = 0x6782_737b_ea42_39b9;
    const FLIP_BACK: u64 = 0xaf56_bc3b_0996_523a;
    const FACTOR: u64 = 0x1656_6791_9e37_79f9;
    let (front, back) = ((front << 8 | length) ^ FLIP_FRONT, back ^ FLIP_BACK);
    let product = u128::from(front) * u128::from(back);
    let folded = product as u64 ^ (product >> 64) as u64;
    let sum = (length + 1).wrapping_add(front.swap_bytes()).wrapping_add(back).wrapping_add(folded);
    let mixed = (sum ^ (sum >> 37)).wrapping_mul(FACTOR);
    KeyHash(mixed ^ (mixed >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_hash_is_pinned_by_test_vectors() {
        assert_eq!(KeyHash::of_encoded(b""), KeyHash(0x2d06_8005_38d3_94c2));
        assert_eq!(KeyHasher::default().hash(&"apple".to_string()), KeyHash::of_encoded(b"\x05apple"));
    }

    #[test]
    fn a_text_of_any_length_hashes_as_its_encoding() {
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 20, 21, 62, 63, 64, 65, 250, 251, 300] {
            let text: String = ('a'..='z').cycle().take(length).collect();
            let expected = KeyHash::of_encoded(&encode(&text).unwrap());
            assert_eq!(KeyHasher::default().hash(&Text::from(text)), expected, "{length} bytes");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_word_hashes_as_its_encoding(word in "\\PC{0,20}") {
            let expected = KeyHash::of_encoded(&encode(&word).unwrap());
            proptest::prop_assert_eq!(KeyHasher::default().hash(&Text::from(word)), expected);
        }
    }

    #[test]
    fn buckets_are_contiguous_ranges_of_hashes() {
        assert_eq!(KeyHash(0).bucket(8), 0);
        assert_eq!(KeyHash(u64::MAX / 2).bucket(8), 3);
        assert_eq!(KeyHash(u64::MAX).bucket(8), 7);
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error_and_makes_no_room() {
        for claimed in [1_u64 << 20, 1 << 40, 1 << 62, u64::MAX] {
            let mut bytes = vec![253]; // a varint of eight bytes follows
            bytes.extend(claimed.to_le_bytes());
            assert!(decode::<String>(&bytes).is_err());
            assert!(decode::<(Text, u64)>(&bytes).is_err());
            assert!(decode_prefix::<Vec<(String, Vec<u64>)>>(&bytes).is_err());
            assert!(decode_prefix::<std::collections::BTreeMap<String, u128>>(&bytes).is_err());
        }
    }

    #[test]
    fn the_densest_values_decode_at_every_size_of_input() {
        for count in [0, 1, 4_000, 4_093, 4_094, 5_000, 100_000, 262_138, 262_139, 300_000] {
            let dense = vec![7_u128; count];
            assert_eq!(decode::<Vec<u128>>(&encode(&dense).unwrap()).unwrap(), dense);
            let text = "x".repeat(count * 20);
            assert_eq!(decode::<String>(&encode(&text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        assert!(decode::<u8>(&[1, 2]).is_err());
        assert_eq!(decode::<u8>(&[1]).unwrap(), 1);
    }
}
