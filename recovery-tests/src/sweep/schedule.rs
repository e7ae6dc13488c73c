//! What strikes when: the faults of one run, as text that can be kept and played again.

use std::fmt;
use std::str::FromStr;

use floodmark::testing::disk::{Point, Step};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fault::Fault;

/// One fault at one durable step of one life of the driver: `2/wal.sync:7/power-cut`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Strike {
    /// The life, counted from 1.
    pub life: usize,
    /// The step in that life.
    pub point: Point,
    pub fault: Fault,
}

/// The faults of one run, at most one in each life, in order; joined with `+` in text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schedule(pub Vec<Strike>);

impl Schedule {
    /// What strikes in this life.
    #[must_use]
    pub fn in_life(&self, life: usize) -> Option<Strike> {
        self.0.iter().copied().find(|strike| strike.life == life)
    }

    /// A number for the coins of this run, from its own text and the seed of the sweep.
    pub(super) fn seed(&self, seed: u64) -> u64 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.to_string().as_bytes());
        seed.rotate_left(32) ^ u64::from(hasher.finalize())
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.life, self.point, self.fault)
    }
}

impl FromStr for Strike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected life/step:number/fault, found {text:?}");
        let mut parts = text.split('/');
        let (Some(life), Some(point), Some(fault), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let (step, nth) = point.split_once(':').ok_or_else(wrong)?;
        let step = Step::ALL.into_iter().find(|known| known.name() == step).ok_or_else(wrong)?;
        let nth = nth.parse().map_err(|_| wrong())?;
        Ok(Self { life: life.parse().map_err(|_| wrong())?, point: Point { step, nth }, fault: fault.parse()? })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strikes: Vec<String> = self.0.iter().map(Strike::to_string).collect();
        f.pad(if strikes.is_empty() { "nothing".to_string() } else { strikes.join("+") }.as_str())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "nothing" {
            return Ok(Self::default());
        }
        text.split('+').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_back_from_its_text() {
        for text in ["nothing", "1/wal.sync:7/power-cut", "1/manifest.create:2/torn-512+2/sink.publish:1/io-error"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in
            ["", "1/wal.sync/power-cut", "x/wal.sync:1/power-cut", "1/wal.sink:1/power-cut", "1/wal.sync:1/rain"]
        {
            assert!(text.parse::<Schedule>().is_err(), "{text:?}");
        }
    }
}
