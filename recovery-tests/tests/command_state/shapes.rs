//! Stored bytes through the schema of their type: decoded they are what serde_json says of the value, and encoded again they are
//! the same bytes.

use std::collections::BTreeMap;
use std::fmt::Debug;

use floodmark::testing::shapes::{encoded, schema_of, shown, stored, stored_key};
use floodmark::{BatchTime, Bytes, Text};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    items: Vec<(String, Option<u32>)>,
    kind: Kind,
    again: Option<Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Plain,
    Gift { to: String, wrapped: bool },
    Priced(i64),
    Pair(u8, i16),
    Empty(),
    Bare {},
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Colour {
    Red,
    #[serde(rename = "dark blue")]
    DarkBlue,
    #[serde(rename = "n/a")]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    value: i32,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    #[serde(rename = "xml:lang")]
    lang: char,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Json {
    Null,
    Number(f64),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Unit;
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Meters(u32);
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Pair(u8, Unit);
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Nothing {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    signed: (i8, i16, i32, i64),
    unsigned: (u8, u16, u32, u64),
    truth: bool,
    double: f64,
    character: char,
    text: Text,
    units: (Unit, (), Nothing, Unit),
    wrapped: Meters,
    pair: Pair,
    array: [u16; 3],
    by_number: BTreeMap<u32, Kind>,
    by_meters: BTreeMap<Meters, u8>,
    by_colour: BTreeMap<Colour, u8>,
    by_pair: BTreeMap<(u8, String), u8>,
    by_kind: BTreeMap<Kind, u8>,
    time: BatchTime,
    duration: std::time::Duration,
    deep: Vec<Vec<Option<(Meters, Unit)>>>,
}

/// Decoded as serde_json writes the value, and encoded again as it was.
#[track_caller]
fn round_trips<T: Serialize + DeserializeOwned + Debug>(value: &T) {
    reads(value, &serde_json::to_value(value).unwrap());
}

#[track_caller]
fn reads<T: Serialize + DeserializeOwned + Debug>(value: &T, expected: &Value) {
    let schema = schema_of::<T>().unwrap();
    let bytes = encoded(value);
    let found = shown(&schema, &bytes).unwrap_or_else(|error| panic!("{value:?} as {schema}: {error}"));
    assert_eq!(found, *expected, "{value:?} as {schema}");
    let again = stored(&schema, &found).unwrap_or_else(|error| panic!("{found} as {schema}: {error}"));
    assert_eq!(again, bytes, "{found} as {schema}");
    // What was printed is read back as the same.
    assert_eq!(serde_json::from_str::<Value>(&found.to_string()).unwrap(), found);
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        ("\\PC{0,5}", any::<bool>()).prop_map(|(to, wrapped)| Kind::Gift { to, wrapped }),
        any::<i64>().prop_map(Kind::Priced),
        any::<(u8, i16)>().prop_map(|(one, other)| Kind::Pair(one, other)),
        Just(Kind::Empty()),
        Just(Kind::Bare {}),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    let items = vec(("\\PC{0,8}", option::of(any::<u32>())), 0..4);
    (any::<u64>(), items, kind(), option::of(kind())).prop_map(|(id, items, kind, again)| Order {
        id,
        items,
        kind,
        again,
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (any::<i32>(), any::<char>());
    let leaf = leaf.prop_map(|(value, lang)| Tree { value, left: None, right: None, lang });
    leaf.prop_recursive(6, 40, 2, |inner| {
        let side = || option::of(inner.clone().prop_map(Box::new));
        (any::<i32>(), side(), side(), any::<char>()).prop_map(|(value, left, right, lang)| Tree {
            value,
            left,
            right,
            lang,
        })
    })
}

fn nested() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![Just(Json::Null), (-1e300..1e300_f64).prop_map(Json::Number)];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::List),
            btree_map("[a-c]{0,2}", inner, 0..4).prop_map(Json::Object),
        ]
    })
}

