//! Shapes: what stored bytes look like, read from the schema texts that manifests keep, so that state is readable without the
//! job's code.
//!
//! A [`Shape`] is parsed from a text that [`Schema`](super::schema::Schema) wrote. It decodes the crate's encoding
//! (`src/base/codec.rs`) into JSON, and encodes JSON into the same bytes.
//!
//! # JSON
//! As serde writes it, except where JSON cannot say it:
//! - 128-bit integers beyond 64 bits are strings of digits.
//! - Floats that are no numbers are the strings `NaN`, `inf` and `-inf`; an `f32` is the shortest decimal that names it.
//! - A run of bytes is a string of hex digits. (A list of `u8` is a list of numbers: the encoding is the same, the schema is not.)
//! - A map is an object where its keys are strings, characters, numbers, booleans or enums without data, and a list of pairs
//!   otherwise, or when a key stands in it twice. The order is the stored one.
//! - An enum is `"A"`, `{"B": value}`, `{"C": [value, value]}` or `{"D": {"field": value}}`; a unit is `null`. As with serde, an
//!   option of an option does not show whether it is the outer or the inner one that holds nothing.
//!
//! # Invariants
//! Damaged bytes are errors with offset, expected and found. What is built in memory is bounded by the bytes that are there,
//! whatever lengths they claim, and nesting is bounded by [`LEVELS`] and [`WRAPPERS`].
//!
//! # Ambiguity
//! The text has no quotes, so serde names that contain its punctuation (`(`, ` { `, ` |`, `: `, …) or that are those of a
//! plain type cannot always be told. Names with spaces, dashes, slashes and colons are fine. What cannot be read is refused with
//! the place, and the command then shows bytes in hex.

mod decode;
mod encode;
mod parse;

use std::fmt;

/// How deep lists and objects may be nested: what a reader of JSON takes (serde_json: 128), with room for what is put around it.
const LEVELS: usize = 120;

/// How many options and wrappers, which JSON does not show, may stand around a value.
const WRAPPERS: usize = 500;

/// Values that take no bytes, such as units in a list, may not be more than this.
const MOST_EMPTY_VALUES: u64 = 1 << 16;

/// The shape of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// As it was read.
    text: String,
    /// All types in it; recursive types name each other by place.
    types: Vec<Type>,
    root: TypeId,
}

/// A place in [`Shape::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TypeId(usize);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    /// `()`, and a struct without contents.
    Unit,
    Bool,
    Integer(Integer),
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Option(TypeId),
    Seq(TypeId),
    Map {
        key: TypeId,
        value: TypeId,
    },
    /// A tuple, and a struct whose fields have no names.
    Tuple(Vec<TypeId>),
    Array {
        content: TypeId,
        size: u64,
    },
    Newtype {
        name: String,
        inner: TypeId,
    },
    Struct {
        name: String,
        fields: Vec<Field>,
    },
    Enum {
        name: String,
        variants: Vec<Variant>,
    },
    /// Nothing of this type was ever seen: the inside of a list in a type that is recursive through it alone.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    of: TypeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    name: String,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    Unit,
    One(TypeId),
    Tuple(Vec<TypeId>),
    Struct(Vec<Field>),
}

/// The integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Integer {
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
}

impl Integer {
    const ALL: [(&'static str, Self); 10] = [
        ("i8", Self::I8),
        ("i16", Self::I16),
        ("i32", Self::I32),
        ("i64", Self::I64),
        ("i128", Self::I128),
        ("u8", Self::U8),
        ("u16", Self::U16),
        ("u32", Self::U32),
        ("u64", Self::U64),
        ("u128", Self::U128),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, integer)| *integer == self).map_or("", |(name, _)| name)
    }

    fn bits(self) -> u32 {
        match self {
            Self::I8 | Self::U8 => 8,
            Self::I16 | Self::U16 => 16,
            Self::I32 | Self::U32 => 32,
            Self::I64 | Self::U64 => 64,
            Self::I128 | Self::U128 => 128,
        }
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::I128)
    }
}

impl Shape {
    fn of(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }

