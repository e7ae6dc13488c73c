//! What samples of a type show: encoded, decoded and encoded again, and compared byte by byte.
//!
//! An order that depends on a random seed shows when the same bytes are decoded again and again: two maps of 32 entries agree by
//! chance once in 10^35 times, and where there are only two different entries 64 rounds are made. An order that depends on what
//! happened before shows in two samples with the same elements, put in by rising and by falling numbers: a list keeps either
//! order, a sorted map makes one of them, and what does neither has an order that a restart would change.

use std::any::type_name;

use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Findings;
use super::tracer::{Change, FLATTENED, Fill, List, Sample, Trace, trace};
use crate::codec::{DecodeError, Key, Record, decode, encode, encode_loosely, encode_with_one_zero, lacks_length};

/// How often a sample is decoded and encoded again.
const ROUNDS: usize = 64;

/// How often a value of an uncertain type is, each time that one comes.
const ROUNDS_OF_ONE: usize = 2;

/// With more variants than these a type is sampled with these.
const MOST_PASSES: usize = 256;

/// With more plain values than these in a key, these are tried one by one.
const MOST_SCALARS: u32 = 64;

pub(super) fn logged<T: Record>() -> Findings {
    found::<T>(|trace| repeats::<T>(trace, Encode::STORED, &mut |_, _| Ok(())))
}

pub(super) fn state<S: Record>() -> Findings {
    found::<S>(|trace| repeats::<S>(trace, Encode::STORED, &mut |trace, pass| keeps_order::<S>(trace, pass)))
}

pub(super) fn key<K: Key>() -> Findings {
    let mut has_one_zero = false;
    let found = found::<K>(|trace| {
        repeats::<K>(trace, Encode::STORED, &mut |trace, pass| is_key::<K>(trace, pass, &mut has_one_zero))?;
        variants_differ::<K>(trace)
    });
    Findings { has_one_zero, ..found }
}

/// Of output only the encoding counts, so what cannot be sampled passes, unless the way in which it cannot shows how it is written.
pub(super) fn output<T: Record>() -> Findings {
    let no_length = || Err(NO_LENGTH.to_string());
    let checked = match trace::<T>() {
        Err(reason) if reason == FLATTENED => no_length(),
        Err(_) => Ok(()),
        Ok(mut trace) => {
            let has_length = if has_no_length::<T>(&mut trace) { no_length() } else { Ok(()) };
            has_length.and_then(|()| repeats::<T>(&mut trace, Encode::OUTPUT, &mut |_, _| Ok(())))
        }
    };
    let problem = checked.err();
    Findings { problem: problem.map(|why| format!("{} {why}", type_name::<T>())), ..Findings::default() }
}

fn has_no_length<T: Record>(trace: &mut Trace) -> bool {
    let fills = [Fill::One { other: None }, Fill::Least];
    let tries = (0..trace.passes.len().min(MOST_PASSES)).flat_map(|pass| fills.map(|fill| (pass, fill)));
    let mut samples = tries.filter_map(|(pass, fill)| trace.sample::<T>(pass, fill));
    samples.any(|sample| encode_loosely(&sample.value).is_err_and(|error| lacks_length(&error)))
}

/// Why a record that is put out cannot be encoded.
pub(super) fn not_put_out<T: Record>(error: &EncodeError) -> String {
    let why = if lacks_length(error) { NO_LENGTH.to_string() } else { format!("cannot be put out: {error}") };
    format!("{} {why}", type_name::<T>())
}

const NO_LENGTH: &str = "cannot be put out: its serde code writes a map or a list without saying how many elements it has, as that of serde's \
                         flatten does, and the fingerprint of a batch needs that: write a plain struct, or a map or list that knows its \
                         length, or put out the encoded text";

/// Checks one key.
pub(super) fn key_value<K: Key>(key: &K) -> Result<(), String> {
    let how = Encode { exactly: true, ..Encode::STORED };
    let comes_back = comes_back(key, &how, None, ROUNDS_OF_ONE);
    let equals = comes_back.and_then(|()| equals_itself(key).then_some(()).ok_or_else(|| NOT_ITSELF.to_string()));
    equals.map_err(|why| format!("{} {why}", type_name::<K>()))
}

