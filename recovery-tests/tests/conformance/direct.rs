//! Direct sources: text files, binary records, and a tape in memory, with one broken tape for each rule.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use floodmark::testing::{DirectPlace, Spoil, check_direct_source};
use floodmark::{
    BinaryFiles, Bytes, DirectSource, OfferLimits, RangeReader, ReadSummary, SourceError, Text, TextFiles,
};
use tempfile::TempDir;

use super::assert_broken;

/// Files of records that are moved into a directory, so many records to a file.
struct Files {
    place: TempDir,
    records: u64,
    records_of_a_file: u64,
    files: u64,
    is_compressed: bool,
}

impl Files {
    fn new(records_of_a_file: u64) -> Self {
        Self { place: tempfile::tempdir().unwrap(), records: 0, records_of_a_file, files: 0, is_compressed: false }
    }

    /// Each file is compressed, and larger than what it holds.
    fn compressed(records_of_a_file: u64) -> Self {
        Self { is_compressed: true, ..Self::new(records_of_a_file) }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("in")
    }

    /// Moves the records into the directory, in files whose names are not in their order: their times are.
    fn add(&mut self, records: u64, bytes_of: impl Fn(u64) -> Vec<u8>) {
        fs::create_dir_all(self.directory()).unwrap();
        let end = self.records + records;
        while self.records < end {
            let until = end.min(self.records + self.records_of_a_file);
            let mut bytes: Vec<u8> = (self.records..until).flat_map(&bytes_of).collect();
            if self.is_compressed {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
                encoder.write_all(&bytes).unwrap();
                bytes = encoder.finish().unwrap();
            }
            let path = self.place.path().join("whole");
            fs::write(&path, bytes).unwrap();
            self.files += 1;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.files);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            let ending = if self.is_compressed { ".gz" } else { "" };
            fs::rename(&path, self.directory().join(format!("{:04}{ending}", 9_999 - self.files))).unwrap();
            self.records = until;
        }
    }

    /// Gives every file a time that is a day later.
    fn restore(&self) -> bool {
        for entry in fs::read_dir(self.directory()).unwrap() {
            let file = fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
            let time = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(86_400);
            file.set_modified(time).unwrap();
        }
        true
    }

    fn spoil(&self, how: Spoil) -> bool {
        for entry in fs::read_dir(self.directory()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            match how {
                Spoil::Removed => fs::remove_file(&path).unwrap(),
                Spoil::Cut => {
                    bytes.truncate(bytes.len() / 2);
                    fs::write(&path, bytes).unwrap();
                }
                Spoil::Grown => {
                    bytes.extend_from_within(..bytes.len() / 2);
                    fs::write(&path, bytes).unwrap();
                }
                Spoil::Changed => {
                    bytes.reverse();
                    fs::write(&path, bytes).unwrap();
                }
            }
        }
        true
    }
}

struct TextPlace {
    files: Files,
    task_bytes: u64,
}

impl TextPlace {
    fn new(records_of_a_file: u64, task_bytes: u64) -> Self {
        Self { files: Files::new(records_of_a_file), task_bytes }
    }
}

fn line(number: u64) -> String {
    // Of many lengths, some empty.
    format!("{}{number}", "x".repeat((number * 7 % 40) as usize)).split_off(usize::from(number.is_multiple_of(5)))
}

impl DirectPlace for TextPlace {
    type Item = Text;
    type Source = TextFiles;

    fn open(&mut self) -> TextFiles {
        fs::create_dir_all(self.files.directory()).unwrap();
        TextFiles::new(self.files.directory()).task_bytes(self.task_bytes)
    }

    fn add(&mut self, records: u64) {
        self.files.add(records, |number| format!("{}\n", line(number)).into_bytes());
    }

    fn record(&self, number: u64) -> Text {
        Text::from(line(number))
    }

    /// Bytes are planned, by what lines had so far, 64 at first; 4 KiB at least, and an empty line is one byte.
    fn may_offer(&self, limits: &OfferLimits) -> u64 {
        limits.bytes.min(limits.records.saturating_mul(64)).max(4 << 10)
    }

    fn bytes_of(&self, records: u64) -> Option<u64> {
        Some(records * 20)
    }