fn everything() -> impl Strategy<Value = Everything> {
    let colour = prop_oneof![Just(Colour::Red), Just(Colour::DarkBlue), Just(Colour::Unknown)];
    let maps = (
        btree_map(any::<u32>(), kind(), 0..4),
        btree_map(any::<u32>().prop_map(Meters), any::<u8>(), 0..4),
        btree_map(colour, any::<u8>(), 0..3),
        btree_map((any::<u8>(), "[a-b]{0,2}"), any::<u8>(), 0..4),
        btree_map(kind(), any::<u8>(), 0..4),
    );
    let plain =
        (any::<(i8, i16, i32, i64)>(), any::<(u8, u16, u32, u64)>(), any::<bool>(), -1e9..1e9_f64, any::<char>());
    let rest = (
        "\\PC{0,30}",
        any::<(u32, u8, u64)>(),
        any::<[u16; 3]>(),
        any::<std::time::Duration>(),
        vec(vec(option::of(any::<u32>()), 0..3), 0..3),
    );
    (plain, maps, rest).prop_map(|(plain, maps, rest)| {
        let (signed, unsigned, truth, double, character) = plain;
        let (by_number, by_meters, by_colour, by_pair, by_kind) = maps;
        let (text, (meters, small, time), array, duration, deep) = rest;
        let inner = |values: Vec<Option<u32>>| values.into_iter().map(|it| it.map(|it| (Meters(it), Unit))).collect();
        Everything {
            signed,
            unsigned,
            truth,
            double,
            character,
            text: text.as_str().into(),
            units: (Unit, (), Nothing {}, Unit),
            wrapped: Meters(meters),
            pair: Pair(small, Unit),
            array,
            by_number,
            by_meters,
            by_colour,
            by_pair,
            by_kind,
            time: BatchTime(time),
            duration,
            deep: deep.into_iter().map(inner).collect(),
        }
    })
}

/// As serde_json writes it, but for maps whose keys it refuses.
fn everything_as_json(value: &Everything) -> Value {
    let pairs =
        |pairs: Vec<(Value, u8)>| Value::from(pairs.into_iter().map(|(key, it)| json!([key, it])).collect::<Vec<_>>());
    let by_pair = value.by_pair.iter().map(|(key, it)| (json!(key), *it)).collect();
    let by_kind = value.by_kind.iter().map(|(key, it)| (json!(key), *it)).collect();
    let (by_pair, by_kind) = (pairs(by_pair), pairs(by_kind));
    let plain = Everything { by_pair: BTreeMap::new(), by_kind: BTreeMap::new(), ..value.clone() };
    let mut json = serde_json::to_value(plain).unwrap();
    json["by_pair"] = by_pair;
    json["by_kind"] = by_kind;
    json
}

proptest! {
    #[test]
    fn plain_values_round_trip(value in any::<(u8, i64, bool, char, Option<u16>)>(), text in "\\PC{0,300}") {
        round_trips(&value);
        round_trips(&text);
        round_trips(&(text.clone(), value));
        round_trips(&Some(text));
    }

    #[test]
    fn structs_and_enums_round_trip(value in order()) {
        round_trips(&value);
    }

    #[test]
    fn recursive_types_round_trip(tree in tree(), nested in nested()) {
        round_trips(&tree);
        round_trips(&nested);
    }

    #[test]
    fn everything_at_once_round_trips(value in everything()) {
        reads(&value, &everything_as_json(&value));
    }

    #[test]
    fn doubles_and_floats_round_trip(double in any::<f64>(), float in any::<f32>()) {
        let number = |number: f64| match number {
            number if number.is_nan() => json!("NaN"),
            number if number.is_infinite() => json!(if number > 0.0 { "inf" } else { "-inf" }),
            number => json!(number),
        };
        if double.is_nan() {
            prop_assert_eq!(shown("f64", &encoded(&double)).unwrap(), "NaN");
        } else {
            reads(&double, &number(double));
        }
        if !float.is_nan() {
            reads(&float, &number(float.to_string().parse().unwrap()));
        }
    }

    #[test]
    fn large_integers_round_trip(unsigned in any::<u128>(), signed in any::<i128>(), small in any::<i64>()) {
        let text_or_number = |text: String| match text.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => text.parse::<u64>().map_or(json!(text), |number| json!(number)),
        };
        reads(&unsigned, &text_or_number(unsigned.to_string()));
        reads(&signed, &text_or_number(signed.to_string()));
        reads(&i128::from(small), &json!(small));
        reads(&(unsigned >> 64), &json!((unsigned >> 64) as u64));
    }

    #[test]
    fn runs_of_bytes_are_hex(run in vec(any::<u8>(), 0..300)) {
        let hex: String = run.iter().map(|byte| format!("{byte:02x}")).collect();
        reads(&Bytes::from(run.clone()), &json!(hex));
        round_trips(&run);
    }

    #[test]
    fn keys_are_typed_as_they_read(text in "\\PC{0,20}", number in any::<i32>(), pair in ("\\PC{0,5}", any::<u8>())) {
        if !text.starts_with('"') {
            prop_assert_eq!(stored_key("str", &text).unwrap(), encoded(&text));
        }
        prop_assert_eq!(stored_key("str", &json!(text).to_string()).unwrap(), encoded(&text));
        prop_assert_eq!(stored_key("i32", &number.to_string()).unwrap(), encoded(&number));
        prop_assert_eq!(stored_key("(str, u8)", &json!(pair).to_string()).unwrap(), encoded(&pair));
    }

    #[test]
    fn damaged_bytes_never_panic_and_what_decodes_is_of_the_shape(
        value in everything(),
        tree in tree(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for (schema, bytes) in [(schema_of::<Everything>().unwrap(), encoded(&value)), (schema_of::<Tree>().unwrap(), encoded(&tree))] {
            let mut changed = bytes.clone();
            for (at, byte) in &changes {
                let at = at.index(changed.len());
                changed[at] = *byte;
            }
            if let Ok(value) = shown(&schema, &changed) {
                prop_assert!(stored(&schema, &value).is_ok());
            }
            let cut = cut.index(bytes.len());
            prop_assert!(shown(&schema, &bytes[..cut]).is_err(), "a value was cut and still read");
        }
    }

    #[test]
    fn any_text_for_a_schema_is_read_or_refused(text in "[a-cu8 (){}\\[\\]<>|,;:?0-9]{0,40}", bytes in vec(any::<u8>(), 0..40)) {
        let _ = shown(&text, &bytes);
        let _ = stored_key(&text, "1");
    }
}

