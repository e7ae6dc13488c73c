//! Named points of a life: before, within or after a durable step.

use std::fmt;
use std::str::FromStr;

use floodmark::testing::disk::Step;

use crate::process::ProcessError;

/// What a life is at, as it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From the beginning until live input is taken.
    Recovering,
    Running,
    /// A graceful stop.
    Stopping,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Recovering, Self::Running, Self::Stopping];

    /// The name of the stage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    Before,
    /// Half of what is to be appended is written. Steps that do not append have no such moment.
    Within,
    After,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];

    /// The name of the moment.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Within => "within",
            Self::After => "after",
        }
    }
}

/// A point at which a life stops for ever, as text: `[stage/]step[+operation]:nth[:moment]`.
///
/// ```
/// use floodmark_chaos::process::victim::{Moment, Point, Stage};
///
/// let point: Point = "wal.sync:17".parse()?;
/// assert_eq!((point.stage, point.nth, point.moment), (None, 17, Moment::Before));
/// let point: Point = "recovering/wal.roll+link:1:after".parse()?;
/// assert_eq!((point.stage, point.to_string().as_str()), (Some(Stage::Recovering), "recovering/wal.roll+link:1:after"));
/// # Ok::<(), floodmark_chaos::process::ProcessError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Only steps of this stage count, if one is given.
    pub stage: Option<Stage>,
    /// The step.
    pub step: Step,
    /// Only operations of this name count, if one is given.
    pub operation: Option<String>,
    /// Which of those that count, from 1.
    pub nth: u64,
    /// Where in it.
    pub moment: Moment,
}

impl Point {
    /// Whether an operation counts.
    #[must_use]
    pub fn counts(&self, stage: Stage, step: Step, operation: &str) -> bool {
        self.step == step
            && self.stage.is_none_or(|only| only == stage)
            && self.operation.as_deref().is_none_or(|only| only == operation)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = self.stage {
            write!(f, "{stage}/")?;
        }
        write!(f, "{}", self.step)?;
        if let Some(operation) = &self.operation {
            write!(f, "+{operation}")?;
        }
        write!(f, ":{}:{}", self.nth, self.moment.name())
    }
}

impl FromStr for Point {
    type Err = ProcessError;

    fn from_str(text: &str) -> Result<Self, ProcessError> {
        parse(text).ok_or_else(|| ProcessError::NotAPoint(text.to_string()))
    }
}

fn parse(text: &str) -> Option<Point> {
    let (stage, rest) = match text.split_once('/') {
        None => (None, text),
        Some((name, rest)) => (Some(Stage::ALL.into_iter().find(|stage| stage.name() == name)?), rest),
    };
    let mut parts = rest.split(':');
    let (step, operation) = match parts.next()?.split_once('+') {
        None => (rest.split(':').next()?, None),
        Some((step, operation)) => (step, Some(operation.to_string())),
    };
    let nth = parts.next()?.parse().ok().filter(|nth| *nth > 0)?;
    let moment = match parts.next() {
        None => Moment::Before,
        Some(name) => Moment::ALL.into_iter().find(|moment| moment.name() == name)?,
    };
    let point = Point { stage, step: step_named(step)?, operation, nth, moment };
    parts.next().is_none().then_some(point)
}

/// The step of this name.
pub(super) fn step_named(name: &str) -> Option<Step> {
    Step::ALL.into_iter().find(|step| step.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_counts_only_what_it_names() {
        let point: Point = "running/wal.roll+link:2:after".parse().unwrap();
        assert!(point.counts(Stage::Running, Step::WalRoll, "link"));
        assert!(!point.counts(Stage::Recovering, Step::WalRoll, "link"));
        assert!(!point.counts(Stage::Running, Step::WalRoll, "create"));
        assert!(!point.counts(Stage::Running, Step::WalSync, "link"));
        let any: Point = "wal.roll:2".parse().unwrap();
        assert!(any.counts(Stage::Stopping, Step::WalRoll, "create"));
    }

    #[test]
    fn what_is_no_point_is_refused_with_its_text() {
        for text in
            ["", "wal.sync", "wal.sync:0", "wal.sink:1", "later/wal.sync:1", "wal.sync:1:during", "wal.sync:1:after:"]
        {
            let error = text.parse::<Point>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
