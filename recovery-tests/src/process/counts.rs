//! The plain count, and what differs from it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ProcessError;

/// How often each word occurs, counted in the plainest way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

/// A word whose count is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub word: String,
    /// By the plain count; 0 if the word does not occur.
    pub expected: u64,
    /// By the job; 0 if it does not know the word.
    pub found: u64,
}

impl Counts {
    /// Counts the words of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut counts = HashMap::new();
        for word in text.split_whitespace() {
            *counts.entry(word).or_insert(0) += 1;
        }
        Self(counts.into_iter().map(|(word, count)| (word.to_string(), count)).collect())
    }

    /// Takes in another count, `times` over.
    pub fn add(&mut self, other: &Counts, times: u64) {
        for (word, count) in &other.0 {
            *self.0.entry(word.clone()).or_insert(0) += count * times;
        }
    }

    /// Reads what a job dumped: `word count` lines, sorted by word in byte order.
    ///
    /// # Errors
    /// When the file cannot be read, a line is no such line, or the order is broken.
    pub fn read(path: &Path) -> Result<Self, ProcessError> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for_each_line(path, |word, count| {
            let rises = counts.last_key_value().is_none_or(|(last, _)| last.as_str() < word);
            if rises {
                counts.insert(word.to_string(), count);
            }
            rises
        })?;
        Ok(Self(counts))
    }

    /// Adds up what a file sink holds: `word count` lines in `batch-…/part-…`, a word once in each batch.
    ///
    /// # Errors
    /// When something cannot be read, or a line is no such line.
    pub fn sum_of_output(directory: &Path) -> Result<Self, ProcessError> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for batch in paths(directory, "batch-")? {
            for part in paths(&batch, "part-")? {
                for_each_line(&part, |word, count| {
                    *counts.entry(word.to_string()).or_insert(0) += count;
                    true
                })?;
            }
        }
        Ok(Self(counts))
    }

    /// The number of distinct words.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.0.len()
    }

    /// The number of words.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Every word whose count in `found` is not the one here, in byte order.
    #[must_use]
    pub fn differences(&self, found: &Counts) -> Vec<Difference> {
        let missing = self.0.iter().map(|(word, &expected)| (word, expected, found.count(word)));
        let strange =
            found.0.iter().filter(|(word, _)| !self.0.contains_key(*word)).map(|(word, &found)| (word, 0, found));
        let mut differences: Vec<_> = missing
            .chain(strange)
            .filter(|(_, expected, found)| expected != found)
            .map(|(word, expected, found)| Difference { word: word.clone(), expected, found })
            .collect();
        differences.sort_by(|a, b| a.word.cmp(&b.word));
        differences
    }

    /// As [`differences`](Self::differences), but an error that shows the first ten.
    ///
    /// # Errors
    /// When there are any.
    pub fn compare(&self, found: &Counts, seed: u64) -> Result<(), ProcessError> {
        let differences = self.differences(found);
        if differences.is_empty() {
            return Ok(());
        }
        let examples = differences.iter().take(10).map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Err(ProcessError::Different { seed, count: differences.len(), examples })
    }

    fn count(&self, word: &str) -> u64 {
        self.0.get(word).copied().unwrap_or(0)
    }
}

/// Hands over each line; one that is no `word count` line, or that is not taken, is an error.
fn for_each_line(path: &Path, mut take: impl FnMut(&str, u64) -> bool) -> Result<(), ProcessError> {
    let text = fs::read_to_string(path).map_err(ProcessError::file("read", path))?;
    for (number, line) in text.lines().enumerate() {
        let parsed = line.rsplit_once(' ').and_then(|(word, count)| Some((word, count.parse().ok()?)));
        if !parsed.is_some_and(|(word, count)| take(word, count)) {
            let (path, found) = (path.to_path_buf(), line.to_string());
            return Err(ProcessError::Dump { path, line: number + 1, found });
        }
    }
    Ok(())
}

/// What is in a directory under a name that begins so.
fn paths(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>, ProcessError> {
    let list =
        || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = list().map_err(ProcessError::file("list", directory))?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    Ok(paths)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, expected, found } = self;
        let what = if found < expected { "lost" } else { "counted twice" };
        write!(f, "{word}: expected {expected}, found {found} ({} {what})", expected.abs_diff(*found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_lost_repeated_and_strange_words() {
        let (expected, found) = (Counts::of("a a b c"), Counts::of("a b b c d"));
        let lines: Vec<_> = expected.differences(&found).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "a: expected 2, found 1 (1 lost)",
                "b: expected 1, found 2 (1 counted twice)",
                "d: expected 0, found 1 (1 counted twice)"
            ]
        );
        assert!(expected.compare(&expected, 1).is_ok());
        assert!(expected.compare(&found, 7).unwrap_err().to_string().starts_with("seed 7: 3 words differ"));
    }

    #[test]
    fn output_is_added_up_over_batches_and_hidden_names_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("batch-1", "a 1\nb 2\n"), ("batch-2", "a 3\n"), (".batch-3", "a 100\n")] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join("part-00000"), text).unwrap();
            fs::write(directory.path().join(name).join("_batch"), "not a count").unwrap();
        }
        assert_eq!(Counts::sum_of_output(directory.path()).unwrap(), Counts::of("a a a a b b"));
    }

    #[test]
    fn a_dump_is_read_back_and_its_order_checked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "B 2\na 1\nä 3\n").unwrap();
        assert_eq!(Counts::read(file.path()).unwrap(), Counts::of("a B B ä ä ä"));
        fs::write(&file, "a 1\nB 2\n").unwrap();
        assert!(
            Counts::read(file.path())
                .unwrap_err()
                .to_string()
                .ends_with("line 2: expected `word count`, found \"B 2\"")
        );
    }
}
