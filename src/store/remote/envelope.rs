//! The objects that Floodmark writes itself: envelopes of manifests, and the log's objects. Pure: bytes in, bytes out.
//!
//! # Format
//! `docs/formats/remote.md`. Little-endian: magic (8 bytes), format version u32, length of the description u32, CRC32 u32 over
//! everything but the magic and itself, the description in the crate's encoding, then the contents that it tells of, one after another.
//! The head is the same in all versions. Envelopes are written in version 2, and read in version 1, too; all others have version 1.
//!
//! An object is created whole or not at all, and never changed, so bytes that do not decode are damage.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::RemoteError;
use crate::checkpoint::head::{HEAD_LEN, checksum, number};
use crate::checkpoint::{MANIFEST_VERSION, Manifest, ManifestDamage};
use crate::state::files::CheckpointFile;
use floodmark_base::codec::{decode, encode_into};
use floodmark_base::id::{Epoch, SegmentNumber, WriterNonce};

const MANIFEST_MAGIC: [u8; 8] = *b"FLDMRMAN";
const LOG_MAGIC: [u8; 8] = *b"FLDMRLOG";
const UPLOADS_MAGIC: [u8; 8] = *b"FLDMRUPL";
const KNOWN_MAGIC: [u8; 8] = *b"FLDMRKNW";
/// The format version of envelopes that is written; version 1 is read, too.
const ENVELOPE_VERSION: u32 = 2;
/// The format version of all other objects.
const VERSION: u32 = 1;

/// Who wrote an object: enough to know one's own, and to tell who took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub epoch: Epoch,
    pub nonce: WriterNonce,
    /// Process and machine, for people.
    pub who: String,
}

/// Which objects of the log a start reads: those from `first` on; below `next` they were there when this was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogRange {
    pub first: u64,
    pub next: u64,
}

/// A manifest as object storage holds it, with all that a machine that has nothing needs to find its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub writer: Writer,
    pub log: LogRange,
    /// The bytes of the manifest, as they stand in the working copy.
    pub manifest: Bytes,
    /// The files of the manifest's checkpoint, and where each is.
    pub files: Vec<StoredFile>,
}

/// A file of a checkpoint, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub file: CheckpointFile,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An object of its own.
    Object(String),
    /// The envelope itself.
    Inline(Bytes),
}

/// An object of the log: pieces of segments, or none in the one by which a life takes the log over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogObject {
    pub number: u64,
    pub writer: Writer,
    pub pieces: Vec<Piece>,
}

/// Bytes of a segment; those at offset 0 begin it, anew if it was begun before. What lies between two pieces of a segment is the body of a
/// block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub segment: SegmentNumber,
    pub offset: u64,
    pub bytes: Bytes,
}

/// Uploads in parts that are under way: each object, and the id that the store gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadsUnderWay(pub Vec<(String, String)>);

/// What a working copy holds of the log; a file of its own there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// All objects below this number, as far as they were there.
    pub next: u64,
    /// Of the object before it.
    pub crc32: u32,
    /// Segments, and up to where the objects tell of them.
    pub segments: Vec<(u64, u64)>,
    /// The objects that hold pieces, and the newest segment in each.
    pub objects: Vec<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeHead {
    writer: Writer,
    log: LogRange,
    manifest_bytes: u64,
    /// The files of each part of the manifest's checkpoint, in the manifest's order. So far there is one part, or no checkpoint.
    parts: Vec<PlacedFiles>,
}

/// As version 1 had it: the files of the only part.
#[derive(Deserialize)]
struct EnvelopeHeadV1 {
    writer: Writer,
    log: LogRange,
    manifest_bytes: u64,
    files: PlacedFiles,
}

/// Files, and the object of each; those without one follow the manifest in this order.
type PlacedFiles = Vec<(CheckpointFile, Option<String>)>;

impl From<EnvelopeHeadV1> for EnvelopeHead {
    fn from(old: EnvelopeHeadV1) -> Self {
        let EnvelopeHeadV1 { writer, log, manifest_bytes, files } = old;
        Self { writer, log, manifest_bytes, parts: vec![files] }
    }
}

#[derive(Serialize, Deserialize)]
struct LogHead {
    number: u64,
    writer: Writer,
    /// Segment, offset, length.
    pieces: Vec<(u64, u64, u64)>,
}