#[test]
fn keys_of_other_types_can_be_typed() {
    let colour = schema_of::<Colour>().unwrap();
    assert_eq!(colour, "Colour | Red | dark blue | n/a |");
    assert_eq!(stored_key(&colour, "dark blue").unwrap(), [1]);
    assert_eq!(stored_key(&colour, "\"n/a\"").unwrap(), [2]);
    let error = stored_key(&colour, "green").unwrap_err();
    assert_eq!(error, "expected a variant of Colour (Red, dark blue, n/a), found \"green\"");
    let kind = schema_of::<Kind>().unwrap();
    assert_eq!(stored_key(&kind, "Plain").unwrap(), [0]);
    assert_eq!(stored_key(&kind, "{\"Pair\": [7, -1]}").unwrap(), [3, 7, 1]);
    assert_eq!(stored_key("unit", "").unwrap(), b"");
    assert_eq!(stored_key("bytes", "00ff").unwrap(), [2, 0, 255]);
    assert_eq!(stored_key("bool", "true").unwrap(), [1]);
    assert_eq!(stored_key("char", "ß").unwrap(), "ß".as_bytes());
    assert_eq!(stored_key("option<u8>", "5").unwrap(), [1, 5]);
    assert_eq!(stored_key("option<u8>", "null").unwrap(), [0]);
    assert_eq!(stored_key("u128", &u128::MAX.to_string()).unwrap(), encoded(&u128::MAX));
}

#[test]
fn errors_name_offset_expected_and_found() {
    let wrong = |schema: &str, bytes: &[u8]| shown(schema, bytes).unwrap_err();
    assert_eq!(wrong("u64", &[]), "at byte 0: expected 1 bytes of u64, found the end");
    assert_eq!(wrong("(u8, bool)", &[1, 7]), "at byte 1: expected a bool (0 or 1), found 7");
    assert_eq!(wrong("str", &[200, 1, 2]), "at byte 0: expected a string of 200 bytes, found 2 bytes");
    assert_eq!(wrong("str", b"\x03ab\xff"), "at byte 3: expected UTF-8, found byte ff");
    assert_eq!(wrong("u8", &[1, 2]), "at byte 1: expected the end, found 1 more bytes");
    assert_eq!(wrong("K | A | B |", &[2]), "at byte 0: expected one of the 2 variants of K, found variant 2");
    assert_eq!(
        wrong("u16", &[252, 0, 0, 0, 0]),
        "at byte 0: expected u16, a number of at most 16 bits, found byte 252"
    );
    let unfit = |schema: &str, value: Value| stored(schema, &value).unwrap_err();
    assert_eq!(unfit("S { a: [u8] }", json!({"a": [1, 300]})), "expected a whole number (u8) at .a[1], found \"300\"");
    assert_eq!(unfit("S { a: u8 }", json!({"b": 1})), "expected a field of S, found \"b\"");
    assert_eq!(unfit("(str, u8)", json!(["a"])), "expected a list of 2, found one of 1");
}

