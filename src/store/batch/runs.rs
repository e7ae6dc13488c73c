//! Sequences of the log as runs: a list of blocks that stays small where they stand next to each other.

use serde::{Deserialize, Serialize};

use floodmark_base::id::Sequence;

/// Rising sequences, as runs of neighbours.
///
/// # Format
/// A list of runs. A run is how many sequences lie between it and the run before it (of the first run: below it), then how many
/// it has, at least 1. Two runs that touch are one, so every list of sequences has one encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Run>")]
pub struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    gap: u64,
    count: u64,
}

impl Runs {
    /// The sequences, rising.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.0
            .iter()
            .scan(0_u64, |end, run| {
                let first = *end + run.gap;
                *end = first + run.count;
                Some(first..*end)
            })
            .flatten()
            .map(Sequence)
    }
}

/// # Panics
/// When the sequences do not rise.
impl FromIterator<Sequence> for Runs {
    fn from_iter<I: IntoIterator<Item = Sequence>>(sequences: I) -> Self {
        let (mut runs, mut end) = (Vec::<Run>::new(), 0);
        for Sequence(sequence) in sequences {
            let gap = sequence.checked_sub(end).expect("the sequences rise");
            match runs.last_mut() {
                Some(last) if gap == 0 => last.count += 1,
                _ => runs.push(Run { gap, count: 1 }),
            }
            end = sequence + 1;
        }
        Self(runs)
    }
}

impl TryFrom<Vec<Run>> for Runs {
    type Error = &'static str;

    fn try_from(runs: Vec<Run>) -> Result<Self, Self::Error> {
        let mut end = 0_u64;
        for (index, run) in runs.iter().enumerate() {
            if run.count == 0 || (run.gap == 0 && index > 0) {
                return Err("a run of sequences is empty, or touches the one before it");
            }
            let next = end.checked_add(run.gap).and_then(|first| first.checked_add(run.count));
            end = next.ok_or("a run of sequences ends beyond the last one")?;
        }
        Ok(Self(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::codec::{decode, encode};
    use proptest::prelude::*;

    fn runs(sequences: &[u64]) -> Runs {
        sequences.iter().copied().map(Sequence).collect()
    }

    #[test]
    fn runs_are_pinned_by_their_bytes() {
        assert_eq!(encode(&runs(&[])).unwrap(), [0]);
        assert_eq!(encode(&runs(&[7])).unwrap(), [1, 7, 1]);
        assert_eq!(encode(&runs(&[7, 8, 9, 12, 20, 21])).unwrap(), [3, 7, 3, 2, 1, 7, 2]);
        let million: Vec<u64> = (5..1_000_005).collect();
        assert!(encode(&runs(&million)).unwrap().len() < 10, "neighbours cost nothing");
    }

    #[test]
    fn runs_that_no_list_of_sequences_has_are_refused() {
        for (bytes, wrong) in [([1, 7, 0, 0, 0], "empty"), ([2, 7, 1, 0, 1], "touching")] {
            assert!(decode::<Runs>(&bytes[..1 + 2 * usize::from(bytes[0])]).is_err(), "{wrong}");
        }
        let beyond = [Run { gap: 1, count: u64::MAX }].to_vec();
        assert!(decode::<Runs>(&encode(&beyond).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn sequences_survive(gaps in prop::collection::vec(1_u64..4, 0..50)) {
            let sequences: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let runs = runs(&sequences);
            prop_assert_eq!(runs.iter().map(|sequence| sequence.0).collect::<Vec<_>>(), sequences);
            prop_assert_eq!(decode::<Runs>(&encode(&runs).unwrap()).unwrap(), runs);
        }
    }
}
