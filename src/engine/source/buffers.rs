//! Buffers that ranges of files are read into, used again once no record shares their bytes any more: fresh memory costs a
//! page fault for every 4 KiB of it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use byteview::ByteView;

/// Buffers kept at the most: one for each worker that reads, and some to spare.
const KEPT: usize = 8;
/// Sizes are rounded up to this, so that tasks of about one size share buffers.
const GRAIN: usize = 64 << 10;

/// Buffers that are not in use, or whose records may still be.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<ByteView>>);

impl Buffers {
    /// Reads exactly `len` bytes into a buffer, which is left in `buffer`; returns them.
    pub fn read(&self, file: &mut File, len: usize, buffer: &mut ByteView) -> io::Result<ByteView> {
        if u32::try_from(len.next_multiple_of(GRAIN)).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a range of {len} bytes is too large")));
        }
        if let Some(mut reused) = self.take(len) {
            let mut bytes = reused.get_mut().expect("nobody shares it");
            file.read_exact(&mut bytes[..len])?;
            drop(bytes);
            *buffer = reused;
        } else {
            let mut fresh = ByteView::builder(len.next_multiple_of(GRAIN));
            file.read_exact(&mut fresh[..len])?;
            *buffer = fresh.freeze();
        }
        Ok(buffer.slice(..len))
    }

    /// Takes a buffer back; it is used again when no record shares it.
    pub fn give(&self, buffer: ByteView) {
        let mut kept = self.kept();
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }

    /// A buffer of at least `len` bytes that nobody shares. Buffers that do not fit any more go.
    fn take(&self, len: usize) -> Option<ByteView> {
        let mut kept = self.kept();
        let place = kept.iter_mut().position(|buffer| buffer.len() >= len && buffer.get_mut().is_some())?;
        Some(kept.swap_remove(place))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<ByteView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_buffer_is_used_again_only_when_nothing_shares_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'a'; 100]).unwrap();
        let buffers = Buffers::default();
        let mut read = |buffer: &mut ByteView| {
            io::Seek::rewind(&mut file).unwrap();
            buffers.read(&mut file, 100, buffer).unwrap()
        };
        let mut first = ByteView::default();
        let shared = read(&mut first);
        let place = first.as_ptr();
        buffers.give(first);
        let mut second = ByteView::default();
        read(&mut second);
        assert_ne!(second.as_ptr(), place, "its bytes are still shared");
        drop(shared);
        let mut third = ByteView::default();
        read(&mut third);
        assert_eq!(third.as_ptr(), place);
    }
}
