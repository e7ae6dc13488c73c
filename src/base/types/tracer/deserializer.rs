//! The deserializer that gives a type what the tracer says, and notes what it was asked for.

use std::collections::BTreeMap;

use serde::de::value::U32Deserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{VariantAccess, Visitor};
use serde_reflection::{ContainerFormat, Format, FormatHolder, Named, VariantFormat};

use super::super::scalar::Blob;
use super::{DEEPEST, FLATTENED, Fill, Tracer, Untraceable};

/// The step into the first variant of an enum; steps before it are into fields.
const VARIANTS: u32 = 1 << 20;

/// Gives values, and notes what it was asked for.
pub(super) struct Tracing<'t> {
    pub tracer: &'t mut Tracer,
    pub format: &'t mut Format,
}

impl Tracing<'_> {
    fn container(&mut self, name: &str) -> Result<(), Untraceable> {
        if self.tracer.within.len() > DEEPEST {
            return Err(self.impossible(format!("{name} contains itself without end")));
        }
        self.note(Format::TypeName(name.to_string()))
    }

    fn note(&mut self, format: Format) -> Result<(), Untraceable> {
        self.format.unify(format).map_err(Untraceable::of)
    }

    /// No other value could help.
    fn impossible(&mut self, reason: String) -> Untraceable {
        self.tracer.pass.impossible = Some(reason.clone());
        Untraceable(reason)
    }
}

macro_rules! plain {
    ($($method:ident $format:ident $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
            self.note(Format::$format)?;
            visitor.$visit(self.tracer.scalar())
        })*
    };
}

macro_rules! self_describing {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, _: V) -> Result<V::Value, Untraceable> {
            Err(self.impossible(concat!("its serde code needs a self-describing format (", stringify!($method), ")").to_string()))
        })*
    };
}

impl<'de> Deserializer<'de> for Tracing<'_> {
    type Error = Untraceable;

    plain! {
        deserialize_bool Bool visit_bool;
        deserialize_i8 I8 visit_i8;
        deserialize_i16 I16 visit_i16;
        deserialize_i32 I32 visit_i32;
        deserialize_i64 I64 visit_i64;
        deserialize_i128 I128 visit_i128;
        deserialize_u8 U8 visit_u8;
        deserialize_u16 U16 visit_u16;
        deserialize_u32 U32 visit_u32;
        deserialize_u64 U64 visit_u64;
        deserialize_u128 U128 visit_u128;
        deserialize_char Char visit_char;
    }

    self_describing! { deserialize_any deserialize_ignored_any }

    fn deserialize_identifier<V: Visitor<'de>>(mut self, _: V) -> Result<V::Value, Untraceable> {
        let is_key = self.tracer.pass.key_at == Some(self.tracer.pass.frames.len());
        let other = "its serde code needs a self-describing format (deserialize_identifier)";
        Err(self.impossible(if is_key { FLATTENED } else { other }.to_string()))
    }

    fn deserialize_f32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::F32)?;
        if self.tracer.fill() == Fill::Sample {
            return visitor.visit_f32(self.tracer.next_of_sample(true));
        }
        let value = self.tracer.float() as f32; // small numbers, or a zero or a NaN that stays one
        self.tracer.give(&value);
        visitor.visit_f32(value)
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::F64)?;
        let value = self.tracer.float();
        self.tracer.give(&value);
        visitor.visit_f64(value)
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Str)?;
        visitor.visit_str(&self.tracer.text())
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Str)?;
        visitor.visit_string(self.tracer.text())
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Bytes)?;
        let Blob(bytes) = self.tracer.bytes();
        visitor.visit_bytes(&bytes)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Bytes)?;
        let Blob(bytes) = self.tracer.bytes();
        visitor.visit_byte_buf(bytes)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.note(Format::Unit)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut format = Format::unknown();
        let value = if self.tracer.is_some() {
            let format = &mut format;
            self.tracer.filled(|tracer| tracer.frame(0, |tracer| visitor.visit_some(Tracing { tracer, format })))
        } else {
            visitor.visit_none()
        };
        self.note(Format::Option(Box::new(format)))?;
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let mut format = Format::unknown();
        let length = self.tracer.length();
        let elements = &mut format;
        let value =
            self.tracer.filled(|tracer| visitor.visit_seq(Elements { tracer, format: elements, length, at: 0 }));
        self.note(Format::Seq(Box::new(format)))?;
        value
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        let (mut key, mut value) = (Format::unknown(), Format::unknown());
        let length = self.tracer.length();
        let formats = (&mut key, &mut value);
        let visited = self.tracer.filled(|tracer| visitor.visit_map(Entries { tracer, formats, length, at: 0 }));
        self.note(Format::Map { key: Box::new(key), value: Box::new(value) })?;
        visited
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(length);
        let value = visitor.visit_seq(Parts::of(self.tracer, &mut parts));
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
        let format = &mut inner;
        let value = self.tracer.inside((name, None), |tracer| {
            tracer.frame(0, |tracer| visitor.visit_newtype_struct(Tracing { tracer, format }))
        });
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
        let value = self.tracer.inside((name, None), |tracer| visitor.visit_seq(Parts::of(tracer, &mut parts)));
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
        let value = self.tracer.inside((name, None), |tracer| visitor.visit_seq(Parts::of(tracer, &mut parts)));
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
            return Err(self.impossible(format!("the enum {name} has no variants")));
        }
        self.container(name)?;
        let chosen = self.tracer.choose(name, variants.len());
        let mut format = VariantFormat::unknown();
        let index = chosen as u32; // an enum has fewer variants
        let in_variant = &mut format;
        let value = self.tracer.frame(VARIANTS + index, |tracer| {
            tracer.inside((name, Some(chosen)), |tracer| {
                visitor.visit_enum(OneVariant { tracer, index, format: in_variant })
            })
        });
        let variant = Named { name: variants[chosen].to_string(), value: format };
        self.tracer.learn(name, ContainerFormat::Enum(BTreeMap::from([(index, variant)])))?;
        let value = value?;
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

