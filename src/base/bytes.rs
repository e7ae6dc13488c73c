//! `Bytes`: the record of sources that leave the decoding to the job.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, RangeBounds};

use byteview::ByteView;
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// Immutable bytes that are cheap to clone and to move: up to 20 are kept inline, more are a shared slice of the block they
/// came in. What [`Text`] is, without the promise of UTF-8.
///
/// They dereference to `[u8]`, and are encoded as a run of bytes, as `Vec<u8>` is.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::Bytes;
///
/// let frame = Bytes::from(b"\x00\x2asome payload".as_slice());
/// assert_eq!(frame.slice(2..), b"some payload".as_slice());
/// assert_eq!(frame.slice(2..6).to_text().unwrap(), "some");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(ByteView);

impl Bytes {
    /// Takes over bytes without copying them.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn from_view(bytes: ByteView) -> Self {
        Self(bytes)
    }

    /// A part of these bytes, sharing them.
    ///
    /// # Panics
    /// When the range is out of bounds.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::Bytes::from(b"floodmark".as_slice()).slice(5..), b"mark".as_slice());
    /// ```
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Self(self.0.slice(range))
    }

    /// The same bytes as a text that shares them.
    ///
    /// # Errors
    /// When they are not UTF-8.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::Bytes::from(b"word".as_slice()).to_text().unwrap(), "word");
    /// assert!(floodmark::Bytes::from([0xff].as_slice()).to_text().is_err());
    /// ```
    pub fn to_text(&self) -> Result<Text, std::str::Utf8Error> {
        Text::from_view(self.0.clone())
    }

    /// A copy that shares its bytes with nothing, for keeping after the block it came from is gone.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// let bytes = floodmark::Bytes::from([7_u8; 100].as_slice());
    /// assert_eq!(bytes.to_detached(), bytes);
    /// ```
    #[must_use]
    pub fn to_detached(&self) -> Self {
        Self(self.0.to_detached())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(ByteView::new(bytes))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(ByteView::new(&bytes))
    }
}

impl PartialEq<[u8]> for Bytes {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Bytes {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

/// As a byte string, with what is not ASCII escaped.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl Serialize for Bytes {
    #[inline]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a run of bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, decode_prefix, encode};

    #[test]
    fn bytes_encode_as_a_vector_of_bytes_does() {
        for length in [0, 1, 20, 21, 250, 251, 70_000] {
            let vector: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let bytes = Bytes::from(vector.clone());
            assert_eq!(encode(&bytes).unwrap(), encode(&vector).unwrap());
            assert_eq!(decode::<Bytes>(&encode(&vector).unwrap()).unwrap(), bytes);
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error() {
        assert!(decode_prefix::<Bytes>(&[200, 1, 2]).is_err());
    }

    #[test]
    fn bytes_are_shown_as_a_byte_string() {
        assert_eq!(format!("{:?}", Bytes::from(b"a\"\xff".as_slice())), r#"b"a\"\xff""#);
    }
}
