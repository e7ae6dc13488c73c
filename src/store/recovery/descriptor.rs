//! What is known of a source before anything is read: compared with what a store holds of it (I-9).

use serde::de::DeserializeOwned;

use crate::checkpoint::{SourceEntry, SourcePosition};
use crate::state::schema::{Schema, agree};
use floodmark_base::id::{TypeHash, Uid};

/// A source as the program declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDescriptor {
    pub uid: Uid,
    pub class: SourceClass,
    /// What sort of source it is; empty where it is not known.
    pub kind: String,
    /// What blocks of a receiver hold. Of a direct source, whose records are not stored, it is not known.
    pub records: StoredType,
    /// Of a direct source.
    pub position: StoredType,
    pub ranges: StoredType,
}

/// Whether a source is a receiver, whose blocks are logged, or a direct source, whose ranges are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceClass {
    Receiver,
    Direct,
    /// The schema of a job that an older build has exported does not say.
    Unknown,
}

/// A type of what is stored, as text; empty where there is none, or where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredType(String);

impl StoredType {
    /// The type `T`. One that has no text is not known: such a type is refused elsewhere.
    pub fn of<T: DeserializeOwned>() -> Self {
        Self(Schema::of::<T>().text().unwrap_or_default().to_string())
    }

    /// The type that has this text.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// How blocks and ranges name the type; `None` where it is not known, or not as a whole: a `?` in the text stands for a part
    /// that no sample has shown, and a later life of the job may know it.
    pub fn hash(&self) -> Option<TypeHash> {
        let is_known = !self.0.is_empty() && !self.0.contains('?');
        is_known.then(|| TypeHash::of(&self.0))
    }

    /// Whether what says that it is of another type can be read as this one; what is not known is not refused.
    pub fn reads(&self, found: Option<TypeHash>) -> bool {
        self.hash().is_none_or(|ours| found.is_none_or(|found| found == ours))
    }

    /// As [`reads`](Self::reads), by the text. An enum may have got more variants at its end since; a `?` agrees with any type.
    pub fn reads_text(&self, found: &str) -> bool {
        let has_more_variants = || found.ends_with(" |") && self.0.starts_with(found);
        self.0.is_empty() || found.is_empty() || agree(&self.0, found) || has_more_variants()
    }
}

impl SourceDescriptor {
    /// A receiver whose blocks hold this.
    pub fn receiver(uid: Uid, kind: String, records: StoredType) -> Self {
        let (position, ranges) = (StoredType::default(), StoredType::default());
        Self { uid, class: SourceClass::Receiver, kind, records, position, ranges }
    }

    /// A direct source with these types of positions and ranges.
    pub fn direct(uid: Uid, kind: String, position: StoredType, ranges: StoredType) -> Self {
        Self { uid, class: SourceClass::Direct, kind, records: StoredType::default(), position, ranges }
    }

    /// What sort of source it is, for people.
    pub fn kind_text(&self) -> String {
        match self.class {
            _ if !self.kind.is_empty() => self.kind.clone(),
            SourceClass::Direct => "a direct source".to_string(),
            _ => "a receiver".to_string(),
        }
    }

    /// The source as a manifest lists it.
    pub fn entry(&self, position: SourcePosition) -> SourceEntry {
        SourceEntry {
            uid: self.uid.clone(),
            kind: self.kind.clone(),
            record_type: self.records.text().to_string(),
            position_type: self.position.text().to_string(),
            range_type: self.ranges.text().to_string(),
            position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_itself_and_what_nothing_is_known_of() {
        let (u64s, unknown) = (StoredType::of::<u64>(), StoredType::default());
        assert!(u64s.reads(u64s.hash()) && u64s.reads(None) && unknown.reads(u64s.hash()));
        assert!(!u64s.reads(StoredType::of::<i64>().hash()));
        assert!(u64s.reads_text("u64") && u64s.reads_text("") && !u64s.reads_text("i64"));
    }

    #[test]
    fn a_part_that_no_sample_has_shown_agrees_with_any_type() {
        let (partly, wholly) = (StoredType::of_text("(str, ?)"), StoredType::of_text("(str, u64)"));
        assert!(partly.reads(wholly.hash()) && wholly.reads(partly.hash()));
        assert!(partly.reads_text(wholly.text()) && wholly.reads_text(partly.text()));
        assert!(!partly.reads_text("(u64, u64)"), "what is known differs");
    }

    #[test]
    fn a_position_may_get_more_variants_at_the_end() {
        let two = StoredType::of_text("Position | V1(u64) | V2(u64, str) |");
        assert!(two.reads_text("Position | V1(u64) |"));
        assert!(!two.reads_text("Position | V2(u64, str) |"), "another first variant");
        assert!(!StoredType::of_text("Position | V1(u64) |").reads_text(two.text()), "an older program");
    }
}
