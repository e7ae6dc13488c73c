//! What a file sink holds.

use std::fs;
use std::path::Path;

use crate::process::ProcessError;

/// A batch as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublishedBatch {
    pub number: u64,
    /// The time of the result, in milliseconds.
    pub time_ms: u64,
    /// The part files by name, and their bytes.
    pub parts: Vec<(String, Vec<u8>)>,
}

impl PublishedBatch {
    /// All lines, part by part.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap_or("not UTF-8").lines())
    }
}

/// All visible batches, in the order of their numbers. A directory that is not there yet has none.
pub(super) fn read_batches(directory: &Path) -> Result<Vec<PublishedBatch>, ProcessError> {
    visible(directory)?.iter().map(|number| read_batch(directory, *number)).collect()
}

/// The numbers of all visible batches, rising.
pub(super) fn visible(directory: &Path) -> Result<Vec<u64>, ProcessError> {
    if !fs::exists(directory).map_err(ProcessError::file("look for", directory))? {
        return Ok(Vec::new());
    }
    let names = names(directory)?;
    Ok(names.iter().filter_map(|name| name.strip_prefix("batch-")?.parse().ok()).collect())
}

/// One visible batch.
pub(super) fn read_batch(directory: &Path, number: u64) -> Result<PublishedBatch, ProcessError> {
    let batch = directory.join(format!("batch-{number:020}"));
    let summary = batch.join("_batch");
    let text = fs::read_to_string(&summary).map_err(ProcessError::file("read", &summary))?;
    let time_ms = text.lines().find_map(|line| line.strip_prefix("time ")?.parse().ok());
    let time_ms = time_ms.ok_or_else(|| ProcessError::Diverged(format!("{} names no time", summary.display())))?;
    let mut parts = Vec::new();
    for name in names(&batch)?.into_iter().filter(|name| name.starts_with("part-")) {
        let path = batch.join(&name);
        parts.push((name, fs::read(&path).map_err(ProcessError::file("read", &path))?));
    }
    Ok(PublishedBatch { number, time_ms, parts })
}

fn names(directory: &Path) -> Result<Vec<String>, ProcessError> {
    let list = || -> std::io::Result<Vec<String>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut names = list().map_err(ProcessError::file("list", directory))?;
    names.sort_unstable();
    Ok(names)
}
