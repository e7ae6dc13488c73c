//! `Text`: the record of text sources, and the natural key.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, RangeBounds};

use byteview::{ByteView, StrView};
use serde::{Deserialize, Serialize};

/// An immutable string that is cheap to clone and to move: up to 20 bytes are kept inline, longer ones are a shared slice
/// of the block they came in.
///
/// It dereferences to `str`, is encoded as a string is, and so hashes as a key exactly as the same `String` would.
///
/// ```
/// use floodmark::Text;
///
/// let line = Text::from("to be or not to be");
/// let words: Vec<Text> = line.split_whitespace().map(Text::from).collect();
/// assert_eq!(words.len(), 6);
/// assert_eq!(line.slice(..5), "to be");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(StrView);

impl Text {
    /// Takes over bytes without copying them, if they are UTF-8.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    pub(crate) fn from_view(bytes: ByteView) -> Result<Self, std::str::Utf8Error> {
        StrView::try_from(bytes).map(Self)
    }

    /// A part of this text by byte positions, sharing its bytes.
    ///
    /// # Panics
    /// When the range is out of bounds or cuts a character.
    ///
    /// ```
    /// assert_eq!(floodmark::Text::from("floodmark").slice(5..), "mark");
    /// ```
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Self(self.0.slice(range))
    }

    /// A copy that shares its bytes with nothing, for keeping after the block it came from is gone.
    ///
    /// ```
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
        let rest = &self.text.as_str()[self.at..];
        let start = self.at + (rest.len() - skip(rest, true).len());
        let rest = &self.text.as_str()[start..];
        let length = rest.len() - skip(rest, false).len();
        self.at = start + length;
        match length {
            0 => None,
            1..=INLINE => Some(Text::from(&rest[..length])),
            _ => Some(self.text.slice(start..start + length)),
        }
    }
}

/// How many bytes are kept inline.
const INLINE: usize = 20;

/// What follows the leading white space, or the leading word.
#[inline]
fn skip(text: &str, white: bool) -> &str {
    let ascii = text.bytes().take_while(|byte| byte.is_ascii() && is_white(char::from(*byte)) == white).count();
    // Only where the run ends in a character beyond ASCII do characters have to be looked at.
    match text.as_bytes().get(ascii) {
        Some(byte) if !byte.is_ascii() => text[ascii..].trim_start_matches(|character| is_white(character) == white),
        _ => &text[ascii..],
    }
}

#[inline]
fn is_white(character: char) -> bool {
    character.is_whitespace()
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
        fn words_are_those_of_split_whitespace(text in "[a-c \t\u{a0}\u{3000}äß€]{0,40}") {
            let words: Vec<Text> = Text::from(text.as_str()).split_words().collect();
            let expected: Vec<&str> = text.split_whitespace().collect();
            proptest::prop_assert_eq!(words, expected);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(Text::from_view(ByteView::new(&[0xff, 0xfe])).is_err());
    }
}
