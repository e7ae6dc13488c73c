//! From stored bytes to JSON.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::{Body, Field, Integer, LEVELS, MOST_EMPTY_VALUES, Shape, Type, TypeId, WRAPPERS, to_hex};

/// Stored bytes that are not of the shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: expected {expected}, found {found}")]
pub struct Unreadable {
    pub offset: usize,
    pub expected: String,
    pub found: String,
}

impl Shape {
    /// The value that all of `bytes` encode.
    ///
    /// # Errors
    /// When they are not the encoding of a value of this shape, or it is nested deeper than JSON may be.
    pub fn decode(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        self.decode_with(bytes, None)
    }

    /// The same for people: times of batches as `time` writes them.
    pub fn decode_for_people(&self, bytes: &[u8], time: fn(u64) -> String) -> Result<Value, Unreadable> {
        self.decode_with(bytes, Some(time))
    }

    fn decode_with(&self, bytes: &[u8], time: Option<fn(u64) -> String>) -> Result<Value, Unreadable> {
        let mut decoder = Decoder { shape: self, bytes, at: 0, time };
        let value = decoder.value(self.root, 0)?;
        match bytes.len() - decoder.at {
            0 => Ok(value),
            left => Err(decoder.wrong(decoder.at, "the end", format!("{left} more bytes"))),
        }
    }
}

struct Decoder<'d> {
    shape: &'d Shape,
    bytes: &'d [u8],
    at: usize,
    time: Option<fn(u64) -> String>,
}

/// What a varint begins with when more bytes follow.
const U16_FOLLOWS: u8 = 251;
const U32_FOLLOWS: u8 = 252;
const U64_FOLLOWS: u8 = 253;
const U128_FOLLOWS: u8 = 254;

impl<'d> Decoder<'d> {
    /// A value inside of `levels` lists and objects. Only lists and objects are followed by recursion, in small frames, so [`LEVELS`]
    /// bounds the stack. Functions that do not call this one read everything else.
    fn value(&mut self, id: TypeId, levels: usize) -> Result<Value, Unreadable> {
        let Some((id, is_time)) = self.behind_options(id)? else { return Ok(Value::Null) };
        if levels > LEVELS {
            return Err(self.wrong(self.at, &format!("at most {LEVELS} levels of lists and objects"), "more"));
        }
        let (shape, inner) = (self.shape, levels + 1);
        match shape.of(id) {
            Type::Seq(content) => {
                let count = self.varint(64, "the length of a list")? as u64;
                self.list(*content, count, inner)
            }
            Type::Array { content, size } => self.list(*content, *size, inner),
            Type::Map { key, value } => self.map(*key, *value, levels + shape.levels_of_map(*key)),
            Type::Tuple(parts) => self.parts(parts, inner),
            Type::Struct { fields, .. } => self.fields(fields, inner),
            Type::Enum { .. } => self.variant(id, levels),
            plain => self.plain(plain, is_time),
        }
    }

    /// The type behind options and wrappers, which JSON does not show, and whether it is the time of a batch for people; nothing where an
    /// option holds nothing.
    fn behind_options(&mut self, mut id: TypeId) -> Result<Option<(TypeId, bool)>, Unreadable> {
        let mut is_time = false;
        for _ in 0..=WRAPPERS {
            match self.shape.of(id) {
                Type::Option(inner) => match self.byte("an option")? {
                    0 => return Ok(None),
                    1 => id = *inner,
                    found => return Err(self.wrong(self.at - 1, "an option (0 or 1)", found)),
                },
                Type::Newtype { name, inner } => {
                    is_time |= name == "BatchTime";
                    id = *inner;
                }
                _ => return Ok(Some((id, is_time))),
            }
        }
        Err(self.wrong(self.at, &format!("at most {WRAPPERS} levels of options and wrappers"), "more"))
    }

