//! What a type's own serde code asks for: it is deserialized from nothing, again and again, until every variant of every enum
//! in it was seen.
//!
//! Each pass goes through the whole type anew: enums may be reachable through an option, a list or a map only, and each pass shows
//! one variant of an enum. The contents of options, lists and maps are left out where the same container was passed before in
//! the pass, which is what ends the passage of recursive types.
//!
//! # Types that check their input
//! The innermost *frame* whose deserialization fails is offered other plain values in the next try: a frame is a field, an
//! element, an entry or the content of an option. When nothing helps, the option, list or map around it is left empty, and without
//! one the type is *opaque*: as much of its shape is known as it asked for.
//!
//! # Samples
//! Once a type is traced, the same way through it gives values with many elements in one of its lists, or with other plain
//! values in one place. Frames are told apart by their path from the root, so what one of them has accepted is offered to it
//! again.

mod deserializer;

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_reflection::{ContainerFormat, Format, FormatHolder, Named, Registry, VariantFormat};

use self::deserializer::Tracing;
use super::offered_by_users;
use super::scalar::{Blob, Scalar};
use crate::codec::{decode_prefix, encode_into};

/// Why a type with `flatten` cannot be traced: it asks for the names of its fields as the keys of a map, and writes a map of unknown length.
pub(super) const FLATTENED: &str = "its serde code flattens fields into it";

/// More passes than any sensible type needs: each one sees one more variant of some enum.
const MOST_PASSES: usize = 4_096;

/// More tries than any sensible type needs, all passes together.
const MOST_TRIES: usize = 8_192;

/// How often a frame that fails is offered something else.
const MOST_ATTEMPTS: u32 = 1_200;

/// In so many attempts all plain values of a frame are the same number of their kind; after that they are combined.
const ALIKE: u32 = 120;

/// How many elements the list has that a sample is about.
pub(super) const MANY: u32 = 32;

/// A sample with more plain values than these goes into no further list.
const MOST_SCALARS: u32 = 20_000;

/// So many options, lists and maps get a sample each in which what they hold is empty.
const MOST_FILLED: usize = 128;

/// Containers within containers, deeper than any type needs that has a value at all.
const DEEPEST: usize = 500;

/// A frame: where it is in the type, as a hash of the way there. All elements of a list share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Path(u64);

impl Path {
    fn step(self, to: u32) -> Self {
        Self((self.0 ^ u64::from(to).wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }
}

/// Encoded plain values, each with its type.
pub(super) type PlainValues = Vec<(TypeId, Vec<u8>)>;

/// The variant of each enum in a pass.
pub(super) type Variants = BTreeMap<Path, usize>;

/// What a passage puts into a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    /// For the trace: one element each, empty plain values, the next new variant.
    Learn,
    /// Nothing: zero, empty, none.
    Least,
    /// As `Least`, but the options, lists and maps in [`Tracer::open`] have contents, which are as in `Least`.
    LeastWithin,
    /// One element each, plain values that are not empty. That with the number in `other`, if there is one, is another one.
    One { other: Option<u32> },
    /// As `One`, but the list or map has many elements, which differ, in rising or falling order.
    Many { list: Path, falls: bool },
    /// As `One`, with this float in all places, given by its bits.
    Float(u64),
    /// As `One`, with this text in all places.
    Text(&'static str),
    /// As `One`, with all plain values changed in this way.
    Changed(Change),
    /// What a user's sample is made of: its encoding is in the pass.
    Sample,
}

/// How plain values are changed that a type has accepted, to see whether it takes them for the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    UpperCase,
    LowerCase,
    SpaceBefore,
    SpaceAfter,
    /// Every plain value is another one: numbers are twice as large.
    Every,
}

impl Change {
    pub const ALL: [Self; 5] = [Self::UpperCase, Self::LowerCase, Self::SpaceBefore, Self::SpaceAfter, Self::Every];

    fn of_text(self, text: String) -> String {
        match self {
            Self::UpperCase => text.to_uppercase(),
            Self::LowerCase => text.to_lowercase(),
            Self::SpaceBefore => format!(" {text}"),
            Self::SpaceAfter => format!("{text} "),
            Self::Every => text,
        }
    }
}

/// A list or a map that was met, and the container that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub path: Path,
    pub within: Option<&'static str>,
}