    fn spoil(&mut self, how: Spoil) -> bool {
        self.files.spoil(how)
    }

    fn restore(&mut self) -> bool {
        self.files.restore()
    }
}

const RECORD_BYTES: usize = 24;

struct BinaryPlace(Files);

fn binary_record(number: u64) -> [u8; RECORD_BYTES] {
    let mut record = [number as u8; RECORD_BYTES];
    record[..8].copy_from_slice(&number.to_be_bytes());
    record
}

impl DirectPlace for BinaryPlace {
    type Item = Bytes;
    type Source = BinaryFiles;

    fn open(&mut self) -> BinaryFiles {
        fs::create_dir_all(self.0.directory()).unwrap();
        BinaryFiles::new(self.0.directory(), RECORD_BYTES).task_bytes(1_000)
    }

    fn add(&mut self, records: u64) {
        self.0.add(records, |number| binary_record(number).to_vec());
    }

    fn record(&self, number: u64) -> Bytes {
        Bytes::from(binary_record(number).as_slice())
    }

    /// The smallest piece is 4 KiB, and not more than a task: whole records.
    fn may_offer(&self, limits: &OfferLimits) -> u64 {
        limits.records.min(limits.bytes / RECORD_BYTES as u64).max(1_000 / RECORD_BYTES as u64)
    }

    fn bytes_of(&self, records: u64) -> Option<u64> {
        Some(records * RECORD_BYTES as u64)
    }

    fn spoil(&mut self, how: Spoil) -> bool {
        self.0.spoil(how)
    }

    fn restore(&mut self) -> bool {
        self.0.restore()
    }
}

#[test]
fn text_files_keep_the_contract() {
    check_direct_source(|| TextPlace::new(30, 1 << 20));
}

#[test]
fn text_files_that_are_divided_anywhere_keep_the_contract() {
    check_direct_source(|| TextPlace::new(700, 37));
}

#[test]
fn compressed_text_files_keep_the_contract() {
    check_direct_source(|| TextPlace { files: Files::compressed(30), task_bytes: 1 << 20 });
    check_direct_source(|| TextPlace { files: Files::compressed(30), task_bytes: 37 });
}

#[test]
fn binary_records_keep_the_contract() {
    check_direct_source(|| BinaryPlace(Files::new(30)));
    check_direct_source(|| BinaryPlace(Files::new(900)));
}

/// What a source may do wrong; each breaks one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    OffersEmptyRanges,
    OffersNothingBelowTen,
    IgnoresLimits,
    IgnoresLimitsLater,
    SkipsAtTheSeam,
    RepeatsAtTheSeam,
    LooksOnlyAtWhatIsNew,
    MiscountsRecords,
    ReadsOnlyOnce,
    TakesWhatItOffers,
    PositionGrowsWhenEncoded,
    BeginsAnewAfterARestart,
    AdvancesOnlyAfterItsOwnOffer,
    ReadersShareACursor,
    ReleasesTooMuch,
    ReadsWhatIsLeft,
    ReadsUpToTheEnd,
    NoticesNoChange,
    TakesGrowthForNew,
}

type Squares = Arc<Mutex<Vec<Option<u64>>>>;

/// Numbers, each its square; written elsewhere, and shared by all that is open. What was released is gone.
#[derive(Clone)]
struct Tape {
    flaw: Flaw,
    squares: Squares,
    /// What this source remembers by itself: how far it has offered, and what was written then.
    offered: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
    cursor: Arc<Mutex<usize>>,
    was_read: Arc<Mutex<Vec<usize>>>,
    is_first: Arc<AtomicBool>,
}

/// Where the tape was left.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct Left {
    next: usize,
    /// How often it was offered from.
    age: u64,
    grows: bool,
}

impl serde::Serialize for Left {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.next, self.age + u64::from(self.grows), self.grows).serialize(serializer)
    }
}

/// A part of the tape, as it was planned.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Piece {
    start: usize,
    end: usize,
    /// The position after it.
    next: usize,
    /// The age at which it must be taken, if it matters.
    age: Option<u64>,
    sum: u64,
    written: usize,
}

fn sum(squares: &[Option<u64>]) -> u64 {
    squares.iter().flatten().sum()
}

