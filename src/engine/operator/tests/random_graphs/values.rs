//! Keys, values and the functions of the user: what both the job and the model call.
//!
//! Values are affine maps over a prime field, merged by doing one after the other: that is associative and not commutative, so
//! that an error of order shows, and has inverses, so that windows can subtract.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use floodmark_base::codec::{Key, KeyHasher};
use floodmark_base::text::Text;

/// `x ↦ a · x + b`.
pub type Value = (u64, u64);

pub type Pair<K> = (K, Value);

/// The map that changes nothing.
pub const NOTHING: Value = (1, 0);

const PRIME: u64 = 65_521;

/// Most functions spread records over so many keys.
const KEYS: u64 = 6;

/// Keys that records bring are below this number.
pub const ALL_KEYS: u64 = 24;

/// A type of keys, made of numbers.
pub trait TestKey: Key + Debug {
    fn of(number: u64) -> Self;
}

impl TestKey for u64 {
    fn of(number: u64) -> Self {
        number * 1_000
    }
}

impl TestKey for Text {
    /// Short ones and long ones.
    fn of(number: u64) -> Self {
        Text::from(format!("{number}{}", "-".repeat((number * 7) as usize)))
    }
}

/// A key of one of several shapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    Point,
    Circle(u64),
    Named(String),
    Box { kind: u8, label: String },
    Pair((u8, String)),
}

impl TestKey for Shape {
    fn of(number: u64) -> Self {
        let (label, kind) = (number.to_string(), number as u8);
        match number % 4 {
            _ if number == 0 => Self::Point,
            0 => Self::Circle(number),
            1 => Self::Named(label),
            2 => Self::Box { kind, label },
            _ => Self::Pair((kind, label)),
        }
    }
}

pub fn value(number: u64) -> Value {
    (1 + number % (PRIME - 1), number % PRIME * 31 % PRIME)
}

/// One after the other.
pub fn then(one: Value, other: Value) -> Value {
    (one.0 * other.0 % PRIME, (one.1 * other.0 + other.1) % PRIME)
}

/// What is left of `all` without its beginning.
pub fn without(all: Value, beginning: Value) -> Value {
    let inverse = power(beginning.0, PRIME - 2);
    then((inverse, (PRIME - beginning.1) * inverse % PRIME), all)
}

fn power(base: u64, exponent: u64) -> u64 {
    match exponent {
        0 => 1,
        _ if exponent % 2 == 1 => base * power(base, exponent - 1) % PRIME,
        _ => power(base * base % PRIME, exponent / 2),
    }
}

/// All of them in their order, and how many there are.
pub fn fold(values: &[Value]) -> Value {
    values.iter().copied().fold(value(values.len() as u64), then)
}

/// A number that tells keys apart.
pub fn weight<K: TestKey>(key: &K) -> u64 {
    KeyHasher::default().hash(key).0 % PRIME
}

/// A record as one value.
pub fn fused<K: TestKey>((key, value_of_key): &Pair<K>) -> Value {
    then(value(weight(key)), *value_of_key)
}

/// A value as a record.
pub fn paired<K: TestKey>(value: Value) -> Pair<K> {
    (K::of(value.0 % KEYS), value)
}

pub fn mapped<K: TestKey>(pair: &Pair<K>) -> Pair<K> {
    paired(fused(pair))
}

pub fn several<K: TestKey>((key, it): &Pair<K>) -> Vec<Pair<K>> {
    let copies = (0..it.0 % 3).map(|n| then(*it, value(n)));
    copies.map(|it| if it.1 % 2 == 0 { (key.clone(), it) } else { paired(it) }).collect()
}

pub fn several_values(it: Value) -> Vec<Value> {
    (0..it.1 % 3).map(|n| then(it, value(n))).collect()
}

pub fn passes<K>((_, it): &Pair<K>) -> bool {
    !it.1.is_multiple_of(3)
}

pub fn changed(it: Value) -> Value {
    then(it, (2, 1))
}

/// A partition, the other way round, and a record about all of it, also where it is empty.
pub fn turned<K: TestKey>(partition: &[Pair<K>]) -> Vec<Pair<K>> {
    let all: Vec<Value> = partition.iter().map(fused).collect();
    partition.iter().rev().cloned().chain([paired(fold(&all))]).collect()
}

/// A batch, the other way round, and a partition that says when it was.
pub fn transformed<K: TestKey>(time: u64, partitions: &[Vec<Pair<K>>]) -> Vec<Vec<Pair<K>>> {
    let about = vec![paired(then(value(time / 100), value(partitions.len() as u64)))];
    partitions.iter().rev().cloned().chain([about]).collect()
}

/// Of so many partitions the one for a key.
pub fn partition_of<K: TestKey>(key: &K, partitions: usize) -> usize {
    weight(key) as usize % partitions
}

/// The state that is there before the first batch: of a key that comes, and of one that hardly does.
pub fn initial_state<K: TestKey>(wanted: bool) -> Vec<Pair<K>> {
    if wanted { vec![(K::of(1), value(11)), (K::of(ALL_KEYS), value(12))] } else { Vec::new() }
}

/// What streams are joined with: some keys, one of them twice.
pub fn reference<K: TestKey>() -> Vec<Pair<K>> {
    [0, 2, 5, 0, 20].map(K::of).into_iter().zip((50..).map(value)).collect()
}

/// The state of a key in `update_state_by_key`: some change and some go without a value.
pub fn updated<K: TestKey>(time: u64, key: &K, values: &[Value], state: Option<Value>) -> Option<Value> {
    match state {
        Some(state) if values.is_empty() => match state.1 % 5 {
            0 => None,
            1 => Some(then(state, value(time / 100))),
            _ => Some(state),
        },
        _ => {
            let state = values.iter().copied().fold(state.unwrap_or(value(weight(key))), then);
            (!state.0.is_multiple_of(7)).then_some(state)
        }
    }
}

/// What `map_with_state` does to a state.
pub enum Change {
    None,
    To(Value),
    Remove,
}

/// A record in `map_with_state`: what it puts out and what it does to the state.
pub fn stepped(time: u64, record: Option<Value>, state: Option<Value>) -> (Option<Value>, Change) {
    let Some(it) = record else { return (state.map(|state| then(state, value(time / 100))), Change::None) };
    let new = then(state.unwrap_or(NOTHING), it);
    match it.1 % 6 {
        0 => (Some(new), Change::Remove),
        1 => (state, Change::None),
        2 => (None, Change::To(new)),
        _ => (Some(then(new, value(time / 100))), Change::To(new)),
    }
}

/// Whether a filtered window keeps a key.
pub fn is_kept<K: TestKey>(key: &K, it: &Value) -> bool {
    *it != NOTHING && !(it.1 + weight(key)).is_multiple_of(4)
}

#[test]
fn what_is_taken_off_the_front_leaves_the_rest() {
    for n in 0..1_000 {
        let (one, other) = (value(n * 77), value(n * n + 5));
        assert_eq!(without(then(one, other), one), other);
        assert_eq!(without(one, one), NOTHING);
    }
}