/// A value, and what it was made of.
pub(super) struct Sample<T> {
    pub value: T,
    /// The encoding of what the type was given, in the order in which it asked.
    pub given: Vec<u8>,
    pub lists: Vec<List>,
    /// The way to each option, list and map that has contents: those around it, and itself.
    pub filled: Vec<Vec<Path>>,
    /// How many plain values it has.
    pub scalars: u32,
    pub has_floats: bool,
}

/// A type, as far as its serde code shows it.
pub(super) struct Trace {
    pub format: Format,
    pub registry: Registry,
    /// Why not all of it could be seen.
    pub opaque: Option<String>,
    /// The variants of each pass.
    pub passes: Vec<Variants>,
    tracer: Tracer,
}

/// The plain values that a user's sample is made of.
///
/// # Errors
/// When the sample does not come back from its encoding.
pub(super) fn plain_values<T: DeserializeOwned>(sample: Vec<u8>) -> Result<PlainValues, String> {
    let mut tracer = Tracer::default();
    tracer.begin(Fill::Sample, Variants::new());
    tracer.pass.sample = sample.into();
    let mut format = Format::unknown();
    T::deserialize(Tracing { tracer: &mut tracer, format: &mut format }).map_err(|Untraceable(reason)| reason)?;
    Ok(tracer.pass.plain_values)
}

/// Traces a type.
///
/// # Errors
/// Why it cannot be stored: its serde code asks for what only a self-describing format can give, or it has no end.
pub(super) fn trace<T: DeserializeOwned>() -> Result<Trace, String> {
    let mut tracer = Tracer::default();
    let mut format = Format::unknown();
    let mut passes = Vec::new();
    let mut complete = false;
    for _ in 0..MOST_TRIES {
        let enums = tracer.enums.clone();
        tracer.begin(Fill::Learn, Variants::new());
        match T::deserialize(Tracing { tracer: &mut tracer, format: &mut format }) {
            Ok(_) => {
                passes.push(std::mem::take(&mut tracer.pass.variants));
                complete = tracer.enums.values().all(Choices::are_seen);
                if complete {
                    break;
                }
                if passes.len() == MOST_PASSES {
                    let unseen = tracer.enums.iter().filter(|(_, choices)| !choices.are_seen());
                    let names: Vec<&str> = unseen.map(|(name, _)| *name).collect();
                    return Err(format!("not every variant of {} can be reached", names.join(", ")));
                }
            }
            Err(Untraceable(reason)) => {
                if let Some(reason) = tracer.pass.impossible.take() {
                    return Err(reason);
                }
                tracer.refusal = reason;
                tracer.enums = enums;
                if !tracer.offers_other_values() {
                    break;
                }
            }
        }
    }
    let whole = complete && tracer.left_empty.is_empty();
    format.reduce();
    let mut registry = std::mem::take(&mut tracer.registry);
    for (name, choices) in tracer.enums.iter().filter(|(_, choices)| !choices.are_seen()) {
        if let Some(ContainerFormat::Enum(variants)) = registry.get_mut(*name) {
            let unseen = Named { name: "?".to_string(), value: VariantFormat::Unit };
            variants.insert(choices.begun.len() as u32, unseen);
        }
    }
    for (name, container) in &mut registry {
        let normal = container.normalize();
        if whole && normal.is_err() {
            return Err(format!("a part of {name} was never seen"));
        }
    }
    tracer.registry = registry.clone();
    let opaque = (!whole).then(|| tracer.refusal.clone());
    Ok(Trace { format, registry, opaque, passes, tracer })
}

impl Trace {
    /// The least value of the type in which these options, lists and maps have contents, as [`sample`](Self::sample).
    pub fn least_within<T: DeserializeOwned>(&mut self, pass: usize, open: Vec<Path>) -> Option<Sample<T>> {
        self.tracer.open = open;
        self.sample(pass, Fill::LeastWithin)
    }

