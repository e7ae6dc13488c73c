//! What is found out about types of many kinds.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::num::{NonZeroI8, NonZeroU64};

use serde::{Deserialize, Serialize};

use floodmark_base::types::*;
use serde::de::DeserializeOwned;

use super::schema::Schema;

fn shape<T: DeserializeOwned>() -> String {
    Schema::of::<T>().text().unwrap().to_string()
}

/// An interval that is checked when it is read: it begins before it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
struct Interval(u32, u32);

impl TryFrom<(u32, u32)> for Interval {
    type Error = String;

    fn try_from((begin, end): (u32, u32)) -> Result<Self, String> {
        if begin < end { Ok(Self(begin, end)) } else { Err(format!("{begin} is not before {end}")) }
    }
}

impl From<Interval> for (u32, u32) {
    fn from(interval: Interval) -> Self {
        (interval.0, interval.1)
    }
}

/// What no value on offer can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Secret(String);

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "open sesame" { Ok(Self(text)) } else { Err("that is not it".to_string()) }
    }
}

#[test]
fn types_that_check_their_input_have_a_shape() {
    assert_eq!(shape::<NonZeroU64>(), "u64");
    assert_eq!(shape::<Vec<(NonZeroI8, Interval)>>(), "[(i8, (u32, u32))]");
    assert_eq!(shape::<BTreeMap<Interval, Option<NonZeroU64>>>(), "{(u32, u32): option<u64>}");
    assert_eq!(shape::<uuid::Uuid>(), "bytes");
    assert_eq!(shape::<chrono::NaiveDateTime>(), "str");
    for findings in [as_key::<Interval>(), as_key::<Vec<(uuid::Uuid, Interval)>>(), as_key::<chrono::NaiveTime>()] {
        assert_eq!(findings, Findings::default());
    }
}

#[test]
fn of_a_type_for_which_nothing_is_found_as_much_is_known_as_it_asks_for() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Door {
        number: u64,
        secret: Secret,
        floor: u8,
    }
    assert_eq!(shape::<Secret>(), "str");
    assert_eq!(shape::<Door>(), "Door { number: u64, secret: str, floor: ? }");
    // What can be empty is, and the rest is known.
    assert_eq!(shape::<(Option<Secret>, Vec<Secret>, u8)>(), "(option<str>, [str], u8)");
    for findings in [as_logged::<Door>(), as_state::<(Option<Secret>, u8)>(), as_logged::<Vec<Secret>>()] {
        assert_eq!((findings.problem, findings.is_uncertain), (None, true));
    }
}

#[test]
fn what_a_user_gives_as_a_sample_is_offered_to_every_type() {
    /// Two texts and a number, none of which is on offer.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(try_from = "(String, u64)", into = "(String, u64)")]
    struct Ticket(String, u64);
    impl TryFrom<(String, u64)> for Ticket {
        type Error = String;
        fn try_from((text, number): (String, u64)) -> Result<Self, String> {
            if text.starts_with("T/") && number > 1 << 60 {
                Ok(Self(text, number))
            } else {
                Err("no ticket".to_string())
            }
        }
    }
    impl From<Ticket> for (String, u64) {
        fn from(ticket: Ticket) -> Self {
            (ticket.0, ticket.1)
        }
    }
    type Record = (u8, Ticket, Option<i8>);
    assert!(as_key::<Record>().is_uncertain);
    assert_eq!(shape::<Record>(), "(u8, (str, u64), ?)");
    offer_sample(&vec![Ticket("T/1".to_string(), u64::MAX)]).unwrap();
    assert_eq!(as_key::<Record>(), Findings::default());
    assert_eq!(shape::<Record>(), "(u8, (str, u64), option<i8>)");
}

#[test]
fn an_unknown_part_of_a_shape_agrees_with_anything() {
    let door = Schema::of_text("Door { number: u64, secret: str, floor: ? }");
    assert!(door.is("Door { number: u64, secret: str, floor: u8 }"));
    assert!(!door.is("Door { number: i64, secret: str, floor: u8 }"));
    assert!(Schema::of_text("(u8, str)").is("(u8, ?"));
    assert!(!Schema::of_text("(u8, str)").is("(u8, str, u8)"));
}

