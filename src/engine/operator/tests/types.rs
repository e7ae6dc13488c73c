//! Which types can be keys, state, logged records and output: refused at the start, or by the record that shows it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::source::Queue;
use crate::testing::{Collected, TestJob};
use floodmark_base::codec::{Key, Record};
use floodmark_base::error::{ErrorKind, Result};
use floodmark_store::state::State;

/// Why a job is not started.
fn refusal<H>(job: Result<TestJob<H>>) -> String {
    let error = job.err().expect("the job is not started");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

fn says(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "{word:?} is missing: {refusal}");
    }
}

type Counts<K> = TestJob<(Queue<u64>, Collected<(K, u64)>)>;

/// Counts keys that a function makes of numbers.
fn counted<K: Key>(key: fn(u64) -> K) -> Result<Counts<K>> {
    TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        (numbers, stream.map(key).count_by_value().collect("counts"))
    })
}

/// Keeps a state per key that a function makes of a number.
fn kept<S: State>(state: fn(u64) -> S) -> Result<Counts<u64>> {
    TestJob::new(move |context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let kept = stream
            .map(|number| (number, number))
            .update_state_by_key("kept", move |new: &[u64], old: Option<S>| new.last().map(|new| state(*new)).or(old));
        (numbers, kept.map(|(key, _)| (key, 1)).collect("keys"))
    })
}

/// Logs records of a type.
fn logged<T: Record>() -> Result<TestJob<(Queue<T>, Collected<u64>)>> {
    TestJob::new(|context| {
        let (records, stream) = context.queue_stream::<T>("records");
        (records, stream.map(|_| 1).collect("ones"))
    })
}

type FixedMap = HashMap<String, u64, BuildHasherDefault<DefaultHasher>>;

#[test]
fn keys_with_a_hash_map_or_a_hash_set_are_refused_at_the_start() {
    let set = refusal(counted(|number| HashSet::from([number.to_string(), "tag".to_string()])));
    says(&set, &["count_by_value", "HashSet<alloc::string::String>", "BTreeSet"]);
}

#[test]
fn keys_that_a_function_over_batches_makes_are_refused_in_the_first_batch() {
    let mut job = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let counts = stream.transform(|_time, rdd| {
            rdd.map(|number| (HashSet::from([number]), 1_u64)).reduce_by_key(|a, b| a + b).map(|(_, count)| count)
        });
        (numbers, counts.collect("counts"))
    })
    .unwrap();
    job.handles().0.push(vec![1]).unwrap();
    says(&job.run_batch().unwrap_err().to_string(), &["HashSet<u64>", "BTreeSet"]);
}

#[test]
fn keys_that_are_equal_and_encoded_differently_are_refused_at_the_start() {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Word(String);
    impl PartialEq for Word {
        fn eq(&self, other: &Self) -> bool {
            self.0.eq_ignore_ascii_case(&other.0)
        }
    }
    impl Eq for Word {}
    says(&refusal(counted(|_| Word("tea".to_string()))), &["Word", "equal", "counted apart"]);

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Customer {
        id: u64,
        name: String,
    }
    impl PartialEq for Customer {
        fn eq(&self, other: &Self) -> bool {
            self.id == other.id
        }
    }
    impl Eq for Customer {}
    says(&refusal(counted(|id| Customer { id, name: String::new() })), &["Customer", "equal"]);

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Versioned {
        id: u64,
        version: u32,
    }
    impl PartialEq for Versioned {
        fn eq(&self, other: &Self) -> bool {
            self.id == other.id
        }
    }
    impl Eq for Versioned {}
    says(&refusal(counted(|id| Versioned { id, version: 1 })), &["Versioned", "equal", "counted apart"]);

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    struct Tags(FixedMap);
    says(&refusal(counted(|_| Tags::default())), &["Tags", "another order"]);
}

