//! What counting words must cost at the least, beside what it costs here: a loop written by hand and `timely` alone, without
//! batches, log, state that lasts, or types of a user's choice; and the file example, with all of that, in the same run.
//!
//! `cargo bench --bench floor [rounds]`, after `cargo build --release --examples`: medians of five unless told, the programs in turn. Two
//! threads; keys are kept inline, in 24 bytes. The counts of all are compared with the truth.

mod common;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use common::table::{self, Figure};
use common::{Input, Result, UNIFORM_1M, ZIPF_10K};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use xxhash_rust::xxh3::xxh3_64;

const THREADS: usize = 2;
/// How many words `timely` is given before its worker steps.
const RUN: usize = 1 << 14;

type Program = fn(&Input) -> Result<f64>;

fn main() -> Result<()> {
    let rounds = common::rounds(5);
    println!("{}", table::machine());
    println!("median words/s of {rounds}, programs in turn; in brackets: times the file example");
    println!("{:<28} {:>16} {:>16} {:>16}", "", "floodmark", "timely alone", "a loop by hand");
    let programs: [Program; 3] = [floodmark, timely_alone, by_hand];
    for (name, input) in [("skewed, 10,000 distinct", ZIPF_10K), ("wide, 1,000,000 distinct", UNIFORM_1M)] {
        let mut figures = vec![Vec::new(); programs.len()];
        for _ in 0..rounds {
            for (figures, program) in figures.iter_mut().zip(programs) {
                figures.push(program(&input)?);
            }
        }
        let medians: Vec<f64> = figures.into_iter().map(|runs| Figure::of(runs).median()).collect();
        let cells: Vec<String> =
            medians.iter().map(|figure| format!("{:.1} M ({:.2})", figure / 1e6, figure / medians[0])).collect();
        println!("{name:<28} {:>16} {:>16} {:>16}", cells[0], cells[1], cells[2]);
        table::enter(
            &format!("words/s without durability, {name}: timely alone, a loop by hand"),
            &cells[1..].join(", "),
            "a loss",
        )?;
    }
    Ok(())
}

/// The file example, with all durability.
fn floodmark(input: &Input) -> Result<f64> {
    let scratch = common::scratch()?;
    let dump = scratch.path().join("dump");
    let mut command = common::example("file_word_count")?;
    command.arg("--input").arg(input.files()?).arg("--checkpoint").arg(scratch.path().join("state"));
    command.args(["--workers", &THREADS.to_string(), "--until-idle"]).arg("--dump").arg(&dump);
    let figures = common::run(&mut command)?;
    common::must_be_equal(&dump, &input.truth()?)?;
    Ok(figures.words_per_second as f64)
}

/// Each thread counts its files; then the counts are put together.
fn by_hand(input: &Input) -> Result<f64> {
    let files = files(input)?;
    let begin = Instant::now();
    let shares = (0..THREADS).map(|thread| files.iter().skip(thread).step_by(THREADS).cloned().collect());
    let counting: Vec<_> =
        shares.map(|share: Vec<PathBuf>| thread::Builder::new().spawn(move || count_files(&share))).collect();
    let mut counts = Counts::default();
    for counted in counting {
        let counted = counted?.join().map_err(|_| "a thread panicked")??;
        counted.0.into_iter().for_each(|(hash, word, count)| counts.add(hash, word, count));
    }
    let took = begin.elapsed().as_secs_f64();
    counts.must_be(&input.truth()?)?;
    Ok(input.words as f64 / took)
}

fn count_files(files: &[PathBuf]) -> std::io::Result<Counts> {
    let mut counts = Counts::default();
    for file in files {
        for_each_word(&fs::read(file)?, |word| {
            let word = Word::of(word);
            counts.add(word.hash(), word, 1);
        });
    }
    Ok(counts)
}