    /// A value of the type with the variants of one of its passes. `None` when the type refuses what it would be made of.
    pub fn sample<T: DeserializeOwned>(&mut self, pass: usize, fill: Fill) -> Option<Sample<T>> {
        let variants = self.passes.get(pass)?.clone();
        for _ in 0..MOST_ATTEMPTS {
            let mut format = Format::unknown();
            self.tracer.begin(fill, variants.clone());
            let made = T::deserialize(Tracing { tracer: &mut self.tracer, format: &mut format });
            if let Ok(value) = made {
                let Pass { given, lists, met_filled: filled, scalars, has_floats, .. } =
                    std::mem::take(&mut self.tracer.pass);
                return Some(Sample { value, given, lists, filled, scalars, has_floats });
            }
            let is_about_values = matches!(
                fill,
                Fill::One { other: Some(_) }
                    | Fill::Float(_)
                    | Fill::Text(_)
                    | Fill::Changed(_)
                    | Fill::Least
                    | Fill::LeastWithin
            );
            if self.tracer.pass.impossible.is_some() || is_about_values || !self.tracer.offers_other_values() {
                return None;
            }
        }
        None
    }

    /// Whether there are lists whose elements could not be made to differ: samples do not show what their order depends on.
    pub fn is_uncertain(&self) -> bool {
        self.opaque.is_some() || self.tracer.variety.values().any(|narrowed| *narrowed == ALL_ALIKE)
    }
}

