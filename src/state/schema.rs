//! The schema of a type: what serde says of its shape, as text.
//!
//! It is stored with an operator's state and compared when a job starts (I-9), so it names shapes, not Rust paths: a type may
//! move to another module, and `String` and [`Text`](crate::Text) are the same. Structs and enums keep their serde names.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_reflection::{ContainerFormat, Error, Format, Named, Registry, Samples, Tracer, TracerConfig, VariantFormat};

/// The shape of a type: `str`, `(str, u64)`, `Order { id: u64, items: [str] }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema(Result<String, String>);

impl Schema {
    /// The schema of `T`, or why it has none that can be stored: serde attributes such as `flatten` and `untagged` need a
    /// self-describing format, which stored state is not.
    pub fn of<T: DeserializeOwned>() -> Self {
        Self(trace::<T>().map(|(format, registry)| {
            let mut text = String::new();
            render(&format, &registry, &mut Vec::new(), &mut text);
            text
        }))
    }

    /// The schema that was written down as this text.
    #[cfg(any(test, feature = "cli"))]
    pub fn of_text(text: &str) -> Self {
        Self(Ok(text.to_string()))
    }

    /// The text, or why there is none.
    pub fn text(&self) -> Result<&str, &str> {
        self.0.as_deref().map_err(String::as_str)
    }
}

/// More passes than any sensible type needs: each pass sees one more variant of every enum in it.
const MOST_PASSES: usize = 4_096;

/// Lets the type deserialize itself until every variant of every enum in it was seen.
fn trace<T: DeserializeOwned>() -> Result<(Format, Registry), String> {
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
        Format::Variable(_) => text.push('?'),
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
                match &variant.value {
                    VariantFormat::Variable(_) | VariantFormat::Unit => {}
                    VariantFormat::NewType(inner) => render_tuple(std::slice::from_ref(inner), registry, met, text),
                    VariantFormat::Tuple(parts) => render_tuple(parts, registry, met, text),
                    VariantFormat::Struct(fields) => render_fields(fields, registry, met, text),
                }
                text.push_str(" |");
            }
        }
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
        assert_eq!(schema::<crate::Text>(), schema::<String>());
        assert_eq!(
            schema::<Order>(),
            "Order { id: u64, items: [(str, option<u32>)], kind: Kind | Plain | Gift { to: str } | }"
        );
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
