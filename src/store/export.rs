//! The format of exported state: JSON lines, written by `export` and read by `import`.
//!
//! # Format
//! Version 2, UTF-8, every line ends with a line feed:
//! - The first line is the [`Header`]: whose state it is, as of which batch, and the types of the operators.
//! - Each line that follows is an [`Entry`]: an operator's uid, a key and its state, as JSON of their types
//!   ([`Shape`] says how). `raw_key` and `raw_value` are there only where the JSON does not give the
//!   stored bytes back (a type whose schema cannot be read, a NaN with a payload, …): they are those bytes in hex, and count. So an
//!   export is readable and may be edited, and yet it is exact.
//! - The last line is the [`End`]: how many entries there were, and the CRC32 of all bytes before it. Without it the export was cut.
//!
//! Entries stand in the order of the header's operators, and within one in the order of the store: by key hash. Whoever edits an
//! export puts the new CRC into the last line; the reader's message names it.
//!
//! Version 1 is read, too: it had `positions`, without saying what a source is, in place of `sources`, and no `generation` and no
//! `parameters`.

use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::source::Source;
use crate::checkpoint::{JobPoint, Manifest};
use crate::state::shape::{Shape, from_hex};

mod source;

/// The name and version of the format.
pub const SCHEMA: &str = "floodmark.export/2";
/// The version before, which is still read.
const SCHEMA_1: &str = "floodmark.export/1";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    pub job: String,
    pub job_version: String,
    /// 32 hex digits.
    pub lineage: String,
    /// The epoch in which the lineage began; 0 if that is not known.
    #[serde(default)]
    pub generation: u64,
    pub epoch: u64,
    /// The state is the one after this batch.
    pub batch: u64,
    pub next_batch: u64,
    pub last_batch_time_ms: u64,
    pub zero_time_ms: u64,
    pub published_through: u64,
    /// What the sources are, and where each stood.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// In version 1: where each source stood.
    #[serde(default, skip_serializing)]
    pub positions: Vec<SourcePosition>,
    pub keys: Keys,
    /// The batch interval; 0 if it is not known.
    #[serde(default)]
    pub interval_ms: u64,
    pub operators: Vec<Operator>,
    /// Whether these are all operators of the job.
    pub complete: bool,
}

/// Where a source stood, as that source encodes it, in hex: version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    pub uid: String,
    pub position: String,
}

/// How keys are hashed and spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub hash: String,
    /// The hash of the bytes `floodmark`, 16 hex digits.
    pub test_vector: String,
    pub key_groups: u32,
    pub partitions: u32,
}

/// An operator whose entries follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    pub uid: String,
    pub number: u32,
    /// `dropped` for one whose state was given up; it has no entries.
    pub kind: String,
    pub key_type: String,
    pub state_type: String,
    pub state_version: u32,
    pub entries: u64,
    /// What else the meaning of its state depends on, such as the length of a window in milliseconds.
    #[serde(default)]
    pub parameters: Vec<(String, u64)>,
}

/// A line for each key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub operator: String,
    pub key: Value,
    pub value: Value,
    /// The encoded key in hex, where `key` does not give it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_key: Option<String>,
    /// The encoded state in hex, where `value` does not give it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_value: Option<String>,
}

/// The last line: `{"end":{"entries":3,"crc32":"90abcdef"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub end: End,
}

/// By which a reader knows that nothing is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub entries: u64,
    /// The CRC32 of all bytes before this line, 8 hex digits.
    pub crc32: String,
}

/// How the last line begins; no entry does.
const LAST_LINE: &[u8] = b"{\"end\"";

impl Header {
    /// The header of an export of these operators as of a manifest's batch.
    pub fn of(manifest: &Manifest, is_exported: impl Fn(&str) -> bool) -> Self {
        let JobPoint { keys, sources, operators, .. } = &manifest.point;
        let point = &manifest.point;
        let exported = operators.iter().filter(|operator| is_exported(operator.uid.as_str()));
        let exported: Vec<Operator> = exported
            .map(|operator| Operator {
                uid: operator.uid.to_string(),
                number: operator.number.0,
                kind: operator.kind.clone(),
                key_type: operator.key_type.clone(),
                state_type: operator.state_type.clone(),
                state_version: operator.state_version,
                entries: operator.entries,
                parameters: operator.parameters.clone(),
            })
            .collect();
        Self {
            schema: SCHEMA.to_string(),
            job: point.job_name.clone(),
            job_version: point.job_version.clone(),
            lineage: point.lineage.to_string(),
            generation: point.generation.0,
            epoch: manifest.epoch.0,
            batch: point.batch.0,
            next_batch: point.next_batch.0,
            last_batch_time_ms: point.last_batch_time.0,
            zero_time_ms: point.zero_time.0,
            published_through: point.published_through.0,
            sources: sources.iter().map(Source::from).collect(),
            positions: Vec::new(),
            keys: Keys {
                hash: keys.hash_name.clone(),
                test_vector: format!("{:016x}", keys.test_vector),
                key_groups: keys.key_groups,
                partitions: keys.partitions,
            },
            interval_ms: point.interval_ms,
            complete: exported.len() == operators.len(),
            operators: exported,
        }
    }
}

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file system refused.
    #[error("cannot read line {line}: {source}")]
    Io { line: u64, source: io::Error },
    /// A line is not what it should be.
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    /// The last line is not there: the export was cut.
    #[error("the export ends after line {line} without its last line: it was cut; expected {expected} entries in all")]
    Cut { line: u64, expected: u64 },
    /// The bytes are not those that were written.
    #[error("the export was damaged or edited: its last line says crc32 {expected}, the lines before it have {found}")]
    Checksum { expected: String, found: String },
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Which of the header's operators it belongs to.
    pub operator: usize,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Reads an export, line by line; holds one line in memory.
pub struct ExportReader<R> {
    lines: Lines<R>,
    header: Header,
    /// The shapes of key and state of each operator, or why they are unknown.
    shapes: Vec<(Result<Shape, String>, Result<Shape, String>)>,
    entries: u64,
    ended: bool,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the first line is not a header of this version.
    pub fn new(source: R) -> Result<Self, ExportError> {
        #[derive(Deserialize)]
        struct Named {
            schema: String,
        }
        let mut lines = Lines { source, line: Vec::new(), number: 0, crc: crc32fast::Hasher::new() };
        if !lines.next()? {
            return Err(lines.wrong("expected the header of an export, found nothing"));
        }
        let named = serde_json::from_slice::<Named>(&lines.line);
        let named = named.map_err(|error| lines.wrong(format!("expected the header of an export: {error}")))?;
        if ![SCHEMA, SCHEMA_1].contains(&named.schema.as_str()) {
            return Err(lines.wrong(format!("expected the schema {SCHEMA} or {SCHEMA_1}, found {}", named.schema)));
        }
        let header: Header = serde_json::from_slice(&lines.line).map_err(|error| lines.wrong(error))?;
        lines.count();
        let shape = |text: &str| Shape::parse(text).map_err(|error| error.to_string());
        let operators = header.operators.iter();
        let shapes = operators.map(|operator| (shape(&operator.key_type), shape(&operator.state_type))).collect();
        Ok(Self { lines, header, shapes, entries: 0, ended: false })
    }

    /// What the export is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` once the last line was found and says that nothing is missing or changed.
    ///
    /// # Errors
    /// When a line is not an entry of the header's operators, or the end is missing or does not fit.
    pub fn next_entry(&mut self) -> Result<Option<StoredEntry>, ExportError> {
        if self.ended {
            return Ok(None);
        }
        if !self.lines.next()? {
            let expected = self.header.operators.iter().map(|operator| operator.entries).sum();
            return Err(ExportError::Cut { line: self.lines.number - 1, expected });
        }
        if self.lines.line.starts_with(LAST_LINE) {
            self.check_end()?;
            self.ended = true;
            return Ok(None);
        }
        let entry: Entry = serde_json::from_slice(&self.lines.line).map_err(|error| self.lines.wrong(error))?;
        let operator = self.header.operators.iter().position(|operator| operator.uid == entry.operator);
        let unknown = || self.lines.wrong(format!("the header has no operator \"{}\"", entry.operator));
        let operator = operator.ok_or_else(unknown)?;
        let (key_shape, state_shape) = &self.shapes[operator];
        let key = stored(key_shape, &entry.key, entry.raw_key.as_deref());
        let key = key.map_err(|reason| self.lines.wrong(format!("key {}: {reason}", entry.key)))?;
        let value = stored(state_shape, &entry.value, entry.raw_value.as_deref());
        let value = value.map_err(|reason| self.lines.wrong(format!("value of key {}: {reason}", entry.key)))?;
        self.lines.count();
        self.entries += 1;
        Ok(Some(StoredEntry { operator, key, value }))
    }

    fn check_end(&mut self) -> Result<(), ExportError> {
        let Last { end } = serde_json::from_slice(&self.lines.line).map_err(|error| self.lines.wrong(error))?;
        if end.entries != self.entries {
            let reason = format!("expected {} entries before the last line, found {}", end.entries, self.entries);
            return Err(self.lines.wrong(reason));
        }
        let found = format!("{:08x}", self.lines.crc.clone().finalize());
        if end.crc32 != found {
            return Err(ExportError::Checksum { expected: end.crc32, found });
        }
        if self.lines.next()? {
            return Err(self.lines.wrong("expected nothing behind the last line"));
        }
        Ok(())
    }
}

/// The lines of an export, each with its number.
struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    /// Over the lines that were counted.
    crc: crc32fast::Hasher,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<bool, ExportError> {
        self.line.clear();
        self.number += 1;
        let read = self.source.read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| ExportError::Io { line: self.number, source })?;
        Ok(read > 0)
    }

    fn count(&mut self) {
        self.crc.update(&self.line);
    }

    fn wrong(&self, reason: impl ToString) -> ExportError {
        ExportError::Line { line: self.number, reason: reason.to_string() }
    }
}

/// The stored bytes that a value in an export stands for.
fn stored(shape: &Result<Shape, String>, value: &Value, raw: Option<&str>) -> Result<Vec<u8>, String> {
    match (raw, shape) {
        (Some(hex), _) => from_hex(hex).ok_or_else(|| "its raw bytes are not hex digits in pairs".to_string()),
        (None, Ok(shape)) => shape.encode(value).map_err(|error| error.to_string()),
        (None, Err(reason)) => Err(format!("it has no raw bytes, and its type is unknown: {reason}")),
    }
}
