//! What a type's own serde code asks for: it is deserialized from nothing, again and again, until every variant of every enum
//! in it was seen.
//!
//! Each pass goes through the whole type anew: enums may be reachable through an option, a list or a map only, and each pass shows
//! one variant of an enum. The contents of those are left out where the same container was passed before in the pass, which is
//! what ends the passage of recursive types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::de::value::U32Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{Error as _, VariantAccess, Visitor};
use serde_reflection::{ContainerFormat, Format, FormatHolder, Named, Registry, VariantFormat};

/// More passes than any sensible type needs: each one sees one more variant of some enum.
const MOST_PASSES: usize = 4_096;

/// The format of `T` and of all containers in it.
///
/// # Errors
/// Why it has none: its serde code asks for what only a self-describing format can give, or refuses every value tried.
pub(super) fn trace<T: DeserializeOwned>() -> Result<(Format, Registry), String> {
    let mut tracer = Tracer::default();
    let mut format = Format::unknown();
    for _ in 0..MOST_PASSES {
        tracer.passed.clear();
        T::deserialize(Tracing { tracer: &mut tracer, format: &mut format }).map_err(|Untraceable(reason)| reason)?;
        if tracer.enums.values().all(Choices::are_seen) {
            return tracer.finish(format);
        }
    }
    let unseen = tracer.enums.iter().filter(|(_, choices)| !choices.are_seen());
    let names: Vec<&str> = unseen.map(|(name, _)| *name).collect();
    Err(format!("not every variant of {} can be reached", names.join(", ")))
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
    /// Whether the innermost container was met in this pass before.
    again: bool,
}

/// What is known of the variants of an enum.
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
    fn finish(self, mut format: Format) -> Result<(Format, Registry), String> {
        let mut registry = self.registry;
        format.reduce();
        for (name, container) in &mut registry {
            container.normalize().map_err(|_| format!("a part of {name} was never seen"))?;
        }
        Ok((format, registry))
    }

    /// What was learned of a container, with what was known before.
    fn learn(&mut self, name: &str, container: ContainerFormat) -> Result<(), Untraceable> {
        match self.registry.get_mut(name) {
            Some(known) => known.unify(container).map_err(Untraceable::custom),
            None => {
                self.registry.insert(name.to_string(), container);
                Ok(())
            }
        }
    }

    /// Goes through the contents of a container.
    fn inside<R>(&mut self, place: Place, visit: impl FnOnce(&mut Self) -> R) -> R {
        let outside = self.again;
        self.again = !self.passed.insert(place);
        self.within.push(place);
        let visited = visit(self);
        self.within.pop();
        self.again = outside;
        visited
    }

    /// The variant of an enum to go through now.
    fn choose(&mut self, name: &'static str, variants: usize) -> usize {
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

/// Why a type cannot be traced.
#[derive(Debug)]
struct Untraceable(String);

impl Display for Untraceable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untraceable {}

impl serde::de::Error for Untraceable {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// Gives plain values, and notes what it was asked for.
struct Tracing<'t> {
    tracer: &'t mut Tracer,
    format: &'t mut Format,
}

/// Containers within containers, deeper than any type needs that has a value at all.
const DEEPEST: usize = 500;

impl Tracing<'_> {
    fn container(&mut self, name: &str) -> Result<(), Untraceable> {
        if self.tracer.within.len() > DEEPEST {
            return Err(Untraceable(format!("{name} contains itself without end")));
        }
        self.note(Format::TypeName(name.to_string()))
    }

    fn note(&mut self, format: Format) -> Result<(), Untraceable> {
        self.format.unify(format).map_err(Untraceable::custom)
    }
}

macro_rules! plain {
    ($($method:ident $format:ident $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
            self.note(Format::$format)?;
            visitor.$visit($value)
        })*
    };
}

macro_rules! self_describing {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Untraceable> {
            Err(Untraceable(concat!("its serde code needs a self-describing format (", stringify!($method), ")").to_string()))
        })*
    };
}