#[test]
fn keys_that_check_what_they_read_and_ignore_something_are_refused_at_the_start() {
    /// An address in which letter case does not count.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(try_from = "String")]
    struct Mailbox(String);
    impl TryFrom<String> for Mailbox {
        type Error = String;
        fn try_from(text: String) -> std::result::Result<Self, String> {
            if text.contains('@') { Ok(Self(text)) } else { Err("no @".to_string()) }
        }
    }
    impl PartialEq for Mailbox {
        fn eq(&self, other: &Self) -> bool {
            self.0.eq_ignore_ascii_case(&other.0)
        }
    }
    impl Eq for Mailbox {}
    says(&refusal(counted(|_| Mailbox("a@b".to_string()))), &["Mailbox", "equal", "counted apart"]);
    says(&refusal(counted(|number| (number, Some(Mailbox("a@b".to_string()))))), &["Mailbox", "equal"]);

    /// A fraction that is not brought down.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Fraction(u32, u32);
    impl PartialEq for Fraction {
        fn eq(&self, other: &Self) -> bool {
            u64::from(self.0) * u64::from(other.1) == u64::from(other.0) * u64::from(self.1)
        }
    }
    impl Eq for Fraction {}
    says(&refusal(counted(|number| Fraction(number as u32, 1))), &["Fraction", "equal", "counted apart"]);

    /// Two names of the same thing.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    enum Grade {
        Best,
        First,
        Second,
    }
    impl PartialEq for Grade {
        fn eq(&self, other: &Self) -> bool {
            matches!(self, Self::Second) == matches!(other, Self::Second)
        }
    }
    impl Eq for Grade {}
    says(&refusal(counted(|_| Grade::Best)), &["Grade", "equal", "counted apart"]);
    let _ = (Grade::First, Grade::Second);
}

/// An order number in which letter case does not count, for which no sample is found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct AnyCase(String);

impl TryFrom<String> for AnyCase {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        if text.to_uppercase().starts_with("CASE/") { Ok(Self(text)) } else { Err("no order number".to_string()) }
    }
}

impl PartialEq for AnyCase {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for AnyCase {}

#[test]
fn of_keys_that_accept_no_value_on_offer_a_users_sample_shows_that_equal_ones_are_encoded_differently() {
    let job = |gives_sample: bool| {
        TestJob::new(move |context| {
            if gives_sample {
                context.sample(&AnyCase("case/1".to_string()));
            }
            let (numbers, stream) = context.queue_stream::<u64>("numbers");
            (numbers, stream.map(|number| AnyCase(format!("case/{number}"))).count_by_value().collect("counts"))
        })
    };
    job(false).unwrap();
    says(&refusal(job(true)), &["AnyCase", "equal", "counted apart"]);
}

#[test]
fn keys_of_which_no_sample_is_found_are_checked_one_by_one() {
    type Orders = HashSet<OrderNumber>;
    let mut job = counted(|count| -> Orders { (0..count).map(|n| OrderNumber(format!("ORD/{n}"))).collect() }).unwrap();
    job.handles().0.push(vec![1, 1]).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().1.last().len(), 1);
    job.handles().0.push(vec![200]).unwrap();
    says(&job.run_batch().unwrap_err().to_string(), &["HashSet", "OrderNumber", "BTreeSet"]);

    /// A price, never so small that it is on offer.
    #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
    #[serde(try_from = "(f64, f64)", into = "(f64, f64)")]
    struct Price(f64, f64);
    impl TryFrom<(f64, f64)> for Price {
        type Error = String;
        fn try_from((price, tax): (f64, f64)) -> std::result::Result<Self, String> {
            if price > 1e12 { Ok(Self(price, tax)) } else { Err("too cheap".to_string()) }
        }
    }
    impl From<Price> for (f64, f64) {
        fn from(price: Price) -> Self {
            (price.0, price.1)
        }
    }
    impl PartialEq for Price {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0 && self.1 == other.1
        }
    }
    impl Eq for Price {}
    let mut job = counted(|number| Price(1e13, if number == 0 { 0.0 } else { -0.0 })).unwrap();
    job.handles().0.push(vec![0, 1]).unwrap();
    job.run_batch().unwrap();
    let counts: Vec<u64> = job.handles().1.last().iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [2], "zeros that are equal are one key");
}

