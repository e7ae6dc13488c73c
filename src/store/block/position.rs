//! How the position of a receiver is stored: as a key and bytes.
//!
//! A receiver has one position so far, under the empty key, and it is a number: eight bytes, big-endian, so that the order of the
//! bytes is the order of the positions. Receivers with many senders can have a position for each later, in the same format.

use serde::{Deserialize, Serialize};

use floodmark_base::codec::DecodeError;
use floodmark_base::id::Position;

/// A position as the log and manifests hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyedPosition {
    /// Whose position it is, within the source; empty for the source as a whole.
    pub key: Vec<u8>,
    /// The position. Of two under one key the larger one, byte by byte, is the later one.
    pub position: Vec<u8>,
}

impl From<Position> for KeyedPosition {
    fn from(position: Position) -> Self {
        Self { key: Vec::new(), position: position.0.to_be_bytes().to_vec() }
    }
}

impl TryFrom<KeyedPosition> for Position {
    type Error = DecodeError;

    fn try_from(stored: KeyedPosition) -> Result<Self, DecodeError> {
        match <[u8; 8]>::try_from(stored.position.as_slice()) {
            Ok(bytes) if stored.key.is_empty() => Ok(Self(u64::from_be_bytes(bytes))),
            _ => Err(DecodeError::new(format!(
                "a position of {} bytes under a key of {} bytes; this build knows one of 8 bytes for each receiver",
                stored.position.len(),
                stored.key.len()
            ))),
        }
    }
}

/// For `#[serde(with = …)]` of an `Option<Position>`.
pub(super) mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::KeyedPosition;
    use floodmark_base::id::Position;

    pub fn serialize<S: Serializer>(position: &Option<Position>, serializer: S) -> Result<S::Ok, S::Error> {
        position.map(KeyedPosition::from).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Position>, D::Error> {
        let stored = Option::<KeyedPosition>::deserialize(deserializer)?;
        stored.map(Position::try_from).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_stored_positions_is_that_of_the_positions() {
        let numbers = [0, 1, 255, 256, 65_536, u64::MAX - 1, u64::MAX];
        let stored = numbers.map(|number| KeyedPosition::from(Position(number)));
        assert!(stored.is_sorted());
        assert_eq!(stored.map(|it| Position::try_from(it).unwrap().0), numbers);
    }

    #[test]
    fn a_position_that_a_later_build_wrote_is_refused_and_not_guessed() {
        for (key, position) in [(&b"sender"[..], &[0; 8][..]), (b"", b"1-0"), (b"", b"")] {
            let stored = KeyedPosition { key: key.to_vec(), position: position.to_vec() };
            let error = Position::try_from(stored).unwrap_err().to_string();
            assert!(error.starts_with("a position of"), "{error}");
        }
    }
}
