//! One suite for every direct source: does it keep the contract of [`DirectSource`]?
//!
//! Describe where the source reads and what its records are ([`DirectPlace`]), then let [`check_direct_source`] try it. Each
//! rule gets a new, empty place, and goes about it as a driver does: positions and ranges are kept as bytes, a life asks for
//! offers and takes them, workers read ranges later, the next life goes on from a stored position.

use std::fmt::Debug;
use std::sync::atomic::AtomicUsize;

use super::direct_life::{Life, Range, read_all_together};
use crate::source::{DirectSource, OfferLimits};
use crate::testing::conformance::rules::{Rule, try_each};
use floodmark_base::codec::Record;

/// A place that direct sources can be opened on, again and again, as lives of a driver would.
///
/// Records are numbered 0, 1, 2, … in the order in which they become available, which is the order in which they are to count.
pub trait DirectPlace {
    /// The records.
    type Item: Record + PartialEq + Debug;
    /// The source.
    type Source: DirectSource<Item = Self::Item>;

    /// A new source on this place, with no memory of its own.
    fn open(&mut self) -> Self::Source;

    /// Makes so many more records available to every source on this place, from its next offer on.
    fn add(&mut self, records: u64);

    /// The record of this number.
    fn record(&self, number: u64) -> Self::Item;

    /// The most records that an offer within these limits may hold. Say more than the limit only where the source cannot count
    /// records before it reads them, or reads them in pieces of a smallest size.
    fn may_offer(&self, limits: &OfferLimits) -> u64 {
        limits.records.max(1)
    }

    /// The limit in bytes for which [`may_offer`](Self::may_offer) allows about so many records; `None` if bytes say nothing
    /// of the records.
    fn bytes_of(&self, _records: u64) -> Option<u64> {
        None
    }

    /// Makes what was available unreadable, in this way. `false` says that it cannot be done here; the rule is then left out.
    fn spoil(&mut self, _how: Spoil) -> bool {
        false
    }

    /// Makes all that was available look as if it were restored from a backup: the same contents, at other times. `false` says that
    /// it cannot be done here; the rule is then left out.
    fn restore(&mut self) -> bool {
        false
    }
}

/// How what was planned can become unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// It is gone.
    Removed,
    /// Its end is gone.
    Cut,
    /// It has other contents, of the same size.
    Changed,
    /// There is more of it than there was.
    Grown,
}

/// Records that are made available at once, at most; small, so that every rule stays fast.
const SOME: u64 = 2_000;

/// Tries every rule of the contract, each on a place of its own.
///
/// ```
/// use floodmark::testing::{DirectPlace, check_direct_source};
/// use floodmark::{DirectSource, OfferLimits, RangeReader, ReadSummary, SourceError};
/// use std::sync::{Arc, Mutex};
///
/// /// A tape that is written elsewhere, and can be read at any place.
/// #[derive(Clone, Default)]
/// struct Tape(Arc<Mutex<Vec<u64>>>);
///
/// impl DirectSource for Tape {
///     type Item = u64;
///     type Range = (usize, usize);
///     type Position = usize;
///
///     fn offer(&mut self, position: &usize, limits: &OfferLimits) -> Result<Vec<(usize, usize)>, SourceError> {
///         let most = usize::try_from(limits.records).unwrap_or(usize::MAX);
///         let end = self.0.lock().unwrap().len().min(position.saturating_add(most));
///         Ok(if *position < end { vec![(*position, end)] } else { vec![] })
///     }
///
///     fn advance(position: &mut usize, range: &(usize, usize)) {
///         *position = range.1;
///     }
///
///     fn reader(&self) -> Arc<dyn RangeReader<Item = u64, Range = (usize, usize)>> {
///         Arc::new(self.clone())
///     }
/// }
///
/// impl RangeReader for Tape {
///     type Item = u64;
///     type Range = (usize, usize);
///
///     fn read(&self, range: &(usize, usize), emit: &mut dyn FnMut(u64)) -> Result<ReadSummary, SourceError> {
///         let tape = self.0.lock().unwrap();
///         let records = tape.get(range.0..range.1).ok_or_else(|| SourceError::other("the tape was cut"))?;
///         records.iter().copied().for_each(emit);
///         Ok(ReadSummary { records: records.len() as u64, failed: 0 })
///     }
/// }
///
/// struct Place(Tape);
///
/// impl DirectPlace for Place {
///     type Item = u64;
///     type Source = Tape;
///
///     fn open(&mut self) -> Tape {
///         self.0.clone()
///     }
///
///     fn add(&mut self, records: u64) {
///         let mut tape = self.0.0.lock().unwrap();
///         let written = tape.len() as u64;
///         tape.extend((written..written + records).map(|number| number * number));
///     }
///
///     fn record(&self, number: u64) -> u64 {
///         number * number
///     }
/// }
///
/// check_direct_source(|| Place(Tape::default()));
/// ```
///
/// # Panics
/// When a rule is broken: the message names it.
pub fn check_direct_source<P: DirectPlace>(mut new_place: impl FnMut() -> P) {
    let rules: Vec<Rule<P>> = vec![
        ("an empty place offers nothing", an_empty_place_offers_nothing),
        ("what is there is offered, whatever the limits", what_is_there_is_offered),
        ("an offer stays within its limits", an_offer_stays_within_its_limits),
        ("ranges give every record once and in order", ranges_give_every_record_once_and_in_order),
        ("the summary says how many records were read", the_summary_says_how_many_records_were_read),
        ("a range reads the same again", a_range_reads_the_same_again),
        ("an offer that was not planned is offered again", an_offer_that_was_not_planned_is_offered_again),
        ("a position survives its own encoding", a_position_survives_its_own_encoding),
        ("offers go on exactly where a stored position stands", offers_go_on_where_a_stored_position_stands),
        ("a position is recovered by what was planned since", a_position_is_recovered_by_what_was_planned),
        ("two readers at once read what one reads", two_readers_read_what_one_reads),
        ("what is released is only what nobody asks for again", a_release_takes_nothing_that_is_needed),
        ("what was restored from a backup goes on", what_was_restored_goes_on),
        ("a range that was removed is an error", |place| a_spoilt_range_is_an_error(place, Spoil::Removed)),
        ("a range that was cut is an error", |place| a_spoilt_range_is_an_error(place, Spoil::Cut)),
        ("a range that was changed is an error", |place| a_spoilt_range_is_an_error(place, Spoil::Changed)),
        ("a range that has grown is an error", |place| a_spoilt_range_is_an_error(place, Spoil::Grown)),
    ];
    try_each("the source", &rules, &mut new_place);
}