#[test]
fn keys_that_do_not_equal_what_is_read_back_of_them_are_refused_at_the_start() {
    use std::sync::atomic::{AtomicU64, Ordering};
    fn next() -> u64 {
        static MADE: AtomicU64 = AtomicU64::new(0);
        MADE.fetch_add(1, Ordering::Relaxed)
    }
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Session {
        user: u64,
        #[serde(skip, default = "next")]
        id: u64,
    }
    says(&refusal(counted(|user| Session { user, id: next() })), &["Session", "cannot be a key", "read back"]);
}

#[test]
fn state_logged_records_and_output_with_a_hash_map_are_refused_at_the_start() {
    let state = refusal(kept(|number| HashMap::from([(number.to_string(), number)])));
    says(&state, &["\"kept\"", "HashMap<alloc::string::String, u64>", "BTreeMap"]);

    let deep = refusal(kept(|number| vec![Some((number, HashSet::from([number])))]));
    says(&deep, &["HashSet<u64>", "BTreeSet"]);

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    enum Event {
        Nothing,
        Tagged { tags: HashSet<u8> },
    }
    says(&refusal(kept(|_| Event::Nothing)), &["Event", "BTreeSet"]);
    says(&refusal(kept(|_| Event::Tagged { tags: HashSet::new() })), &["Event", "BTreeSet"]);
    says(&refusal(logged::<Event>()), &["\"records\"", "Event", "BTreeSet"]);

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    enum Colour {
        Red,
        Blue,
    }
    says(&refusal(logged::<HashMap<Colour, u64>>()), &["HashMap", "BTreeMap"]);
    let _ = (Colour::Red, Colour::Blue);

    let output = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        stream.map(|number| HashMap::from([(number, 1_u64)])).foreach_rdd(|_, _| ());
        numbers
    });
    says(&refusal(output), &["foreach_rdd", "HashMap<u64, u64>", "BTreeMap"]);
}

/// Numbers that are put out by a function, by a sink and into files.
fn put_out<T: Record + PartialEq>(record: fn(u64) -> T) -> [Result<TestJob<Queue<u64>>>; 2] {
    let job = |by_sink: bool| {
        TestJob::configured(
            |builder| builder.max_attempts(1),
            move |context| {
                let (numbers, stream) = context.queue_stream::<u64>("numbers");
                let out = stream.map(record);
                if by_sink {
                    out.sink("table", crate::MemorySink::new());
                } else {
                    out.foreach_rdd(|_, _| ());
                }
                numbers
            },
        )
    };
    [job(false), job(true)]
}

#[test]
fn output_without_a_length_is_refused_at_the_start_or_by_the_first_record_with_the_same_words() {
    const WORDS: &str = "without saying how many elements it has";

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    struct Address {
        city: String,
    }
    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    struct Customer {
        number: u64,
        #[serde(flatten)]
        address: Address,
    }
    let customer = |number| Customer { number, address: Address { city: number.to_string() } };
    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    struct Order {
        note: Option<String>,
        customers: Vec<Customer>,
        #[serde(flatten)]
        more: BTreeMap<String, u64>,
    }
    let order = |_| Order { note: None, customers: Vec::new(), more: BTreeMap::new() };
    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    enum Event {
        Nothing,
        Registered(Vec<Customer>),
    }
    /// Writes what is even in it, one by one.
    #[derive(Clone, PartialEq, Deserialize)]
    struct Evens(Vec<u64>);
    impl Serialize for Evens {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.iter().filter(|number| **number % 2 == 0))
        }
    }
    for job in put_out(customer) {
        says(&refusal(job), &["Customer", "flatten", WORDS]);
    }
    for job in put_out(order) {
        says(&refusal(job), &["Order", "flatten", WORDS]);
    }
    for job in put_out(|_| Event::Nothing) {
        says(&refusal(job), &["Event", WORDS]);
    }
    let _ = Event::Registered(Vec::new());
    for job in put_out(|number| Some(Evens(vec![number]))) {
        says(&refusal(job), &["Evens", WORDS]);
    }

    /// Has no length for one number in many.
    #[derive(Clone, PartialEq, Deserialize)]
    struct Sometimes(u64);
    impl Serialize for Sometimes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            match self.0 {
                123_456_789 => serializer.collect_seq([1_u8].iter().filter(|_| true)),
                number => serializer.collect_seq([number]),
            }
        }
    }
    for job in put_out(Sometimes) {
        let mut job = job.unwrap();
        job.handles().push(vec![1]).unwrap();
        job.run_batch().unwrap();
        job.handles().push(vec![123_456_789]).unwrap();
        says(&job.run_batch().unwrap_err().to_string(), &["Sometimes", WORDS]);
    }

    // What knows its length is put out, though it could not be read back.
    for job in put_out(|number| serde_json::json!({ "number": number })) {
        let mut job = job.unwrap();
        job.handles().push(vec![1]).unwrap();
        job.run_batch().unwrap();
    }
}