#[test]
fn lengths_beyond_the_input_make_no_room() {
    for claimed in [1_u64 << 20, 1 << 40, u64::MAX] {
        let mut bytes = vec![253];
        bytes.extend(claimed.to_le_bytes());
        for schema in ["str", "bytes", "[u8]", "[unit]", "[[unit; 0]]", "{u64: u64}", "{unit: unit}", "[option<str>]"] {
            assert!(shown(schema, &bytes).is_err(), "{schema}");
        }
    }
    assert!(shown("[unit; 99999999999]", &[]).is_err());
}

#[test]
fn nesting_is_bounded() {
    let chain = "A | End | More(A) |";
    let deep = |levels: usize| [vec![1; levels], vec![0]].concat();
    assert!(shown(chain, &deep(100)).is_ok());
    assert!(shown(chain, &deep(100_000)).unwrap_err().contains("levels"));
    assert!(shown("A(option<A>)", &[1; 100_000]).unwrap_err().contains("levels"));
    let mut value = json!("End");
    for _ in 0..5_000 {
        value = Value::Object(serde_json::Map::from_iter([("More".to_string(), value)]));
    }
    assert!(stored(chain, &value).is_err());
    std::mem::forget(value); // serde_json drops it by recursion
    assert!(shown(&format!("{}u8{}", "[".repeat(5_000), "]".repeat(5_000)), &[]).unwrap_err().contains("deeper"));
}

/// How deep a value may be nested does not depend on how large a build makes the frames of the stack: a thread has 2 MiB.
#[test]
fn the_deepest_values_take_a_small_part_of_a_stack() {
    let nested = |level: &[u8], levels: usize, end: &[u8]| [level.repeat(levels), end.to_vec()].concat();
    let deepest = move || {
        // Of each: the bytes of a level, of the end, and how many levels of JSON a level is.
        for (schema, level, end, of_json) in [
            ("A | End | More(A) |", &[1][..], &[0][..], 1),
            ("A | End | More { next: A } |", &[1], &[0], 2),
            ("A([A])", &[1], &[0], 1),
            ("A { next: option<A> }", &[1], &[0], 1),
            ("A({u8: A})", &[1, 7], &[0], 1),
            ("A({[u8]: A})", &[1, 0], &[0], 2),
        ] {
            let most = 120 / of_json;
            let bytes = nested(level, most, end);
            let value = shown(schema, &bytes).unwrap_or_else(|error| panic!("{schema}: {error}"));
            assert_eq!(stored(schema, &value).unwrap(), bytes, "{schema}");
            assert!(shown(schema, &nested(level, most + 1, end)).unwrap_err().contains("levels"), "{schema}");
        }
        let wrapped = format!("{}u8{}", "option<".repeat(120), ">".repeat(120));
        let bytes = nested(&[1], 120, &[7]);
        assert_eq!(stored(&wrapped, &shown(&wrapped, &bytes).unwrap()).unwrap(), bytes);
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(deepest).unwrap().join().unwrap();
}

#[test]
fn schemas_that_are_ambiguous_are_refused_with_the_place() {
    let refused = |schema: &str, words: &str| {
        let error = shown(schema, &[0; 8]).unwrap_err();
        assert!(error.contains(words), "{schema}: {error}");
    };
    refused("(str { a: u8 }, str)", "\"str\" is a plain type and a container here");
    refused("A { x: u8", "at byte 9: expected \", \"");
    refused("A { x: u8 ", "at byte 7: expected a type");
    refused("(u8, u8", "at byte 7");
    refused("u8)", "expected the end");
    refused("", "expected a type");
    refused("(A(u8), A(u8))", "\"A\" is written out twice");
}

#[test]
fn a_key_that_stands_twice_in_a_map_is_not_lost() {
    // {1: 2, 1: 3}, which no map of the standard library writes.
    let bytes = [2, 1, 2, 1, 3];
    assert_eq!(shown("{u8: u8}", &bytes).unwrap(), json!([[1, 2], [1, 3]]));
    assert_eq!(stored("{u8: u8}", &json!([[1, 2], [1, 3]])).unwrap(), bytes);
}