fn limits(records: u64) -> OfferLimits {
    OfferLimits { records, ..OfferLimits::UNLIMITED }
}

/// The records of these numbers.
fn expected<P: DirectPlace>(place: &P, numbers: std::ops::Range<u64>) -> Vec<P::Item> {
    numbers.map(|number| place.record(number)).collect()
}

/// Takes batches until nothing is offered any more; gives their ranges.
fn take_all<P: DirectPlace>(life: &mut Life<P::Source>, limits: &OfferLimits) -> Vec<Range> {
    let mut taken = Vec::new();
    // Every offer holds a record at least, or else this would not end.
    for _ in 0..=20 * SOME {
        let ranges = life.take(limits);
        if ranges.is_empty() {
            return taken;
        }
        taken.extend(ranges);
    }
    panic!("there is always one more range: {} were offered", taken.len());
}

/// Compares without printing thousands of records.
fn assert_records<T: PartialEq + Debug>(found: &[T], expected: &[T], what: &str) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let (found_at, expected_at) = (found.get(at), expected.get(at));
    panic!(
        "{what}: expected {} records, found {}; record {at} should be {expected_at:?} and is {found_at:?}",
        expected.len(),
        found.len()
    );
}

fn an_empty_place_offers_nothing<P: DirectPlace>(place: &mut P) {
    let mut life = Life::begin(place.open());
    for _ in 0..3 {
        assert!(life.take(&OfferLimits::UNLIMITED).is_empty(), "an offer where nothing is");
    }
    place.add(5);
    take_all::<P>(&mut life, &OfferLimits::UNLIMITED);
    assert!(life.take(&OfferLimits::UNLIMITED).is_empty(), "an offer where all is taken");
}

fn what_is_there_is_offered<P: DirectPlace>(place: &mut P) {
    place.add(10);
    for limits in [OfferLimits::UNLIMITED, limits(1), OfferLimits { records: 1, bytes: 1 }] {
        let ranges = Life::begin(place.open()).take(&limits);
        assert!(!ranges.is_empty(), "no range of 10 records with the limits {limits:?}");
    }
    let mut life = Life::begin(place.open());
    let records = take_all::<P>(&mut life, &OfferLimits { records: 1, bytes: 1 });
    assert_records(&life.read_all(&records), &expected(place, 0..10), "read in the smallest offers");
}

fn an_offer_stays_within_its_limits<P: DirectPlace>(place: &mut P) {
    place.add(SOME);
    let mut tried = vec![limits(1), limits(7), limits(SOME / 2)];
    tried.extend(
        [1, SOME / 2].iter().filter_map(|records| {
            place.bytes_of(*records).map(|bytes| OfferLimits { bytes, ..OfferLimits::UNLIMITED })
        }),
    );
    for limits in tried {
        let mut life = Life::begin(place.open());
        // More than one: what was seen of the first may change what is offered next.
        for _ in 0..3 {
            let ranges = life.take(&limits);
            let (records, most) = (life.read_all(&ranges).len() as u64, place.may_offer(&limits));
            assert!(records <= most, "expected at most {most} records within {limits:?}, found {records}");
        }
    }
}

