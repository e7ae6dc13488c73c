//! What is stored of sources and windows, compared with the program, row by row.

use super::*;
use crate::batch::timing::{Slide, Window};
use crate::checkpoint::SourcePosition;
use crate::recovery::descriptor::{SourceDescriptor, StoredType};
use floodmark_base::id::{Position, TypeHash};

fn direct(uid: &str, position: &str, ranges: &str) -> SourceDescriptor {
    let (position, ranges) = (StoredType::of_text(position), StoredType::of_text(ranges));
    SourceDescriptor::direct(Uid::from(uid), "text_file_stream".to_string(), position, ranges)
}

fn with_source(source: SourceDescriptor) -> Declared {
    Declared { sources: vec![source], ..declared() }
}

fn dropping(program: Declared, uid: &str) -> Declared {
    Declared { dropped: vec![Uid::from(uid)], ..program }
}

/// The facts, with the position of this source in the newest checkpoint.
fn with_position(stored: SourceDescriptor, position: SourcePosition) -> Facts {
    let mut facts = facts([]);
    facts.candidates[0].point.sources.push(stored.entry(position));
    facts
}

#[test]
fn the_position_of_a_source_that_the_program_does_not_have_is_kept_unless_dropped() {
    let facts = with_position(direct("files", "(u64, u64)", "u64"), SourcePosition::Direct(vec![0, 0]));
    assert_eq!(decided(&facts).sources.absent, [Uid::from("files")]);
    let decision = decide(&facts, &dropping(declared(), "files"), &[]).unwrap();
    assert_eq!((decision.sources.absent, decision.sources.given_up), (vec![], vec![Uid::from("files")]));
}

#[test]
fn a_source_of_another_kind_is_refused_unless_its_position_is_dropped() {
    let files = || direct("words", "(u64, u64)", "u64");
    let receiver_was_here = with_position(receiver("words", "str"), Position(7).into());
    let files_were_here = with_position(files(), SourcePosition::Direct(vec![0, 0]));
    // What version 1 wrote does not say which of the two it is; the position of a file source is no number.
    let unknown = SourcePosition::Version1(vec![0, 0]);
    let version_1 = with_position(SourceDescriptor { kind: String::new(), ..files() }, unknown);
    for (facts, program) in
        [(receiver_was_here, with_source(files())), (files_were_here, declared()), (version_1, declared())]
    {
        refused(&facts, &program, ErrorKind::Incompatible, &["source \"words\" was", "drop_state(\"words\")"]);
        let decision = decide(&facts, &dropping(program, "words"), &[]).unwrap();
        assert_eq!(decision.sources.given_up, [Uid::from("words")]);
    }
    // Of a receiver without positions nothing is stored that could be misread.
    let facts = with_position(receiver("words", "str"), SourcePosition::None);
    assert!(decide(&facts, &with_source(files()), &[]).is_ok());
    // A call that is left in the program gives nothing up that fits.
    let facts = with_position(receiver("words", "str"), Position(7).into());
    assert!(decide(&facts, &dropping(declared(), "words"), &[]).unwrap().sources.given_up.is_empty());
}

#[test]
fn a_position_of_another_type_is_refused_unless_dropped() {
    let facts = with_position(direct("files", "Position | V1(u64) |", "u64"), SourcePosition::Direct(vec![0, 9]));
    let program = |position| with_source(direct("files", position, "u64"));
    assert!(decide(&facts, &program("Position | V1(u64) | V2(str) |"), &[]).is_ok());
    let words = ["position of source \"files\"", "V1(u64)", "V1(i64)", "drop_state(\"files\")"];
    refused(&facts, &program("Position | V1(i64) |"), ErrorKind::Incompatible, &words);
    assert!(decide(&facts, &dropping(program("Position | V1(i64) |"), "files"), &[]).is_ok());
}

#[test]
fn blocks_of_another_type_are_refused_unless_dropped_or_used_up() {
    let typed = |sequence, text| BlockRef { record_type: Some(TypeHash::of(text)), ..block(sequence, "words") };
    let mut facts = facts([]);
    log(&mut facts).blocks.insert(typed(85, "u64"));
    log(&mut facts).blocks.insert(typed(86, "str"));
    facts.chain = chain_that_names(receiver("words", "u64"));
    let words = ["\"words\" has 1 block of u64", "are of str now", "graceful stop", "drop_state(\"words\")"];
    refused(&facts, &declared(), ErrorKind::Incompatible, &words);
    let left = |facts: &Facts, program: &Declared| decide(facts, program, &[]).unwrap().unplanned.len();
    assert_eq!(left(&facts, &dropping(declared(), "words")), 1, "what fits stays");
    log(&mut facts).blocks.retain(|block| block.at.sequence != Sequence(85));
    assert_eq!(left(&facts, &declared()), 1, "blocks that are used up do not matter");
    log(&mut facts).blocks.insert(block(87, "words"));
    assert_eq!(left(&facts, &declared()), 2, "of which type a block of version 1 is, is not known");
}

