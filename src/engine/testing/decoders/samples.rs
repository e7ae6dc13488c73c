//! Valid values drawn from a seed, and their bytes.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::sink::decoding::encode_object_file;
use crate::source::RecordBlock;
use floodmark_base::bytes::Bytes;
use floodmark_base::codec::encode;
use floodmark_base::id::{
    BatchId, BatchTime, Epoch, Lineage, LogId, ManifestSequence, Position, Sequence, TypeHash, Uid, WriterNonce,
};
use floodmark_base::text::Text;
use floodmark_store::batch::event::{BatchEvent, Commit, DeadLetter, Digest, Plan, PlannedInput, PlannedTask, Receipt};
use floodmark_store::block::{BlockHead, KeyedPosition};
use floodmark_store::checkpoint::{
    CheckpointFiles, JobPoint, KeyLayout, LogPoint, Manifest, ManifestKind, OperatorEntry, SourceEntry, SourcePosition,
};
use floodmark_store::state::OperatorNumber;
use floodmark_store::state::files::CheckpointFile;

/// A record with a part of each sort that the encoding knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    number: i64,
    large: u128,
    small: (u8, i8, bool, char),
    text: Text,
    string: String,
    bytes: Bytes,
    list: Vec<(u32, Option<String>)>,
    map: BTreeMap<u16, Vec<u64>>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Line(u64),
    Area { width: u32, names: Vec<Text> },
}

impl Sample {
    /// Another one each time.
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let shape = match rng.random_range(0..3) {
            0 => Shape::Point,
            1 => Shape::Line(number(rng)),
            _ => Shape::Area { width: rng.random(), names: list(rng, |rng| Text::from(text(rng))) },
        };
        Self {
            number: rng.random(),
            large: rng.random(),
            small: (rng.random(), rng.random(), rng.random(), rng.random()),
            text: Text::from(text(rng)),
            string: text(rng),
            bytes: Bytes::from(bytes(rng).as_slice()),
            list: list(rng, |rng| (rng.random(), rng.random::<bool>().then(|| text(rng)))),
            map: list(rng, |rng| (rng.random(), list(rng, number))).into_iter().collect(),
            shape,
        }
    }
}

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A number of any length.
fn number(rng: &mut StdRng) -> u64 {
    let bits = rng.random_range(0..64);
    rng.random::<u64>() >> bits
}

fn text(rng: &mut StdRng) -> String {
    (0..rng.random_range(0..30)).map(|_| if rng.random_ratio(1, 8) { rng.random() } else { 'x' }).collect()
}

fn bytes(rng: &mut StdRng) -> Vec<u8> {
    list(rng, Rng::random)
}

fn list<T>(rng: &mut StdRng, mut element: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    (0..rng.random_range(0..6)).map(|_| element(rng)).collect()
}

fn uid(rng: &mut StdRng) -> Uid {
    Uid::from(text(rng).as_str())
}

fn type_hash(rng: &mut StdRng) -> Option<TypeHash> {
    rng.random::<bool>().then(|| TypeHash(rng.random()))
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    encode(value).expect("a sample is encoded")
}

pub(super) fn event(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    let batch = BatchId(number(rng));
    encoded(&match rng.random_range(0..9) {
        0 => {
            let (epoch, generation) = (Epoch(number(rng)), Epoch(number(rng)));
            BatchEvent::Opened { epoch, lineage: Lineage(rng.random()), generation }
        }
        1 => BatchEvent::Planned(Plan {
            batch,
            time: BatchTime(number(rng)),
            merged_ticks: number(rng),
            inputs: list(rng, |rng| PlannedInput {
                source: uid(rng),
                range_type: type_hash(rng),
                tasks: list(rng, |rng| match rng.random_range(0..3) {
                    0 => PlannedTask::Block(Sequence(number(rng))),
                    1 => PlannedTask::Range(bytes(rng)),
                    _ => {
                        let mut sequences = list(rng, |rng| Sequence(rng.random_range(0..100)));
                        sequences.sort();
                        sequences.dedup();
                        PlannedTask::Blocks(sequences.into_iter().collect())
                    }
                }),
            }),
        }),
        2 => BatchEvent::AttemptStarted { batch, attempt: rng.random() },
        3 => BatchEvent::AttemptFailed { batch, attempt: rng.random(), operator: text(rng), panic: text(rng) },
        4 => BatchEvent::DeadLettered {
            batch,
            letters: list(rng, |rng| DeadLetter {
                source: uid(rng),
                task: rng.random(),
                record: number(rng),
                operator: text(rng),
                panic: text(rng),
                bytes: bytes(rng),
            }),
        },
        5 => BatchEvent::Committed(Commit {
            batch,
            job_version: text(rng),
            records: list(rng, |rng| (uid(rng), number(rng))),
            receipts: list(rng, |rng| (uid(rng), list(rng, |rng| Receipt { task: rng.random(), bytes: bytes(rng) }))),
            digests: list(rng, |rng| (uid(rng), Digest { count: number(rng), sum: rng.random() })),
            processing_ms: number(rng),
        }),
        6 => BatchEvent::Published { batch },
        7 => BatchEvent::SourceDecided { source: uid(rng), batch, decision: bytes(rng) },
        _ => BatchEvent::GivenUp { blocks: list(rng, |rng| Sequence(number(rng))) },
    })
}