impl Tape {
    fn new(flaw: Flaw, squares: Squares) -> Self {
        Self {
            flaw,
            squares,
            offered: Arc::default(),
            seen: Arc::default(),
            cursor: Arc::default(),
            was_read: Arc::default(),
            is_first: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Where an offer begins.
    fn begin(&self, position: &Left, written: usize) -> usize {
        let is_first = self.is_first.swap(false, Ordering::SeqCst);
        let seen = self.seen.swap(written, Ordering::SeqCst);
        match self.flaw {
            Flaw::TakesWhatItOffers => position.next.max(self.offered.load(Ordering::SeqCst)),
            Flaw::BeginsAnewAfterARestart if is_first => 0,
            Flaw::LooksOnlyAtWhatIsNew if written > seen => position.next.max(seen),
            _ => position.next,
        }
    }
}

impl DirectSource for Tape {
    type Item = u64;
    type Range = Piece;
    type Position = Left;

    fn offer(&mut self, position: &Left, limits: &OfferLimits) -> Result<Vec<Piece>, SourceError> {
        let squares = self.squares.lock().unwrap();
        let written = squares.len();
        let begin = self.begin(position, written);
        let most = match self.flaw {
            Flaw::IgnoresLimits => usize::MAX,
            Flaw::IgnoresLimitsLater if begin > 0 => usize::MAX,
            Flaw::OffersNothingBelowTen if limits.records < 10 => 0,
            _ => usize::try_from(limits.records.min(limits.bytes / 8)).unwrap_or(usize::MAX).max(1),
        };
        let end = written.min(begin.saturating_add(most));
        self.offered.store(end, Ordering::SeqCst);
        let next = match self.flaw {
            Flaw::SkipsAtTheSeam => end + 1,
            Flaw::RepeatsAtTheSeam if end > begin + 1 => end - 1,
            _ => end,
        };
        let age = (self.flaw == Flaw::AdvancesOnlyAfterItsOwnOffer).then_some(position.age);
        // Two pieces, where there is enough for two.
        let middle = begin.midpoint(end);
        let pieces = [(begin, middle, middle), (middle, end, next)].map(|(start, end, next)| {
            let sum = sum(squares.get(start..end).unwrap_or_default());
            Piece { start, end, next, age, sum, written }
        });
        let offers_empty = self.flaw == Flaw::OffersEmptyRanges;
        Ok(pieces.into_iter().filter(|piece| piece.start < piece.end || offers_empty).collect())
    }

    fn advance(position: &mut Left, piece: &Piece) {
        if piece.age.is_none_or(|age| age == position.age) {
            position.next = piece.next;
        }
    }

    fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = Piece>> {
        Arc::new(self.clone())
    }

    fn prune(&mut self, position: &mut Left) -> Result<(), SourceError> {
        position.age += 1;
        position.grows = self.flaw == Flaw::PositionGrowsWhenEncoded;
        Ok(())
    }

    fn release(&mut self, position: &Left) {
        let until = if self.flaw == Flaw::ReleasesTooMuch { position.next + 5 } else { position.next };
        self.squares.lock().unwrap().iter_mut().take(until).for_each(|square| *square = None);
    }
}

impl RangeReader for Tape {
    type Item = u64;
    type Range = Piece;

    fn read(&self, piece: &Piece, emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
        let was_read = {
            let mut was_read = self.was_read.lock().unwrap();
            was_read.push(piece.start);
            was_read.iter().filter(|start| **start == piece.start).count() > 1
        };
        if self.flaw == Flaw::ReadsOnlyOnce && was_read {
            return Ok(ReadSummary::default());
        }
        let squares = self.squares.lock().unwrap().clone();
        let there = squares.get(piece.start.min(squares.len())..piece.end.min(squares.len())).unwrap_or_default();
        let is_short = match self.flaw {
            Flaw::ReadsWhatIsLeft => false,
            Flaw::ReadsUpToTheEnd => there.is_empty(),
            _ => there.len() < piece.end - piece.start,
        };
        let is_checked = match self.flaw {
            Flaw::ReadsWhatIsLeft | Flaw::ReadsUpToTheEnd | Flaw::NoticesNoChange => false,
            Flaw::TakesGrowthForNew => squares.len() <= piece.written,
            _ => true,
        };
        if is_short || is_checked && sum(there) != piece.sum {
            return Err(SourceError::other(format!("the tape has changed since {piece:?} was planned")));
        }
        let mut records = 0;
        *self.cursor.lock().unwrap() = piece.start;
        for square in there {
            let mut square = *square;
            if self.flaw == Flaw::ReadersShareACursor {
                std::thread::yield_now();
                let mut cursor = self.cursor.lock().unwrap();
                square = squares.get(*cursor).copied().flatten();
                *cursor += 1;
            }
            emit(square.ok_or_else(|| SourceError::other("the tape was released here"))?);
            records += 1;
        }
        let miscounted = u64::from(self.flaw == Flaw::MiscountsRecords && records == 15);
        Ok(ReadSummary { records: records + miscounted, failed: 0 })
    }
}

struct TapePlace {
    flaw: Flaw,
    squares: Squares,
}

impl DirectPlace for TapePlace {
    type Item = u64;
    type Source = Tape;

    fn open(&mut self) -> Tape {
        Tape::new(self.flaw, Arc::clone(&self.squares))
    }

    fn add(&mut self, records: u64) {
        let mut squares = self.squares.lock().unwrap();
        let written = squares.len() as u64;
        squares.extend((written..written + records).map(|number| Some(number * number)));
    }

    fn record(&self, number: u64) -> u64 {
        number * number
    }

    fn bytes_of(&self, records: u64) -> Option<u64> {
        Some(records * 8)
    }

    fn may_offer(&self, limits: &OfferLimits) -> u64 {
        limits.records.min(limits.bytes / 8).max(1)
    }

    fn spoil(&mut self, how: Spoil) -> bool {
        let mut squares = self.squares.lock().unwrap();
        let half = squares.len() / 2 + 3;
        match how {
            Spoil::Removed => squares.clear(),
            Spoil::Cut => squares.truncate(half),
            Spoil::Changed => squares[half] = Some(7),
            Spoil::Grown => squares.insert(half, Some(7)),
        }
        true
    }
}

fn check_tape(flaw: Flaw) {
    check_direct_source(|| TapePlace { flaw, squares: Arc::default() });
}

#[test]
fn a_tape_keeps_the_contract() {
    check_tape(Flaw::None);
}

#[test]
fn each_rule_finds_a_source_that_breaks_it() {
    for (flaw, rule) in [
        (Flaw::OffersEmptyRanges, "an empty place offers nothing"),
        (Flaw::OffersNothingBelowTen, "what is there is offered, whatever the limits"),
        (Flaw::SkipsAtTheSeam, "what is there is offered, whatever the limits"),
        (Flaw::IgnoresLimits, "an offer stays within its limits"),
        (Flaw::IgnoresLimitsLater, "an offer stays within its limits"),
        (Flaw::RepeatsAtTheSeam, "ranges give every record once and in order"),
        (Flaw::LooksOnlyAtWhatIsNew, "ranges give every record once and in order"),
        (Flaw::MiscountsRecords, "the summary says how many records were read"),
        (Flaw::ReadsOnlyOnce, "a range reads the same again"),
        (Flaw::TakesWhatItOffers, "an offer that was not planned is offered again"),
        (Flaw::PositionGrowsWhenEncoded, "a position survives its own encoding"),
        (Flaw::BeginsAnewAfterARestart, "offers go on exactly where a stored position stands"),
        (Flaw::AdvancesOnlyAfterItsOwnOffer, "a position is recovered by what was planned since"),
        (Flaw::ReadersShareACursor, "two readers at once read what one reads"),
        (Flaw::ReleasesTooMuch, "what is released is only what nobody asks for again"),
        (Flaw::ReadsWhatIsLeft, "a range that was removed is an error"),
        (Flaw::ReadsUpToTheEnd, "a range that was cut is an error"),
        (Flaw::NoticesNoChange, "a range that was changed is an error"),
        (Flaw::TakesGrowthForNew, "a range that has grown is an error"),
    ] {
        assert_broken(&format!("{flaw:?}"), rule, || check_tape(flaw));
    }
}