    /// The type behind wrappers that JSON does not show.
    fn unwrapped(&self, mut id: TypeId) -> &Type {
        // A wrapper may contain itself only, in a schema that no type has.
        for _ in 0..self.types.len() {
            match self.of(id) {
                Type::Newtype { inner, .. } => id = *inner,
                found => return found,
            }
        }
        &Type::Unknown
    }

    /// Levels of JSON that a map with such keys is: an object, or a list of pairs.
    fn levels_of_map(&self, key: TypeId) -> usize {
        if self.is_text(key) { 1 } else { 2 }
    }

    /// Whether values of a type are written as text where they are the keys of a JSON object.
    fn is_text(&self, id: TypeId) -> bool {
        match self.unwrapped(id) {
            Type::Bool | Type::Integer(_) | Type::F32 | Type::F64 | Type::Char | Type::Str => true,
            Type::Enum { variants, .. } => variants.iter().all(|variant| variant.body == Body::Unit),
            _ => false,
        }
    }

    /// A value of this shape as a user would write it: for messages.
    pub fn example(&self) -> String {
        let mut text = String::new();
        self.write_example(self.root, 0, &mut text);
        text
    }

    fn write_example(&self, id: TypeId, depth: usize, text: &mut String) {
        if depth > 8 || text.len() > 200 {
            text.push('…');
            return;
        }
        let mut list = |open: char, parts: &[TypeId], close: char| {
            text.push(open);
            for (index, part) in parts.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                self.write_example(*part, depth + 1, text);
            }
            text.push(close);
        };
        match self.of(id) {
            Type::Unit | Type::Option(_) | Type::Unknown => text.push_str("null"),
            Type::Bool => text.push_str("true"),
            Type::Integer(_) => text.push('1'),
            Type::F32 | Type::F64 => text.push_str("1.5"),
            Type::Char => text.push_str("\"c\""),
            Type::Str => text.push_str("\"text\""),
            Type::Bytes => text.push_str("\"00ff\""),
            Type::Seq(content) | Type::Array { content, size: 1 } => list('[', &[*content], ']'),
            Type::Array { content, .. } => list('[', &[*content, *content], ']'),
            Type::Tuple(parts) => list('[', parts, ']'),
            Type::Map { .. } => text.push_str(if self.is_map_object(id) { "{}" } else { "[]" }),
            Type::Newtype { inner, .. } => self.write_example(*inner, depth + 1, text),
            Type::Struct { fields, .. } => self.write_fields(fields, depth, text),
            Type::Enum { variants, .. } => self.write_variant(variants, depth, text),
        }
    }

    fn write_fields(&self, fields: &[Field], depth: usize, text: &mut String) {
        text.push('{');
        for (index, field) in fields.iter().enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            text.push_str(&format!("\"{}\": ", field.name));
            self.write_example(field.of, depth + 1, text);
        }
        text.push('}');
    }

    fn write_variant(&self, variants: &[Variant], depth: usize, text: &mut String) {
        let Some(variant) = variants.iter().find(|it| it.body == Body::Unit).or(variants.first()) else {
            return text.push_str("null");
        };
        if variant.body == Body::Unit {
            return text.push_str(&format!("\"{}\"", variant.name));
        }
        text.push_str(&format!("{{\"{}\": ", variant.name));
        match &variant.body {
            Body::Unit => {}
            Body::One(inner) => self.write_example(*inner, depth + 1, text),
            Body::Tuple(parts) => {
                text.push('[');
                for (index, part) in parts.iter().enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    self.write_example(*part, depth + 1, text);
                }
                text.push(']');
            }
            Body::Struct(fields) => self.write_fields(fields, depth, text),
        }
        text.push('}');
    }

    fn is_map_object(&self, id: TypeId) -> bool {
        matches!(self.of(id), Type::Map { key, .. } if self.is_text(*key))
    }

    /// Whether this is what `map_with_state` keeps: a state with the time of its last use.
    pub fn is_timed(&self) -> bool {
        let Type::Struct { name, fields } = self.of(self.root) else { return false };
        name == "Timed" && fields.iter().map(|field| field.name.as_str()).eq(["used", "state"])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Bytes as hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that hex digits name; `None` when they are not pairs of hex digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).map(|nibble| nibble as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}