impl Envelope {
    pub fn to_bytes(&self) -> Result<Bytes, RemoteError> {
        let place = |stored: &StoredFile| match &stored.place {
            Place::Object(name) => Some(name.clone()),
            Place::Inline(_) => None,
        };
        let files: PlacedFiles = self.files.iter().map(|stored| (stored.file.clone(), place(stored))).collect();
        let head = EnvelopeHead {
            writer: self.writer.clone(),
            log: self.log,
            manifest_bytes: self.manifest.len() as u64,
            parts: if files.is_empty() { Vec::new() } else { vec![files] },
        };
        let inline = self.files.iter().filter_map(|stored| match &stored.place {
            Place::Inline(bytes) => Some(&bytes[..]),
            Place::Object(_) => None,
        });
        seal(MANIFEST_MAGIC, ENVELOPE_VERSION, &head, std::iter::once(&self.manifest[..]).chain(inline))
    }

    /// Reads the object `name`; every byte is checked before any is believed.
    pub fn from_bytes(name: &str, bytes: &Bytes) -> Result<Self, RemoteError> {
        let sealed = Sealed::open(MANIFEST_MAGIC, name, bytes)?;
        let head = match sealed.version {
            1 => sealed.description::<EnvelopeHeadV1>()?.into(),
            ENVELOPE_VERSION => sealed.description::<EnvelopeHead>()?,
            _ => return Err(sealed.refused(ENVELOPE_VERSION)),
        };
        let mut contents = sealed.contents();
        let manifest = contents.take(head.manifest_bytes)?;
        let mut files = Vec::new();
        for (file, object) in head.parts.into_iter().flatten() {
            let place = match object {
                Some(object) => Place::Object(object),
                None => Place::Inline(contents.take(file.size)?),
            };
            files.push(StoredFile { file, place });
        }
        contents.end()?;
        Ok(Self { writer: head.writer, log: head.log, manifest, files })
    }

    /// Reads the object `name`, and the manifest within it.
    pub fn with_manifest(name: &str, bytes: &Bytes) -> Result<(Self, Manifest), RemoteError> {
        let envelope = Self::from_bytes(name, bytes)?;
        let manifest = Manifest::from_bytes(&envelope.manifest).map_err(|damage| match damage {
            ManifestDamage::Damaged { .. } => damaged(name, "a manifest within it", damage),
            ManifestDamage::Version { found } => {
                RemoteError::Version { name: name.to_string(), expected: MANIFEST_VERSION, found }
            }
            ManifestDamage::Parts { found } => RemoteError::Parts { name: name.to_string(), found },
        })?;
        let listed = manifest.checkpoint.iter().flat_map(|checkpoint| &checkpoint.files);
        if !listed.eq(envelope.files.iter().map(|stored| &stored.file)) {
            return Err(damaged(name, "the files of the manifest within it", "others"));
        }
        Ok((envelope, manifest))
    }
}

impl LogObject {
    pub fn to_bytes(&self) -> Result<Bytes, RemoteError> {
        let place = |piece: &Piece| (piece.segment.0, piece.offset, piece.bytes.len() as u64);
        let pieces = self.pieces.iter().map(place).collect();
        let head = LogHead { number: self.number, writer: self.writer.clone(), pieces };
        seal(LOG_MAGIC, VERSION, &head, self.pieces.iter().map(|piece| &piece.bytes[..]))
    }

    /// Reads the object `name`, which must be of this number.
    pub fn from_bytes(name: &str, number: u64, bytes: &Bytes) -> Result<Self, RemoteError> {
        let (head, mut contents): (LogHead, _) = unseal(LOG_MAGIC, name, bytes)?;
        if head.number != number {
            return Err(damaged(name, format!("object {number} of the log"), format!("object {}", head.number)));
        }
        let mut pieces = Vec::with_capacity(head.pieces.len());
        for (segment, offset, len) in head.pieces {
            pieces.push(Piece { segment: SegmentNumber(segment), offset, bytes: contents.take(len)? });
        }
        contents.end()?;
        Ok(Self { number, writer: head.writer, pieces })
    }
}

impl UploadsUnderWay {
    pub fn to_bytes(&self) -> Result<Bytes, RemoteError> {
        seal(UPLOADS_MAGIC, VERSION, self, std::iter::empty())
    }

    pub fn from_bytes(name: &str, bytes: &Bytes) -> Result<Self, RemoteError> {
        unseal_alone(UPLOADS_MAGIC, name, bytes)
    }
}

impl Known {
    pub fn to_bytes(&self) -> Result<Bytes, RemoteError> {
        seal(KNOWN_MAGIC, VERSION, self, std::iter::empty())
    }

    pub fn from_bytes(name: &str, bytes: &Bytes) -> Result<Self, RemoteError> {
        unseal_alone(KNOWN_MAGIC, name, bytes)
    }
}

