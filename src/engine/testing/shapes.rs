//! Stored bytes through the schema of their type, and exports, as the command reads them: for tests of both.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use floodmark_store::export::{ExportReader, StoredEntry};
use floodmark_store::state::schema::Schema;
use floodmark_store::state::shape::Shape;

/// The schema of a type, as a manifest stores it.
///
/// # Errors
/// Why the type has none.
pub fn schema_of<T: DeserializeOwned>() -> Result<String, String> {
    Schema::of::<T>().text().map(str::to_string).map_err(str::to_string)
}

/// The encoding of a value, as it is stored.
///
/// # Panics
/// When it does not encode.
#[must_use]
pub fn encoded(value: &impl Serialize) -> Vec<u8> {
    floodmark_base::codec::encode(value).expect("a value that encodes")
}

/// Stored bytes as JSON.
///
/// # Errors
/// When the schema cannot be read, or the bytes are not of it.
pub fn shown(schema: &str, bytes: &[u8]) -> Result<Value, String> {
    let shape = Shape::parse(schema).map_err(|error| error.to_string())?;
    shape.decode(bytes).map_err(|error| error.to_string())
}

/// JSON as stored bytes.
///
/// # Errors
/// When the schema cannot be read, or the value is not of it.
pub fn stored(schema: &str, value: &Value) -> Result<Vec<u8>, String> {
    let shape = Shape::parse(schema).map_err(|error| error.to_string())?;
    shape.encode(value).map_err(|error| error.to_string())
}

/// A key as a user types it, as stored bytes.
///
/// # Errors
/// As [`stored`].
pub fn stored_key(schema: &str, text: &str) -> Result<Vec<u8>, String> {
    let shape = Shape::parse(schema).map_err(|error| error.to_string())?;
    shape.encode_text(text).map_err(|error| error.to_string())
}

/// The uid of an operator, an encoded key and its encoded state.
pub type ExportedEntry = (String, Vec<u8>, Vec<u8>);

/// The entries of an export.
///
/// # Errors
/// When the export is not whole.
pub fn entries_of_export(export: &[u8]) -> Result<Vec<ExportedEntry>, String> {
    let mut reader = ExportReader::new(export).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| error.to_string())? {
        let StoredEntry { operator, key, value } = entry;
        entries.push((reader.header().operators[operator].uid.clone(), key, value));
    }
    Ok(entries)
}