#[test]
fn a_planned_batch_of_another_type_is_refused() {
    let mut facts = facts([published(7)]);
    let planned = log(&mut facts).batches[&BatchId(7)].plan.blocks().next().unwrap();
    let typed = log(&mut facts).blocks.get(planned).unwrap().clone();
    log(&mut facts).blocks.insert(BlockRef { record_type: Some(TypeHash::of("u64")), ..typed });
    facts.chain = chain_that_names(receiver("words", "u64"));
    let words = ["batch 7", "records of source \"words\"", "planned as u64", "are str now", "graceful stop"];
    refused(&facts, &declared(), ErrorKind::Incompatible, &words);
    refused(&facts, &dropping(declared(), "words"), ErrorKind::Incompatible, &["batch 7"]);
    assert!(decide(&facts, &with_source(receiver("words", "u64")), &[]).is_ok());
    let words = ["batch 7", "\"words\", which was a receiver", "is text_file_stream now"];
    refused(&facts, &with_source(direct("words", "u64", "u64")), ErrorKind::Incompatible, &words);

    let mut ranges = batch(7);
    let tasks = vec![PlannedTask::Range(vec![3])];
    ranges.plan.inputs = vec![PlannedInput { source: "files".into(), range_type: Some(TypeHash::of("u64")), tasks }];
    let mut facts = self::facts([ranges]);
    log(&mut facts).blocks.retain(|_| false);
    assert!(decide(&facts, &with_source(direct("files", "u64", "u64")), &[]).is_ok());
    let words = ["batch 7", "ranges of source \"files\"", "are i64 now"];
    refused(&facts, &with_source(direct("files", "u64", "i64")), ErrorKind::Incompatible, &words);
}

/// A chain whose manifest lists this source.
fn chain_that_names(source: SourceDescriptor) -> ChainFacts {
    let mut named = point(0);
    named.sources.push(source.entry(SourcePosition::None));
    let manifest = Manifest {
        sequence: ManifestSequence(1),
        parent_crc: 0,
        boundary: ManifestSequence(1),
        epoch: Epoch(1),
        nonce: WriterNonce(1),
        kind: ManifestKind::Claim,
        point: named,
        checkpoint: None,
    };
    let link = Link::Sound { manifest: Box::new(manifest), crc: 0 };
    ChainFacts { links: [(ManifestSequence(1), link)].into(), ..ChainFacts::default() }
}

#[test]
fn a_window_that_has_changed_is_refused() {
    let window = |length_ms, slide_ms| {
        let window = Window { length_ms, slide: Slide(slide_ms) };
        let sums = descriptor("counts").of_window(window);
        Declared { operators: vec![sums], ..declared() }
    };
    let stored = |length_ms, slide_ms| {
        let mut facts = facts([]);
        let parameters = [("length_ms", length_ms), ("slide_ms", slide_ms)];
        facts.candidates[0].point.operators[0].parameters =
            parameters.map(|(name, it)| (name.to_string(), it)).to_vec();
        facts
    };
    assert!(decide(&stored(600, 300), &window(600, 300), &[]).is_ok());
    let words = ["\"counts\" had a slide of 300 ms", "has 200 ms now", "drop_state(\"counts\")"];
    refused(&stored(600, 300), &window(600, 200), ErrorKind::Incompatible, &words);
    refused(&stored(600, 300), &window(900, 300), ErrorKind::Incompatible, &["a length of 600 ms", "900 ms now"]);
    let every = |interval_ms, program: Declared| Declared { interval_ms, ..program };
    assert!(decide(&stored(600, 300), &every(150, window(600, 300)), &[]).is_ok(), "the grid of the slide stays");
    let words = ["batch interval of 100 ms", "300 ms now"];
    refused(&stored(600, 300), &every(300, window(600, 300)), ErrorKind::Incompatible, &words);
    refused(&stored(600, 100), &every(50, window(600, 100)), ErrorKind::Incompatible, &["batch interval"]);
    assert!(decide(&facts([]), &every(300, window(600, 300)), &[]).is_ok(), "version 1 did not say");
}
