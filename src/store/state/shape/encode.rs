//! From JSON, or the plain text of a key, to stored bytes.

use serde_json::{Map, Value};

use super::{Body, Field, Integer, LEVELS, Shape, Type, TypeId, Variant, WRAPPERS, from_hex};
use floodmark_base::codec::encode_into;

/// JSON that is not of the shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}{place}, found {found}", place = if path.is_empty() { String::new() } else { format!(" at {path}") })]
pub struct Misfit {
    /// Where in the value: `.items[2]`.
    pub path: String,
    pub expected: String,
    pub found: String,
}

impl Misfit {
    fn new(expected: impl ToString, found: impl ToString) -> Self {
        Self { path: String::new(), expected: expected.to_string(), found: found.to_string() }
    }

    fn within(mut self, place: &str) -> Self {
        self.path.insert_str(0, place);
        self
    }
}

type Encoded = Result<(), Misfit>;

impl Shape {
    /// The bytes of a value, as the job's own code would encode it.
    ///
    /// # Errors
    /// When the value is not of this shape.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>, Misfit> {
        let mut bytes = Vec::new();
        self.write(self.root, value, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of a key as it is typed: as JSON, and strings, characters, numbers and variants as they are.
    ///
    /// # Errors
    /// When the text is not a value of this shape.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u8>, Misfit> {
        let mut bytes = Vec::new();
        let quoted = || serde_json::from_str(text).ok().filter(Value::is_string);
        match self.unwrapped(self.root) {
            // In quotes a string is JSON, so that every string can be given.
            Type::Str | Type::Char | Type::Bytes | Type::Enum { .. } if text.starts_with('"') => {
                if let Some(value) = quoted() {
                    return self.encode(&value);
                }
            }
            Type::Bytes => return self.encode(&Value::String(text.to_string())),
            Type::Unit if matches!(text, "" | "()") => return Ok(bytes),
            _ => {}
        }
        let is_enum = matches!(self.unwrapped(self.root), Type::Enum { .. });
        if self.is_text(self.root) || (is_enum && !text.starts_with('{')) {
            self.write_text(self.root, text, &mut bytes)?;
            return Ok(bytes);
        }
        let value = serde_json::from_str(text);
        let value = value.map_err(|error| {
            let quoted = format!("\"{text}\"");
            let found = if text.starts_with(['[', '{']) { format!("{quoted} ({error})") } else { quoted };
            Misfit::new(format!("JSON such as {}", self.example()), found)
        })?;
        self.encode(&value)
    }

    /// A value inside of `levels` lists and objects. Only lists and objects are followed by recursion, in small frames, so [`LEVELS`]
    /// bounds the stack. Functions that do not call this one write everything else.
    fn write(&self, id: TypeId, value: &Value, levels: usize, bytes: &mut Vec<u8>) -> Encoded {
        let Some(id) = self.write_options(id, value, bytes)? else { return Ok(()) };
        if levels > LEVELS {
            return Err(Misfit::new(format!("at most {LEVELS} levels of lists and objects"), "more"));
        }
        let inner = levels + 1;
        match (self.of(id), value) {
            (Type::Seq(content), Value::Array(values)) => {
                write_length(values.len(), bytes)?;
                self.write_list(*content, values, inner, bytes)
            }
            (Type::Array { content, size }, Value::Array(values)) if values.len() as u64 == *size => {
                self.write_list(*content, values, inner, bytes)
            }
            (Type::Map { key, value: of }, _) => {
                self.write_map(*key, *of, value, levels + self.levels_of_map(*key), bytes)
            }
            (Type::Tuple(parts), _) => self.write_parts(parts, value, inner, bytes),
            (Type::Struct { name, fields }, _) => self.write_fields_of(name, fields, value, inner, bytes),
            (Type::Enum { name, variants }, _) => self.write_variant_of(name, variants, value, inner, bytes),
            _ => self.write_plain(id, value, bytes),
        }
    }

    /// Writes the options around a value. Gives the type behind them and behind wrappers, none of which JSON shows; nothing where an option
    /// holds nothing.
    fn write_options(&self, mut id: TypeId, value: &Value, bytes: &mut Vec<u8>) -> Result<Option<TypeId>, Misfit> {
        for _ in 0..=WRAPPERS {
            match self.of(id) {
                Type::Option(_) if value.is_null() => return put(&0_u8, bytes).map(|()| None),
                Type::Option(inner) => {
                    bytes.push(1);
                    id = *inner;
                }
                Type::Newtype { inner, .. } => id = *inner,
                _ => return Ok(Some(id)),
            }
        }
        Err(Misfit::new(format!("at most {WRAPPERS} levels of options and wrappers"), "more"))
    }