fn seal<'b>(
    magic: [u8; 8],
    version: u32,
    head: &impl Serialize,
    contents: impl Iterator<Item = &'b [u8]>,
) -> Result<Bytes, RemoteError> {
    let mut bytes = vec![0; HEAD_LEN];
    encode_into(head, &mut bytes).map_err(|error| damaged("", "a description that encodes", error))?;
    let length = u32::try_from(bytes.len() - HEAD_LEN)
        .map_err(|_| damaged("", "a description below 4 GiB", format!("{} bytes", bytes.len())))?;
    contents.for_each(|part| bytes.extend_from_slice(part));
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&bytes);
    bytes[16..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes.into())
}

/// Reads a description that stands alone.
fn unseal_alone<H: DeserializeOwned>(magic: [u8; 8], name: &str, bytes: &Bytes) -> Result<H, RemoteError> {
    let (head, contents) = unseal(magic, name, bytes)?;
    contents.end()?;
    Ok(head)
}

/// Reads the description of an object whose format has one version, and what follows it.
fn unseal<'n, H: DeserializeOwned>(
    magic: [u8; 8],
    name: &'n str,
    bytes: &'n Bytes,
) -> Result<(H, Contents<'n>), RemoteError> {
    let sealed = Sealed::open(magic, name, bytes)?;
    match sealed.version {
        VERSION => Ok((sealed.description()?, sealed.contents())),
        _ => Err(sealed.refused(VERSION)),
    }
}

/// A whole object: every byte is what was written.
struct Sealed<'n> {
    name: &'n str,
    version: u32,
    bytes: &'n Bytes,
    /// Where the description ends.
    end: usize,
}

impl<'n> Sealed<'n> {
    fn open(magic: [u8; 8], name: &'n str, bytes: &'n Bytes) -> Result<Self, RemoteError> {
        if bytes.len() < HEAD_LEN {
            return Err(damaged(name, format!("a head of {HEAD_LEN} bytes"), format!("{} bytes", bytes.len())));
        }
        if bytes[..8] != magic {
            let found = bytes[..8].escape_ascii().to_string();
            return Err(damaged(name, format!("the magic {}", magic.escape_ascii()), found));
        }
        let (stored, computed) = (number(bytes, 16), checksum(bytes));
        if stored != computed {
            let expected = format!("crc32 {computed:08x} over the {} bytes that are there", bytes.len());
            return Err(damaged(name, expected, format!("{stored:08x}")));
        }
        let end = HEAD_LEN.saturating_add(number(bytes, 12) as usize);
        Ok(Self { name, version: number(bytes, 8), bytes, end })
    }

    fn description<H: DeserializeOwned>(&self) -> Result<H, RemoteError> {
        let Some(description) = self.bytes.get(HEAD_LEN..self.end) else {
            let expected = format!("a description that ends at byte {}", self.end);
            return Err(damaged(self.name, expected, format!("{} bytes", self.bytes.len())));
        };
        decode(description).map_err(|error| damaged(self.name, "a description", error))
    }

    /// What follows the description, which must have been read.
    fn contents(&self) -> Contents<'n> {
        Contents { name: self.name, rest: self.bytes.slice(self.end..) }
    }

    fn refused(&self, expected: u32) -> RemoteError {
        RemoteError::Version { name: self.name.to_string(), expected, found: self.version }
    }
}

/// What follows the description.
struct Contents<'n> {
    name: &'n str,
    rest: Bytes,
}

impl Contents<'_> {
    fn take(&mut self, len: u64) -> Result<Bytes, RemoteError> {
        if len > self.rest.len() as u64 {
            return Err(damaged(self.name, format!("{len} more bytes"), format!("{}", self.rest.len())));
        }
        Ok(self.rest.split_to(len as usize))
    }

    fn end(self) -> Result<(), RemoteError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(damaged(self.name, "the end", format!("{} more bytes", self.rest.len())))
    }
}