/// Checks one value.
pub(super) fn value<T: Record>(value: &T, exactly: bool) -> Result<(), String> {
    let how = Encode { exactly, ..Encode::STORED };
    comes_back(value, &how, None, ROUNDS_OF_ONE).map_err(|why| format!("{} {why}", type_name::<T>()))
}

pub(super) fn position<T: Serialize + DeserializeOwned>() -> Option<String> {
    let comes_back = || -> Result<(), String> {
        let mut trace = trace::<T>().map_err(|reason| untraceable(&reason))?;
        for pass in 0..trace.passes.len().min(MOST_PASSES) {
            let one = trace.sample::<T>(pass, Fill::One { other: None });
            let filled = one.as_ref().map_or_else(Vec::new, |one| one.filled.clone());
            let mut samples = vec![one, trace.sample::<T>(pass, Fill::Least)];
            samples.extend(filled.into_iter().map(|open| trace.least_within::<T>(pass, open)));
            for sample in samples.into_iter().flatten() {
                let bytes = encode(&sample.value).map_err(|error| error.to_string())?;
                decode::<T>(&bytes).map_err(|error| lost(&error))?;
            }
        }
        Ok(())
    };
    comes_back().err().map(|why| format!("{} cannot be stored: {why}", type_name::<T>()))
}

fn found<T: Record>(check: impl FnOnce(&mut Trace) -> Result<(), String>) -> Findings {
    let named = |why: String| Some(format!("{} {why}", type_name::<T>()));
    match trace::<T>() {
        Err(reason) => Findings { problem: named(untraceable(&reason)), ..Findings::default() },
        Ok(mut trace) => {
            let problem = check(&mut trace).err().and_then(named);
            Findings { problem, is_uncertain: trace.is_uncertain(), has_one_zero: false }
        }
    }
}

fn untraceable(reason: &str) -> String {
    format!(
        "cannot be stored: {reason}. What is stored has no names in it, so serde's flatten, untagged, tag and content, and types \
         such as serde_json::Value, cannot be read back: use a plain struct or enum, or store the JSON text"
    )
}

/// What is wrong with a value that cannot be decoded.
fn lost(error: &DecodeError) -> String {
    format!(
        "it does not come back from its own encoding ({error}): serde attributes such as skip_serializing_if, \
         skip_serializing and skip_deserializing cannot be used in it"
    )
}

/// What is wrong with a value whose encoding is another after it was decoded.
fn changed(before: &[u8], after: &[u8]) -> String {
    if before.len() == after.len() {
        ORDER.to_string()
    } else {
        "it comes back from its own encoding as another value: its serde code writes what it does not read".to_string()
    }
}

const ORDER: &str = "it has another encoding each time it is decoded, as a HashMap or a HashSet has, whose order is random: use \
                     BTreeMap or BTreeSet, or a Vec that is sorted";

/// How a role encodes.
struct Encode {
    loosely: bool,
    /// Whether a value must come back from its encoding.
    comes_back: bool,
    /// Whether what comes back must have the encoding that it came from. What is only decoded must have one encoding, whichever.
    exactly: bool,
}

impl Encode {
    const STORED: Self = Self { loosely: false, comes_back: true, exactly: false };
    const OUTPUT: Self = Self { loosely: true, comes_back: false, exactly: false };

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, String> {
        let encoded = if self.loosely { encode_loosely(value) } else { encode(value) };
        encoded.map_err(|error| format!("cannot be stored: {error}. Write every field"))
    }
}

/// Checks that samples come back and have the same encoding each time, and then, of each pass, what `also` asks for.
fn repeats<T: Record>(
    trace: &mut Trace,
    how: Encode,
    also: &mut dyn FnMut(&mut Trace, usize) -> Result<(), String>,
) -> Result<(), String> {
    for pass in 0..trace.passes.len().min(MOST_PASSES) {
        let Some(one) = trace.sample::<T>(pass, Fill::One { other: None }) else { continue };
        let (lists, filled) = (one.lists.clone(), one.filled.clone());
        let least = trace.sample::<T>(pass, Fill::Least);
        for sample in [Some(one), least].into_iter().flatten() {
            comes_back(&sample.value, &how, None, ROUNDS)?;
        }
        for open in filled {
            if let Some(sample) = trace.least_within::<T>(pass, open) {
                comes_back(&sample.value, &how, None, ROUNDS_OF_ONE)?;
            }
        }
        for list in lists {
            if let Some(sample) = trace.sample::<T>(pass, Fill::Many { list: list.path, falls: false }) {
                comes_back(&sample.value, &how, Some(&list), ROUNDS)?;
            }
        }
        also(trace, pass)?;
    }
    Ok(())
}

