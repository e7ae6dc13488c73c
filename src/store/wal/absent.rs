//! The frame that stands for a block whose body is gone with the machine that took it in. Pure: bytes in, bytes out.
//!
//! Its head is the block's, followed by the length of the body as a varint; it has no body. Sequence, epoch and what was synced are the
//! block's, so a log with such frames reads as any other.

use super::FrameKind;
use super::frame::{FrameHeader, payload_checksum};
use floodmark_base::codec::encode;
use floodmark_base::id::LogId;

/// The frame in place of the block with this header and this head.
pub fn absent_frame(block: &FrameHeader, head: &[u8], log: LogId) -> Vec<u8> {
    let bytes = encode(&u64::from(block.body_len)).expect("a number encodes");
    let head = [head, &bytes].concat();
    let header = FrameHeader {
        kind: FrameKind::Absent,
        head_len: head.len() as u32, // of a head that names a source, and nine bytes at most
        body_len: 0,
        payload_checksum: payload_checksum(&head, &[]),
        ..*block
    };
    [&header.encode(log)[..], &head].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{AbsentHead, BlockHead};
    use crate::wal::{Frame, WalVersion};
    use floodmark_base::id::{Epoch, Sequence, Uid};

    #[test]
    fn what_the_frame_of_an_absent_block_says_is_what_the_block_said() {
        let head = BlockHead { source: Uid::from("lines"), position: None, records: 7, record_type: None };
        let block = FrameHeader {
            kind: FrameKind::Block,
            version: WalVersion::V2,
            head_len: head.encode().len() as u32,
            body_len: 300,
            payload_checksum: 1,
            sequence: Sequence(7),
            synced_through: Sequence(5),
            epoch: Epoch(3),
        };
        let bytes = absent_frame(&block, &head.encode(), LogId(1));
        let frame = Frame::decode_expected(&bytes, LogId(1), Epoch(3), Sequence(7)).unwrap();
        assert_eq!((frame.header.kind, frame.header.synced_through), (FrameKind::Absent, Sequence(5)));
        assert_eq!(frame.head, b"\x05lines\x00\x07\x00\xfb\x2c\x01");
        assert_eq!(AbsentHead::decode(frame.header.version, frame.head).unwrap(), AbsentHead { head, bytes: 300 });
    }
}
