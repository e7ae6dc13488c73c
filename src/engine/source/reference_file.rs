//! Reference data in a text file that is replaced when it changes.
#![allow(clippy::disallowed_methods)] // looks at files of the user

use std::fmt;
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::source::byte_order::{ByteOrderMark, WIDE_TEXT};
use crate::source::compression::Compression;
use crate::source::error::SourceError;
use crate::source::file_range::FileStamp;
use crate::source::open_file::open_file;
use crate::source::reference::ReferenceLoader;
use floodmark_base::clock::{Clock, SystemClock};
use floodmark_base::codec::{Key, Record};
use floodmark_base::place::absolute;

/// How often a file that changes while it is read is tried at one plan.
const ATTEMPTS: u32 = 3;
/// Two changes of a file this far apart never leave the same time of modification (the coarsest file systems count in steps of
/// two seconds).
const SETTLED_AFTER_MS: u64 = 3_000;
/// The longest text: a version can hold no more.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// The lines of a text file as [reference data](crate::StreamingContext::reference_data), an entry per line.
///
/// The function makes an entry of a line; lines for which it gives `None` (empty ones, comments) are left out. A line ends at
/// `\n`, and a `\r` before it is dropped. A byte order mark of UTF-8 is no part of the text; a file in UTF-16 is refused. A file
/// whose name ends with `.gz`, `.bz2` or `.zst` is decompressed, to at most 1 GiB. To refuse a file with a line that is wrong, write a
/// [`ReferenceLoader`] of your own.
///
/// At every plan the file's size and time of modification are looked at, and it is read as a whole when they changed: replace it
/// by an atomic move. A file that changes while it is read never gives a half version: it is read again, and if it goes on
/// changing, at the next plan. But one that is written in place may be found half written between two writes.
///
/// ```
/// # let place = tempfile::tempdir().unwrap();
/// # let path = place.path().join("blacklist");
/// # std::fs::write(&path, "# who is out\nmallory\n").unwrap();
/// use floodmark::{ReferenceFile, ReferenceLoader};
///
/// let mut blacklist = ReferenceFile::new(&path, |line| (!line.starts_with('#')).then(|| (line.to_string(), ())));
/// assert_eq!(blacklist.load().unwrap(), Some(vec![("mallory".to_string(), ())]));
/// assert_eq!(blacklist.load().unwrap(), None, "it has not changed");
/// ```
pub struct ReferenceFile<F> {
    path: PathBuf,
    parse_line: F,
    clock: Arc<dyn Clock>,
    seen: Option<Seen>,
}

/// The file as it was last read.
#[derive(Debug)]
struct Seen {
    stamp: FileStamp,
    /// When the stamp was first seen, on the monotonic clock.
    since_ms: u64,
    /// It was read so long after `since_ms` that every later change shows in another stamp.
    is_settled: bool,
    contents: u128,
}

impl<F> fmt::Debug for ReferenceFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceFile").field("path", &self.path).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<F> ReferenceFile<F> {
    /// The entries that `parse_line` makes of the lines of the file at `path`.
    pub fn new<K, V>(path: impl Into<PathBuf>, parse_line: F) -> Self
    where
        F: FnMut(&str) -> Option<(K, V)> + Send + 'static,
    {
        Self { path: absolute(path.into()), parse_line, clock: Arc::new(SystemClock::default()), seen: None }
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The file's contents if they are others than before.
    fn read_if_changed(&mut self) -> Result<Option<(String, Seen)>, SourceError> {
        let path = &self.path;
        let failed = |error| SourceError::File { path: path.clone(), offset: 0, error };
        let stamp = fs::metadata(path).and_then(|metadata| FileStamp::of(&metadata)).map_err(failed)?;
        if self.seen.as_ref().is_some_and(|seen| seen.is_settled && seen.stamp == stamp) {
            return Ok(None);
        }
        let mut whole = None;
        for _ in 0..ATTEMPTS {
            whole = read_whole(path).map_err(failed)?;
            if whole.is_some() {
                break;
            }
        }
        let Some((bytes, stamp)) = whole else {
            let path = path.display();
            return Err(SourceError::other(format!(
                "{path}: the file changed while it was read, {ATTEMPTS} times in turn: replace it by an atomic move"
            )));
        };
        let now_ms = self.clock.monotonic_ms();
        let unchanged = self.seen.as_ref().filter(|seen| seen.stamp == stamp);
        let since_ms = unchanged.map_or(now_ms, |seen| seen.since_ms);
        let is_settled = now_ms - since_ms >= SETTLED_AFTER_MS;
        let seen = Seen { stamp, since_ms, is_settled, contents: xxh3_128(&bytes) };
        if self.seen.as_ref().is_some_and(|before| before.contents == seen.contents) {
            self.seen = Some(seen);
            return Ok(None);
        }
        let bytes = self.decompressed(bytes)?;
        let mark = ByteOrderMark::of(&bytes);
        if mark == ByteOrderMark::Wide {
            return Err(SourceError::other(format!("{}: {WIDE_TEXT}", path.display())));
        }
        match String::from_utf8(bytes) {
            Ok(mut text) => {
                drop(text.drain(..mark.skipped_bytes()));
                Ok(Some((text, seen)))
            }
            Err(error) => {
                let (path, at) = (path.display(), error.utf8_error().valid_up_to());
                Err(SourceError::other(format!("{path}: expected text in utf-8, found other bytes at byte {at}")))
            }
        }
    }
}

impl<F> ReferenceFile<F> {
    /// What the bytes of the file stand for, by its name.
    fn decompressed(&self, bytes: Vec<u8>) -> Result<Vec<u8>, SourceError> {
        let Some(compression) = Compression::of_name(self.path.as_os_str().as_bytes()) else { return Ok(bytes) };
        let mut text = Vec::new();
        let read = compression
            .decode(BufReader::new(bytes.as_slice()))
            .and_then(|contents| contents.take(MAX_TEXT_BYTES + 1).read_to_end(&mut text));
        if let Err(error) = read {
            return Err(SourceError::Compressed { path: self.path.clone(), format: compression.to_string(), error });
        }
        if text.len() as u64 > MAX_TEXT_BYTES {
            let path = self.path.display();
            return Err(SourceError::other(format!(
                "{path}: more than {MAX_TEXT_BYTES} bytes when it is decompressed"
            )));
        }
        Ok(text)
    }
}

/// All bytes of a file and its stamp; `None` if it changed meanwhile.
fn read_whole(path: &Path) -> io::Result<Option<(Vec<u8>, FileStamp)>> {
    let mut file = open_file(path)?;
    let before = FileStamp::of(&file.metadata()?)?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    let after = FileStamp::of(&file.metadata()?)?;
    Ok((before == after && bytes.len() as u64 == after.size).then_some((bytes, after)))
}

impl<K, V, F> ReferenceLoader for ReferenceFile<F>
where
    K: Key,
    V: Record,
    F: FnMut(&str) -> Option<(K, V)> + Send + 'static,
{
    type Key = K;
    type Value = V;

    fn load(&mut self) -> Result<Option<Vec<(K, V)>>, SourceError> {
        let Some((text, seen)) = self.read_if_changed()? else { return Ok(None) };
        let entries = text.lines().filter_map(|line| (self.parse_line)(line)).collect();
        self.seen = Some(seen);
        Ok(Some(entries))
    }
}
