//! The names in a directory of batches.
//!
//! | | [`by_batch`](Layout::by_batch) | [`by_time`](Layout::by_time), for the prefix `counts` and the suffix `txt` |
//! |---|---|---|
//! | a visible batch | `batch-<20 digits>`: its number | `counts-<time in ms>.txt` |
//! | one being written | `.batch-<20 digits>-<epoch>` | `.counts-<time in ms>.txt-<epoch>` |
//! | the fence, its lock | `.fence`, `.lock` | `.counts-time.txt.fence`, `.counts-time.txt.lock` |
//! | says that the batch is whole | | `_SUCCESS`, an empty file in it, as Spark and Hadoop write it |
//!
//! Directories of several prefixes and suffixes may stand beside each other, each with its own fence: no name of one is
//! taken for a name of another.

use std::path::{Path, PathBuf};

use floodmark_base::id::{BatchId, BatchTime, Epoch};
use floodmark_base::place::url_problem;

/// How the batches in a directory, and what is kept beside them, are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    number: Number,
    /// What stands before the number in a batch's name.
    before: String,
    /// What stands after it.
    after: String,
}

/// The number by which batches are named. Both rise from batch to batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Batch,
    Time,
}

impl Layout {
    /// Batches named by their number: one sequence of batches in a directory of its own.
    pub fn by_batch() -> Self {
        Self { number: Number::Batch, before: "batch-".to_string(), after: String::new() }
    }

    /// Batches named by their time, `<prefix>-<time>[.<suffix>]`, where the prefix may lead through directories. Gives the
    /// directory, too; or what is wrong with the prefix or the suffix.
    pub fn by_time(prefix: &Path, suffix: &str) -> Result<(PathBuf, Self), String> {
        let text = prefix.to_str().ok_or_else(|| format!("the prefix {} is not UTF-8", prefix.display()))?;
        if let Some(problem) = url_problem(prefix) {
            return Err(problem);
        }
        let (directory, name) = match text.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some(parts) => parts,
            None => (".", text),
        };
        if name.is_empty() || name.starts_with(['.', '_']) {
            return Err(format!(
                "the last part of the prefix {text:?} is {name:?}: it must be a name, and one that does not begin with \".\" \
                 or \"_\", by which programs know what not to read"
            ));
        }
        if suffix.contains('/') {
            return Err(format!(
                "the suffix {suffix:?} has a \"/\" in it: only the prefix may lead to other directories"
            ));
        }
        let after = if suffix.is_empty() { String::new() } else { format!(".{suffix}") };
        Ok((PathBuf::from(directory), Self { number: Number::Time, before: format!("{name}-"), after }))
    }

    /// The name of a batch once it is visible.
    pub fn visible(&self, batch: BatchId, time: BatchTime) -> String {
        self.named(match self.number {
            Number::Batch => batch.0,
            Number::Time => time.0,
        })
    }

    /// The number in the name of a visible batch; none in other names.
    pub fn number_in(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?.parse().ok()?;
        // Not `batch-7`, not `counts-+7`: what is named otherwise is none of ours.
        (self.named(number) == name).then_some(number)
    }

    /// The name of a visible batch while it is being written.
    pub fn unfinished(visible: &str, epoch: Epoch) -> String {
        format!(".{visible}-{epoch}")
    }

    /// Whether this is the name of a batch that is, or was, being written.
    pub fn is_unfinished(&self, name: &str) -> bool {
        let parts = name.strip_prefix('.').and_then(|name| name.rsplit_once('-'));
        parts.is_some_and(|(visible, epoch)| self.number_in(visible).is_some() && epoch.parse::<u64>().is_ok())
    }

    pub fn fence(&self) -> String {
        self.hidden("fence")
    }

    pub fn unfinished_fence(&self) -> String {
        self.hidden("fence-unfinished")
    }

    pub fn lock(&self) -> String {
        self.hidden("lock")
    }

    /// An empty file that tells other programs that a batch is whole.
    pub fn mark(&self) -> Option<&'static str> {
        (self.number == Number::Time).then_some("_SUCCESS")
    }

    /// The place, as people would name it.
    pub fn place(&self, directory: &Path) -> String {
        match self.number {
            Number::Batch => directory.display().to_string(),
            Number::Time => directory.join(format!("{}<time>{}", self.before, self.after)).display().to_string(),
        }
    }

    fn named(&self, number: u64) -> String {
        match self.number {
            Number::Batch => format!("{}{number:020}{}", self.before, self.after),
            Number::Time => format!("{}{number}{}", self.before, self.after),
        }
    }

    fn hidden(&self, what: &str) -> String {
        match self.number {
            Number::Batch => format!(".{what}"),
            Number::Time => format!(".{}time{}.{what}", self.before, self.after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_time(prefix: &str, suffix: &str) -> (PathBuf, Layout) {
        Layout::by_time(Path::new(prefix), suffix).unwrap()
    }

    #[test]
    fn a_batch_is_named_by_its_number_or_by_prefix_time_and_suffix() {
        assert_eq!(Layout::by_batch().visible(BatchId(12), BatchTime(500)), "batch-00000000000000000012");
        let (directory, layout) = by_time("out/daily/counts", "txt");
        assert_eq!(directory, Path::new("out/daily"));
        assert_eq!(layout.visible(BatchId(12), BatchTime(1_500)), "counts-1500.txt");
        assert_eq!(layout.fence(), ".counts-time.txt.fence");
        assert_eq!(layout.place(&directory), "out/daily/counts-<time>.txt");
        let (directory, layout) = by_time("counts", "");
        assert_eq!(directory, Path::new("."));
        assert_eq!(layout.visible(BatchId(12), BatchTime(1_500)), "counts-1500");
        assert_eq!(by_time("/counts", "").0, Path::new("/"));
    }

    #[test]
    fn only_the_names_of_ones_own_batches_are_taken() {
        let layouts =
            [Layout::by_batch(), by_time("a", "").1, by_time("a", "b").1, by_time("a-7", "").1, by_time("batch", "").1];
        for (at, layout) in layouts.iter().enumerate() {
            let visible = layout.visible(BatchId(7), BatchTime(1_500));
            let unfinished = Layout::unfinished(&visible, Epoch(3));
            for (other_at, other) in layouts.iter().enumerate() {
                assert_eq!(other.number_in(&visible).is_some(), at == other_at, "{visible} by {other:?}");
                assert_eq!(other.is_unfinished(&unfinished), at == other_at, "{unfinished} by {other:?}");
            }
            for name in [layout.fence(), layout.unfinished_fence(), layout.lock(), visible] {
                assert!(!layout.is_unfinished(&name), "{name}");
            }
        }
        for name in ["batch-7", "batch-", "batch-+0000000000000000007", "batch-00000000000000000007.txt", "x"] {
            assert_eq!(layouts[0].number_in(name), None, "{name}");
        }
    }

    #[test]
    fn a_prefix_without_a_name_and_hidden_names_are_refused() {
        for (prefix, suffix) in [("out/", ""), ("", ""), ("out/.counts", ""), ("_counts", ""), ("counts", "a/b")] {
            let refusal = Layout::by_time(Path::new(prefix), suffix).unwrap_err();
            assert!(refusal.contains(if suffix.is_empty() { prefix } else { suffix }), "{refusal}");
        }
    }
}
