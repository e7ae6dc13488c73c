//! What is found out about the types of a job before it starts: their shapes, and whether they can be keys, state, logged
//! records or output.
//!
//! A type is known by its serde code alone. The [`tracer`] deserializes it from nothing, which shows its shape, and makes samples
//! of it; the [`samples`](check) are encoded and decoded again, and compared byte by byte. What is found holds for the type, so it is
//! found once in a process.
//!
//! | role | what a sample must show |
//! |---|---|
//! | logged record | it comes back from its encoding, and has the same encoding each time |
//! | state | also, its encoding does not depend on how it came to be |
//! | key | also, keys that are equal have equal encodings, and a key equals itself |
//! | output | it has the same encoding each time, as far as it can be sampled, and its maps and lists have a length |
//!
//! A type of which not all can be sampled is *uncertain*: its values are checked one by one as they come.

mod check;
mod keys;
mod scalar;
mod tracer;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bincode::error::EncodeError;
use serde::de::DeserializeOwned;
use serde_reflection::{Format, Registry};

use crate::codec::{Key, Record, decode, encode};

pub use keys::Keys;

/// The format of `T` and of all containers in it. Parts that could not be seen are unknown.
///
/// # Errors
/// Why it has none: its serde code asks for what only a self-describing format can give.
pub fn trace<T: DeserializeOwned>() -> Result<(Format, Registry), String> {
    tracer::trace::<T>().map(|trace| (trace.format, trace.registry))
}

/// What samples of a type have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why the type cannot be used, with its name and the way out.
    pub problem: Option<String>,
    /// Samples do not show everything: each value has to be checked.
    pub is_uncertain: bool,
    /// As a key: 0.0 and −0.0 in it are equal, or several NaNs, so they must get one encoding.
    pub has_one_zero: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Logged,
    State,
    Key,
    Output,
}

/// Findings about a type for each of its roles, in this process.
static FOUND: Mutex<BTreeMap<(TypeId, Role), Findings>> = Mutex::new(BTreeMap::new());

/// Plain values that users' samples are made of, encoded: offered to types that check their input, in this process.
static OFFERED: Mutex<tracer::PlainValues> = Mutex::new(Vec::new());

/// More than these are not offered.
const MOST_OFFERED: usize = 30;

/// Takes a value of a type that may accept nothing of what it is offered otherwise.
///
/// # Errors
/// Why it cannot be stored.
pub fn offer_sample<T: Record>(sample: &T) -> Result<(), String> {
    let bytes = encode(sample).map_err(|error| error.to_string())?;
    let values = tracer::plain_values::<T>(bytes)?;
    let mut offered = OFFERED.lock().unwrap_or_else(PoisonError::into_inner);
    for value in values {
        if !offered.contains(&value) && offered.len() < MOST_OFFERED {
            offered.push(value);
        }
    }
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, found| !found.is_uncertain);
    Ok(())
}

fn offered_by_users<S: scalar::Scalar>() -> Vec<S> {
    let offered = OFFERED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_type = offered.iter().filter(|(of, _)| *of == TypeId::of::<S>());
    of_type.filter_map(|(_, bytes)| decode(bytes).ok()).collect()
}

fn once<T: 'static>(role: Role, find: impl FnOnce() -> Findings) -> Findings {
    let known = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known().get(&(TypeId::of::<T>(), role)) {
        return found.clone();
    }
    // Without the lock: this is the user's serde code, and may be slow.
    let found = find();
    known().insert((TypeId::of::<T>(), role), found.clone());
    found
}

/// Whether a type can be a record that is logged.
pub fn as_logged<T: Record>() -> Findings {
    once::<T>(Role::Logged, check::logged::<T>)
}

/// Whether a type can be a state, or a part of it.
pub fn as_state<S: Record>() -> Findings {
    once::<S>(Role::State, check::state::<S>)
}

/// Whether a type can be a key.
pub fn as_key<K: Key>() -> Findings {
    once::<K>(Role::Key, check::key::<K>)
}

/// Whether a type can be put out.
pub fn as_output<T: Record>() -> Findings {
    once::<T>(Role::Output, check::output::<T>)
}

/// Why a record that is put out cannot be encoded, with the name of its type: what [`as_output`] says where a sample shows it.
pub fn not_put_out<T: Record>(error: &EncodeError) -> String {
    check::not_put_out::<T>(error)
}

/// Whether the values of a type come back from what is stored. It may be another encoding each time.
pub fn as_position<T: serde::Serialize + DeserializeOwned>() -> Option<String> {
    check::position::<T>()
}

/// Checks one record of an uncertain type: that it comes back, and has the same encoding each time.
///
/// # Errors
/// Why it cannot be logged, with the name of the type.
pub fn check_record<T: Record>(record: &T) -> Result<(), String> {
    check::value(record, false)
}

/// Checks one key of an uncertain type: that it comes back, equals itself, and has one encoding.
///
/// # Errors
/// Why it cannot be a key, with the name of the type.
pub fn check_key<K: Key>(key: &K) -> Result<(), String> {
    check::key_value(key)
}

/// Checks one state of an uncertain type: that it comes back, and has the encoding that it came from each time.
///
/// # Errors
/// Why it cannot be kept, with the name of the type.
pub fn check_state<S: Record>(state: &S) -> Result<(), String> {
    check::value(state, true)
}