pub(super) fn block_head(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    let position = rng.random::<bool>().then(|| Position(number(rng)));
    encoded(&BlockHead { source: uid(rng), position, records: number(rng), record_type: type_hash(rng) })
}

pub(super) fn records(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    block(&list(rng, Sample::random))
}

/// The payload of a block of these records.
pub(super) fn block(records: &[Sample]) -> Vec<u8> {
    let mut block = RecordBlock::default();
    records.iter().for_each(|record| block.push(record).expect("a sample is encoded"));
    block.finish().to_vec()
}

pub(super) fn object_file(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let records: Vec<Sample> = (0..rng.random_range(0..8)).map(|_| Sample::random(&mut rng)).collect();
    encode_object_file(&records)
}

pub(super) fn state(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    [encoded(&text(rng)), encoded(&Sample::random(rng))].concat()
}

/// Names that were taken, and perhaps a file that was taken in part.
pub(super) fn position(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    let mut names = list(rng, text);
    names.sort_unstable();
    names.dedup();
    let partial = rng.random::<bool>().then(|| (text(rng), (number(rng), rng.random::<i64>()), number(rng)));
    encoded(&(names, partial))
}

pub(super) fn manifest(seed: u64) -> Vec<u8> {
    let rng = &mut rng(seed);
    let kind = match rng.random_range(0..4) {
        0 => ManifestKind::Checkpoint,
        1 => ManifestKind::Claim,
        2 => ManifestKind::Rejection {
            of: ManifestSequence(number(rng)),
            directory: rng.random::<bool>().then(|| text(rng)),
            reason: text(rng),
        },
        _ => ManifestKind::Rollback,
    };
    let file = |rng: &mut StdRng| CheckpointFile { name: text(rng), size: number(rng), crc32: rng.random() };
    let checkpoint = rng.random::<bool>().then(|| CheckpointFiles { directory: text(rng), files: list(rng, file) });
    let manifest = Manifest {
        sequence: ManifestSequence(number(rng)),
        parent_crc: rng.random(),
        boundary: ManifestSequence(number(rng)),
        epoch: Epoch(number(rng)),
        nonce: WriterNonce(rng.random()),
        kind,
        point: point(rng),
        checkpoint,
    };
    manifest.to_bytes().expect("a sample is encoded")
}

fn point(rng: &mut StdRng) -> JobPoint {
    JobPoint {
        job_name: text(rng),
        job_version: text(rng),
        lineage: Lineage(rng.random()),
        batch: BatchId(number(rng)),
        next_batch: BatchId(number(rng)),
        last_batch_time: BatchTime(number(rng)),
        zero_time: BatchTime(number(rng)),
        published_through: BatchId(number(rng)),
        generation: Epoch(number(rng)),
        sources: list(rng, source),
        log: LogPoint { log: LogId(rng.random()), next: Sequence(number(rng)), oldest_needed: Sequence(number(rng)) },
        keys: KeyLayout {
            hash_name: text(rng),
            test_vector: rng.random(),
            key_groups: rng.random(),
            partitions: rng.random(),
            cells: rng.random(),
        },
        interval_ms: number(rng),
        operators: list(rng, |rng| OperatorEntry {
            uid: uid(rng),
            number: OperatorNumber(rng.random()),
            kind: text(rng),
            key_type: text(rng),
            state_type: text(rng),
            state_version: rng.random(),
            entries: number(rng),
            parameters: list(rng, |rng| (text(rng), number(rng))),
        }),
    }
}

fn source(rng: &mut StdRng) -> SourceEntry {
    let keyed = |rng: &mut StdRng| KeyedPosition { key: bytes(rng), position: bytes(rng) };
    SourceEntry {
        uid: uid(rng),
        kind: text(rng),
        record_type: text(rng),
        position_type: text(rng),
        range_type: text(rng),
        position: match rng.random_range(0..4) {
            0 => SourcePosition::None,
            1 => SourcePosition::Keyed(list(rng, keyed)),
            2 => SourcePosition::Direct(bytes(rng)),
            _ => SourcePosition::Version1(bytes(rng)),
        },
    }
}