#[test]
fn windows_keep_no_hash_map_either() {
    let window = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<u64>("numbers");
        let second = std::time::Duration::from_secs(1);
        let sets = stream.map(|number| (number, HashSet::from([number])));
        let merged = sets.reduce_by_key_and_window("merged", |a, b| &a | &b, second, second);
        (numbers, merged.map(|(key, _)| key).collect("keys"))
    });
    says(&refusal(window), &["\"merged\"", "HashSet<u64>", "BTreeSet"]);
}

/// Why a job with such a graph is not started.
fn refused(declare: impl Fn(&crate::StreamingContext) + 'static) -> String {
    refusal(TestJob::new(declare))
}

/// Never called: the job is not started.
struct Idle<T>(std::marker::PhantomData<fn(T)>);

impl<T> Idle<T> {
    fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Record> crate::Receiver for Idle<T> {
    type Item = T;

    async fn on_start(&mut self, _context: crate::ReceiverContext<T>) -> std::result::Result<(), crate::ReceiverError> {
        Ok(())
    }
}

impl<T: Record + Default> crate::DirectSource for Idle<(T, u64)> {
    type Item = u64;
    type Range = u64;
    type Position = T;

    fn offer(&mut self, _: &T, _: &crate::OfferLimits) -> std::result::Result<Vec<u64>, crate::SourceError> {
        Ok(Vec::new())
    }

    fn advance(_: &mut T, _: &u64) {}

    fn reader(&self) -> std::sync::Arc<dyn crate::RangeReader<Item = u64, Range = u64>> {
        std::sync::Arc::new(Self::new())
    }
}

impl<T: Record> crate::RangeReader for Idle<(T, u64)> {
    type Item = u64;
    type Range = u64;

