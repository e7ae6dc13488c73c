//! The name of a file in its directory: any bytes that the system allows, not only UTF-8.

use std::borrow::Borrow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The bytes of a file's name. Encoded as a run of bytes, which is how a string with the same bytes is encoded: positions and
/// ranges that were stored when names were strings are read as they are. Clones share the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileName(Arc<[u8]>);

impl FileName {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn in_directory(&self, directory: &Path) -> PathBuf {
        directory.join(OsStr::from_bytes(&self.0))
    }

    /// A file that is still being written, or that is nobody's input.
    pub fn is_hidden_or_temporary(&self) -> bool {
        self.0.starts_with(b".") || self.0.starts_with(b"_") || self.0.ends_with(b".tmp")
    }
}

impl From<OsString> for FileName {
    fn from(name: OsString) -> Self {
        Self(name.into_vec().into())
    }
}

impl From<&str> for FileName {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().into())
    }
}

impl Borrow<[u8]> for FileName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OsStr::from_bytes(&self.0).display().fmt(f)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OsStr::from_bytes(&self.0).fmt(f)
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = FileName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a file's name")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<FileName, E> {
                Ok(FileName(bytes.into()))
            }
        }

        // Borrowed from the input before it is copied, so a wrong length makes no room for itself.
        deserializer.deserialize_bytes(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floodmark_base::codec::{decode, encode};

    #[test]
    fn a_name_is_stored_as_the_string_with_its_bytes_was() {
        let name = FileName::from("größe.txt");
        assert_eq!(encode(&name).unwrap(), encode("größe.txt").unwrap());
        assert_eq!(decode::<FileName>(&encode("größe.txt").unwrap()).unwrap(), name);
    }

    #[test]
    fn a_name_that_is_not_utf8_survives_its_encoding_and_leads_to_its_file() {
        let name = FileName::from(OsString::from_vec(b"caf\xe9".to_vec()));
        assert_eq!(decode::<FileName>(&encode(&name).unwrap()).unwrap(), name);
        let path = name.in_directory(Path::new("/in"));
        assert_eq!(path.as_os_str().as_bytes(), b"/in/caf\xe9");
    }
}
