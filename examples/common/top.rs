//! The most frequent words, for people who watch.

use std::fmt::Write;
use std::time::{Duration, Instant};

use floodmark::Text;

const SHOWN: usize = 6;
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints a line `top the 1234, of 999, …`, at most once a second.
#[derive(Default)]
pub struct TopWords {
    last: Option<Instant>,
}

impl TopWords {
    /// The most frequent words of one partition: all that is wanted of it.
    pub fn of_partition(counts: impl Iterator<Item = (Text, u64)>) -> Vec<(Text, u64)> {
        let counts: Vec<(Text, u64)> = counts.collect();
        top(counts.iter()).into_iter().cloned().collect()
    }

    pub fn show<'a>(&mut self, counts: impl Iterator<Item = &'a (Text, u64)>) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            return;
        }
        let top = top(counts);
        if !top.is_empty() {
            self.last = Some(now);
            println!("top {}", line(&top));
        }
    }
}

/// The most frequent words first; of equally frequent ones the smaller.
fn top<'a>(counts: impl Iterator<Item = &'a (Text, u64)>) -> Vec<&'a (Text, u64)> {
    let mut top: Vec<&(Text, u64)> = Vec::with_capacity(SHOWN + 1);
    for entry in counts {
        let rank = |(word, count): &'a (Text, u64)| (std::cmp::Reverse(*count), word);
        let at = top.partition_point(|other| rank(other) < rank(entry));
        if at < SHOWN {
            top.insert(at, entry);
            top.truncate(SHOWN);
        }
    }
    top
}

fn line(top: &[&(Text, u64)]) -> String {
    let mut line = String::new();
    for (word, count) in top {
        let separator = if line.is_empty() { "" } else { ", " };
        // Words of real text can be anything: a very long one would hide the others.
        let word: String = word.chars().take(20).collect();
        write!(line, "{separator}{word} {count}").expect("a string takes all writes");
    }
    line
}
