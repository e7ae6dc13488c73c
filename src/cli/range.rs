//! Ranges of numbers as they are typed: `5`, `5..9`, `5..`, `..9`; both ends are included.

use std::fmt;
use std::str::FromStr;

/// A range of batches or sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberRange {
    pub first: u64,
    pub last: u64,
}

impl NumberRange {
    /// Everything.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    pub fn contains(self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl FromStr for NumberRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, absent: u64| match text {
            "" => Ok(absent),
            digits => digits
                .replace(['_', ','], "")
                .parse::<u64>()
                .map_err(|_| format!("expected a number or a range such as 5, 5..9, 5.. or ..9, found {text:?}")),
        };
        let range = match text.split_once("..") {
            None if text.is_empty() => return Err("expected a number or a range, found nothing".to_string()),
            None => Self { first: number(text, 0)?, last: number(text, 0)? },
            Some((first, last)) => Self { first: number(first, 0)?, last: number(last, u64::MAX)? },
        };
        match range.first <= range.last {
            true => Ok(range),
            false => Err(format!("the range ends before it begins: {} comes after {}", range.first, range.last)),
        }
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (0, u64::MAX) => f.write_str(".."),
            (0, last) => write!(f, "..{last}"),
            (first, u64::MAX) => write!(f, "{first}.."),
            (first, last) => write!(f, "{first}..{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_they_are_typed() {
        let range = |first, last| Ok(NumberRange { first, last });
        assert_eq!("5".parse(), range(5, 5));
        assert_eq!("5..9".parse(), range(5, 9));
        assert_eq!("1,000..".parse(), range(1_000, u64::MAX));
        assert_eq!("..9".parse(), range(0, 9));
        assert_eq!("..".parse(), Ok(NumberRange::ALL));
        for bad in ["", "x", "9..5", "5..x", "-1", "1...2"] {
            assert!(bad.parse::<NumberRange>().is_err(), "{bad}");
        }
        for text in ["5", "5..9", "5..", "..9"] {
            assert_eq!(text.parse::<NumberRange>().map(|range| range.to_string()), Ok(text.to_string()));
        }
    }
}
