//! A line of those who wait, or are under way, numbered in the order in which they came.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Line {
    next: u64,
    present: BTreeSet<u64>,
}

impl Line {
    /// Joins the end of the line. Returns the number of the place. Logarithmic time, as all of this.
    pub fn join(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.present.insert(number);
        number
    }

    pub fn leave(&mut self, number: u64) {
        self.present.remove(&number);
    }

    /// The lowest number in the line.
    pub fn first(&self) -> Option<u64> {
        self.present.first().copied()
    }

    /// The number that comes next; everybody in the line has a lower one.
    pub fn next(&self) -> u64 {
        self.next
    }
}