/// `list` is the list that has many elements.
fn comes_back<T: Record>(value: &T, how: &Encode, list: Option<&List>, rounds: usize) -> Result<(), String> {
    let cannot = |why: String| format!("cannot be stored{}: {why}", within(list));
    let bytes = match how.encode(value) {
        Err(_) if !how.comes_back => return Ok(()),
        encoded => encoded?,
    };
    let mut expected = how.exactly.then(|| bytes.clone());
    for _ in 0..rounds {
        let back: T = match decode(&bytes) {
            Err(_) if !how.comes_back => return Ok(()),
            back => back.map_err(|error| cannot(lost(&error)))?,
        };
        let again = how.encode(&back)?;
        let expected = expected.get_or_insert_with(|| again.clone());
        if again.len() != bytes.len() && how.comes_back || again != *expected {
            return Err(cannot(changed(&bytes, &again)));
        }
    }
    Ok(())
}

fn within(list: Option<&List>) -> String {
    list.and_then(|list| list.within).map(|name| format!(" (in {name})")).unwrap_or_default()
}

/// The samples of a pass with many elements in one list, once rising and once falling.
fn both_orders<T: DeserializeOwned>(trace: &mut Trace, pass: usize, list: &List) -> Option<[Sample<T>; 2]> {
    let rises = trace.sample::<T>(pass, Fill::Many { list: list.path, falls: false })?;
    let falls = trace.sample::<T>(pass, Fill::Many { list: list.path, falls: true })?;
    Some([rises, falls])
}

/// Checks that no list's order depends on how it came to be.
fn keeps_order<S: Record>(trace: &mut Trace, pass: usize) -> Result<(), String> {
    let Some(one) = trace.sample::<S>(pass, Fill::One { other: None }) else { return Ok(()) };
    // A type that changes what it is given cannot be judged by what it was given.
    if encode(&one.value).is_ok_and(|bytes| bytes != one.given) {
        return Ok(());
    }
    for list in one.lists {
        let Some(samples) = both_orders::<S>(trace, pass, &list) else { continue };
        let is_restored = samples.iter().all(|sample| is_restored(&sample.value));
        let [rises, falls] = samples.each_ref().map(|sample| encode(&sample.value).unwrap_or_default());
        let keeps = |sample: &Sample<S>, bytes: &[u8]| sample.given == bytes;
        let has_dropped = rises.len() < samples[0].given.len();
        let keeps_either = keeps(&samples[0], &rises) && keeps(&samples[1], &falls);
        if is_restored && (rises == falls || has_dropped || keeps_either) {
            continue;
        }
        return Err(format!(
            "cannot be kept as state{}: the order in it depends on how it came to be, as that of a hash map with a fixed hasher or \
             of a BinaryHeap, and a restart would change it: use BTreeMap, BTreeSet or a sorted Vec",
            within(Some(&list))
        ));
    }
    Ok(())
}

/// Whether a value that is decoded has the encoding that it was decoded from.
fn is_restored<T: Record>(value: &T) -> bool {
    let Ok(bytes) = encode(value) else { return true };
    decode::<T>(&bytes).is_ok_and(|back| encode(&back).is_ok_and(|again| again == bytes))
}

