//! The head of the files and objects that are written whole: magic (8 bytes), format version u32, length u32, and a CRC32 u32 over all
//! but the magic and itself. Little-endian, and the same in all versions.

/// Bytes of the head.
pub const HEAD_LEN: usize = 20;

/// The number that stands `at` so many bytes, which must be there.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The CRC32 that belongs into the head: over version and length, and everything behind the head.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[8..16]);
    hasher.update(&bytes[HEAD_LEN..]);
    hasher.finalize()
}