    fn read(&self, _: &u64, _: &mut dyn FnMut(u64)) -> std::result::Result<crate::ReadSummary, crate::SourceError> {
        Ok(crate::ReadSummary::default())
    }
}

#[test]
fn every_way_of_keys_into_a_job_is_checked() {
    type Tags = HashSet<u64>;
    let tags = |number: u64| (Tags::from([number]), number);
    let joined = refused(move |context| {
        let [one, other] = ["one", "other"].map(|uid| context.queue_stream::<u64>(uid).1.map(tags));
        one.join(&other).count().print(1);
    });
    says(&joined, &["join", "HashSet<u64>", "BTreeSet"]);
    let reduced = refused(move |context| {
        let pairs = context.queue_stream::<u64>("numbers").1.map(tags);
        pairs.reduce_by_key(|a, b| a + b).count().print(1);
    });
    says(&reduced, &["reduce_by_key", "HashSet<u64>", "BTreeSet"]);
    let kept = refused(move |context| {
        let pairs = context.queue_stream::<u64>("numbers").1.map(tags);
        pairs.update_state_by_key("sums", |_: &[u64], old: Option<u64>| old);
    });
    says(&kept, &["\"sums\"", "HashSet<u64>", "BTreeSet"]);
    let reference = refused(move |context| {
        let known = context.reference_data("known", || Ok(None::<Vec<(Tags, u64)>>));
        let pairs = context.queue_stream::<u64>("numbers").1.map(tags);
        pairs.join_reference("joined", &known).count().print(1);
    });
    says(&reference, &["\"known\"", "keys", "HashSet<u64>", "BTreeSet"]);
}

#[test]
fn every_way_of_records_into_a_job_and_out_of_it_is_checked() {
    type Tags = HashMap<u64, u64>;
    let tags = |number: u64| Tags::from([(number, number)]);
    let received = refused(|context| context.receiver_stream("tags", Idle::<Tags>::new()).count().print(1));
    says(&received, &["\"tags\"", "HashMap<u64, u64>", "BTreeMap"]);
    let raw = refused(|context| context.raw_socket_stream::<Tags>("tags", "127.0.0.1:9").count().print(1));
    says(&raw, &["\"tags\"", "HashMap<u64, u64>", "BTreeMap"]);
    let reference = refused(move |context| {
        let known = context.reference_data("known", || Ok(None::<Vec<(u64, Tags)>>));
        let pairs = context.queue_stream::<u64>("numbers").1.map(|number| (number, number));
        pairs.join_reference("joined", &known).count().print(1);
    });
    says(&reference, &["\"known\"", "values", "HashMap<u64, u64>", "BTreeMap"]);
    let position = refused(|context| context.direct_stream("in", Idle::<(Noted, u64)>::new()).print(1));
    says(&position, &["the position of source \"in\"", "Noted", "skip_serializing_if"]);
    let sunk = refused(move |context| {
        let stream = context.queue_stream::<u64>("numbers").1.map(tags);
        stream.sink("out", crate::MemorySink::<Tags>::default());
    });
    says(&sunk, &["\"out\"", "HashMap<u64, u64>", "BTreeMap"]);
    let saved = refused(move |context| {
        context.queue_stream::<u64>("numbers").1.map(tags).save_as_object_files("saved", "/tmp/saved", "obj");
    });
    says(&saved, &["\"saved\"", "HashMap<u64, u64>", "BTreeMap"]);
}

#[test]
fn state_whose_order_depends_on_how_it_came_to_be_is_refused_at_the_start() {
    says(&refusal(kept(|_| FixedMap::default())), &["\"kept\"", "HashMap", "depends on how it came to be"]);
}

#[test]
fn orders_that_are_part_of_the_value_or_sorted_are_taken() {
    kept(|number| vec![number]).unwrap();
    kept(|number| BTreeMap::from([(number.to_string(), BTreeSet::from([number]))])).unwrap();
    kept(|number| std::collections::VecDeque::from([(number, vec![number.to_string()])])).unwrap();
    counted(|number| BTreeSet::from([number.to_string()])).unwrap();
    logged::<FixedMap>().unwrap();
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Noted {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[test]
fn a_field_that_is_left_out_within_an_option_or_a_list_is_refused_at_the_start() {
    says(&refusal(logged::<Vec<Noted>>()), &["\"records\"", "Noted", "`note`", "skip_serializing_if"]);
    says(&refusal(kept(|number| vec![Noted { number, note: None }])), &["\"kept\"", "Noted", "`note`"]);
    let position = refused(|context| context.direct_stream("in", Idle::<(Option<Noted>, u64)>::new()).print(1));
    says(&position, &["the position of source \"in\"", "Noted", "skip_serializing_if"]);
}

#[test]
fn types_that_bincode_cannot_carry_are_refused_at_the_start() {
    says(&refusal(logged::<Noted>()), &["\"records\"", "Noted", "`note`", "skip_serializing_if"]);
    says(&refusal(kept(|number| Noted { number, note: None })), &["\"kept\"", "Noted", "`note`"]);
    says(&refusal(logged::<serde_json::Value>()), &["\"records\"", "serde_json", "Value", "self-describing"]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Word(String),
    }
    says(&refusal(logged::<Either>()), &["Either", "untagged"]);
    says(&refusal(kept(Either::Number)), &["Either", "untagged"]);
    let _ = Either::Word(String::new());

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        One { number: u64 },
    }
    says(&refusal(logged::<Tagged>()), &["Tagged", "tag"]);
    let _ = Tagged::One { number: 1 };

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        noted: BTreeMap<String, u64>,
    }
    says(&refusal(logged::<Flat>()), &["Flat", "flatten"]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct OneWay {
        number: u64,
        #[serde(skip_deserializing)]
        written: u64,
    }
    says(&refusal(logged::<OneWay>()), &["OneWay", "skip_deserializing"]);
}

/// As [`Noted`], but only one value in many is left out: no sample shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seldom {
    #[serde(skip_serializing_if = "is_seldom")]
    number: u64,
}

fn is_seldom(number: &u64) -> bool {
    *number == 123_456_789
}

#[test]
fn a_record_that_shows_what_no_sample_did_is_refused_before_anything_of_its_push_is_stored() {
    let mut job = logged::<Seldom>().unwrap();
    let push = |job: &TestJob<(Queue<Seldom>, _)>, numbers: &[u64]| {
        job.handles().0.push(numbers.iter().map(|number| Seldom { number: *number }).collect())
    };
    push(&job, &[1]).unwrap();
    let error = push(&job, &[2, 123_456_789]).unwrap_err().to_string();
    says(&error, &["source records", "Seldom", "`number`", "skip_serializing_if"]);
    push(&job, &[3]).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().1.last(), [1, 1], "nothing of the refused push, and the queue goes on");
    job.crash_and_restart().unwrap();
}