/// Checks that keys which are equal have one encoding, and that each equals itself.
fn is_key<K: Key>(trace: &mut Trace, pass: usize, has_one_zero: &mut bool) -> Result<(), String> {
    let Some(one) = trace.sample::<K>(pass, Fill::One { other: None }) else { return Ok(()) };
    if !equals_itself(&one.value) {
        return Err(NOT_ITSELF.to_string());
    }
    for list in &one.lists {
        if let Some([rises, falls]) = both_orders::<K>(trace, pass, list)
            && (is_split(&rises.value, &falls.value) || !is_restored(&rises.value) || !is_restored(&falls.value))
        {
            return Err(format!(
                "cannot be a key{}: keys with the same elements in another order are equal, and have other encodings: use \
                 BTreeMap, BTreeSet or a sorted Vec",
                within(Some(list))
            ));
        }
    }
    let mut others: Vec<[Option<Sample<K>>; 2]> = Vec::new();
    for scalar in 0..one.scalars.min(MOST_SCALARS) {
        let other = trace.sample(pass, Fill::One { other: Some(scalar) });
        others.push([trace.sample(pass, Fill::One { other: None }), other]);
    }
    for [one, other] in ALIKE {
        others.push([trace.sample(pass, Fill::Text(one)), trace.sample(pass, Fill::Text(other))]);
    }
    for change in Change::ALL {
        others.push([trace.sample(pass, Fill::One { other: None }), trace.sample(pass, Fill::Changed(change))]);
    }
    for pair in others {
        let [Some(one), Some(other)] = pair else { continue };
        if is_split(&one.value, &other.value) {
            return Err(COUNTED_APART.to_string());
        }
    }
    if one.has_floats {
        *has_one_zero |= has_equal_floats::<K>(trace, pass)?;
    }
    Ok(())
}

/// Checks that no two variants of an enum are equal.
fn variants_differ<K: Key>(trace: &mut Trace) -> Result<(), String> {
    let mut seen: Vec<K> = Vec::new();
    for pass in 0..trace.passes.len().min(MOST_PASSES) {
        for fill in [Fill::One { other: None }, Fill::Least] {
            let Some(Sample { value, .. }) = trace.sample::<K>(pass, fill) else { continue };
            if seen.iter().any(|other| is_split(other, &value)) {
                return Err(COUNTED_APART.to_string());
            }
            seen.push(value);
        }
    }
    Ok(())
}

fn equals_itself<K: Key>(key: &K) -> bool {
    let back = encode(key).ok().and_then(|bytes| decode::<K>(&bytes).ok());
    back.is_none_or(|back| back == *key)
}

/// Whether two keys are equal and have other encodings.
fn is_split<K: Key>(one: &K, other: &K) -> bool {
    one == other && encode(one).ok() != encode(other).ok()
}

const NOT_ITSELF: &str = "cannot be a key: one that is read back does not equal the one that was written";

const COUNTED_APART: &str = "cannot be a key: keys that are equal have other encodings, so they would be counted apart: compare by all \
                             that is encoded, or bring it into one form where the key is made";

/// Texts that some types take for the same.
const ALIKE: [[&str; 2]; 5] = [
    ["a", "A"],
    ["é", "e\u{301}"],
    ["a", "a "],
    ["1970-01-01T00:00:00+00:00", "1970-01-01T01:00:00+01:00"],
    ["1.0", "1.00"],
];

/// The bits of floats that are equal to some, and to others not.
const ZEROS: [u64; 2] = [0, 1 << 63];
const NANS: [u64; 3] = [0x7ff8_0000_0000_0000, 0xfff8_0000_0000_0000, 0x7ffc_0000_0000_0000];

/// Whether floats with other bits are equal in a key. They get one encoding then.
fn has_equal_floats<K: Key>(trace: &mut Trace, pass: usize) -> Result<bool, String> {
    let mut has_equal = false;
    for floats in [ZEROS.as_slice(), NANS.as_slice()] {
        let mut keys: Vec<K> = Vec::new();
        for bits in floats {
            keys.extend(trace.sample::<K>(pass, Fill::Float(*bits)).map(|sample| sample.value));
        }
        for key in &keys {
            let back = encode_with_one_zero(key).ok().and_then(|bytes| decode::<K>(&bytes).ok());
            #[allow(clippy::eq_op)] // a NaN may not equal itself, which is what is asked
            if *key != *key || back.is_some_and(|back| back != back) {
                return Err("cannot be a key: with a NaN in it a key does not equal itself, which Eq promises: compare floats by \
                            total_cmp, or keep NaN out where the key is made"
                    .to_string());
            }
        }
        has_equal |= keys.windows(2).any(|pair| pair[0] == pair[1] && encode(&pair[0]).ok() != encode(&pair[1]).ok());
    }
    Ok(has_equal)
}
