//! Counts the words that this process has counted, those of replayed batches included.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A counter that the workers share without fighting over it: each thread writes to a cell of its own.
#[derive(Default)]
pub struct WordCounter {
    cells: Mutex<Vec<Arc<Cell>>>,
}

/// Alone on its cache line.
#[derive(Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// One for the process: threads keep their cells in a thread local.
pub static WORDS: WordCounter = WordCounter { cells: Mutex::new(Vec::new()) };

thread_local! {
    static CELL: OnceCell<Arc<Cell>> = const { OnceCell::new() };
}

impl WordCounter {
    /// Counts words.
    pub fn add(&'static self, words: u64) {
        CELL.with(|cell| {
            let count = &cell.get_or_init(|| self.new_cell()).0;
            // This thread is the only one that writes.
            count.store(count.load(Ordering::Relaxed) + words, Ordering::Relaxed);
        });
    }

    /// The words of all threads so far.
    pub fn total(&self) -> u64 {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum()
    }

    fn new_cell(&self) -> Arc<Cell> {
        let cell = Arc::<Cell>::default();
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cell));
        cell
    }
}
