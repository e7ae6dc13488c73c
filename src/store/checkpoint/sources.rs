//! The sources of a job, as a manifest lists them.

use serde::{Deserialize, Serialize};

use crate::block::KeyedPosition;
use floodmark_base::codec::{DecodeError, decode};
use floodmark_base::id::{Position, Uid};

/// A source that the job has, or had and has not given up: so that it can go on where it was, and is not taken for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    pub uid: Uid,
    /// What sort of source it is, by its method's name; empty where it is not known, in a store that version 1 wrote.
    pub kind: String,
    /// The types of its records, its position and its ranges, as text; empty where there is none, or where it is not known.
    pub record_type: String,
    pub position_type: String,
    pub range_type: String,
    /// Where it stands after the batch.
    pub position: SourcePosition,
}

impl SourceEntry {
    /// A source of which only the position is known.
    pub fn of_unknown_type(uid: Uid, position: SourcePosition) -> Self {
        let nothing = String::new;
        Self { uid, kind: nothing(), record_type: nothing(), position_type: nothing(), range_type: nothing(), position }
    }
}

/// Where a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcePosition {
    /// Nothing was taken, or the source has no positions.
    None,
    /// Of a receiver: the newest planned position under each key, by key. One, under the empty key, so far.
    Keyed(Vec<KeyedPosition>),
    /// Of a direct source, as it encodes it.
    Direct(Vec<u8>),
    /// As version 1 had it: of a receiver the number in the standard encoding, of a direct source its own encoding. It did not say
    /// which of the two.
    Version1(Vec<u8>),
}

impl SourcePosition {
    /// The position of a receiver.
    ///
    /// # Errors
    /// When it is the position of a direct source, or one that a later build wrote.
    pub fn of_receiver(&self) -> Result<Option<Position>, DecodeError> {
        match self {
            Self::None => Ok(None),
            Self::Keyed(positions) => match positions.as_slice() {
                [] => Ok(None),
                [one] => Position::try_from(one.clone()).map(Some),
                many => {
                    Err(DecodeError::new(format!("{} positions; this build knows one for each receiver", many.len())))
                }
            },
            Self::Direct(_) => Err(DecodeError::new("the position of a direct source, expected that of a receiver")),
            Self::Version1(bytes) => decode(bytes).map(Some),
        }
    }

    /// The encoded position of a direct source.
    ///
    /// # Errors
    /// When it is the position of a receiver.
    pub fn of_direct(&self) -> Result<Option<&[u8]>, DecodeError> {
        match self {
            Self::None => Ok(None),
            Self::Direct(bytes) | Self::Version1(bytes) => Ok(Some(bytes)),
            Self::Keyed(_) => Err(DecodeError::new("the position of a receiver, expected that of a direct source")),
        }
    }
}

impl From<Position> for SourcePosition {
    fn from(position: Position) -> Self {
        Self::Keyed(vec![position.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_that_of_a_receiver_or_that_of_a_direct_source() {
        let (receiver, direct) = (SourcePosition::from(Position(300)), SourcePosition::Direct(vec![0, 0]));
        assert_eq!(receiver.of_receiver().unwrap(), Some(Position(300)));
        assert_eq!(direct.of_direct().unwrap(), Some(&[0, 0][..]));
        assert!(receiver.of_direct().is_err() && direct.of_receiver().is_err());
        assert_eq!(
            (SourcePosition::None.of_receiver().unwrap(), SourcePosition::None.of_direct().unwrap()),
            (None, None)
        );
        let many = SourcePosition::Keyed(vec![Position(1).into(), Position(2).into()]);
        assert!(many.of_receiver().unwrap_err().to_string().starts_with("2 positions"));
    }

    #[test]
    fn a_position_of_version_1_is_what_the_source_takes_it_for() {
        let old = SourcePosition::Version1(vec![251, 44, 1]);
        assert_eq!(old.of_receiver().unwrap(), Some(Position(300)));
        assert_eq!(old.of_direct().unwrap(), Some(&[251, 44, 1][..]));
        assert!(SourcePosition::Version1(vec![0, 0]).of_receiver().is_err(), "the position of a file source");
    }
}
