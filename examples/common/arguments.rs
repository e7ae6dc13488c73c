//! Command lines of the form `--name value` and `--switch`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is left of a command line while it is taken apart.
pub struct Arguments {
    usage: &'static str,
    rest: Vec<String>,
}

/// A wrong command line; shown with the usage.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentError {
    usage: &'static str,
    reason: String,
}

impl Arguments {
    /// This program's arguments.
    pub fn new(usage: &'static str) -> Self {
        Self { usage, rest: std::env::args().skip(1).collect() }
    }

    /// Whether `--name` is there.
    pub fn switch(&mut self, name: &str) -> bool {
        let found = self.rest.iter().position(|argument| argument == name);
        found.map(|at| self.rest.remove(at)).is_some()
    }

    /// The value of `--name`, if it is there.
    pub fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ArgumentError> {
        self.parsed(name, |text| text.parse().ok())
    }

    /// The value of `--name`, which must be there.
    pub fn required<T: FromStr>(&mut self, name: &str) -> Result<T, ArgumentError> {
        self.optional(name)?.ok_or_else(|| self.error(format!("{name} is missing")))
    }

    /// A duration: `100ms`, `2s` or `5m`.
    pub fn duration(&mut self, name: &str) -> Result<Option<Duration>, ArgumentError> {
        self.parsed(name, duration)
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), ArgumentError> {
        match self.rest.first() {
            None => Ok(()),
            Some(unknown) => Err(self.error(format!("{unknown} is not known here"))),
        }
    }

    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, ArgumentError> {
        let Some(at) = self.rest.iter().position(|argument| argument == name) else { return Ok(None) };
        self.rest.remove(at);
        if at == self.rest.len() {
            return Err(self.error(format!("{name} wants a value")));
        }
        let text = self.rest.remove(at);
        parse(&text).map(Some).ok_or_else(|| self.error(format!("{name} does not take {text:?}")))
    }

    fn error(&self, reason: String) -> ArgumentError {
        ArgumentError { usage: self.usage, reason }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nusage: {}", self.reason, self.usage)
    }
}

impl std::error::Error for ArgumentError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments { usage: "example", rest: line.split(' ').map(String::from).collect() }
    }

    #[test]
    fn values_switches_and_durations_are_taken_in_any_order() {
        let mut given = arguments("--stop --every 100ms --workers 4 --for 2m");
        assert_eq!(given.required("--workers"), Ok(4_usize));
        assert_eq!(given.duration("--every"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(given.duration("--for"), Ok(Some(Duration::from_secs(120))));
        assert!(given.switch("--stop") && !given.switch("--stop"));
        assert_eq!(given.finish(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let reason = |result: Result<Option<Duration>, ArgumentError>| result.unwrap_err().reason;
        assert_eq!(reason(arguments("--every 100").duration("--every")), "--every does not take \"100\"");
        assert_eq!(reason(arguments("--every").duration("--every")), "--every wants a value");
        assert_eq!(arguments("--wrong").finish().unwrap_err().reason, "--wrong is not known here");
        assert_eq!(arguments("x").required::<u64>("--workers").unwrap_err().reason, "--workers is missing");
    }
}
