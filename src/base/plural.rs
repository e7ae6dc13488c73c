//! Numbers with their nouns, for messages.

use std::borrow::Cow;

/// Writes a number with its noun: `1 batch`, `3 batches`, `0 entries`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {}", noun_for(number, noun))
}

/// The noun as it stands behind this number; the last word of `noun` is put into the plural.
pub fn noun_for(number: u64, noun: &str) -> Cow<'_, str> {
    if number == 1 {
        return noun.into();
    }
    let before_y = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{stem}ies").into(),
        None if ["ch", "sh", "s", "x"].iter().any(|end| noun.ends_with(end)) => format!("{noun}es").into(),
        None => format!("{noun}s").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_follows_its_number() {
        for (number, noun, expected) in [
            (1, "segment", "1 segment"),
            (2, "segment", "2 segments"),
            (0, "committed batch", "0 committed batches"),
            (1, "committed batch", "1 committed batch"),
            (3, "recovery", "3 recoveries"),
            (3, "key", "3 keys"),
        ] {
            assert_eq!(counted(number, noun), expected);
        }
    }
}