/// The words go to the worker that counts them, in one exchange.
fn timely_alone(input: &Input) -> Result<f64> {
    let files = files(input)?;
    let begin = Instant::now();
    let guards = timely::execute(timely::Config::process(THREADS), move |worker| {
        let share: Vec<PathBuf> = files.iter().skip(worker.index()).step_by(worker.peers()).cloned().collect();
        let counts = Rc::new(RefCell::new(Counts::default()));
        let (mut input, probe) = (InputHandle::new(), ProbeHandle::new());
        let counted = counts.clone();
        worker.dataflow::<u64, _, _>(|scope| {
            let words = input.to_stream(scope);
            let by_hash = Exchange::new(|(hash, _): &(u64, Word)| *hash);
            words
                .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(by_hash, "count", |_, _| {
                    move |input, _output| {
                        input.for_each(|_, words| {
                            let mut counts = counted.borrow_mut();
                            words.drain(..).for_each(|(hash, word)| counts.add(hash, word, 1));
                        });
                    }
                })
                .probe_with(&probe);
        });
        let mut run = Vec::with_capacity(RUN);
        for file in &share {
            for_each_word(&fs::read(file).expect("the input is there"), |word| {
                let word = Word::of(word);
                run.push((word.hash(), word));
                if run.len() == RUN {
                    input.send_batch(&mut run);
                    worker.step();
                }
            });
        }
        input.send_batch(&mut run);
        input.close();
        worker.step_while(|| !probe.done());
        std::mem::take(&mut *counts.borrow_mut())
    })?;
    let mut counts = Counts::default();
    for counted in guards.join() {
        counted?.0.into_iter().for_each(|(hash, word, count)| counts.add(hash, word, count));
    }
    let took = begin.elapsed().as_secs_f64();
    counts.must_be(&input.truth()?)?;
    Ok(input.words as f64 / took)
}

fn files(input: &Input) -> Result<Vec<PathBuf>> {
    let mut files =
        fs::read_dir(input.files()?)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn for_each_word(text: &[u8], mut take: impl FnMut(&[u8])) {
    let mut begin = 0;
    for end in memchr::memchr2_iter(b' ', b'\n', text) {
        if end > begin {
            take(&text[begin..end]);
        }
        begin = end + 1;
    }
    if begin < text.len() {
        take(&text[begin..]);
    }
}

/// A short word, inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word([u64; 3]);

impl Word {
    fn of(word: &[u8]) -> Self {
        let mut bytes = [0; 24];
        bytes[0] = word.len() as u8;
        bytes[1..=word.len()].copy_from_slice(word);
        let (words, _) = bytes.as_chunks::<8>();
        Self([0, 1, 2].map(|at| u64::from_le_bytes(words[at])))
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[1..=usize::from(bytes[0])].to_vec()
    }

    /// Over the words that short words have.
    fn hash(&self) -> u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0[0].to_le_bytes());
        bytes[8..].copy_from_slice(&(self.0[1] ^ self.0[2].rotate_left(32)).to_le_bytes());
        xxh3_64(&bytes)
    }
}

#[derive(Default)]
struct Counts(HashTable<(u64, Word, u64)>);

impl Counts {
    fn add(&mut self, hash: u64, word: Word, count: u64) {
        match self.0.entry(hash, |entry| entry.1 == word, |entry| entry.0) {
            Entry::Occupied(mut entry) => entry.get_mut().2 += count,
            Entry::Vacant(place) => drop(place.insert((hash, word, count))),
        }
    }

    fn must_be(&self, truth: &Path) -> Result<()> {
        let mut counts: Vec<(Vec<u8>, u64)> = self.0.iter().map(|(_, word, count)| (word.bytes(), *count)).collect();
        counts.sort_unstable();
        let mut text = String::new();
        for (word, count) in counts {
            writeln!(text, "{} {count}", String::from_utf8(word)?)?;
        }
        if text == fs::read_to_string(truth)? { Ok(()) } else { Err("the counts are wrong".into()) }
    }
}
