//! Every decoder of stored bytes, fed what was never written: it never panics, takes no more memory than the input justifies,
//! and what it takes for valid is encoded as the same again.
//!
//! `FLOODMARK_DECODER_CASES` (per decoder and test, default 1,000) and `FLOODMARK_DECODER_SEED` repeat or prolong a run.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use floodmark::testing::decoders::{ALL, Decoder};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// One test at a time: memory is measured for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// The most that a decoder may have allocated at once, for so many bytes. Collections reserve up to 1 MiB by a claimed length,
/// each inside of another; texts and runs of bytes by the steps of the encoding's limit; a log is copied a few times.
fn bound(len: usize) -> usize {
    (4 << 20) + 2_048 * len
}

/// Feeds a decoder and looks at what it allocates; says whether the bytes were taken as they are, and when sealed.
fn feed(decoder: &Decoder, bytes: &[u8]) -> [bool; 2] {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let taken = decoder.feed(bytes);
    let most = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(most <= bound(bytes.len()), "{}: {} bytes had {most} bytes allocated", decoder.name, bytes.len());
    taken
}

/// Runs `test` on what `strategy` makes, for every decoder; the seed is printed.
fn for_every_decoder<S: Strategy>(strategy: S, test: impl Fn(&Decoder, S::Value) -> Result<(), TestCaseError>) {
    let _alone = alone();
    let (cases, seed) =
        (from_environment("FLOODMARK_DECODER_CASES", 1_000), from_environment("FLOODMARK_DECODER_SEED", 1));
    println!("{cases} cases for each decoder, seed {seed}");
    for decoder in ALL {
        let config = Config {
            cases: cases.try_into().expect("as many cases as a u32 counts"),
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            ..Config::default()
        };
        let ran = TestRunner::new(config).run(&strategy, |value| test(&decoder, value));
        ran.unwrap_or_else(|failure| panic!("{}, seed {seed}: {failure}", decoder.name));
    }
}

/// A change to valid bytes. Places are parts of the whole, in 65,536ths.
#[derive(Clone, Debug)]
enum Change {
    Flip {
        at: u16,
        bit: u8,
    },
    Put {
        at: u16,
        byte: u8,
    },
    Cut {
        from: u16,
        until: u16,
    },
    CutOff {
        at: u16,
    },
    Repeat {
        from: u16,
        until: u16,
        times: u8,
    },
    Splice {
        other: u64,
        from: u16,
        at: u16,
    },
    /// A varint of eight bytes that claims a length, over what is there or before it.
    Claim {
        at: u16,
        length: u64,
        over: bool,
    },
    Fill {
        from: u16,
        until: u16,
        byte: u8,
    },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let lengths = prop_oneof![
        (0_u32..64).prop_map(|bits| 1_u64 << bits),
        (0_u32..64).prop_map(|bits| u64::MAX >> bits),
        any::<u64>(),
    ];
    let change = prop_oneof![
        (any::<u16>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (any::<u16>(), prop_oneof![any::<u8>(), 248_u8..=255]).prop_map(|(at, byte)| Change::Put { at, byte }),
        (any::<u16>(), any::<u16>()).prop_map(|(from, until)| Change::Cut { from, until }),
        any::<u16>().prop_map(|at| Change::CutOff { at }),
        (any::<u16>(), any::<u16>(), 1_u8..20).prop_map(|(from, until, times)| Change::Repeat { from, until, times }),
        (0_u64..1_000, any::<u16>(), any::<u16>()).prop_map(|(other, from, at)| Change::Splice { other, from, at }),
        (any::<u16>(), lengths, any::<bool>()).prop_map(|(at, length, over)| Change::Claim { at, length, over }),
        (any::<u16>(), any::<u16>(), prop_oneof![Just(0), Just(255)]).prop_map(|(from, until, byte)| Change::Fill {
            from,
            until,
            byte
        }),
    ];
    prop::collection::vec(change, 1..4)
}

fn place(len: usize, at: u16) -> usize {
    len * usize::from(at) / 65_536
}

impl Change {
    fn apply(&self, decoder: &Decoder, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let span = |from: u16, until: u16| place(len, from.min(until))..place(len, from.max(until));
        match *self {
            _ if bytes.is_empty() => {}
            Change::Flip { at, bit } => bytes[place(len, at)] ^= 1 << bit,
            Change::Put { at, byte } => bytes[place(len, at)] = byte,
            Change::Cut { from, until } => drop(bytes.drain(span(from, until))),
            Change::CutOff { at } => bytes.truncate(place(len, at)),
            Change::Repeat { from, until, times } => {
                let part = bytes[span(from, until)].repeat(times.into());
                let at = span(from, until).start;
                drop(bytes.splice(at..at, part));
            }
            Change::Splice { other, from, at } => {
                let other = (decoder.sample)(other);
                let part = other[place(other.len(), from)..].to_vec();
                drop(bytes.splice(place(len, at).., part));
            }
            Change::Claim { at, length, over } => {
                let claim = [&[253][..], &length.to_le_bytes()].concat();
                let from = place(len, at);
                let until = if over { len.min(from + claim.len()) } else { from };
                drop(bytes.splice(from..until, claim));
            }
            Change::Fill { from, until, byte } => bytes[span(from, until)].fill(byte),
        }
    }
}

#[test]
fn arbitrary_bytes_are_refused_or_taken_without_a_panic() {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(prop_oneof![0_u8..4, 250_u8..=255], 0..80),
    ];
    for_every_decoder(bytes, |decoder, bytes| {
        feed(decoder, &bytes);
        Ok(())
    });
}

