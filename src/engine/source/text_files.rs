//! Text files that appear in a directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::source::buffers::Buffers;
use crate::source::direct::RangeReader;
use crate::source::file_range::FileRange;
use crate::source::files::{FileFormat, Files};
use crate::source::framing::MAX_FRAME_BYTES;
use crate::source::text_range::TextRangeReader;
use floodmark_base::text::Text;

/// Bytes of a record, before any was read.
const ASSUMED_RECORD_BYTES: u64 = 64;

/// The lines of the files that are moved into a directory: exactly once into state, across crashes, since files can be read
/// again. Spark: `textFileStream`.
///
/// Files are taken by the rules of [`Files`], which also has most settings.
///
/// **Lines.** A line ends at `\n`, a `\r` before it is dropped, and the end of a file ends its last line; lines that are not
/// UTF-8 or too long are counted, reported and skipped. A byte order mark of UTF-8 at the beginning of a file is left out. A file
/// that begins with the mark of UTF-16 is not read: it is counted as one failed record and reported.
///
/// ```
/// use floodmark::TextFiles;
///
/// let files = TextFiles::new("./incoming").max_files_per_batch(100).max_line_bytes(1 << 16);
/// assert!(files.directory().ends_with("incoming"));
/// ```
pub type TextFiles = Files<TextLines>;

/// Files of lines.
#[derive(Debug)]
pub struct TextLines {
    max_line_bytes: usize,
    density: Arc<Density>,
}

/// What the workers have seen of the records' sizes, to tell bytes from records.
#[derive(Debug, Default)]
pub(crate) struct Density {
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Density {
    pub fn add(&self, bytes: u64, records: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    fn bytes_of(&self, records: u64) -> u64 {
        let (bytes, seen) = (self.bytes.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed));
        let each = bytes.checked_div(seen).unwrap_or(ASSUMED_RECORD_BYTES).max(1);
        records.saturating_mul(each)
    }
}

impl Files<TextLines> {
    /// The files of `directory`, those included that are there already.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::of(directory, TextLines { max_line_bytes: MAX_FRAME_BYTES, density: Arc::default() })
    }

    /// Skips lines with more bytes than this, their end not counted (default 1 MiB).
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.format.max_line_bytes = bytes.min(1 << 30);
        self
    }
}

impl FileFormat for TextLines {
    type Item = Text;

    fn kind(&self) -> String {
        "text_file_stream".to_string()
    }

    fn bytes_of(&self, records: u64) -> u64 {
        self.density.bytes_of(records)
    }

    fn reader(&self, directory: PathBuf) -> Arc<dyn RangeReader<Item = Text, Range = FileRange>> {
        Arc::new(TextRangeReader {
            directory,
            max_line_bytes: self.max_line_bytes,
            density: Arc::clone(&self.density),
            buffers: Buffers::default(),
        })
    }
}
