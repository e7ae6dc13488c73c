//! How a victim is started.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::place::Place;
use super::point::Point;
use crate::process::ProcessError;

/// How batches come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// By the clock; blocks and files come when they come.
    Real,
    /// Batch *n* is block *n* and file *n*, at a known time.
    Lockstep,
}

impl Pace {
    /// The name of the pace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Lockstep => "lockstep",
        }
    }
}

/// Something that a victim does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Blocks are acknowledged before they are stored (against I-1).
    EarlyAcknowledgement,
    /// A function of the job depends on the life in which it is called (against I-3).
    LifeInState,
}

impl Planted {
    const ALL: [Self; 2] = [Self::EarlyAcknowledgement, Self::LifeInState];

    fn name(self) -> &'static str {
        match self {
            Self::EarlyAcknowledgement => "early-acknowledgement",
            Self::LifeInState => "life-in-state",
        }
    }
}

/// What a victim is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    pub place: Place,
    pub pace: Pace,
    /// Worker threads; results do not depend on them.
    pub workers: u32,
    /// Decides the pauses between blocks, files and batches.
    pub seed: u64,
    /// The last block that is known to be stored: the next ones are sent, again if need be.
    pub known_stored: u64,
    /// When to stop by itself; never, if it is not said.
    pub until: Option<Until>,
    /// A graceful stop after so long, whatever was done until then.
    pub stop_after: Option<Duration>,
    pub stop_at: Option<Point>,
    pub planted: Option<Planted>,
    /// Where the state is written before the job stops by itself.
    pub dump: Option<PathBuf>,
}

/// The end of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// In lockstep.
    Batches(u64),
    /// In real time.
    Input { blocks: u64, files: u64 },
}

impl Options {
    /// A life in this place that does not end.
    #[must_use]
    pub fn new(place: &Place, pace: Pace) -> Self {
        Self {
            place: place.clone(),
            pace,
            workers: 2,
            seed: 0,
            known_stored: 0,
            until: None,
            stop_after: None,
            stop_at: None,
            planted: None,
            dump: None,
        }
    }

    /// The command line that says this.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--place".into(), self.place.directory().into()];
        let mut say = |name: &str, value: &dyn ToString| {
            arguments.extend([OsString::from(name), value.to_string().into()]);
        };
        say("--pace", &self.pace.name());
        say("--workers", &self.workers);
        say("--seed", &self.seed);
        say("--resend-from", &self.known_stored);
        match self.until {
            None => {}
            Some(Until::Batches(batches)) => say("--batches", &batches),
            Some(Until::Input { blocks, files }) => {
                say("--blocks", &blocks);
                say("--files", &files);
            }
        }
        if let Some(after) = self.stop_after {
            say("--stop-after", &after.as_millis());
        }
        if let Some(point) = &self.stop_at {
            say("--stop-at", point);
        }
        if let Some(planted) = self.planted {
            say("--planted", &planted.name());
        }
        if let Some(dump) = &self.dump {
            arguments.extend(["--dump".into(), dump.into()]);
        }
        arguments
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// When something is missing, strange, or no number.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ProcessError> {
        let mut options = Self::new(&Place::new(""), Pace::Real);
        let (mut blocks, mut files, mut batches) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            let value = arguments.next().unwrap_or_default();
            let text = value.to_string_lossy().into_owned();
            let wrong = || ProcessError::Argument { name: name.clone(), found: text.clone() };
            let number = || text.parse::<u64>().map_err(|_| wrong());
            match name.as_str() {
                "--place" => options.place = Place::new(value),
                "--pace" => {
                    let pace = [Pace::Real, Pace::Lockstep].into_iter().find(|pace| pace.name() == text);
                    options.pace = pace.ok_or_else(wrong)?;
                }
                "--workers" => options.workers = u32::try_from(number()?).map_err(|_| wrong())?,
                "--planted" => {
                    let planted = Planted::ALL.into_iter().find(|planted| planted.name() == text);
                    options.planted = Some(planted.ok_or_else(wrong)?);
                }
                "--seed" => options.seed = number()?,
                "--resend-from" => options.known_stored = number()?,
                "--batches" => batches = Some(number()?),
                "--blocks" => blocks = Some(number()?),
                "--files" => files = Some(number()?),
                "--stop-after" => options.stop_after = Some(Duration::from_millis(number()?)),
                "--stop-at" => options.stop_at = Some(text.parse()?),
                "--dump" => options.dump = Some(value.into()),
                _ => return Err(ProcessError::Unknown { name, found: text }),
            }
        }
        options.until = match (batches, blocks, files) {
            (Some(batches), ..) => Some(Until::Batches(batches)),
            (None, Some(blocks), Some(files)) => Some(Until::Input { blocks, files }),
            _ => None,
        };
        if options.place.directory().as_os_str().is_empty() {
            return Err(ProcessError::Argument { name: "--place".to_string(), found: String::new() });
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_what_was_meant() {
        let options = Options {
            seed: 7,
            known_stored: 3,
            until: Some(Until::Input { blocks: 9, files: 8 }),
            stop_after: Some(Duration::from_millis(30)),
            stop_at: Some("wal.sync:4:after".parse().unwrap()),
            planted: Some(Planted::LifeInState),
            workers: 3,
            dump: Some("/d".into()),
            ..Options::new(&Place::new("/p"), Pace::Lockstep)
        };
        let again = Options::parse(options.arguments()).unwrap();
        assert_eq!(format!("{options:?}"), format!("{again:?}"));
        assert!(Options::parse([]).is_err(), "without a place");
        for wrong in [["--seed", "x"], ["--pace", "slow"], ["--stop-at", "never"], ["--strange", "1"]] {
            assert!(Options::parse(wrong.map(OsString::from)).is_err(), "{wrong:?}");
        }
    }
}
