//! Feeds the decoder `block_head`, as the bytes are and with their checksums put right.
#![no_main]

use floodmark::testing::decoders::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    Decoder::named("block_head").feed(bytes);
});
