//! Texts whose words are counted: those of a repository, and generated ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Counts, ProcessError};

/// A text that is sent several times over, in one stream of bytes.
#[derive(Clone, Debug)]
pub struct Text {
    once: Arc<str>,
    times: u64,
}

impl Text {
    /// A text, once. A line end is added if the last line has none, so that lines stay lines when it is repeated.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self { once: text.into(), times: 1 }
    }

    /// The same text, as often as it takes to reach this many bytes.
    #[must_use]
    pub fn repeated_to(self, bytes: u64) -> Self {
        let times = bytes.div_ceil(self.once.len() as u64).max(1);
        Self { times, ..self }
    }

    /// The text, once.
    #[must_use]
    pub fn once(&self) -> &str {
        &self.once
    }

    /// How often it is sent.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.times
    }

    /// The number of bytes in the stream.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.once.len() as u64 * self.times
    }

    /// The bytes from `offset` on, as many as lie together, at most `limit`; none at the end.
    #[must_use]
    pub fn chunk(&self, offset: u64, limit: usize) -> &[u8] {
        if offset >= self.bytes() {
            return &[];
        }
        let start = (offset % self.once.len() as u64) as usize;
        &self.once.as_bytes()[start..self.once.len().min(start.saturating_add(limit))]
    }

    /// The first line end at or after `offset`: the offset behind it.
    #[must_use]
    pub fn line_end(&self, offset: u64) -> u64 {
        let Some(before) = offset.checked_sub(1) else { return 0 };
        let rest = self.chunk(before, usize::MAX);
        let line = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
        (before + line as u64).min(self.bytes())
    }

    /// The plain count of the whole stream.
    #[must_use]
    pub fn count(&self) -> Counts {
        self.count_to(self.bytes())
    }

    /// The plain count of the first bytes of the stream, which must end at a line end.
    #[must_use]
    pub fn count_to(&self, bytes: u64) -> Counts {
        let (times, rest) = (bytes / self.once.len() as u64, (bytes % self.once.len() as u64) as usize);
        let mut counts = Counts::of(&self.once[..rest]);
        counts.add(&Counts::of(&self.once), times);
        counts
    }
}

/// Every text file below a directory, one after the other, in the order of their paths. Hidden directories and `target` are
/// left out, and so are files that are not UTF-8. Also says how many files there were.
///
/// # Errors
/// When a directory or a file cannot be read.
pub fn of_repository(directory: &Path) -> Result<(Text, usize), ProcessError> {
    let (mut text, mut files) = (String::new(), 0);
    collect(directory, &mut text, &mut files)?;
    Ok((Text::new(text), files))
}

fn collect(directory: &Path, text: &mut String, files: &mut usize) -> Result<(), ProcessError> {
    let list = || -> std::io::Result<Vec<_>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = list().map_err(ProcessError::file("list", directory))?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_symlink() || name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            collect(&path, text, files)?;
            continue;
        }
        let bytes = fs::read(&path).map_err(ProcessError::file("read", &path))?;
        if let Ok(content) = String::from_utf8(bytes) {
            *files += 1;
            text.push_str(&content);
            if !content.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    Ok(())
}

/// Lines of words, few of them frequent and many rare: short ones, ones that are not ASCII, and ones that are too long to be
/// kept inline. The same seed gives the same text.
#[must_use]
pub fn generated(seed: u64, bytes: usize) -> String {
    const DISTINCT: f64 = 5_000.0;
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        for _ in 0..random.random_range(0..12) {
            let rank = DISTINCT.powf(random.random::<f64>()) as u64;
            let word = match rank % 7 {
                0 => format!("wörter{rank} "),
                1 => format!("a-word-that-is-too-long-to-be-inline-{rank} "),
                _ => format!("w{rank} "),
            };
            text.push_str(&word);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_put_together_are_the_repeated_text() {
        let text = Text::new("one two\nthree".to_string()).repeated_to(40);
        assert_eq!(text.times(), 3);
        let (mut offset, mut together) = (0, Vec::new());
        while !text.chunk(offset, 5).is_empty() {
            together.extend_from_slice(text.chunk(offset, 5));
            offset = together.len() as u64;
        }
        assert_eq!(String::from_utf8(together).unwrap(), "one two\nthree\n".repeat(3));
        assert_eq!(text.count(), Counts::of(&"one two\nthree\n".repeat(3)));
    }

    #[test]
    fn line_ends_are_found_also_where_the_text_is_repeated() {
        let text = Text::new("one two\nthree\n".to_string()).repeated_to(28);
        let ends: Vec<u64> = [0, 1, 8, 9, 14, 15, 22, 23, 28].into_iter().map(|offset| text.line_end(offset)).collect();
        assert_eq!(ends, [0, 8, 8, 14, 14, 22, 22, 28, 28]);
        assert_eq!(text.count_to(22), Counts::of("one two three one two"));
    }

    #[test]
    fn the_same_seed_gives_the_same_text() {
        assert_eq!(generated(1, 10_000), generated(1, 10_000));
        assert_ne!(generated(1, 10_000), generated(2, 10_000));
        assert!(Counts::of(&generated(1, 100_000)).distinct() > 1_000);
    }

    #[test]
    fn a_repository_gives_its_text_files_in_order_and_nothing_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        fs::create_dir(directory.path().join("target")).unwrap();
        fs::create_dir(directory.path().join("c")).unwrap();
        write("b.txt", b"second");
        write("a.txt", b"first\n");
        write("image", &[0xff, 0xfe]);
        write(".hidden", b"no");
        write("target/x", b"no");
        write("c/d", b"third");
        let (text, files) = of_repository(directory.path()).unwrap();
        assert_eq!((text.once(), files), ("first\nsecond\nthird\n", 3));
    }
}