impl<'de> Deserializer<'de> for Tracing<'_> {
    type Error = Untraceable;

    plain! {
        deserialize_bool Bool visit_bool false;
        deserialize_i8 I8 visit_i8 0;
        deserialize_i16 I16 visit_i16 0;
        deserialize_i32 I32 visit_i32 0;
        deserialize_i64 I64 visit_i64 0;
        deserialize_i128 I128 visit_i128 0;
        deserialize_u8 U8 visit_u8 0;
        deserialize_u16 U16 visit_u16 0;
        deserialize_u32 U32 visit_u32 0;
        deserialize_u64 U64 visit_u64 0;
        deserialize_u128 U128 visit_u128 0;
        deserialize_f32 F32 visit_f32 0.0;
        deserialize_f64 F64 visit_f64 0.0;
        deserialize_char Char visit_char 'A';
        deserialize_str Str visit_borrowed_str "";
        deserialize_string Str visit_string String::new();
        deserialize_bytes Bytes visit_borrowed_bytes b"";
        deserialize_byte_buf Bytes visit_byte_buf Vec::new();
    }

    self_describing! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Unit)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut inner = Format::unknown();
        let value = if self.tracer.again {
            visitor.visit_none()
        } else {
            visitor.visit_some(Tracing { tracer: self.tracer, format: &mut inner })
        };
        self.note(Format::Option(Box::new(inner)))?;
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut inner = Format::unknown();
        let elements = if self.tracer.again { &mut [] } else { std::slice::from_mut(&mut inner) };
        let value = visitor.visit_seq(Parts { tracer: self.tracer, formats: elements.iter_mut() });
        self.note(Format::Seq(Box::new(inner)))?;
        value
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut inner = [Format::unknown(), Format::unknown()];
        let entries = if self.tracer.again { &mut [] } else { inner.as_mut_slice() };
        let value = visitor.visit_map(Parts { tracer: self.tracer, formats: entries.iter_mut() });
        let [key, of] = inner;
        self.note(Format::Map { key: Box::new(key), value: Box::new(of) })?;
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(length);
        let value = visitor.visit_seq(Parts { tracer: self.tracer, formats: parts.iter_mut() });
        self.note(Format::Tuple(parts))?;
        value
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.container(name)?;
        self.tracer.learn(name, ContainerFormat::UnitStruct)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.container(name)?;
        let mut inner = Format::unknown();
        let value = self
            .tracer
            .inside((name, None), |tracer| visitor.visit_newtype_struct(Tracing { tracer, format: &mut inner }));
        self.tracer.learn(name, ContainerFormat::NewTypeStruct(Box::new(inner)))?;
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.container(name)?;
        let mut parts = unknown(length);
        let value =
            self.tracer.inside((name, None), |tracer| visitor.visit_seq(Parts { tracer, formats: parts.iter_mut() }));
        self.tracer.learn(name, ContainerFormat::TupleStruct(parts))?;
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.container(name)?;
        let mut parts = unknown(fields.len());
        let value =
            self.tracer.inside((name, None), |tracer| visitor.visit_seq(Parts { tracer, formats: parts.iter_mut() }));
        self.tracer.learn(name, ContainerFormat::Struct(named(fields, parts)))?;
        value
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        if variants.is_empty() {
            return Err(Untraceable(format!("the enum {name} has no variants")));
        }
        self.container(name)?;
        let chosen = self.tracer.choose(name, variants.len());
        let mut format = VariantFormat::unknown();
        let value = self.tracer.inside((name, Some(chosen)), |tracer| {
            visitor.visit_enum(OneVariant { tracer, index: chosen as u32, format: &mut format })
        })?;
        let variant = Named { name: variants[chosen].to_string(), value: format };
        self.tracer.learn(name, ContainerFormat::Enum(BTreeMap::from([(chosen as u32, variant)])))?;
        if let Some(choices) = self.tracer.enums.get_mut(name) {
            choices.base.get_or_insert(chosen);
        }
        Ok(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

fn unknown(count: usize) -> Vec<Format> {
    std::iter::repeat_with(Format::unknown).take(count).collect()
}

fn named(names: &[&'static str], formats: Vec<Format>) -> Vec<Named<Format>> {
    names.iter().zip(formats).map(|(name, value)| Named { name: (*name).to_string(), value }).collect()
}

/// The parts of a tuple, the fields of a struct, or the one entry of a list or a map.
struct Parts<'t> {
    tracer: &'t mut Tracer,
    formats: std::slice::IterMut<'t, Format>,
}

impl Parts<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        match self.formats.next() {
            Some(format) => seed.deserialize(Tracing { tracer: self.tracer, format }).map(Some),
            None => Ok(None),
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.formats.len())
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Untraceable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Untraceable> {
        self.next(seed)?.ok_or_else(|| Untraceable("a value was asked for twice".to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.formats.len() / 2)
    }
}

/// The variant that was chosen.
struct OneVariant<'t> {
    tracer: &'t mut Tracer,
    index: u32,
    format: &'t mut VariantFormat,
}

impl OneVariant<'_> {
    fn note(&mut self, format: VariantFormat) -> Result<(), Untraceable> {
        self.format.unify(format).map_err(Untraceable::custom)
    }
}

impl<'de> EnumAccess<'de> for OneVariant<'_> {
    type Error = Untraceable;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Untraceable> {
        let index: U32Deserializer<Untraceable> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for OneVariant<'_> {
    type Error = Untraceable;

    fn unit_variant(mut self) -> Result<(), Untraceable> {
        self.note(VariantFormat::Unit)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Untraceable> {
        let mut inner = Format::unknown();
        let value = seed.deserialize(Tracing { tracer: self.tracer, format: &mut inner });
        self.note(VariantFormat::NewType(Box::new(inner)))?;
        value
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(length);
        let value = visitor.visit_seq(Parts { tracer: self.tracer, formats: parts.iter_mut() });
        self.note(VariantFormat::Tuple(parts))?;
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(fields.len());
        let value = visitor.visit_seq(Parts { tracer: self.tracer, formats: parts.iter_mut() });
        self.note(VariantFormat::Struct(named(fields, parts)))?;
        value
    }
}
