//! Keys and states of an operator as people and programs read them.

use serde::Serialize;
use serde_json::Value;

use super::failure::{Failure, Result};
use super::page::time;
use floodmark_store::checkpoint::OperatorEntry;
use floodmark_store::state::OperatorNumber;
use floodmark_store::state::shape::{Shape, from_hex, to_hex};

/// The key of an operator, as it is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The operator.
    pub uid: String,
    /// The key, as JSON or plain text.
    #[arg(required_unless_present = "key_hex", allow_hyphen_values = true)]
    pub key: Option<String>,
    /// The key's encoded bytes instead: for keys that cannot be typed.
    #[arg(long, value_name = "HEX", conflicts_with = "key")]
    pub key_hex: Option<String>,
}

/// An operator's types, or why they cannot be read.
pub(crate) struct Types {
    pub uid: String,
    pub number: OperatorNumber,
    key: Result<Shape, String>,
    state: Result<Shape, String>,
}

/// Something stored, as JSON of its type; bytes that are not of the type are shown in hex.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub(crate) struct Seen {
    pub value: Value,
    /// The bytes, where they could not be read as their type.
    pub hex: Option<String>,
    /// Why not.
    pub unreadable: Option<String>,
}

/// A key with its state, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct SeenEntry {
    pub key: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl KeyArgs {
    /// The key's encoded bytes.
    ///
    /// # Errors
    /// Usage, where it is not of the operator's key type.
    pub fn encoded(&self, types: &Types) -> Result<Vec<u8>> {
        let uid = &types.uid;
        if let Some(hex) = &self.key_hex {
            return from_hex(hex)
                .ok_or_else(|| Failure::usage(format!("--key-hex {hex}: expected pairs of hex digits")));
        }
        let text = self.key.as_deref().unwrap_or_default();
        let shape = types.key.as_ref().map_err(|reason| {
            Failure::usage(format!("keys of \"{uid}\" can be given with --key-hex only: {reason}"))
        })?;
        shape.encode_text(text).map_err(|misfit| {
            Failure::usage(format!("key {text} is no key of \"{uid}\": {misfit}; keys are of the type {shape}"))
        })
    }
}

impl Types {
    pub fn of(operator: &OperatorEntry) -> Self {
        let shape = |text: &str| Shape::parse(text).map_err(|error| error.to_string());
        Self {
            uid: operator.uid.to_string(),
            number: operator.number,
            key: shape(&operator.key_type),
            state: shape(&operator.state_type),
        }
    }

    pub fn key(&self, bytes: &[u8]) -> Seen {
        seen(&self.key, bytes)
    }

    pub fn state(&self, bytes: &[u8]) -> Seen {
        seen(&self.state, bytes)
    }

    /// The JSON of an entry.
    pub fn entry(&self, key: &[u8], state: Option<&[u8]>) -> SeenEntry {
        let (key, state) = (self.key(key), state.map(|state| self.state(state)));
        let (state, state_hex, why) = match state {
            None => (None, None, None),
            Some(seen) => (Some(seen.value), seen.hex, seen.unreadable),
        };
        SeenEntry { key: key.value, key_hex: key.hex, state, state_hex, unreadable: key.unreadable.or(why) }
    }

    /// A key as text.
    pub fn key_text(&self, bytes: &[u8]) -> String {
        text_of(&self.key, bytes)
    }

    /// The text by which `--prefix` finds a key: strings without quotes.
    pub fn plain_key_text(&self, bytes: &[u8]) -> String {
        match self.key(bytes) {
            Seen { value: Value::String(text), .. } => text,
            Seen { hex: Some(hex), .. } => hex,
            Seen { value, .. } => value.to_string(),
        }
    }

    /// A state as text: of `map_with_state` the state and when it was used.
    pub fn state_text(&self, bytes: &[u8]) -> String {
        let Some(shape) = self.state.as_ref().ok().filter(|shape| shape.is_timed()) else {
            return text_of(&self.state, bytes);
        };
        match (shape.decode(bytes), shape.decode_for_people(bytes, time)) {
            (Ok(stored), Ok(readable)) => match stored["used"].as_u64() {
                Some(0) => format!("{}  (never used)", readable["state"]),
                Some(used) => format!("{}  (used {})", readable["state"], time(used)),
                None => readable.to_string(),
            },
            _ => text_of(&self.state, bytes),
        }
    }

    /// Whether a key's bytes, its state's bytes, come back from their JSON: what an export must know.
    pub fn exact(&self, key: &[u8], key_seen: &Seen, state: &[u8], state_seen: &Seen) -> (bool, bool) {
        (is_exact(&self.key, key, key_seen), is_exact(&self.state, state, state_seen))
    }
}

fn is_exact(shape: &Result<Shape, String>, bytes: &[u8], seen: &Seen) -> bool {
    shape.as_ref().is_ok_and(|shape| seen.hex.is_none() && shape.encode(&seen.value).is_ok_and(|again| again == bytes))
}

fn seen(shape: &Result<Shape, String>, bytes: &[u8]) -> Seen {
    let decoded = match shape {
        Ok(shape) => shape.decode(bytes).map_err(|error| error.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    match decoded {
        Ok(value) => Seen { value, hex: None, unreadable: None },
        Err(reason) => Seen { value: Value::Null, hex: Some(to_hex(bytes)), unreadable: Some(reason) },
    }
}

fn text_of(shape: &Result<Shape, String>, bytes: &[u8]) -> String {
    let decoded = match shape {
        Ok(shape) => shape.decode_for_people(bytes, time).map_err(|error| error.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    match decoded {
        Ok(value) => value.to_string(),
        Err(reason) => format!("0x{} ({reason})", to_hex(bytes)),
    }
}