/// The parts of a tuple, or the fields of a struct.
struct Parts<'t> {
    tracer: &'t mut Tracer,
    formats: &'t mut [Format],
    at: usize,
}

impl<'t> Parts<'t> {
    fn of(tracer: &'t mut Tracer, formats: &'t mut [Format]) -> Self {
        Self { tracer, formats, at: 0 }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        let Some(format) = self.formats.get_mut(self.at) else { return Ok(None) };
        let step = self.at as u32; // a type has fewer fields
        self.at += 1;
        self.tracer.frame(step, |tracer| seed.deserialize(Tracing { tracer, format })).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.formats.len() - self.at)
    }
}

/// The elements of a list.
struct Elements<'t> {
    tracer: &'t mut Tracer,
    format: &'t mut Format,
    length: u32,
    at: u32,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        if self.at == self.length {
            return Ok(None);
        }
        let format = &mut *self.format;
        let made = self.tracer.element(self.at, self.length, |tracer| {
            tracer.frame(0, |tracer| seed.deserialize(Tracing { tracer, format }))
        });
        self.at += 1;
        made.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        None // so that what is made grows as it does in a job
    }
}

/// The entries of a map.
struct Entries<'t> {
    tracer: &'t mut Tracer,
    formats: (&'t mut Format, &'t mut Format),
    length: u32,
    at: u32,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Untraceable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Untraceable> {
        if self.at == self.length {
            return Ok(None);
        }
        let format = &mut *self.formats.0;
        let made = self.tracer.element(self.at, self.length, |tracer| {
            tracer.frame(0, |tracer| {
                tracer.pass.key_at = Some(tracer.pass.frames.len());
                seed.deserialize(Tracing { tracer, format })
            })
        });
        self.tracer.pass.key_at = None;
        made.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Untraceable> {
        let format = &mut *self.formats.1;
        let made = self.tracer.element(self.at, self.length, |tracer| {
            tracer.frame(1, |tracer| seed.deserialize(Tracing { tracer, format }))
        });
        self.at += 1;
        made
    }

    fn size_hint(&self) -> Option<usize> {
        None
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
        self.format.unify(format).map_err(Untraceable::of)
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
        let format = &mut inner;
        let value = self.tracer.frame(0, |tracer| seed.deserialize(Tracing { tracer, format }));
        self.note(VariantFormat::NewType(Box::new(inner)))?;
        value
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(length);
        let value = visitor.visit_seq(Parts::of(self.tracer, &mut parts));
        self.note(VariantFormat::Tuple(parts))?;
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let mut parts = unknown(fields.len());
        let value = visitor.visit_seq(Parts::of(self.tracer, &mut parts));
        self.note(VariantFormat::Struct(named(fields, parts)))?;
        value
    }
}
