//! Byte order marks: what some programs put in front of a text.

/// The mark that a text begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrderMark {
    /// The text is taken as UTF-8.
    None,
    /// `EF BB BF`: the text is UTF-8, and the mark is not a part of it.
    Utf8,
    /// `FF FE` or `FE FF`: the text is UTF-16 or UTF-32, and is not read.
    Wide,
}

/// The longest mark that is looked for, in bytes.
pub(crate) const MARK_BYTES: usize = 3;

/// What is said of a text that is not UTF-8.
pub(crate) const WIDE_TEXT: &str = "the text begins with the byte order mark of UTF-16 or UTF-32: only UTF-8 is read: convert it, with iconv for example";

impl ByteOrderMark {
    /// The mark at the beginning of `text`, of which the first three bytes are enough.
    pub fn of(text: &[u8]) -> Self {
        match text {
            [0xef, 0xbb, 0xbf, ..] => Self::Utf8,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Self::Wide,
            _ => Self::None,
        }
    }

    /// Bytes of the mark that are not a part of the text.
    pub fn skipped_bytes(self) -> usize {
        if self == Self::Utf8 { MARK_BYTES } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart_by_the_first_bytes() {
        assert_eq!(ByteOrderMark::of(b"\xef\xbb\xbftea"), ByteOrderMark::Utf8);
        assert_eq!(ByteOrderMark::of(b"\xef\xbb"), ByteOrderMark::None, "a part of a mark is none");
        assert_eq!(ByteOrderMark::of(b"\xff\xfet\0"), ByteOrderMark::Wide);
        assert_eq!(ByteOrderMark::of(b"\xfe\xff\0t"), ByteOrderMark::Wide);
        assert_eq!(ByteOrderMark::of("tea".as_bytes()), ByteOrderMark::None);
        assert_eq!(ByteOrderMark::of(b""), ByteOrderMark::None);
    }
}
