//! What the demo shows: a line for each thing that happens, with the time since the beginning.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use floodmark_chaos::process::Connection;

const BOLD: &str = "1";
const RED: &str = "1;31";
const GREEN: &str = "1;32";
const DIM: &str = "2";

pub struct Screen {
    started: Option<Instant>,
    colours: bool,
    /// How many of the sender's connections were shown.
    connections: usize,
}

impl Screen {
    pub fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: None, colours, connections: 0 }
    }

    /// From here on lines have a time.
    pub fn start_clock(&mut self) {
        self.started = Some(Instant::now());
        println!();
    }

    pub fn title(&mut self, text: &str) {
        self.started = None;
        println!("\n{}", self.painted(BOLD, text));
    }

    pub fn say(&self, text: &str) {
        self.line(text);
    }

    pub fn good(&self, text: &str) {
        self.line(&self.painted(GREEN, text));
    }

    pub fn bad(&self, text: &str) {
        self.line(&self.painted(RED, text));
    }

    pub fn life(&self, number: usize) {
        self.line(&self.painted(BOLD, &format!("life {number} begins")));
    }

    /// A line that the job printed.
    pub fn job(&self, text: &str) {
        if !text.trim().is_empty() {
            self.line(&format!("  {text}"));
        }
    }

    /// The job's top words, and how far the sender is.
    pub fn top(&self, words: &str, sent: u64, acknowledged: u64) {
        let progress = format!("{} sent, {} acknowledged", megabytes(sent), megabytes(acknowledged));
        self.line(&format!("  {words}  {}", self.painted(DIM, &format!("({progress})"))));
    }

    pub fn killed(&self, age: Duration, sent: u64, acknowledged: u64) {
        let open = grouped(sent.saturating_sub(acknowledged));
        let text = format!("SIGKILL after {:.1} s, {open} bytes sent and not acknowledged", age.as_secs_f64());
        self.line(&self.painted(RED, &text));
    }

    /// Shows connections that were not shown yet.
    pub fn connections(&mut self, connections: &[Connection]) {
        for Connection { position, again } in &connections[self.connections.min(connections.len())..] {
            if *position > 0 || *again > 0 {
                let (position, again) = (grouped(*position), grouped(*again));
                self.line(&format!("  the receiver asks for byte {position}: {again} bytes are sent again"));
            }
        }
        self.connections = connections.len();
    }

    fn line(&self, text: &str) {
        match self.started {
            Some(started) => {
                let time = format!("{:5.1} s", started.elapsed().as_secs_f64());
                println!("{} {text}", self.painted(DIM, &time));
            }
            None => println!("  {text}"),
        }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Bytes in millions, as people say them.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        let shown: Vec<_> = [0, 999, 1_000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
