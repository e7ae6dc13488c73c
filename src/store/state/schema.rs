//! The schema of a type: what serde says of its shape, as text.
//!
//! It is stored with an operator's state and compared when a job starts (I-9), so it names shapes, not Rust paths: a type may
//! move to another module, and `String` and [`Text`](floodmark_base::text::Text) are the same. Structs and enums keep their serde names.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_reflection::{ContainerFormat, Error, Format, Named, Registry, Samples, Tracer, TracerConfig, VariantFormat};

use floodmark_base::codec::{Key, Record};
use floodmark_base::types::{self, trace};

/// The shape of a type: `str`, `(str, u64)`, `Order { id: u64, items: [str] }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    text: Result<String, String>,
    /// What was stored of the type before all variants of all enums were seen, where that was less: an enum that stands in a
    /// struct behind an option, a list or a map only was written with its first variant alone.
    earlier: Option<String>,
}

impl Schema {
    /// The schema of a type of keys, or why it cannot be one.
    pub fn of_key<K: Key>() -> Self {
        Self::of::<K>().unless(types::as_key::<K>().problem)
    }

    /// The schema of a type of states, or why it cannot be one.
    pub fn of_state<S: Record>() -> Self {
        Self::of::<S>().unless(types::as_state::<S>().problem)
    }

    fn unless(self, problem: Option<String>) -> Self {
        Self { text: problem.map_or(self.text, Err), ..self }
    }

    /// The schema of `T`, or why it has none that can be stored: serde attributes such as `flatten` and `untagged` need a
    /// self-describing format, which stored state is not. A part of the type that could not be seen is a `?`.
    pub fn of<T: DeserializeOwned>() -> Self {
        let rendered = |(format, registry): (Format, Registry)| {
            let mut text = String::new();
            render(&format, &registry, &mut Vec::new(), &mut text);
            text
        };
        let earlier = trace_earlier::<T>().map(rendered);
        // What had a schema keeps it.
        let text = trace::<T>().map(rendered).or_else(|reason| earlier.clone().map_err(|_| reason));
        let earlier = earlier.ok().filter(|earlier| text.as_ref() != Ok(earlier));
        Self { text, earlier }
    }

    /// The schema that was written down as this text.
    pub fn of_text(text: &str) -> Self {
        Self { text: Ok(text.to_string()), earlier: None }
    }

    /// The text, or why there is none.
    pub fn text(&self) -> Result<&str, &str> {
        self.text.as_deref().map_err(String::as_str)
    }

    /// Whether a text that was stored is one of this type. Two texts are compared up to where one of them has a `?`.
    pub fn is(&self, stored: &str) -> bool {
        self.text.as_deref().is_ok_and(|text| agree(text, stored)) || self.earlier.as_deref() == Some(stored)
    }
}

/// Whether two schema texts may be of one type: they are compared up to where one of them has a `?`.
pub fn agree(one: &str, other: &str) -> bool {
    let known = |text: &str| text.find('?').unwrap_or(usize::MAX);
    match known(one).min(known(other)) {
        usize::MAX => one == other,
        known => one.get(..known).is_some_and(|front| other.get(..known) == Some(front)),
    }
}

/// More passes than any sensible type needs: each pass sees one more variant of every enum in it.
const MOST_PASSES: usize = 4_096;

