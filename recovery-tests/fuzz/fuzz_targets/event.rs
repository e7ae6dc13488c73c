//! Feeds the decoder `event`, as the bytes are and with their checksums put right.
#![no_main]

use floodmark::testing::decoders::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    Decoder::named("event").feed(bytes);
});