pub(super) fn damaged(name: &str, expected: impl ToString, found: impl ToString) -> RemoteError {
    RemoteError::Damaged { name: name.to_string(), expected: expected.to_string(), found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer { epoch: Epoch(3), nonce: WriterNonce(4), who: "me".to_string() }
    }

    fn envelope() -> Envelope {
        let file = |name: &str, size| CheckpointFile { name: name.to_string(), size, crc32: 9 };
        Envelope {
            writer: writer(),
            log: LogRange { first: 5, next: 6 },
            manifest: Bytes::from_static(b"manifest"),
            files: vec![
                StoredFile { file: file("1.sst", 7), place: Place::Object("files/a/1.sst".to_string()) },
                StoredFile { file: file("CURRENT", 2), place: Place::Inline(Bytes::from_static(b"it")) },
            ],
        }
    }

    fn object() -> LogObject {
        let piece = Piece { segment: SegmentNumber(2), offset: 64, bytes: Bytes::from_static(b"frames") };
        LogObject { number: 8, writer: writer(), pieces: vec![piece] }
    }

    #[test]
    fn an_envelope_and_an_object_of_the_log_are_pinned_by_their_bytes() {
        let described = [
            b"\x03\x04\x02me\x05\x06\x08\x01\x02\x051.sst\x07\x09\x01\x0dfiles/a/1.sst",
            &b"\x07CURRENT\x02\x09\x00"[..],
        ];
        let expected = [described.concat(), b"manifestit".to_vec()].concat();
        let bytes = envelope().to_bytes().unwrap();
        assert_eq!((&bytes[..12], &bytes[20..]), (&b"FLDMRMAN\x02\0\0\0"[..], &expected[..]));
        assert_eq!(number(&bytes, 12) as usize, described.concat().len());
        assert_eq!(number(&bytes, 16), crc32fast::hash(&[&bytes[8..16], &bytes[20..]].concat()));
        let bytes = object().to_bytes().unwrap();
        assert_eq!(
            (&bytes[..12], &bytes[20..]),
            (&b"FLDMRLOG\x01\0\0\0"[..], &b"\x08\x03\x04\x02me\x01\x02\x40\x06frames"[..])
        );
    }

    #[test]
    fn an_envelope_of_version_1_is_read() {
        let files = [("1.sst", 7_u64, 9_u32, Some("files/a/1.sst")), ("CURRENT", 2, 9, None)];
        let files = files.map(|(name, size, crc32, object)| ((name, size, crc32), object)).to_vec();
        let head = (writer(), LogRange { first: 5, next: 6 }, 8_u64, files);
        let bytes = seal(MANIFEST_MAGIC, 1, &head, [&b"manifest"[..], b"it"].into_iter()).unwrap();
        assert_eq!(Envelope::from_bytes("x", &bytes).unwrap(), envelope());
    }

    /// Damage is rejected, and the checkpoint before it used; what a later build wrote must not be.
    #[test]
    fn an_envelope_or_a_manifest_of_another_version_is_refused_and_never_taken_for_damage() {
        let of_version = |version: u32, mut bytes: Vec<u8>| -> Bytes {
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            let crc = checksum(&bytes);
            bytes[16..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
            bytes.into()
        };
        let refused = |bytes: &Bytes| match Envelope::with_manifest("x", bytes).unwrap_err() {
            RemoteError::Version { expected, found, .. } => (expected, found),
            error => panic!("{error}"),
        };
        assert_eq!(refused(&of_version(3, envelope().to_bytes().unwrap().to_vec())), (ENVELOPE_VERSION, 3));
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoint/tests/version-2/manifests");
        let manifest = std::fs::read(place.join(format!("{:020}", 1))).unwrap();
        let later = Envelope { manifest: of_version(3, manifest.clone()), files: Vec::new(), ..envelope() };
        assert_eq!(refused(&later.to_bytes().unwrap()), (MANIFEST_VERSION, 3));
        let whole = Envelope { manifest: manifest.into(), ..later };
        assert_eq!(Envelope::with_manifest("x", &whole.to_bytes().unwrap()).unwrap().0, whole);
        let others = Envelope { files: envelope().files, ..whole };
        let error = Envelope::with_manifest("x", &others.to_bytes().unwrap()).unwrap_err();
        assert!(matches!(error, RemoteError::Damaged { .. }), "files that its manifest does not name: {error}");
    }

    #[test]
    fn they_read_back_and_every_flipped_bit_and_every_cut_is_found() {
        let (one, other) = (envelope().to_bytes().unwrap(), object().to_bytes().unwrap());
        assert_eq!(Envelope::from_bytes("x", &one).unwrap(), envelope());
        assert_eq!(LogObject::from_bytes("x", 8, &other).unwrap(), object());
        let known = Known { next: 9, crc32: 1, segments: vec![(2, 70)], objects: vec![(8, 2)] };
        assert_eq!(Known::from_bytes("x", &known.to_bytes().unwrap()).unwrap(), known);
        assert!(LogObject::from_bytes("x", 9, &other).is_err(), "another number");
        for whole in [&one, &other] {
            let reads = |bytes: Bytes| {
                Envelope::from_bytes("x", &bytes).is_ok() || LogObject::from_bytes("x", 8, &bytes).is_ok()
            };
            for at in 0..whole.len() * 8 {
                let mut rotten = whole.to_vec();
                rotten[at / 8] ^= 1 << (at % 8);
                assert!(!reads(rotten.into()), "bit {at}");
            }
            (0..whole.len()).for_each(|len| assert!(!reads(whole.slice(..len)), "cut at {len}"));
        }
    }
}
