//! A serializer in front of bincode's: it refuses what bincode would lose without a word, and can give floats one form.
//!
//! A struct whose serde code leaves a field out (`skip_serializing_if`) is written without that field, and bincode has nothing
//! that says so: whoever reads it takes the next bytes for the field. Here leaving a field out is an error that names it.

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value that is written strictly. With `ONE_ZERO`, −0.0 is written as 0.0 and every NaN as the same NaN.
pub(super) struct Strict<'v, T: ?Sized, const ONE_ZERO: bool>(pub &'v T);

impl<T: Serialize + ?Sized, const ONE_ZERO: bool> Serialize for Strict<'_, T, ONE_ZERO> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Through::<S, ONE_ZERO>(serializer))
    }
}

/// Hands everything on.
struct Through<S, const ONE_ZERO: bool>(S);

/// The fields of a struct.
struct Fields<S, const ONE_ZERO: bool> {
    fields: S,
    of: &'static str,
}

macro_rules! plain {
    ($($method:ident $of:ty;)*) => {
        $(#[inline]
        fn $method(self, value: $of) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        })*
    };
}

impl<S: Serializer, const ONE_ZERO: bool> Serializer for Through<S, ONE_ZERO> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Through<S::SerializeSeq, ONE_ZERO>;
    type SerializeTuple = Through<S::SerializeTuple, ONE_ZERO>;
    type SerializeTupleStruct = Through<S::SerializeTupleStruct, ONE_ZERO>;
    type SerializeTupleVariant = Through<S::SerializeTupleVariant, ONE_ZERO>;
    type SerializeMap = Through<S::SerializeMap, ONE_ZERO>;
    type SerializeStruct = Fields<S::SerializeStruct, ONE_ZERO>;
    type SerializeStructVariant = Fields<S::SerializeStructVariant, ONE_ZERO>;

    plain! {
        serialize_bool bool;
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_i128 i128;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
        serialize_u128 u128;
        serialize_char char;
        serialize_str &str;
        serialize_bytes &[u8];
        serialize_unit_struct &'static str;
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.0.serialize_f32(match value {
            value if !ONE_ZERO => value,
            value if value.is_nan() => f32::NAN,
            value => value + 0.0, // −0.0 + 0.0 is 0.0
        })
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.0.serialize_f64(match value {
            value if !ONE_ZERO => value,
            value if value.is_nan() => f64::NAN,
            value => value + 0.0,
        })
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Strict::<T, ONE_ZERO>(value))
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Strict::<T, ONE_ZERO>(value))
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Strict::<T, ONE_ZERO>(value))
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(length).map(Through)
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(length).map(Through)
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, length).map(Through)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple_variant(name, index, variant, length).map(Through)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(length).map(Through)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(Fields { fields: self.0.serialize_struct(name, length)?, of: name })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Ok(Fields { fields: self.0.serialize_struct_variant(name, index, variant, length)?, of: variant })
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! elements {
    ($($of:ident $method:ident;)*) => {
        $(impl<S: $of, const ONE_ZERO: bool> $of for Through<S, ONE_ZERO> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Strict::<T, ONE_ZERO>(value))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

elements! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl<S: SerializeMap, const ONE_ZERO: bool> SerializeMap for Through<S, ONE_ZERO> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(&Strict::<T, ONE_ZERO>(key))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Strict::<T, ONE_ZERO>(value))
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

macro_rules! fields {
    ($($of:ident)*) => {
        $(impl<S: $of, const ONE_ZERO: bool> $of for Fields<S, ONE_ZERO> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, field: &'static str, value: &T) -> Result<(), S::Error> {
                self.fields.serialize_field(field, &Strict::<T, ONE_ZERO>(value))
            }

            #[cold]
            fn skip_field(&mut self, field: &'static str) -> Result<(), S::Error> {
                Err(S::Error::custom(format!(
                    "{} leaves out its field `{field}` (skip_serializing_if), and the encoding has no names by which a reader \
                     could tell",
                    self.of
                )))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.fields.end()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }
