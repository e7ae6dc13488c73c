//! The plain values that samples are made of: what a type that checks its input is offered, and many values that differ.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A plain value.
pub(super) trait Scalar: Sized + Clone + Serialize + DeserializeOwned + 'static {
    /// What a type is offered, the empty value first. Types that check their input accept one of these, as a rule.
    fn offers() -> Vec<Self>;

    /// Value number `number` of many that differ; they rise with their numbers.
    fn numbered(number: u32) -> Self;

    /// A value like this one that differs from it by `number`, where one can be thought of.
    fn varied(&self, number: u32) -> Self;
}

macro_rules! integers {
    ($($of:ty)*) => {
        $(impl Scalar for $of {
            fn offers() -> Vec<Self> {
                let numbers = [0_i128, 1, 2, 3, 7, 10, 12, 20, 31, 64, 100, 200, 365, 400, 1_000, 2_000, 4_000, 10_000, 60_000, 100_000, 1_000_000,
                    1_000_000_000, 1_600_000_000, 1_600_000_000_000, -1, -10];
                numbers.into_iter().filter_map(|number| <$of>::try_from(number).ok()).collect()
            }

            fn numbered(number: u32) -> Self {
                <$of>::try_from(number).unwrap_or_default()
            }

            fn varied(&self, number: u32) -> Self {
                self.wrapping_add(Self::numbered(number))
            }
        })*
    };
}

integers! { i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 }

impl Scalar for bool {
    fn offers() -> Vec<Self> {
        vec![false, true]
    }

    fn numbered(number: u32) -> Self {
        number % 2 == 1
    }

    fn varied(&self, number: u32) -> Self {
        *self != (number % 2 == 1)
    }
}

macro_rules! floats {
    ($($of:ty)*) => {
        $(impl Scalar for $of {
            fn offers() -> Vec<Self> {
                vec![0.0, 1.0, 0.5, 2.0, 10.0, 100.0, 1_000.0, -1.0]
            }

            fn numbered(number: u32) -> Self {
                number as Self
            }

            fn varied(&self, number: u32) -> Self {
                *self + number as Self
            }
        })*
    };
}

floats! { f32 f64 }

impl Scalar for char {
    fn offers() -> Vec<Self> {
        vec!['A', 'a', '0', '1', '+', '-', ' ', '.']
    }

    fn numbered(number: u32) -> Self {
        char::from_u32(u32::from('A') + number).unwrap_or('A')
    }

    fn varied(&self, number: u32) -> Self {
        char::from_u32(u32::from(*self) + number).unwrap_or(*self)
    }
}

/// Texts of the kinds that types are most often made of.
const TEXTS: [&str; 54] = [
    "",
    "a",
    "A",
    "0",
    "1",
    "a@b.cc",
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-4000-8000-000000000000",
    "00000000000000000000000000",
    "000000000000000000000000",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+00:00",
    "1970-01-01T00:00:00",
    "1970-01-01 00:00:00",
    "1970-01-01",
    "00:00:00",
    "00:00",
    "1970-01",
    "1970",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "+00:00",
    "UTC",
    "Europe/London",
    "PT1S",
    "1s",
    "127.0.0.1",
    "::1",
    "127.0.0.1:80",
    "10.0.0.0/8",
    "00:00:00:00:00:00",
    "http://example.com/",
    "example.com",
    "example.com:80",
    "/a",
    "a/b",
    "a.b",
    "a:b",
    "a-b",
    "a_b",
    "1.0.0",
    "1.5",
    "10",
    "100",
    "12345678",
    "4111111111111111",
    "+4930123456",
    "GBP",
    "GB",
    "en-GB",
    "text/plain",
    "#000000",
    "Mon",
    "aaaaaaaaaaaaaaaa",
    "0000000000000000000000000000000000000000000000000000000000000000",
];

impl Scalar for String {
    fn offers() -> Vec<Self> {
        TEXTS.iter().map(|text| (*text).to_string()).collect()
    }

    fn numbered(number: u32) -> Self {
        format!("{number:02}")
    }

    /// Another digit in place of the last one, or another letter where there is no digit.
    fn varied(&self, number: u32) -> Self {
        let mut bytes = self.clone().into_bytes();
        let number = (number % 256) as u8;
        if let Some(digit) = bytes.iter_mut().rev().find(|byte| byte.is_ascii_digit()) {
            *digit = b'0' + (*digit - b'0' + number % 10) % 10;
        } else if let Some(letter) = bytes.iter_mut().rev().find(|byte| byte.is_ascii_alphabetic()) {
            let first = if letter.is_ascii_lowercase() { b'a' } else { b'A' };
            *letter = first + (*letter - first + number % 26) % 26;
        }
        Self::from_utf8(bytes).unwrap_or_else(|_| self.clone())
    }
}

/// A run of bytes; a type of its own, since a list of numbers is another thing to serde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob(pub Vec<u8>);

impl Scalar for Blob {
    fn offers() -> Vec<Self> {
        let zeros = [0_usize, 16, 4, 8, 12, 20, 32, 1, 2, 3, 6, 24, 28, 48, 64, 33, 65, 128];
        let zeros = zeros.into_iter().map(|length| Self(vec![0; length]));
        zeros.chain(TEXTS.iter().map(|text| Self(text.as_bytes().to_vec()))).collect()
    }

    fn numbered(number: u32) -> Self {
        Self(vec![(number % 256) as u8])
    }

    fn varied(&self, number: u32) -> Self {
        let mut bytes = self.0.clone();
        if let Some(last) = bytes.last_mut() {
            *last = last.wrapping_add((number % 256) as u8);
        }
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbered_and_varied_values_differ() {
        assert_eq!((0..32).map(String::numbered).collect::<BTreeSet<_>>().len(), 32);
        assert!((0..32).map(String::numbered).is_sorted());
        assert_eq!("1970-01-01T00:00:00Z".to_string().varied(3), "1970-01-01T00:00:03Z");
        assert_eq!("a@b.cc".to_string().varied(1), "a@b.cd");
        assert_eq!(Blob(vec![0, 0]).varied(2), Blob(vec![0, 2]));
        assert_eq!(1_u8.varied(2), 3);
    }
}