    /// A value that is no list and no object, or should be one and is not.
    fn write_plain(&self, id: TypeId, value: &Value, bytes: &mut Vec<u8>) -> Encoded {
        let expected = |what: &str| Err(Misfit::new(what, shown(value)));
        match (self.of(id), value) {
            (Type::Unit, Value::Null) => Ok(()),
            (Type::Unit, _) => expected("null"),
            (Type::Bool, Value::Bool(bool)) => put(bool, bytes),
            (Type::Bool, _) => expected("true or false"),
            (Type::Integer(integer), Value::Number(number)) => write_integer(*integer, &number.to_string(), bytes),
            (Type::Integer(_) | Type::F32 | Type::F64 | Type::Str | Type::Char, Value::String(text)) => {
                self.write_text(id, text, bytes)
            }
            (Type::F32 | Type::F64, Value::Number(number)) => self.write_text(id, &number.to_string(), bytes),
            (Type::Integer(integer), _) => expected(&format!("a number ({})", integer.name())),
            (Type::F32 | Type::F64, _) => expected("a number"),
            (Type::Str | Type::Char, _) => expected("a string"),
            (Type::Bytes, Value::String(text)) => match from_hex(text) {
                Some(run) => write_run(&run, bytes),
                None => expected("hex digits in pairs"),
            },
            (Type::Bytes, _) => expected("a string of hex digits"),
            (Type::Array { size, .. }, _) => expected(&format!("a list of {size}")),
            (Type::Unknown, _) => expected("nothing: the schema does not know this type"),
            _ => expected("a list"),
        }
    }

    fn write_list(&self, content: TypeId, values: &[Value], levels: usize, bytes: &mut Vec<u8>) -> Encoded {
        for (index, value) in values.iter().enumerate() {
            self.write(content, value, levels, bytes).map_err(|misfit| misfit.within(&format!("[{index}]")))?;
        }
        Ok(())
    }

    fn write_parts(&self, parts: &[TypeId], value: &Value, levels: usize, bytes: &mut Vec<u8>) -> Encoded {
        let Value::Array(values) = value else {
            return Err(Misfit::new(format!("a list of {}", parts.len()), shown(value)));
        };
        if values.len() != parts.len() {
            return Err(Misfit::new(format!("a list of {}", parts.len()), format!("one of {}", values.len())));
        }
        for (index, (part, value)) in parts.iter().zip(values).enumerate() {
            self.write(*part, value, levels, bytes).map_err(|misfit| misfit.within(&format!("[{index}]")))?;
        }
        Ok(())
    }

    fn write_fields_of(
        &self,
        name: &str,
        fields: &[Field],
        value: &Value,
        levels: usize,
        bytes: &mut Vec<u8>,
    ) -> Encoded {
        let Value::Object(object) = value else {
            return Err(Misfit::new(format!("an object ({name})"), shown(value)));
        };
        let unknown = object.keys().find(|key| fields.iter().all(|field| field.name != **key));
        if let Some(unknown) = unknown {
            return Err(Misfit::new(format!("a field of {name}"), format!("\"{unknown}\"")));
        }
        for field in fields {
            let missing = || Misfit::new(format!("the field \"{}\" of {name}", field.name), "none");
            let value = object.get(&field.name).ok_or_else(missing)?;
            let place = |misfit: Misfit| misfit.within(&format!(".{}", field.name));
            self.write(field.of, value, levels, bytes).map_err(place)?;
        }
        Ok(())
    }

    fn write_variant_of(
        &self,
        name: &str,
        variants: &[Variant],
        value: &Value,
        levels: usize,
        bytes: &mut Vec<u8>,
    ) -> Encoded {
        let (chosen, value) = match value {
            Value::String(chosen) => (chosen.as_str(), None),
            Value::Object(object) => match only(object) {
                Some((chosen, value)) => (chosen, Some(value)),
                None => return Err(Misfit::new(format!("one variant of {name}"), shown(value))),
            },
            _ => return Err(Misfit::new(format!("a variant of {name}"), shown(value))),
        };
        let index = variants.iter().position(|variant| variant.name == chosen);
        let Some(index) = index else {
            return Err(Misfit::new(one_of(name, variants), format!("\"{chosen}\"")));
        };
        let place = |misfit: Misfit| misfit.within(&format!(".{chosen}"));
        put(&(index as u32), bytes)?;
        match (&variants[index].body, value) {
            (Body::Unit, None | Some(Value::Null)) => Ok(()),
            (Body::One(inner), Some(value)) => self.write(*inner, value, levels, bytes).map_err(place),
            (Body::Tuple(parts), Some(value)) => self.write_parts(parts, value, levels + 1, bytes).map_err(place),
            (Body::Struct(fields), Some(value)) => {
                self.write_fields_of(chosen, fields, value, levels + 1, bytes).map_err(place)
            }
            (Body::Unit, Some(value)) => Err(place(Misfit::new("no value", shown(value)))),
            (_, None) => Err(Misfit::new(format!("an object: {chosen} has a value"), "a string")),
        }
    }

