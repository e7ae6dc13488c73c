//! Reading the text of a schema: the inverse of `render` in `src/store/state/schema.rs`.

use std::collections::HashMap;

use super::{Body, Field, Integer, Shape, Type, TypeId, Variant};

/// How deep a text may be nested: deeper than any type that a person wrote.
const DEEPEST: usize = 128;

/// What ends a name where a type stands.
const AFTER_TYPE: [&str; 11] = [" { ", " |", " }", ", ", ": ", "; ", "(", ")", "]", ">", "}"];

/// Why a schema text is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema \"{text}\" cannot be read at byte {at}: {reason}")]
pub struct NoShape {
    text: String,
    at: usize,
    reason: String,
}

impl Shape {
    /// Reads a schema text.
    ///
    /// # Errors
    /// When it is not a text that a type's schema renders to, or names in it make it ambiguous.
    pub fn parse(text: &str) -> Result<Self, NoShape> {
        let mut parser = Parser { rest: text, types: Vec::new(), containers: HashMap::new() };
        let parsed = parser.of_type(0).and_then(|root| match parser.rest {
            "" => Ok(root),
            _ => Err("expected the end".to_string()),
        });
        match parsed {
            Ok(root) => Ok(Self { text: text.to_string(), types: parser.types, root }),
            Err(reason) => Err(NoShape { at: text.len() - parser.rest.len(), text: text.to_string(), reason }),
        }
    }
}

/// A reason; the place is where the rest begins.
type Parsed<T> = Result<T, String>;

struct Parser<'t> {
    rest: &'t str,
    types: Vec<Type>,
    /// The containers that were written out.
    containers: HashMap<&'t str, TypeId>,
}

impl<'t> Parser<'t> {
    fn of_type(&mut self, depth: usize) -> Parsed<TypeId> {
        if depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST}"));
        }
        let depth = depth + 1;
        let found = if self.takes("option<") {
            let inner = self.of_type(depth)?;
            self.expect(">")?;
            Type::Option(inner)
        } else if self.takes("[") {
            self.list(depth)?
        } else if self.takes("{") {
            let key = self.of_type(depth)?;
            self.expect(": ")?;
            let value = self.of_type(depth)?;
            self.expect("}")?;
            Type::Map { key, value }
        } else if self.takes("(") {
            Type::Tuple(self.parts(depth)?)
        } else if self.takes("?") {
            Type::Unknown
        } else {
            return self.named(depth);
        };
        Ok(self.add(found))
    }

    /// Behind `[`.
    fn list(&mut self, depth: usize) -> Parsed<Type> {
        let content = self.of_type(depth)?;
        if !self.takes("; ") {
            self.expect("]")?;
            return Ok(Type::Seq(content));
        }
        let digits = self.until(&["]"]);
        let size = digits.parse().map_err(|_| format!("expected the size of an array, found \"{digits}\""))?;
        self.expect("]")?;
        Ok(Type::Array { content, size })
    }

    /// Behind `(`, with the `)`.
    fn parts(&mut self, depth: usize) -> Parsed<Vec<TypeId>> {
        let mut parts = Vec::new();
        if self.takes(")") {
            return Ok(parts);
        }
        loop {
            parts.push(self.of_type(depth)?);
            if self.takes(")") {
                return Ok(parts);
            }
            self.expect(", ")?;
        }
    }

    /// Behind ` { `, with the ` }`.
    fn fields(&mut self, depth: usize) -> Parsed<Vec<Field>> {
        let mut fields = Vec::new();
        if self.takes(" }") {
            return Ok(fields);
        }
        loop {
            let name = self.until(&[": "]).to_string();
            self.expect(": ")?;
            fields.push(Field { name, of: self.of_type(depth)? });
            if self.takes(" }") {
                return Ok(fields);
            }
            self.expect(", ")?;
        }
    }

    /// A plain type, a container, or the name of one that was written out before.
    fn named(&mut self, depth: usize) -> Parsed<TypeId> {
        let before = self.rest;
        let name = self.until(&AFTER_TYPE);
        if name.is_empty() || name.trim() != name {
            self.rest = before;
            return Err("expected a type".to_string());
        }
        let known = self.containers.get(name).copied();
        let has_body = self.rest.starts_with('(') || self.rest.starts_with(" { ") || self.rest.starts_with(" |");
        match (has_body, known, plain(name)) {
            (true, None, _) => self.container(name, depth),
            (true, Some(_), _) => Err(format!("\"{name}\" is written out twice")),
            (false, Some(_), Some(_)) => Err(format!("\"{name}\" is a plain type and a container here")),
            (false, Some(known), None) => Ok(known),
            (false, None, Some(plain)) => Ok(self.add(plain)),
            (false, None, None) => {
                let unit = self.add(Type::Unit);
                self.containers.insert(name, unit);
                Ok(unit)
            }
        }
    }

    /// Behind the name of a container with a body.
    fn container(&mut self, name: &'t str, depth: usize) -> Parsed<TypeId> {
        // Its place is known before its contents, which may name it.
        let place = self.add(Type::Unknown);
        self.containers.insert(name, place);
        let name = name.to_string();
        let found = if self.takes("(") {
            match self.parts(depth)?.as_slice() {
                [inner] => Type::Newtype { name, inner: *inner },
                parts => Type::Tuple(parts.to_vec()),
            }
        } else if self.takes(" { ") {
            Type::Struct { name, fields: self.fields(depth)? }
        } else {
            self.expect(" |")?;
            Type::Enum { name, variants: self.variants(depth)? }
        };
        self.types[place.0] = found;
        Ok(place)
    }

    /// Behind the first ` |` of an enum.
    fn variants(&mut self, depth: usize) -> Parsed<Vec<Variant>> {
        let mut variants = Vec::new();
        while self.rest.starts_with(' ') && !self.rest.starts_with(" }") {
            self.expect(" ")?;
            let name = self.until(&["(", " { ", " |"]).to_string();
            if name.trim() != name {
                return Err(format!("expected the name of a variant, found \"{name}\""));
            }
            let body = if self.takes("(") {
                match self.parts(depth)?.as_slice() {
                    [inner] => Body::One(*inner),
                    parts => Body::Tuple(parts.to_vec()),
                }
            } else if self.takes(" { ") {
                Body::Struct(self.fields(depth)?)
            } else {
                Body::Unit
            };
            self.expect(" |")?;
            variants.push(Variant { name, body });
        }
        Ok(variants)
    }

    fn add(&mut self, found: Type) -> TypeId {
        self.types.push(found);
        TypeId(self.types.len() - 1)
    }

    fn takes(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.takes(token) { Ok(()) } else { Err(format!("expected \"{token}\"")) }
    }

    /// What comes before the first of these marks, or else all.
    fn until(&mut self, marks: &[&str]) -> &'t str {
        let is_mark = |at: &usize| marks.iter().any(|mark| self.rest[*at..].starts_with(mark));
        let end = self.rest.char_indices().map(|(at, _)| at).find(is_mark).unwrap_or(self.rest.len());
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        found
    }
}

/// The plain type of a name.
fn plain(name: &str) -> Option<Type> {
    let integer = Integer::ALL.iter().find(|(known, _)| *known == name);
    integer.map(|(_, integer)| Type::Integer(*integer)).or(match name {
        "unit" => Some(Type::Unit),
        "bool" => Some(Type::Bool),
        "f32" => Some(Type::F32),
        "f64" => Some(Type::F64),
        "char" => Some(Type::Char),
        "str" => Some(Type::Str),
        "bytes" => Some(Type::Bytes),
        _ => None,
    })
}