#[test]
fn a_state_that_shows_what_no_sample_did_fails_its_batch_by_name() {
    let mut job = kept(|number| Seldom { number }).unwrap();
    job.handles().0.push(vec![123_456_789]).unwrap();
    let error = job.run_batch().unwrap_err().to_string();
    says(&error, &["\"kept\"", "Seldom", "`number`"]);
}

#[test]
fn an_initial_state_or_a_key_that_shows_what_no_sample_did_is_named() {
    let initial = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
        let spec = floodmark_store::state::spec::StateSpec::new("kept")
            .initial_state([(1_u64, Seldom { number: 123_456_789 })]);
        stream.update_state_by_key(spec, |_: &[u64], old| old).collect("all");
        numbers
    });
    says(&refusal(initial), &["\"kept\"", "initial state", "Seldom", "`number`"]);

    let mut job = counted(|number| Seldom { number }).unwrap();
    job.handles().0.push(vec![123_456_789]).unwrap();
    says(&job.run_batch().unwrap_err().to_string(), &["Seldom", "`number`"]);
}

#[test]
fn a_nan_in_state_is_a_value_as_any_other() {
    let mut job = kept(|number| if number > 100 { f64::NAN } else { 0.5 }).unwrap();
    job.handles().0.push((0..1_000).collect()).unwrap();
    job.run_batch().unwrap();
    job.crash_and_restart().unwrap();
    job.handles().0.push(vec![2_000]).unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().1.last().len(), 1_001);
    job.stop_and_restart().unwrap();
    job.run_batch().unwrap();
}

#[test]
fn a_state_that_equals_the_one_before_is_no_change_and_is_not_kept() {
    // −0.0 equals 0.0. It would not be in the next checkpoint, so it must not be in memory either.
    let mut job = TestJob::new(|context| {
        let (numbers, stream) = context.queue_stream::<(u64, f64)>("numbers");
        let states = stream.update_state_by_key("zeros", |new: &[f64], old: Option<f64>| {
            Some(new.last().copied().unwrap_or_else(|| -old.unwrap_or(0.0)))
        });
        (numbers, states.map(|(key, zero)| (key, 1.0 / zero)).collect("signs"))
    })
    .unwrap();
    job.handles().0.push(vec![(1, 0.0)]).unwrap();
    for batch in 0..4 {
        job.run_batch().unwrap();
        assert_eq!(job.handles().1.last(), [(1, f64::INFINITY)], "batch {batch}");
        if batch == 1 {
            job.stop_and_restart().unwrap();
        }
    }
}

/// An address, checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        if text.contains('@') { Ok(Self(text)) } else { Err("an address without @".to_string()) }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// What no value on offer can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct OrderNumber(String);

impl TryFrom<String> for OrderNumber {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        if text.starts_with("ORD/") { Ok(Self(text)) } else { Err("an order number without ORD/".to_string()) }
    }
}

impl From<OrderNumber> for String {
    fn from(number: OrderNumber) -> Self {
        number.0
    }
}