    fn write_map(&self, key: TypeId, of: TypeId, value: &Value, levels: usize, bytes: &mut Vec<u8>) -> Encoded {
        match value {
            Value::Object(object) if self.is_text(key) => {
                write_length(object.len(), bytes)?;
                for (text, value) in object {
                    let place = |misfit: Misfit| misfit.within(&format!("[{text:?}]"));
                    self.write_text(key, text, bytes).map_err(place)?;
                    self.write(of, value, levels, bytes).map_err(place)?;
                }
                Ok(())
            }
            Value::Array(pairs) => {
                write_length(pairs.len(), bytes)?;
                for (index, pair) in pairs.iter().enumerate() {
                    let place = |misfit: Misfit| misfit.within(&format!("[{index}]"));
                    self.write_parts(&[key, of], pair, levels, bytes).map_err(place)?;
                }
                Ok(())
            }
            _ => Err(Misfit::new(if self.is_text(key) { "an object" } else { "a list of pairs" }, shown(value))),
        }
    }

    /// A value that is written as plain text.
    fn write_text(&self, id: TypeId, text: &str, bytes: &mut Vec<u8>) -> Encoded {
        let expected = |what: &str| Err(Misfit::new(what, format!("\"{text}\"")));
        match self.unwrapped(id) {
            Type::Str => write_run(text.as_bytes(), bytes),
            Type::Char => match text.chars().next().filter(|first| first.len_utf8() == text.len()) {
                Some(character) => put(&character, bytes),
                None => expected("one character"),
            },
            Type::Bool => match text.parse::<bool>() {
                Ok(bool) => put(&bool, bytes),
                Err(_) => expected("true or false"),
            },
            Type::Integer(integer) => write_integer(*integer, text, bytes),
            Type::F32 => match text.parse::<f32>() {
                Ok(number) => put(&number, bytes),
                Err(_) => expected("a number (f32)"),
            },
            Type::F64 => match text.parse::<f64>() {
                Ok(number) => put(&number, bytes),
                Err(_) => expected("a number (f64)"),
            },
            Type::Enum { name, variants } => {
                self.write_variant_of(name, variants, &Value::String(text.to_string()), 0, bytes)
            }
            _ => expected("JSON"),
        }
    }
}

/// The one entry of an object.
fn only(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (name, value) = entries.next()?;
    entries.next().is_none().then_some((name.as_str(), value))
}

fn one_of(name: &str, variants: &[Variant]) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = variants.iter().take(SHOWN).map(|variant| variant.name.as_str()).collect();
    let more = if variants.len() > SHOWN { ", …" } else { "" };
    format!("a variant of {name} ({}{more})", names.join(", "))
}

fn write_integer(integer: Integer, text: &str, bytes: &mut Vec<u8>) -> Encoded {
    match integer {
        Integer::I8 => parsed::<i8>(integer, text, bytes),
        Integer::I16 => parsed::<i16>(integer, text, bytes),
        Integer::I32 => parsed::<i32>(integer, text, bytes),
        Integer::I64 => parsed::<i64>(integer, text, bytes),
        Integer::I128 => parsed::<i128>(integer, text, bytes),
        Integer::U8 => parsed::<u8>(integer, text, bytes),
        Integer::U16 => parsed::<u16>(integer, text, bytes),
        Integer::U32 => parsed::<u32>(integer, text, bytes),
        Integer::U64 => parsed::<u64>(integer, text, bytes),
        Integer::U128 => parsed::<u128>(integer, text, bytes),
    }
}

fn parsed<N: std::str::FromStr + serde::Serialize>(integer: Integer, text: &str, bytes: &mut Vec<u8>) -> Encoded {
    match text.parse::<N>() {
        Ok(number) => put(&number, bytes),
        Err(_) => Err(Misfit::new(format!("a whole number ({})", integer.name()), format!("\"{text}\""))),
    }
}

fn write_run(run: &[u8], bytes: &mut Vec<u8>) -> Encoded {
    write_length(run.len(), bytes)?;
    bytes.extend_from_slice(run);
    Ok(())
}

fn write_length(length: usize, bytes: &mut Vec<u8>) -> Encoded {
    put(&(length as u64), bytes)
}

/// Plain values encode as they do everywhere.
fn put(value: &impl serde::Serialize, bytes: &mut Vec<u8>) -> Encoded {
    encode_into(value, bytes).map_err(|error| Misfit::new("a value that encodes", error))
}

/// A value in a message, if need be not all of it.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