/// The format as it was found by an earlier tracer: kept because what it gave is stored.
fn trace_earlier<T: DeserializeOwned>() -> Result<(Format, Registry), String> {
    // The tracer tells the enums that have more variants only when it is given up, so it starts again with their names.
    let mut enums: Vec<String> = Vec::new();
    loop {
        let (mut tracer, samples) = (Tracer::new(TracerConfig::default().is_human_readable(false)), Samples::new());
        let mut format = Format::Unit;
        for _ in 0..MOST_PASSES {
            (format, _) = tracer.trace_type_once::<T>(&samples).map_err(|error| error.to_string())?;
            let incomplete = enums.iter().filter(|name| tracer.check_incomplete_enum(name).is_some()).count();
            if incomplete == 0 {
                break;
            }
        }
        match tracer.registry() {
            Ok(registry) => return Ok((format, registry)),
            Err(Error::MissingVariants(names)) if names.iter().any(|name| !enums.contains(name)) => enums.extend(names),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Writes a format; containers are written out where they are first met and by name after that, so that types may be
/// recursive.
fn render(format: &Format, registry: &Registry, met: &mut Vec<String>, text: &mut String) {
    match format {
        Format::Variable(known) => match &*known.borrow() {
            Some(format) => render(format, registry, met, text),
            None => text.push('?'),
        },
        Format::TypeName(name) => render_container(name, registry, met, text),
        Format::Option(inner) => {
            text.push_str("option<");
            render(inner, registry, met, text);
            text.push('>');
        }
        Format::Seq(inner) => {
            text.push('[');
            render(inner, registry, met, text);
            text.push(']');
        }
        Format::Map { key, value } => {
            text.push('{');
            render(key, registry, met, text);
            text.push_str(": ");
            render(value, registry, met, text);
            text.push('}');
        }
        Format::Tuple(parts) => render_tuple(parts, registry, met, text),
        Format::TupleArray { content, size } => {
            text.push('[');
            render(content, registry, met, text);
            let _ = write!(text, "; {size}]");
        }
        plain => text.push_str(&format!("{plain:?}").to_lowercase()),
    }
}

fn render_container(name: &str, registry: &Registry, met: &mut Vec<String>, text: &mut String) {
    text.push_str(name);
    if met.iter().any(|known| known == name) {
        return;
    }
    met.push(name.to_string());
    let container = registry.iter().find(|(known, _)| **known == *name).map(|(_, format)| format);
    match container {
        None | Some(ContainerFormat::UnitStruct) => {}
        Some(ContainerFormat::NewTypeStruct(inner)) => {
            text.push('(');
            render(inner, registry, met, text);
            text.push(')');
        }
        Some(ContainerFormat::TupleStruct(parts)) => render_tuple(parts, registry, met, text),
        Some(ContainerFormat::Struct(fields)) => render_fields(fields, registry, met, text),
        Some(ContainerFormat::Enum(variants)) => {
            text.push_str(" |");
            for variant in variants.values() {
                let _ = write!(text, " {}", variant.name);
                render_variant(&variant.value, registry, met, text);
                text.push_str(" |");
            }
        }
    }
}

fn render_variant(variant: &VariantFormat, registry: &Registry, met: &mut Vec<String>, text: &mut String) {
    match variant {
        VariantFormat::Variable(known) => {
            if let Some(variant) = &*known.borrow() {
                render_variant(variant, registry, met, text);
            }
        }
        VariantFormat::Unit => {}
        VariantFormat::NewType(inner) => render_tuple(std::slice::from_ref(inner), registry, met, text),
        VariantFormat::Tuple(parts) => render_tuple(parts, registry, met, text),
        VariantFormat::Struct(fields) => render_fields(fields, registry, met, text),
    }
}

fn render_tuple(parts: &[Format], registry: &Registry, met: &mut Vec<String>, text: &mut String) {
    text.push('(');
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        render(part, registry, met, text);
    }
    text.push(')');
}

fn render_fields(fields: &[Named<Format>], registry: &Registry, met: &mut Vec<String>, text: &mut String) {
    text.push_str(" { ");
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&field.name);
        text.push_str(": ");
        render(&field.value, registry, met, text);
    }
    text.push_str(" }");
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    fn schema<T: DeserializeOwned>() -> String {
        Schema::of::<T>().text().unwrap().to_string()
    }

    #[derive(Serialize, Deserialize)]
    struct Order {
        id: u64,
        items: Vec<(String, Option<u32>)>,
        kind: Kind,
    }

    #[derive(Serialize, Deserialize)]
    enum Kind {
        Plain,
        Gift { to: String },
    }

    #[test]
    fn a_schema_names_shapes() {
        assert_eq!(schema::<u64>(), "u64");
        assert_eq!(schema::<(String, u64)>(), "(str, u64)");
        assert_eq!(schema::<floodmark_base::text::Text>(), schema::<String>());
        assert_eq!(
            schema::<Order>(),
            "Order { id: u64, items: [(str, option<u32>)], kind: Kind | Plain | Gift { to: str } | }"
        );
    }

    #[test]
    fn every_variant_is_in_the_schema_wherever_the_enum_stands() {
        #[derive(Serialize, Deserialize)]
        struct Kinds {
            list: Vec<Kind>,
            by_name: std::collections::BTreeMap<String, Nested>,
        }
        #[derive(Serialize, Deserialize)]
        enum Nested {
            None,
            Deeper(Vec<Option<Colour>>),
            Back(Box<Nested>, Option<Box<Kinds>>),
        }
        #[derive(Serialize, Deserialize)]
        enum Colour {
            Red,
            Blue,
        }
        assert_eq!(
            schema::<Kinds>(),
            "Kinds { list: [Kind | Plain | Gift { to: str } |], by_name: {str: Nested | None | \
             Deeper([option<Colour | Red | Blue |>]) | Back(Nested, option<Kinds>) |} }"
        );
    }

    #[test]
    fn a_text_that_was_stored_before_is_still_one_of_the_type() {
        #[derive(Serialize, Deserialize)]
        struct Kinds {
            list: Vec<Kind>,
        }
        let schema = Schema::of::<Kinds>();
        assert!(schema.is("Kinds { list: [Kind | Plain | Gift { to: str } |] }"));
        assert!(schema.is("Kinds { list: [Kind | Plain |] }"));
        assert!(!schema.is("Kinds { list: [Kind | Gift { to: str } |] }"));
        assert!(!Schema::of::<Order>().is("Order"));
    }

    #[test]
    fn a_type_without_an_end_is_refused() {
        #[derive(Serialize, Deserialize)]
        enum Endless {
            More(Box<Endless>),
        }
        assert!(Schema::of::<Vec<u8>>().is("[u8]"));
        assert!(trace::<Endless>().unwrap_err().contains("without end"));
    }

    #[test]
    fn a_type_that_needs_a_self_describing_format_is_refused_with_a_reason() {
        #[derive(Serialize, Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Word(String),
        }
        assert!(Schema::of::<Either>().text().is_err());
    }
}