/// A container, and of an enum the variant.
type Place = (&'static str, Option<usize>);

#[derive(Default)]
struct Tracer {
    registry: Registry,
    enums: BTreeMap<&'static str, Choices>,
    /// The containers around, outermost first.
    within: Vec<Place>,
    /// The containers that were met in this pass.
    passed: BTreeSet<Place>,
    /// Whether the innermost container was met in this pass before, or contains itself.
    again: bool,
    /// How often a frame was offered other values.
    attempts: HashMap<Path, u32>,
    /// How far the values in a frame had to be made alike: 0 for all different, [`ALL_ALIKE`] for the other end.
    variety: HashMap<Path, u32>,
    /// Options, lists and maps that must stay empty: nothing was found that their contents accept.
    left_empty: HashSet<Path>,
    /// What has contents in the least value that is made.
    open: Vec<Path>,
    /// What the type said when it refused a value last.
    refusal: String,
    pass: Pass,
}

/// The values in a frame are all the same.
const ALL_ALIKE: u32 = 3;

/// What belongs to one passage through a type.
#[derive(Default)]
struct Pass {
    fill: Option<Fill>,
    /// The frames around, outermost first.
    frames: Vec<Frame>,
    /// The options, lists and maps around that have contents, outermost first.
    filled: Vec<Path>,
    /// The ways to those that were met, each once.
    met_filled: Vec<Vec<Path>>,
    variants: Variants,
    given: Vec<u8>,
    lists: Vec<List>,
    scalars: u32,
    has_floats: bool,
    /// The number of the element that is being made, within the list that has many.
    element: Option<u32>,
    failed: Option<Failed>,
    /// What is left of a user's sample, and what it was made of so far.
    sample: VecDeque<u8>,
    plain_values: PlainValues,
    /// Why no value whatever could help.
    impossible: Option<String>,
    /// The key of an entry is asked for, and how deep that is.
    key_at: Option<usize>,
}

#[derive(Clone, Copy)]
struct Frame {
    path: Path,
    attempt: u32,
    /// What is left of the number of a combination.
    rest: u32,
}

/// The innermost frame that failed.
#[derive(Clone, Copy)]
struct Failed {
    path: Path,
    /// The innermost option, list or map around it.
    filled: Option<Path>,
    /// It was within an element that differs from others.
    varied: bool,
}

/// What is known of the variants of an enum.
#[derive(Clone)]
struct Choices {
    begun: Vec<bool>,
    /// The variant that was finished first. It needs no variant of any enum but those that were finished before it, so going
    /// back to it always comes to an end.
    base: Option<usize>,
    /// The enums that were met within each variant.
    reaches: Vec<BTreeSet<&'static str>>,
}

impl Choices {
    fn are_seen(&self) -> bool {
        self.begun.iter().all(|begun| *begun)
    }
}

impl Tracer {
    fn begin(&mut self, fill: Fill, variants: Variants) {
        self.within.clear();
        self.passed.clear();
        self.again = false;
        self.pass = Pass { fill: Some(fill), variants, ..Pass::default() };
        let root = self.frame_at(Path::default());
        self.pass.frames.push(root);
    }

    fn fill(&self) -> Fill {
        self.pass.fill.unwrap_or(Fill::Learn)
    }

    /// After a failure: changes what the next try offers. `false` when nothing is left to be offered.
    fn offers_other_values(&mut self) -> bool {
        // An error that no frame has passed on is the root's.
        let failed = self.pass.failed.take().unwrap_or(Failed { path: Path::default(), filled: None, varied: false });
        if failed.varied {
            let narrowed = self.variety.entry(failed.path).or_default();
            if *narrowed < ALL_ALIKE {
                *narrowed += 1;
                return true;
            }
        }
        let attempts = self.attempts.entry(failed.path).or_default();
        if *attempts < MOST_ATTEMPTS {
            *attempts += 1;
            return true;
        }
        self.attempts.remove(&failed.path);
        failed.filled.is_some_and(|filled| self.left_empty.insert(filled))
    }

    /// What was learned of a container, with what was known before.
    fn learn(&mut self, name: &str, container: ContainerFormat) -> Result<(), Untraceable> {
        if self.fill() != Fill::Learn {
            return Ok(());
        }
        match self.registry.get_mut(name) {
            Some(known) => known.unify(container).map_err(Untraceable::of),
            None => {
                self.registry.insert(name.to_string(), container);
                Ok(())
            }
        }
    }

    /// Goes through the contents of a container.
    fn inside<R>(&mut self, place: Place, visit: impl FnOnce(&mut Self) -> R) -> R {
        let outside = self.again;
        self.again = match self.fill() {
            Fill::Learn => !self.passed.insert(place),
            _ => self.within.contains(&place) || self.pass.scalars > MOST_SCALARS,
        };
        self.within.push(place);
        let visited = visit(self);
        self.within.pop();
        self.again = outside;
        visited
    }

    fn path(&self) -> Path {
        self.pass.frames.last().map_or_else(Path::default, |frame| frame.path)
    }

    fn frame_at(&self, path: Path) -> Frame {
        let attempt = self.attempts.get(&path).copied().unwrap_or_default();
        Frame { path, attempt, rest: attempt.saturating_sub(ALIKE + 1) }
    }

    /// Goes through a frame within the present one.
    fn frame<R>(
        &mut self,
        step: u32,
        visit: impl FnOnce(&mut Self) -> Result<R, Untraceable>,
    ) -> Result<R, Untraceable> {
        let frame = self.frame_at(self.path().step(step));
        self.pass.frames.push(frame);
        let visited = visit(self);
        self.pass.frames.pop();
        if visited.is_err() && self.pass.failed.is_none() {
            let filled = self.pass.filled.last().copied();
            self.pass.failed = Some(Failed { path: frame.path, filled, varied: self.pass.element.is_some() });
        }
        visited
    }

    /// Goes through the contents of the option, list or map that is the present frame.
    fn filled<R>(&mut self, visit: impl FnOnce(&mut Self) -> R) -> R {
        let path = self.path();
        self.pass.filled.push(path);
        let is_noted = self.fill() == Fill::One { other: None } && self.pass.met_filled.len() < MOST_FILLED;
        if is_noted && !self.pass.met_filled.contains(&self.pass.filled) {
            self.pass.met_filled.push(self.pass.filled.clone());
        }
        let visited = visit(self);
        self.pass.filled.pop();
        visited
    }

    /// Which of so many values a frame that has failed before is to be offered.
    fn offer(&mut self, count: usize) -> Option<usize> {
        let frame = self.pass.frames.iter_mut().rev().find(|frame| frame.attempt > 0)?;
        let count = count as u32; // a short list
        let offer = if frame.attempt <= ALIKE { frame.attempt % count } else { frame.rest % count };
        if frame.attempt > ALIKE {
            frame.rest /= count;
        }
        Some(offer as usize)
    }

    /// The number of the present element, as far as its frames let elements differ.
    fn number(&self) -> Option<u32> {
        let element = self.pass.element?;
        let narrowed = self.pass.frames.iter().filter_map(|frame| self.variety.get(&frame.path)).max();
        Some(match narrowed {
            None | Some(0) => element,
            Some(1) => element % 8,
            Some(2) => element % 2,
            Some(_) => 0,
        })
    }

    /// A plain value.
    fn scalar<S: Scalar>(&mut self) -> S {
        if self.fill() == Fill::Sample {
            return self.next_of_sample(true);
        }
        let mut offers = S::offers();
        drop(offers.splice(1..1, offered_by_users()));
        let offered = self.offer(offers.len()).map(|offer| offers[offer].clone());
        let place = self.pass.scalars;
        self.pass.scalars += 1;
        let value = match (self.fill(), self.number(), offered) {
            (Fill::Learn | Fill::Least | Fill::LeastWithin, _, offered) => offered.unwrap_or_else(|| offers[0].clone()),
            (Fill::One { other: Some(other) }, _, Some(offered)) if other == place => offered.varied(1),
            (Fill::One { other: Some(other) }, _, None) if other == place => S::numbered(2),
            (Fill::Changed(Change::Every), None, Some(offered)) => offered.varied(1),
            (Fill::Changed(Change::Every), None, None) => S::numbered(2),
            (_, None, offered) => offered.unwrap_or_else(|| S::numbered(1)),
            (_, Some(number), Some(offered)) => offered.varied(number),
            (_, Some(number), None) => S::numbered(number),
        };
        self.give(&value);
        value
    }

    /// The next value of a user's sample. It is kept where it is a plain value, and no length or number of a variant.
    fn next_of_sample<S: Scalar>(&mut self, is_kept: bool) -> S {
        let bytes = self.pass.sample.make_contiguous();
        let Ok((value, length)) = decode_prefix::<S>(bytes) else {
            self.pass.impossible = Some("the sample is too short".to_string());
            return S::numbered(0);
        };
        if is_kept {
            self.pass.plain_values.push((TypeId::of::<S>(), bytes[..length].to_vec()));
        }
        self.pass.sample.drain(..length);
        value
    }

    fn text(&mut self) -> String {
        match self.fill() {
            Fill::Text(text) => {
                self.pass.scalars += 1;
                self.give(text);
                text.to_string()
            }
            Fill::Changed(change) => {
                let given = self.pass.given.len();
                let text = change.of_text(self.scalar());
                self.pass.given.truncate(given);
                self.give(&text);
                text
            }
            _ => self.scalar(),
        }
    }

    fn bytes(&mut self) -> Blob {
        if self.fill() == Fill::Sample {
            return self.next_of_sample(true);
        }
        // As bytes, and not as a list of numbers, they are encoded like a text.
        let given = self.pass.given.len();
        let blob: Blob = self.scalar();
        self.pass.given.truncate(given);
        self.give(&u64::try_from(blob.0.len()).unwrap_or(u64::MAX));
        if self.fill() != Fill::Learn {
            self.pass.given.extend_from_slice(&blob.0);
        }
        blob
    }

    /// A float, which the caller gives in its own width.
    fn float(&mut self) -> f64 {
        if self.fill() == Fill::Sample {
            return self.next_of_sample(true);
        }
        self.pass.has_floats = true;
        match self.fill() {
            Fill::Float(bits) => {
                self.pass.scalars += 1;
                f64::from_bits(bits)
            }
            _ => {
                let given = self.pass.given.len();
                let float = self.scalar();
                self.pass.given.truncate(given);
                float
            }
        }
    }

    /// How many elements a list or a map gets.
    fn length(&mut self) -> u32 {
        if self.fill() == Fill::Sample {
            return self.next_of_sample::<u64>(false) as u32; // a sample that was encoded here
        }
        let path = self.path();
        let attempted = self.offer(LENGTHS.len()).map_or(1, |offer| LENGTHS[offer]);
        let length = if self.again || self.left_empty.contains(&path) {
            0
        } else {
            match self.fill() {
                Fill::Least => 0,
                Fill::LeastWithin if !self.open.contains(&path) => 0,
                Fill::Many { list, .. } if list == path && self.pass.element.is_none() => {
                    if attempted == 1 {
                        MANY
                    } else {
                        attempted
                    }
                }
                _ => attempted,
            }
        };
        if length > 0 {
            let within = self.within.last().map(|(name, _)| *name);
            let list = List { path, within };
            if !self.pass.lists.contains(&list) {
                self.pass.lists.push(list);
            }
        }
        self.give(&u64::from(length));
        length
    }

    /// Whether an option gets a value.
    fn is_some(&mut self) -> bool {
        if self.fill() == Fill::Sample {
            return self.next_of_sample::<u8>(false) == 1;
        }
        let path = self.path();
        let may_have = match self.fill() {
            Fill::Least => false,
            Fill::LeastWithin => self.open.contains(&path),
            _ => true,
        };
        let is_some = !self.again && may_have && !self.left_empty.contains(&path);
        self.give(&u8::from(is_some));
        is_some
    }

    /// Makes an element of a list when `at` of `length` have come.
    fn element<R>(&mut self, at: u32, length: u32, make: impl FnOnce(&mut Self) -> R) -> R {
        let outside = self.pass.element;
        if let Fill::Many { list, falls } = self.fill()
            && list == self.path()
            && length > 1
        {
            self.pass.element = Some(if falls { length - 1 - at } else { at });
        }
        let made = make(self);
        self.pass.element = outside;
        made
    }

    fn give<V: Serialize + ?Sized>(&mut self, value: &V) {
        if self.fill() != Fill::Learn {
            encode_into(value, &mut self.pass.given).expect("a plain value encodes");
        }
    }

    /// The variant of an enum to go through now.
    fn choose(&mut self, name: &'static str, variants: usize) -> usize {
        let path = self.path();
        if self.fill() == Fill::Sample {
            return (self.next_of_sample::<u32>(false) as usize).min(variants - 1);
        }
        let chosen = if self.fill() == Fill::Learn {
            let chosen = self.choose_new(name, variants);
            self.pass.variants.insert(path, chosen);
            chosen
        } else {
            self.choose_again(name, path)
        };
        self.give(&(chosen as u32));
        chosen
    }

    /// The variant that was chosen while the type was traced; in elements that differ the variants without contents in turn.
    fn choose_again(&self, name: &'static str, path: Path) -> usize {
        let base = self.enums.get(name).and_then(|choices| choices.base).unwrap_or_default();
        let traced = self.pass.variants.get(&path).copied().unwrap_or(base);
        let (Some(number), Some(ContainerFormat::Enum(variants))) = (self.number(), self.registry.get(name)) else {
            return traced;
        };
        let is_empty = |(index, variant): (&u32, &Named<VariantFormat>)| {
            matches!(variant.value, VariantFormat::Unit).then_some(*index as usize)
        };
        let empty: Vec<usize> = variants.iter().filter_map(is_empty).collect();
        if empty.len() > 1 && empty.contains(&traced) { empty[number as usize % empty.len()] } else { traced }
    }

    fn choose_new(&mut self, name: &'static str, variants: usize) -> usize {
        for (container, variant) in &self.within {
            if let (Some(choices), Some(variant)) = (self.enums.get_mut(container), variant) {
                choices.reaches[*variant].insert(name);
            }
        }
        let recurses = self.within.iter().any(|(container, _)| *container == name);
        let unseen: BTreeSet<&str> =
            self.enums.iter().filter(|(_, choices)| !choices.are_seen()).map(|(name, _)| *name).collect();
        let choices = self.enums.entry(name).or_insert_with(|| Choices {
            begun: vec![false; variants],
            base: None,
            reaches: vec![BTreeSet::new(); variants],
        });
        if let Some(new) = choices.begun.iter().position(|begun| !begun) {
            choices.begun[new] = true;
            return new;
        }
        let leads_on = choices.reaches.iter().position(|reached| reached.iter().any(|name| unseen.contains(name)));
        let base = choices.base.unwrap_or_default();
        if recurses { base } else { leads_on.unwrap_or(base) }
    }
}

/// The numbers of elements that a list which has failed is offered.
const LENGTHS: [u32; 7] = [1, 2, 3, 4, 8, 16, 0];

/// Why a type cannot be traced.
#[derive(Debug)]
struct Untraceable(String);

impl Untraceable {
    fn of(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

impl Display for Untraceable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untraceable {}

impl serde::de::Error for Untraceable {
    fn custom<T: Display>(reason: T) -> Self {
        Self::of(reason)
    }
}
