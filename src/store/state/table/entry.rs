//! What a table knows of one key.

use floodmark_base::codec::KeyHash;

#[derive(Debug)]
pub(super) struct Entry<K, S> {
    pub hash: KeyHash,
    pub key: K,
    state: Marked<S>,
}

/// The value, if there is one, and the marks: in both variants, so that they take no room beside the tag. A table of numbers is smaller by a
/// sixth for it.
#[derive(Debug)]
enum Marked<S> {
    Value(Marks, S),
    Nothing(Marks),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub changed: bool,
    pub stored: bool,
    /// Of a table with a limit: a record touched it since the last eviction.
    pub recent: bool,
    /// Of a table with a limit: the number of the freeze that it was in last.
    pub frozen: u8,
}

impl<K, S> Entry<K, S> {
    #[inline]
    pub fn new(hash: KeyHash, key: K, value: Option<S>, stored: bool) -> Self {
        let marks = Marks { changed: false, stored, recent: true, frozen: 0 };
        Self { hash, key, state: Marked::of(marks, value) }
    }

    #[inline]
    pub fn value(&self) -> Option<&S> {
        match &self.state {
            Marked::Value(_, value) => Some(value),
            Marked::Nothing(_) => None,
        }
    }

    #[inline]
    pub fn has_value(&self) -> bool {
        matches!(self.state, Marked::Value(..))
    }

    /// Puts another value there, or none; gives back the one before. The marks stay.
    #[inline]
    pub fn replace(&mut self, value: Option<S>) -> Option<S> {
        let state = Marked::of(self.marks(), value);
        match std::mem::replace(&mut self.state, state) {
            Marked::Value(_, before) => Some(before),
            Marked::Nothing(_) => None,
        }
    }

    #[inline]
    pub fn marks(&self) -> Marks {
        match self.state {
            Marked::Value(marks, _) | Marked::Nothing(marks) => marks,
        }
    }

    #[inline]
    pub fn marks_mut(&mut self) -> &mut Marks {
        match &mut self.state {
            Marked::Value(marks, _) | Marked::Nothing(marks) => marks,
        }
    }

    #[inline]
    pub fn is_tombstone(&self) -> bool {
        !self.has_value() && self.marks().changed && self.marks().stored
    }

    #[inline]
    pub fn is_vacant(&self) -> bool {
        !self.has_value() && !self.is_tombstone()
    }

    /// Nothing is known of the key: it was not there before.
    pub fn is_new(&self) -> bool {
        !self.has_value() && !self.marks().changed && !self.marks().stored
    }
}

impl<K: Eq, S> Entry<K, S> {
    #[inline]
    pub fn is_of(&self, hash: KeyHash, key: &K) -> bool {
        self.hash == hash && self.key == *key
    }
}

impl<S> Marked<S> {
    #[inline]
    fn of(marks: Marks, value: Option<S>) -> Self {
        match value {
            Some(value) => Self::Value(marks, value),
            None => Self::Nothing(marks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_an_entry_take_no_room_of_their_own() {
        assert_eq!(size_of::<Entry<u64, u64>>(), 8 + size_of::<(u64, Option<u64>)>());
        assert_eq!(size_of::<Entry<u64, String>>(), 8 + size_of::<(u64, String)>() + 8);
    }

    #[test]
    fn marks_stay_when_the_value_goes_and_comes() {
        let mut entry = Entry::new(KeyHash(2), 1_u64, Some(5_u64), true);
        entry.marks_mut().changed = true;
        assert_eq!(entry.replace(None), Some(5));
        assert!(entry.is_tombstone());
        assert_eq!(entry.replace(Some(6)), None);
        assert!(entry.marks().changed && entry.marks().stored && entry.value() == Some(&6));
    }
}
