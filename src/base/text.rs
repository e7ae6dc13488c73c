//! `Text`: the record of text sources, and the natural key.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, RangeBounds};

use byteview::{ByteView, StrView};
use serde::{Deserialize, Serialize};

/// An immutable string that is cheap to clone and to move: up to 20 bytes are kept inline, longer ones are a shared slice
/// of the block they came in.
///
/// It dereferences to `str`, is encoded as a string is, and so hashes as a key exactly as the same `String` would.
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// use floodmark::Text;
///
/// let line = Text::from("to be or not to be");
/// let words: Vec<Text> = line.split_whitespace().map(Text::from).collect();
/// assert_eq!(words.len(), 6);
/// assert_eq!(line.slice(..5), "to be");
/// ```
#[derive(Clone, Default, Eq, PartialOrd, Ord)]
pub struct Text(StrView);

impl Text {
    /// Takes over bytes without copying them, if they are UTF-8.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    #[doc(hidden)] // for Floodmark's own crates
    pub fn from_view(bytes: ByteView) -> Result<Self, std::str::Utf8Error> {
        StrView::try_from(bytes).map(Self)
    }

    /// A part of this text by byte positions, sharing its bytes.
    ///
    /// # Panics
    /// When the range is out of bounds or cuts a character.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::Text::from("floodmark").slice(5..), "mark");
    /// ```
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Self(self.0.slice(range))
    }

    /// A copy that shares its bytes with nothing, for keeping after the block it came from is gone.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// let text = floodmark::Text::from("a line that is longer than what is kept inline");
    /// assert_eq!(text.to_detached(), text);
    /// ```
    #[must_use]
    pub fn to_detached(&self) -> Self {
        Self(self.0.to_detached())
    }

    /// The words of this text, as `split_whitespace` finds them, each as a `Text`: short ones inline, long ones sharing these
    /// bytes.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// use floodmark::Text;
    /// let words: Vec<Text> = Text::from("to be\tor not").split_words().collect();
    /// assert_eq!(words, ["to", "be", "or", "not"]);
    /// ```
    pub fn split_words(self) -> Words {
        Words { text: self, at: 0 }
    }

    /// The text as `str`.
    ///
    /// ```
    /// # extern crate floodmark_base as floodmark;
    /// assert_eq!(floodmark::Text::from("word").as_str(), "word");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The words of a text; see [`Text::split_words`].
///
/// ```
/// # extern crate floodmark_base as floodmark;
/// assert_eq!(floodmark::Text::from(" one  two ").split_words().count(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Words {
    text: Text,
    at: usize,
}

impl Iterator for Words {
    type Item = Text;

    #[inline]
    fn next(&mut self) -> Option<Text> {
        let text = self.text.as_str();
        let start = word_start(text, self.at);
        let end = word_end(text, start);
        self.at = end;
        match end - start {
            0 => None,
            1..=INLINE => Some(Text::from(&text[start..end])),
            _ => Some(self.text.slice(start..end)),
        }
    }
}

/// How many bytes are kept inline.
const INLINE: usize = 20;

/// Where the first word at or behind `at` begins; the end of the text if there is none.
#[inline]
fn word_start(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at;
    while let Some(&byte) = bytes.get(at) {
        if !byte.is_ascii() {
            // Only here do characters have to be looked at.
            return text.len() - text[at..].trim_start_matches(char::is_whitespace).len();
        }
        if !is_white(byte) {
            break;
        }
        at += 1;
    }
    at
}

/// Where the word that begins at `at` ends.
#[inline]
fn word_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at;
    loop {
        at += plain_bytes(&bytes[at..]);
        match bytes.get(at) {
            Some(byte) if !byte.is_ascii() => {
                return text[at..].find(char::is_whitespace).map_or(text.len(), |length| at + length);
            }
            Some(&byte) if !is_white(byte) => at += 1,
            _ => return at,
        }
    }
}

/// How many bytes from the first on are ASCII beyond the space, and so belong to a word; eight are looked at at once.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let (eights, _) = bytes.as_chunks::<8>();
    for (passed, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        // The top bit of each byte that is beyond ASCII or, up to the first such, not above the space.
        let other = (eight.wrapping_sub(ONES * 0x21) | eight) & (ONES * 0x80);
        if other != 0 {
            return passed * 8 + other.trailing_zeros() as usize / 8;
        }
    }
    let tail = eights.len() * 8;
    tail + bytes[tail..].iter().take_while(|byte| byte.is_ascii() && **byte > b' ').count()
}

#[inline]
fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.as_bytes(), other.as_bytes());
        one.len() == other.len() && are_equal(one, other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Whether two byte strings of the same length are equal. Words are short: two loads of each are faster than a call.
#[inline]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    match (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        (Some(front), Some(other_front)) if one.len() <= 16 => {
            front == other_front && one.last_chunk::<8>() == other.last_chunk::<8>()
        }
        _ => one == other,
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(text: &str) -> Self {
        Self(StrView::new(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(StrView::new(&text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    #[inline]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::from(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{KeyHasher, decode, encode};

    #[test]
    fn a_text_encodes_and_hashes_as_the_same_string_does() {
        let (text, string) =
            (Text::from("längeres Wort als zwanzig Zeichen"), "längeres Wort als zwanzig Zeichen".to_string());
        assert_eq!(encode(&text).unwrap(), encode(&string).unwrap());
        assert_eq!(KeyHasher::default().hash(&text), KeyHasher::default().hash(&string));
        assert_eq!(decode::<Text>(&encode(&string).unwrap()).unwrap(), text);
    }

    proptest::proptest! {
        #[test]
        fn words_are_those_of_split_whitespace(text in "([a-c~! \t\u{b}\u{1c}\u{1f}\u{7f}\u{85}\u{a0}\u{3000}äß€]|[a-z]{5,12}){0,40}") {
            let words: Vec<Text> = Text::from(text.as_str()).split_words().collect();
            let expected: Vec<&str> = text.split_whitespace().collect();
            proptest::prop_assert_eq!(words, expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn texts_are_equal_where_their_strings_are(one in "[ab]{0,24}", at in 0_usize..24, letter in "[abä]") {
            let mut other = one.clone();
            if at < other.len() {
                other.replace_range(at..=at, &letter);
            }
            let (as_text, other_as_text) = (Text::from(one.as_str()), Text::from(other.as_str()));
            proptest::prop_assert_eq!(as_text == other_as_text, one == other);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(Text::from_view(ByteView::new(&[0xff, 0xfe])).is_err());
    }
}