    /// A value that is no list and no object.
    fn plain(&mut self, of: &Type, is_time: bool) -> Result<Value, Unreadable> {
        match of {
            Type::Unit => Ok(Value::Null),
            Type::Bool => match self.byte("a bool")? {
                0 => Ok(Value::Bool(false)),
                1 => Ok(Value::Bool(true)),
                found => Err(self.wrong(self.at - 1, "a bool (0 or 1)", found)),
            },
            Type::Integer(integer) => match (self.integer(*integer)?, self.time.filter(|_| is_time)) {
                (Value::Number(ms), Some(time)) => {
                    Ok(ms.as_u64().map_or(Value::Number(ms), |ms| Value::String(time(ms))))
                }
                (value, _) => Ok(value),
            },
            Type::F32 => self.array("an f32").map(|bytes| of_f32(f32::from_le_bytes(bytes))),
            Type::F64 => self.array("an f64").map(|bytes| of_f64(f64::from_le_bytes(bytes))),
            Type::Char => self.character(),
            Type::Str => self.text(),
            Type::Bytes => self.run("a run of bytes").map(|bytes| Value::String(to_hex(bytes))),
            _ => Err(self.wrong(self.at, "nothing: the schema does not know this type", "a value")),
        }
    }

    fn list(&mut self, content: TypeId, count: u64, levels: usize) -> Result<Value, Unreadable> {
        let mut values = Vec::new();
        for index in 0..count {
            let before = self.at;
            let value = self.value(content, levels)?;
            self.refuse_too_many_of_nothing(before, index)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, key: TypeId, value: TypeId, levels: usize) -> Result<Value, Unreadable> {
        let count = self.varint(64, "the length of a map")? as u64;
        let mut pairs = Vec::new();
        for index in 0..count {
            let before = self.at;
            pairs.push((self.value(key, levels)?, self.value(value, levels)?));
            self.refuse_too_many_of_nothing(before, index)?;
        }
        let mut texts = HashSet::new();
        if self.shape.is_text(key) && pairs.iter().all(|(key, _)| texts.insert(as_text(key))) {
            return Ok(Value::Object(pairs.into_iter().map(|(key, value)| (as_text(&key), value)).collect()));
        }
        Ok(Value::Array(pairs.into_iter().map(|(key, value)| Value::Array(vec![key, value])).collect()))
    }

    /// A length says how many values there are; those that take no bytes would be made without end.
    fn refuse_too_many_of_nothing(&self, before: usize, index: u64) -> Result<(), Unreadable> {
        if self.at == before && index >= MOST_EMPTY_VALUES {
            return Err(self.wrong(before, &format!("at most {MOST_EMPTY_VALUES} values of no bytes"), "more"));
        }
        Ok(())
    }

    fn parts(&mut self, parts: &[TypeId], levels: usize) -> Result<Value, Unreadable> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(self.value(*part, levels)?);
        }
        Ok(Value::Array(values))
    }

    fn fields(&mut self, fields: &[Field], levels: usize) -> Result<Value, Unreadable> {
        let mut values = Map::new();
        for field in fields {
            let value = self.value(field.of, levels)?;
            values.insert(field.name.clone(), value);
        }
        Ok(Value::Object(values))
    }

    fn variant(&mut self, id: TypeId, levels: usize) -> Result<Value, Unreadable> {
        let Type::Enum { name, variants } = self.shape.of(id) else { return Ok(Value::Null) };
        let start = self.at;
        let index = self.varint(32, "the variant of an enum")?;
        let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
        let variant = variant.ok_or_else(|| {
            self.wrong(start, &format!("one of the {} variants of {name}", variants.len()), format!("variant {index}"))
        })?;
        let value = match &variant.body {
            Body::Unit => return Ok(Value::String(variant.name.clone())),
            Body::One(inner) => self.value(*inner, levels + 1)?,
            Body::Tuple(parts) => self.parts(parts, levels + 2)?,
            Body::Struct(fields) => self.fields(fields, levels + 2)?,
        };
        Ok(Value::Object(Map::from_iter([(variant.name.clone(), value)])))
    }

    fn integer(&mut self, integer: Integer) -> Result<Value, Unreadable> {
        let name = integer.name();
        Ok(match integer {
            Integer::U8 => self.byte(name)?.into(),
            Integer::I8 => self.byte(name)?.cast_signed().into(),
            _ if integer.is_signed() => {
                let zigzag = self.varint(integer.bits(), name)?;
                of_i128((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
            }
            _ => of_u128(self.varint(integer.bits(), name)?),
        })
    }

    fn character(&mut self) -> Result<Value, Unreadable> {
        let start = self.at;
        let first = self.byte("a character")?;
        let length = match first {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => return Err(self.wrong(start, "a character in UTF-8", format!("byte {first:02x}"))),
        };
        self.at = start;
        let bytes = self.take(length, "a character")?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::String(text.to_string())),
            Err(_) => Err(self.wrong(start, "a character in UTF-8", to_hex(bytes))),
        }
    }

    fn text(&mut self) -> Result<Value, Unreadable> {
        let bytes = self.run("a string")?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::String(text.to_string())),
            Err(error) => {
                let offset = self.at - bytes.len() + error.valid_up_to();
                Err(self.wrong(offset, "UTF-8", format!("byte {:02x}", self.bytes[offset])))
            }
        }
    }

    fn run(&mut self, what: &str) -> Result<&'d [u8], Unreadable> {
        let start = self.at;
        let length = self.varint(64, "a length")?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(length).ok().filter(|length| *length <= left) {
            Some(length) => self.take(length, what),
            None => Err(self.wrong(start, &format!("{what} of {length} bytes"), format!("{left} bytes"))),
        }
    }

    fn varint(&mut self, bits: u32, what: &str) -> Result<u128, Unreadable> {
        let start = self.at;
        let first = self.byte(what)?;
        let too_wide = |follows: u32| follows > bits;
        match first {
            U16_FOLLOWS if !too_wide(16) => self.array(what).map(|bytes| u16::from_le_bytes(bytes).into()),
            U32_FOLLOWS if !too_wide(32) => self.array(what).map(|bytes| u32::from_le_bytes(bytes).into()),
            U64_FOLLOWS if !too_wide(64) => self.array(what).map(|bytes| u64::from_le_bytes(bytes).into()),
            U128_FOLLOWS if !too_wide(128) => self.array(what).map(u128::from_le_bytes),
            U16_FOLLOWS.. => {
                Err(self.wrong(start, &format!("{what}, a number of at most {bits} bits"), format!("byte {first}")))
            }
            small => Ok(small.into()),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Unreadable> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn byte(&mut self, what: &str) -> Result<u8, Unreadable> {
        self.take(1, what).map(|bytes| bytes[0])
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'d [u8], Unreadable> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            let found = if rest.is_empty() { "the end".to_string() } else { format!("{} bytes", rest.len()) };
            return Err(self.wrong(self.at, &format!("{length} bytes of {what}"), found));
        };
        self.at += length;
        Ok(taken)
    }

    fn wrong(&self, offset: usize, expected: &str, found: impl ToString) -> Unreadable {
        Unreadable { offset, expected: expected.to_string(), found: found.to_string() }
    }
}

fn of_u128(number: u128) -> Value {
    u64::try_from(number).map_or_else(|_| Value::String(number.to_string()), Value::from)
}

fn of_i128(number: i128) -> Value {
    let large = |_| u64::try_from(number).map_or_else(|_| Value::String(number.to_string()), Value::from);
    i64::try_from(number).map_or_else(large, Value::from)
}

fn of_f64(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::String("NaN".to_string()),
        None => Value::String(if number > 0.0 { "inf" } else { "-inf" }.to_string()),
    }
}

fn of_f32(number: f32) -> Value {
    // Not f64::from: 0.1 would read 0.10000000149011612.
    of_f64(number.to_string().parse().unwrap_or(f64::from(number)))
}

/// A value as the key of a JSON object.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
