//! Grouping: the values of a batch, brought together by slot without a comparison or an allocation per value.

/// Values by slot: added in any order of slots, then read as one slice per slot, in the order in which they were added.
pub(crate) struct Groups<V> {
    values: Vec<V>,
    /// The slot of each value; after [`settle`](Self::settle) where each value belongs.
    targets: Vec<u32>,
    /// Where the values of each slot begin; one more than there are slots.
    starts: Vec<u32>,
}

impl<V> Groups<V> {
    pub fn new() -> Self {
        Self { values: Vec::new(), targets: Vec::new(), starts: Vec::new() }
    }

    pub fn clear(&mut self) {
        self.values.clear();
        self.targets.clear();
        self.starts.clear();
    }

    #[inline]
    pub fn add(&mut self, slot: usize, value: V) {
        self.values.push(value);
        self.targets.push(slot as u32);
    }

    /// Brings the values of each of `slots` slots together: a counting sort, in place.
    pub fn settle(&mut self, slots: usize) {
        self.starts.resize(slots + 1, 0);
        for &slot in &self.targets {
            self.starts[slot as usize + 1] += 1;
        }
        for slot in 0..slots {
            self.starts[slot + 1] += self.starts[slot];
        }
        // Each value's place; `starts` moves along meanwhile and is moved back after.
        for target in &mut self.targets {
            let next = &mut self.starts[*target as usize];
            *target = *next;
            *next += 1;
        }
        self.starts.copy_within(0..slots, 1);
        self.starts[0] = 0;
        for at in 0..self.values.len() {
            while self.targets[at] as usize != at {
                let to = self.targets[at] as usize;
                self.values.swap(at, to);
                self.targets.swap(at, to);
            }
        }
    }

    /// The values of a slot, in the order in which they were added.
    #[inline]
    pub fn of(&self, slot: usize) -> &[V] {
        &self.values[self.starts[slot] as usize..self.starts[slot + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_slot_has_its_values_in_the_order_in_which_they_came(slots in prop::collection::vec(0_usize..20, 0..200)) {
            let mut groups = Groups::new();
            for round in 0..2 {
                groups.clear();
                for (value, &slot) in slots.iter().enumerate() {
                    groups.add(slot, value);
                }
                groups.settle(20 + round);
                for slot in 0..20 {
                    let expected: Vec<usize> = (0..slots.len()).filter(|&value| slots[value] == slot).collect();
                    prop_assert_eq!(groups.of(slot), expected);
                }
            }
        }
    }
}