/// A job with keys, state and records of a type works, crashes and goes on.
fn works<K: Key + PartialEq + Debug>(key: fn(u64) -> K) {
    let mut job = TestJob::new(|context| {
        let (keys, stream) = context.queue_stream::<K>("keys");
        let last = stream
            .map(|key| (key.clone(), key))
            .update_state_by_key("last", |new: &[K], old: Option<K>| new.last().cloned().or(old));
        (keys, last.collect("all"))
    })
    .unwrap_or_else(|error| panic!("{}: {error}", std::any::type_name::<K>()));
    job.handles().0.push((0..4).map(key).collect()).unwrap();
    job.run_batch().unwrap();
    job.stop_and_restart().unwrap();
    job.handles().0.push((2..6).map(key).collect()).unwrap();
    job.run_batch().unwrap();
    job.crash_and_restart().unwrap();
    job.run_batch().unwrap();
    let all = job.handles().1.last();
    assert_eq!(all.len(), 6, "{all:?}");
    assert!(all.iter().all(|(key, last)| key == last), "{all:?}");
}

#[test]
fn types_that_check_what_they_read_are_keys_state_and_records() {
    works(|number| Address(format!("{number}@example.com")));
    works(|number| NonZeroU32::new(number as u32 + 1).unwrap());
    works(|number| uuid::Uuid::from_u128(u128::from(number)));
    works(|number| chrono::DateTime::from_timestamp(number as i64, 0).unwrap());
    works(|number| chrono::NaiveDate::from_num_days_from_ce_opt(number as i32 + 700_000).unwrap());
    works(|number| (Some(Address(format!("{number}@a.b"))), vec![NonZeroU32::MAX]));
    works(std::time::Duration::from_millis);
    works(|number| std::time::UNIX_EPOCH + std::time::Duration::from_millis(number));
    works(|number| std::net::IpAddr::from([0, 0, 0, number as u8]));
    works(|number| BTreeMap::from([(Address(format!("{number}@a.b")), number)]));
    works(|number| std::path::PathBuf::from(number.to_string()));
}

#[test]
fn types_for_which_no_sample_is_found_are_taken_and_checked_value_by_value() {
    works(|number| OrderNumber(format!("ORD/{number}")));
    works(|number| (number, OrderNumber(format!("ORD/{number}")), vec![number]));
    works(|number| vec![OrderNumber(format!("ORD/{number}"))]);

    // The hash map behind such a type is found in the first record, and in the first state, that has several entries.
    type Orders = HashMap<OrderNumber, u64>;
    let orders = |count: u64| -> Orders { (0..count).map(|n| (OrderNumber(format!("ORD/{n}")), n)).collect() };
    let job = logged::<Orders>().unwrap();
    job.handles().0.push(vec![orders(1)]).unwrap();
    let error = job.handles().0.push(vec![orders(1), orders(200)]).unwrap_err().to_string();
    says(&error, &["source records", "HashMap", "BTreeMap"]);

    let mut job =
        kept(|count| -> Orders { (0..count).map(|n| (OrderNumber(format!("ORD/{n}")), n)).collect() }).unwrap();
    job.handles().0.push(vec![200]).unwrap();
    says(&job.run_batch().unwrap_err().to_string(), &["\"kept\"", "HashMap", "BTreeMap"]);
}

/// A float that can be a key, by a rule for equality.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Float<const TOTAL: bool>(f64);

impl<const TOTAL: bool> PartialEq for Float<TOTAL> {
    fn eq(&self, other: &Self) -> bool {
        if TOTAL {
            self.0.total_cmp(&other.0).is_eq()
        } else {
            self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
        }
    }
}

impl<const TOTAL: bool> Eq for Float<TOTAL> {}