#[test]
fn values_of_uncertain_types_are_checked_one_by_one() {
    let secret = Secret("open sesame".to_string());
    check_record(&vec![secret.clone()]).unwrap();
    let vaults: HashMap<u64, Secret> = (0..100).map(|number| (number, secret.clone())).collect();
    assert!(as_logged::<HashMap<u64, Secret>>().is_uncertain);
    assert!(check_state(&vaults).unwrap_err().contains("BTreeMap"));
}

#[test]
fn an_order_that_is_random_is_found_however_few_values_an_element_has() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    enum Side {
        Left,
        Right,
    }
    assert!(as_logged::<HashSet<Side>>().problem.is_some());
    assert!(as_logged::<HashSet<bool>>().problem.is_some());
    assert!(as_logged::<HashMap<NonZeroI8, ()>>().problem.is_some());
    assert!(as_logged::<HashSet<uuid::Uuid>>().problem.is_some());
    assert!(as_logged::<HashSet<chrono::NaiveDate>>().problem.is_some());
    assert!(as_output::<Option<HashSet<u128>>>().problem.is_some());
    assert_eq!(as_logged::<HashSet<()>>().problem, None, "there is one order of one element");
    let _ = (Side::Left, Side::Right);
}

#[test]
fn a_heap_keeps_an_order_that_depends_on_how_it_came_to_be() {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Waiting {
        queue: BinaryHeap<u64>,
    }
    let problem = as_state::<Waiting>().problem.unwrap();
    assert!(problem.contains("Waiting") && problem.contains("BinaryHeap"), "{problem}");
    assert_eq!(as_state::<(Vec<u8>, BTreeSet<String>, BTreeMap<u8, Vec<BTreeSet<u8>>>)>(), Findings::default());
}

#[test]
fn recursive_types_and_enums_are_sampled_in_all_their_variants() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf(u64),
        Node(Vec<Tree>),
        Named { name: String, inner: Box<Tree>, set: Option<HashSet<u64>> },
    }
    assert!(as_logged::<Tree>().problem.unwrap().contains("HashSet"));
    let _ = (Tree::Leaf(1), Tree::Node(Vec::new()));

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct List {
        value: u64,
        next: Option<Box<List>>,
    }
    assert_eq!(as_key::<List>(), Findings::default());
}

#[test]
fn output_may_leave_fields_out_and_may_be_of_types_that_cannot_be_stored() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Line {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u64>,
    }
    assert_eq!(as_output::<Line>().problem, None);
    assert_eq!(as_output::<serde_json::Value>().problem, None);
    assert!(as_logged::<Line>().problem.is_some());
}

#[test]
fn what_is_left_out_of_an_element_is_found_at_any_depth() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Line {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u64>,
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Few {
        #[serde(skip_serializing_if = "is_zero")]
        count: u32,
    }
    fn is_zero(count: &u32) -> bool {
        *count == 0
    }
    let problems = [
        as_logged::<Option<Line>>(),
        as_logged::<Vec<Line>>(),
        as_state::<BTreeMap<u64, Vec<Option<Line>>>>(),
        as_state::<(u64, Vec<Few>)>(),
        as_key::<Option<Box<Few>>>(),
    ];
    for (index, findings) in problems.into_iter().enumerate() {
        let problem = findings.problem.unwrap_or_else(|| panic!("type {index} is taken"));
        assert!(problem.contains("`note`") || problem.contains("`count`"), "{problem}");
    }
    for problem in [as_position::<Vec<Line>>(), as_position::<Option<Line>>()] {
        assert!(problem.unwrap().contains("skip_serializing_if"));
    }
    assert_eq!(as_state::<(Option<Vec<Option<u64>>>, BTreeMap<u8, Vec<u8>>)>(), Findings::default());
}