fn ranges_give_every_record_once_and_in_order<P: DirectPlace>(place: &mut P) {
    let (mut life, mut ranges, mut added) = (Life::begin(place.open()), Vec::new(), 0);
    for (more, limit) in [(10, 3), (1, 1), (0, 5), (SOME, SOME / 3), (7, u64::MAX), (0, 1), (100, 10)] {
        place.add(more);
        added += more;
        ranges.extend(life.take(&limits(limit)));
    }
    ranges.extend(take_all::<P>(&mut life, &limits(SOME)));
    assert_records(&life.read_all(&ranges), &expected(place, 0..added), "read from all ranges in turn");
}

fn the_summary_says_how_many_records_were_read<P: DirectPlace>(place: &mut P) {
    place.add(100);
    let mut life = Life::begin(place.open());
    for range in take_all::<P>(&mut life, &limits(30)) {
        let (records, summary) = life.read(&range).unwrap_or_else(|error| panic!("a planned range: {error}"));
        assert_eq!(summary.records, records.len() as u64, "records by the summary, and those that were handed on");
    }
}

fn an_offer_that_was_not_planned_is_offered_again<P: DirectPlace>(place: &mut P) {
    place.add(50);
    let mut life = Life::begin(place.open());
    life.take(&limits(10));
    let offer = life.offer(&limits(20));
    let again = life.offer(&limits(20));
    let (records, records_again) = (life.read_all(&offer), life.read_all(&again));
    assert!(!records.is_empty(), "an offer holds a record at least");
    assert_records(&records_again, &records, "offered again, since no plan took it");
    let rest = take_all::<P>(&mut life, &OfferLimits::UNLIMITED);
    let first = Life::begin(place.open()).take(&limits(10));
    let whole: Vec<_> = first.into_iter().chain(rest).collect();
    assert_records(&life.read_all(&whole), &expected(place, 0..50), "read after offers that no plan took");
}

fn a_position_survives_its_own_encoding<P: DirectPlace>(place: &mut P) {
    place.add(60);
    let mut life = Life::begin(place.open());
    loop {
        let position = life.position();
        assert_eq!(Life::restored(place.open(), &position).position(), position, "a position that was stored and read");
        if life.take(&limits(7)).is_empty() {
            return;
        }
    }
}

fn offers_go_on_where_a_stored_position_stands<P: DirectPlace>(place: &mut P) {
    let (mut life, mut ranges, mut added) = (Life::begin(place.open()), Vec::new(), 0);
    for (more, limit) in [(40, 7), (0, 7), (0, 1), (30, 50), (0, u64::MAX), (5, 2)] {
        place.add(more);
        added += more;
        ranges.extend(life.take(&limits(limit)));
        // The next life knows nothing but the position.
        life = Life::restored(place.open(), &life.position());
    }
    ranges.extend(take_all::<P>(&mut life, &limits(11)));
    assert_records(
        &life.read_all(&ranges),
        &expected(place, 0..added),
        "read by lives that each went on from the last",
    );
}

/// As recovery does: a checkpoint's position, then the ranges of the plans since.
fn a_position_is_recovered_by_what_was_planned<P: DirectPlace>(place: &mut P) {
    let (mut life, mut taken, mut since) = (Life::begin(place.open()), Vec::new(), Vec::new());
    place.add(80);
    let mut checkpoint = life.position();
    for batch in 0..6 {
        since.extend(life.take(&limits(9)));
        if batch % 3 == 1 {
            checkpoint = life.position();
            taken.append(&mut since);
        }
        let mut recovered = Life::restored(place.open(), &checkpoint);
        recovered.advance(&since);
        let rest = take_all::<P>(&mut recovered, &limits(25));
        let all: Vec<_> = taken.iter().chain(&since).cloned().chain(rest).collect();
        let what = format!("read after a recovery that followed batch {}", batch + 1);
        assert_records(&recovered.read_all(&all), &expected(place, 0..80), &what);
    }
}

fn what_was_restored_goes_on<P: DirectPlace>(place: &mut P) {
    place.add(90);
    let mut life = Life::begin(place.open());
    let taken: Vec<_> = (0..3).flat_map(|_| life.take(&limits(7))).collect();
    let mut records = life.read_all(&taken);
    let stored = life.position();
    if !place.restore() {
        return;
    }
    let mut next = Life::restored(place.open(), &stored);
    let rest = take_all::<P>(&mut next, &limits(11));
    records.extend(next.read_all(&rest));
    assert_records(&records, &expected(place, 0..90), "read before what is there was restored, and after it");
    assert!(next.take(&OfferLimits::UNLIMITED).is_empty(), "an offer where all is taken");
}

