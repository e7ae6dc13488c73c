//! The table that `make bench` prints in the end: every measurement enters its rows, whole programs and parts alike.

use std::fs::{self, OpenOptions};
use std::io::Write;

use super::{Result, bench_directory};

/// A figure of several runs.
pub struct Figure {
    sorted: Vec<f64>,
}

impl Figure {
    /// # Panics
    /// When there are no runs.
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = runs.into_iter().collect();
        assert!(!sorted.is_empty(), "a figure is of one run at least");
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    pub fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }

    /// The median, with the smallest and the largest behind it.
    pub fn show(&self, show: impl Fn(f64) -> String) -> String {
        let (least, most) = (self.sorted[0], self.sorted[self.sorted.len() - 1]);
        format!("{} ({} to {})", show(self.median()), show(least), show(most))
    }
}

/// Enters a row: what was measured, the figure with its spread, and what it is to reach.
pub fn enter(what: &str, figure: &str, target: &str) -> Result<()> {
    let mut table = OpenOptions::new().create(true).append(true).open(bench_directory()?.join("table.md"))?;
    writeln!(table, "| {what} | {figure} | {target} |")?;
    Ok(())
}

/// One line on where the figures come from.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processor, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let field = |text: &str, name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_string()));
        value.unwrap_or_else(|| "unknown".to_string())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = load.split(' ').next().unwrap_or("unknown").to_string();
    format!(
        "{cores} cores ({}), memory {}, load before {load}",
        field(&processor, "model name"),
        field(&memory, "MemTotal")
    )
}