#[test]
fn changed_bytes_are_refused_or_taken_without_a_panic() {
    for_every_decoder((any::<u64>(), changes()), |decoder, (seed, changes)| {
        let mut bytes = (decoder.sample)(seed);
        changes.iter().for_each(|change| change.apply(decoder, &mut bytes));
        feed(decoder, &bytes);
        Ok(())
    });
}

#[test]
fn what_was_encoded_is_decoded_as_the_same() {
    for_every_decoder(any::<u64>(), |decoder, seed| {
        let bytes = (decoder.sample)(seed);
        prop_assert_eq!((decoder.decode)(&bytes), Ok(()));
        let mut sealed = bytes.clone();
        (decoder.seal)(&mut sealed);
        prop_assert!(sealed == bytes, "checksums that were right are put right to others");
        Ok(())
    });
}

#[test]
fn a_cut_or_a_byte_too_much_is_refused_where_the_end_is_known() {
    // A frame ignores what follows it, and a segment ends where it was interrupted.
    let ends = |decoder: &&Decoder| !["frame", "segment"].contains(&decoder.name);
    let _alone = alone();
    for decoder in ALL.iter().filter(ends) {
        for seed in 0..20 {
            let whole = (decoder.sample)(seed);
            for len in 0..whole.len() {
                let refused = (decoder.decode)(&whole[..len]);
                assert!(refused.is_err(), "{}, sample {seed}: cut to {len} of {} bytes", decoder.name, whole.len());
            }
            let longer = [&whole[..], b"\n"].concat();
            assert!((decoder.decode)(&longer).is_err(), "{}, sample {seed}: a byte more", decoder.name);
        }
    }
}

/// What the fuzz targets begin with, `fuzz/corpus/`: with `FLOODMARK_WRITE_CORPUS=1` it is written anew.
#[test]
fn the_seed_corpus_of_the_fuzz_targets_is_decoded() {
    const SAMPLES: u64 = 4;
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let _alone = alone();
    for decoder in ALL {
        for seed in 0..SAMPLES {
            let path = corpus.join(decoder.name).join(format!("sample-{seed}"));
            if std::env::var_os("FLOODMARK_WRITE_CORPUS").is_some() {
                std::fs::create_dir_all(corpus.join(decoder.name)).unwrap();
                std::fs::write(&path, (decoder.sample)(seed)).unwrap();
            }
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!((decoder.decode)(&bytes), Ok(()), "{}", path.display());
        }
        let target = corpus.join("../fuzz_targets").join(decoder.name).with_extension("rs");
        assert!(target.exists(), "{} feeds this decoder", target.display());
    }
}

/// Otherwise the tests above would try nothing but checksums.
#[test]
fn changed_bytes_get_behind_the_checksums_and_are_found_there() {
    let _alone = alone();
    for decoder in ALL {
        let mut counts = [[0; 2]; 2];
        for seed in 0..400 {
            let mut bytes = (decoder.sample)(seed % 20);
            let at = seed as u16 * 163;
            Change::Flip { at, bit: seed as u8 % 8 }.apply(&decoder, &mut bytes);
            for (count, taken) in counts.iter_mut().zip(feed(&decoder, &bytes)) {
                count[usize::from(taken)] += 1;
            }
        }
        println!("{}: {counts:?} [refused, taken], as they are and sealed", decoder.name);
        let [_, [refused, taken]] = counts;
        assert!(refused > 0 && taken > 0, "{}: {refused} sealed inputs were refused, {taken} taken", decoder.name);
    }
}

/// No writer comes that far, but a frame that says so must not end the process that reads it.
#[test]
fn a_frame_after_which_no_other_could_come_is_refused() {
    let _alone = alone();
    let segment = Decoder::named("segment");
    let with_frames = (0..).map(segment.sample).find(|bytes| bytes.len() > 64).expect("a segment with frames");
    let (mut bytes, end) = (with_frames, u64::MAX.to_le_bytes());
    bytes[48..56].copy_from_slice(&end);
    bytes[56..64].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    bytes[80..88].copy_from_slice(&end);
    (segment.seal)(&mut bytes);
    feed(&segment, &bytes);
    let mut frame = bytes.split_off(64);
    let decoder = Decoder::named("frame");
    (decoder.seal)(&mut frame);
    let refused = (decoder.decode)(&frame).expect_err("a frame with the largest sequence of all");
    assert!(refused.contains("a sequence that another can follow"), "{refused}");
}

/// Larger inputs are allowed more, in steps: a claim must stay within the step of its input.
#[test]
fn a_claimed_length_makes_no_more_room_than_the_input_justifies() {
    let _alone = alone();
    for decoder in ALL {
        for len in [100, 4_097, 20_000, 300_000] {
            for bits in (10..64).step_by(3) {
                let claim = [&[253][..], &(1_u64 << bits).to_le_bytes()].concat();
                let whole = (decoder.sample)(bits);
                for at in [0, 1, 20, whole.len() / 2] {
                    let mut bytes = whole.clone();
                    bytes.truncate(at);
                    bytes.extend(&claim);
                    bytes.resize(len.max(bytes.len()), b'x');
                    feed(&decoder, &bytes);
                }
            }
        }
    }
}
