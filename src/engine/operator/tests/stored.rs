//! What operators keep in checkpoints, byte by byte and shape by shape: docs/formats/state.md has it in words.

use crate::dataflow::chunk::Origin;
use crate::operator::windows::panes::Panes;
use crate::operator::windows::reduce_by_key_and_window_inverse::Sliding;
use crate::operator::windows::window::KeptUnit;
use floodmark_base::codec::{decode, encode};
use floodmark_base::id::BatchTime;
use floodmark_store::state::schema::Schema;
use floodmark_store::state::spec::Timed;

#[test]
fn the_encoding_of_what_windows_and_timeouts_keep_is_pinned() {
    let unit = KeptUnit { time: BatchTime(100), origin: Origin::of(7).within(2) };
    assert_eq!(encode(&unit).unwrap(), [100, 2, 2, 7]);
    assert_eq!(decode::<KeptUnit>(&[100, 2, 2, 7]).unwrap(), unit);

    let panes: Panes<u64> = [(BatchTime(100), 3), (BatchTime(101), 4)].into();
    assert_eq!(encode(&panes).unwrap(), [2, 100, 3, 101, 4]);
    let sliding = Sliding { value: Some(7_u64), panes };
    assert_eq!(encode(&sliding).unwrap(), [1, 7, 2, 100, 3, 101, 4]);
    assert_eq!(encode(&Timed { used: BatchTime(100), state: 5_u64 }).unwrap(), [100, 5]);
}

#[test]
fn the_shape_of_what_windows_and_timeouts_keep_is_pinned() {
    let shape = |schema: Schema| schema.text().unwrap().to_string();
    assert_eq!(shape(Schema::of::<KeptUnit>()), "KeptUnit { time: BatchTime(u64), origin: Origin([u64]) }");
    assert_eq!(shape(Schema::of::<Panes<u64>>()), "[(BatchTime(u64), u64)]");
    let sliding = "Sliding { value: option<u64>, panes: [(BatchTime(u64), u64)] }";
    assert_eq!(shape(Schema::of::<Sliding<u64>>()), sliding);
    assert_eq!(shape(Schema::of::<Timed<u64>>()), "Timed { used: BatchTime(u64), state: u64 }");
}