/// How often each of some floats occurs, as bits.
fn counts_of<const TOTAL: bool>(floats: &[f64]) -> Vec<(u64, u64)> {
    let mut job = TestJob::new(|context| {
        let (floats, stream) = context.queue_stream::<f64>("floats");
        let pairs = stream.map(|float| (Float::<TOTAL>(float), 1_u64));
        let kept = pairs.update_state_by_key("kept", |new: &[u64], old: Option<u64>| {
            Some(old.unwrap_or(0) + new.iter().sum::<u64>())
        });
        let counted = pairs.reduce_by_key(|a, b| a + b).map(|(Float(key), count)| (key.to_bits(), count));
        (floats, counted.collect("counted"), kept.map(|(Float(key), count)| (key.to_bits(), count)).collect("all"))
    })
    .unwrap();
    job.handles().0.push(floats.to_vec()).unwrap();
    job.run_batch().unwrap();
    let (counted, kept) = (job.handles().1.last_sorted(), job.handles().2.last_sorted());
    assert_eq!(counted, kept);
    job.stop_and_restart().unwrap();
    job.run_batch().unwrap();
    assert_eq!(job.handles().2.last_sorted(), kept, "after a restart");
    kept
}

#[test]
fn floats_in_keys_are_one_key_where_they_are_equal_and_two_where_they_are_not() {
    let floats = [0.0, -0.0, 1.5, f64::NAN, -f64::NAN];
    let one_zero = counts_of::<false>(&floats);
    assert_eq!(one_zero, [(0, 2), (1.5_f64.to_bits(), 1), (f64::NAN.to_bits(), 2)]);
    assert_eq!(counts_of::<true>(&floats).len(), 5);
}

#[test]
fn floats_that_are_equal_are_found_by_each_other() {
    type Near = Float<false>;
    let mut job = TestJob::new(|context| {
        let (floats, stream) = context.queue_stream::<f64>("floats");
        let kept = stream
            .map(|float| (Float::<false>(float), 1_u64))
            .update_state_by_key("kept", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.len() as u64));
        kept.print(0);
        floats
    })
    .unwrap();
    job.handles().push(vec![0.0, -0.0, f64::NAN]).unwrap();
    job.run_batch().unwrap();
    let state = job.running().state::<Near, u64>("kept").unwrap();
    let all = state.iter().unwrap();
    assert_eq!(all.count(), 2);
    let rdd =
        |floats: &[f64]| crate::Rdd::from_records(floats.iter().map(|float| (Float::<false>(*float), 1)).collect());
    for (float, count) in [(0.0, 2), (-0.0, 2), (f64::NAN, 1), (-f64::NAN, 1)] {
        assert_eq!(state.get(&Float(float)).unwrap(), Some(count), "{float}");
        assert_eq!(state.snapshot().unwrap().get(&Float(float)), Some(&count), "{float}");
        assert!(rdd(&[0.0, f64::NAN]).subtract_by_key(rdd(&[float])).collect().len() == 1, "{float}");
    }
}

#[test]
fn a_key_in_which_a_nan_does_not_equal_itself_is_refused_at_the_start() {
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    struct Careless(f64);
    impl Eq for Careless {}
    says(&refusal(counted(|number| Careless(number as f64))), &["Careless", "NaN", "total_cmp"]);
}

/// A text that no sample of the tracer's own gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Ticket(String);

impl TryFrom<String> for Ticket {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        if text.starts_with("TCK#9/") { Ok(Self(text)) } else { Err("not a ticket") }
    }
}

#[test]
fn a_sample_may_be_added_or_taken_away_while_blocks_wait() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let gives_sample = Arc::new(AtomicBool::new(false));
    let gives = gives_sample.clone();
    let mut job = TestJob::new(move |context| {
        if gives.load(Ordering::SeqCst) {
            context.sample(&Ticket("TCK#9/1".to_string()));
        }
        let (tickets, stream) = context.queue_stream::<(Ticket, u64)>("tickets");
        (tickets, stream.map(|_| 1_u64).collect("ones"))
    })
    .unwrap();
    for gives in [true, false] {
        job.handles().0.push(vec![(Ticket("TCK#9/7".to_string()), 7)]).unwrap();
        job.crash();
        gives_sample.store(gives, Ordering::SeqCst);
        job.start().unwrap();
        job.run_batch().unwrap();
        assert_eq!(job.handles().1.last(), [1], "the block that waited, with a sample: {gives}");
    }
}