fn a_range_reads_the_same_again<P: DirectPlace>(place: &mut P) {
    place.add(100);
    let mut life = Life::begin(place.open());
    let ranges: Vec<_> = (0..4).flat_map(|_| life.take(&limits(20))).collect();
    let first: Vec<_> = ranges.iter().map(|range| life.read(range)).collect::<Result<_, _>>().expect("planned ranges");
    let check = |life: &Life<P::Source>, when: &str| {
        // Not in their order: an attempt reads what it needs, on any worker.
        for (range, (records, summary)) in ranges.iter().zip(&first).rev() {
            let again = life.read(range).unwrap_or_else(|error| panic!("a planned range, {when}: {error}"));
            assert_records(&again.0, records, &format!("a range that was read again, {when}"));
            assert_eq!(again.1, *summary, "the summary of a range that was read again, {when}");
        }
    };
    check(&life, "by the same reader");
    place.add(100);
    life.offer(&OfferLimits::UNLIMITED);
    check(&life, "after more had come");
    take_all::<P>(&mut life, &OfferLimits::UNLIMITED);
    check(&life, "after all else was taken");
    check(&Life::restored(place.open(), &life.position()), "after a restart");
    check(&Life::begin(place.open()), "by a reader whose source offered nothing yet");
}

fn two_readers_read_what_one_reads<P: DirectPlace>(place: &mut P) {
    place.add(SOME);
    let mut life = Life::begin(place.open());
    let ranges = take_all::<P>(&mut life, &limits(SOME / 4));
    let (one, other) = (life.reader(), Life::begin(place.open()).reader());
    let (expected, begun) = (expected(place, 0..SOME), AtomicUsize::new(0));
    let (found, disturbed) = std::thread::scope(|scope| {
        // One source's reader on two workers, and that of another life.
        let readers = [&one, &one, &other].map(|reader| {
            let ranges = &ranges;
            let begun = &begun;
            scope.spawn(move || read_all_together(&**reader, ranges, begun, 3))
        });
        let mut found = Vec::new();
        let mut disturbed = None;
        for reader in readers {
            match reader.join() {
                Ok(records) => found.push(records),
                Err(panic) => disturbed = Some(panic),
            }
        }
        (found, disturbed)
    });
    if let Some(panic) = disturbed {
        std::panic::resume_unwind(panic);
    }
    for records in found {
        assert_records(&records, &expected, "read by one of three at once");
    }
}

fn a_release_takes_nothing_that_is_needed<P: DirectPlace>(place: &mut P) {
    place.add(90);
    let mut life = Life::begin(place.open());
    let released = life.take(&limits(20));
    let oldest = life.position();
    let kept: Vec<_> = (0..2).flat_map(|_| life.take(&limits(20))).collect();
    let newest = life.position();
    let gone = life.read_all(&released).len() as u64;
    life.release(&oldest);
    // The same again, as after another checkpoint that keeps the same oldest one.
    life.release(&oldest);
    let rest = take_all::<P>(&mut life, &limits(20));
    let needed: Vec<_> = kept.iter().cloned().chain(rest).collect();
    let expected = expected(place, gone..90);
    assert_records(&life.read_all(&needed), &expected, "read after what came before it was released");
    let mut recovered = Life::restored(place.open(), &oldest);
    let again = take_all::<P>(&mut recovered, &limits(30));
    assert_records(&recovered.read_all(&again), &expected, "read by a life that began where the release ended");
    let mut newest = Life::restored(place.open(), &newest);
    let rest = take_all::<P>(&mut newest, &limits(30));
    let whole: Vec<_> = kept.into_iter().chain(rest).collect();
    assert_records(&newest.read_all(&whole), &expected, "read by a life that began at a newer position");
}

/// An error, or all of it as it was; never something else, and never less.
fn a_spoilt_range_is_an_error<P: DirectPlace>(place: &mut P, how: Spoil) {
    place.add(60);
    let mut life = Life::begin(place.open());
    let ranges = take_all::<P>(&mut life, &limits(15));
    let planned: Vec<_> = ranges.iter().map(|range| life.read_all(std::slice::from_ref(range))).collect();
    let next = Life::restored(place.open(), &life.position());
    if !place.spoil(how) {
        return;
    }
    for life in [life, next] {
        for (range, planned) in ranges.iter().zip(&planned) {
            if let Ok((records, _)) = life.read(range) {
                assert_records(&records, planned, &format!("{how:?} after it was planned, and read without an error"));
            }
        }
    }
}
