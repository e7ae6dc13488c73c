//! `operations.jsonl`: what writing verbs did to a store, one JSON object a line. `docs/formats/operations.md`.

use std::io::IoSlice;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::failure::{Failure, Result};
use floodmark_base::disk::{Disk, Step};
pub(crate) use floodmark_store::remote::JOURNAL as OPERATIONS;

/// The name and version of a line.
const FORMAT: &str = "floodmark.operation/1";

/// A file or a directory that has another name now, or a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// Below the store's directory.
    pub from: String,
    /// Below the store's directory, or absolute where it left the store.
    pub to: String,
    /// It was copied, and is still there.
    pub copied: bool,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub schema: String,
    /// When the verb began, in milliseconds since the epoch: the same in both lines of an operation.
    pub time_ms: u64,
    pub verb: String,
    /// `begins` before anything is moved, `done` after all of it.
    pub stage: String,
    pub what: String,
    pub moved: Vec<Moved>,
}

/// Appends a line, synced; in object storage it is an object of its own. A line that a death has cut short is ended first, so that it spoils only itself.
pub(super) fn write(operation: &Operation<'_>, stage: &str, what: &str, moved: &[Moved]) -> Result<()> {
    let file = operation.store.path().join(OPERATIONS);
    let entry = Entry {
        schema: FORMAT.to_string(),
        time_ms: operation.time_ms,
        verb: operation.verb.to_string(),
        stage: stage.to_string(),
        what: what.to_string(),
        moved: moved.to_vec(),
    };
    if let Some(remote) = operation.remote() {
        let line = serde_json::to_string(&entry).map_err(|error| Failure::io("write", &file, &error.into()))? + "\n";
        return Ok(remote.record(stage, operation.verb, operation.time_ms, &line)?);
    }
    append(operation.disk(), &file, &entry)
}

pub(super) fn append(disk: &dyn Disk, file: &Path, entry: &Entry) -> Result<()> {
    let failed = |error| Failure::io("write", file, &error);
    let mut line = serde_json::to_string(entry).map_err(|error| failed(error.into()))? + "\n";
    let write = || {
        let is_new = match disk.len(file) {
            Ok(0) => false,
            Ok(bytes) => {
                if disk.read_at(file, bytes - 1, 1)? != b"\n" {
                    line.insert(0, '\n');
                }
                false
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        let mut opened = if is_new { disk.create(Step::Operation, file)? } else { disk.open_append(file)? };
        opened.append(Step::Operation, &mut [IoSlice::new(line.as_bytes())])?;
        opened.sync(Step::Operation)?;
        // Also when it was there: whoever created it may have died before this.
        file.parent().map_or(Ok(()), |store| disk.sync_directory(Step::Operation, store))
    };
    let mut write = write;
    write().map_err(failed)
}

/// The operations on record, oldest first; lines that cannot be read are counted.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn read(disk: &dyn Disk, store: &Path) -> Result<(Vec<Entry>, usize)> {
    let file = store.join(OPERATIONS);
    let bytes = match disk.read(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        other => other.map_err(|error| Failure::io("read", &file, &error))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| !line.is_empty());
    let (entries, unreadable): (Vec<_>, Vec<_>) = lines.map(serde_json::from_str::<Entry>).partition(Result::is_ok);
    Ok((entries.into_iter().flatten().collect(), unreadable.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::disk::MemoryDisk;

    fn entry(time_ms: u64) -> Entry {
        let (schema, verb) = (FORMAT.to_string(), "gc".to_string());
        Entry { schema, time_ms, verb, stage: "done".to_string(), what: "…".to_string(), moved: Vec::new() }
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_only_itself() {
        let (disk, store) = (MemoryDisk::default(), Path::new("/store"));
        disk.create_dir_all(Step::Operation, store).unwrap();
        let file = store.join(OPERATIONS);
        append(&disk, &file, &entry(1)).unwrap();
        let mut torn = disk.open_append(&file).unwrap();
        torn.append(Step::Operation, &mut [IoSlice::new(b"{\"schema\":\"floodm")]).unwrap();
        append(&disk, &file, &entry(2)).unwrap();
        assert_eq!(read(&disk, store).unwrap(), (vec![entry(1), entry(2)], 1));
        assert_eq!(read(&disk, Path::new("/other")).unwrap(), (vec![], 0));
    }
}
