//! Joins with reference data: what they have in common.
//!
//! Each join keeps the reference's entries of its keys in its own state, so they are in checkpoints, and a restart has the version
//! that held without loading it. A version comes as a unit of the reference's source (side 0); it reaches every partition, also
//! those that get none of its entries, and replaces what is there as a whole before the records of its batch are looked up. Only
//! keys whose values are others than before are changes: in the next checkpoint, and in the digest.

mod join_reference;
mod left_outer_join_reference;
mod subtract_reference;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::dataflow::chunk::{Chunk, Origin, Records};
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{Reduce, Wide, WorkerContext};
use crate::dataflow::push::{Downstream, ErasedPush, Push, Unit};
use crate::dataflow::report::Port;
use crate::dataflow::shuffle::{Keyed, ShufflePush};
use crate::dataflow::tables::{OperatorState, Tables};
use crate::dstream::DStream;
use crate::operator::shapes::group::Groups;
use crate::source::Joins;
use floodmark_base::codec::{Key, Record, encode_into};
use floodmark_base::error::Result;
use floodmark_base::id::Uid;
use floodmark_base::types::as_key;
use floodmark_store::batch::timing::Slide;
use floodmark_store::state::Slot;
use floodmark_store::state::descriptor::StateDescriptor;
use floodmark_store::state::spec::StateSpec;

/// The side of the reference's source. It comes first: a version holds for the records of its own batch.
const REFERENCE: u32 = 0;

/// Data that is loaded again when it changes, to join streams with; see
/// [`reference_data`](crate::StreamingContext::reference_data).
///
/// ```
/// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
/// use floodmark::{Reference, ReferenceFile};
///
/// let users: Reference<'_, String, ()> =
///     context.reference_data("users", ReferenceFile::new("./users", |line| Some((line.to_string(), ()))));
/// let (_, words) = context.queue_stream::<(String, String)>("words");
/// words.join_reference("of users", &users).print(10);
/// # Ok::<(), floodmark::Error>(())
/// ```
pub struct Reference<'c, K, W> {
    stream: DStream<'c, (K, W)>,
    joins: Joins,
}

impl<K, W> Clone for Reference<'_, K, W> {
    fn clone(&self) -> Self {
        Self { stream: self.stream, joins: self.joins.clone() }
    }
}

impl<'c, K, W> Reference<'c, K, W> {
    pub(crate) fn new(stream: DStream<'c, (K, W)>, joins: Joins) -> Self {
        Self { stream, joins }
    }
}

impl<'c, K: Key, V: Record> DStream<'c, (K, V)> {
    /// Looks every record's key up in reference data, and lets a function emit what becomes of the record; it gets the values
    /// of the key in the loader's order, none where the key is not there. Keys must leave as they came.
    pub(crate) fn look_up<W: Record, U: Record>(
        &self,
        uid: &str,
        reference: &Reference<'c, K, W>,
        each: impl Fn(K, V, &[W], &mut Emit<U>) + Send + Sync + 'static,
    ) -> DStream<'c, U> {
        let uid = Uid::from(uid);
        reference.joins.add(&uid);
        self.stateful_behind(&uid, &reference.stream, |slide| LookUp {
            spec: StateSpec::new(uid.as_str()),
            slide,
            each: Arc::new(each),
            types: PhantomData::<fn(V) -> U>,
        })
    }
}

struct LookUp<K, V, W, U, F> {
    spec: StateSpec<K, Vec<W>>,
    /// That of the stream, which may yield less often than there are new versions.
    slide: Slide,
    each: Arc<F>,
    types: PhantomData<fn(V) -> U>,
}

impl<K, V, W, U, F> Wide for LookUp<K, V, W, U, F>
where
    K: Key,
    V: Record,
    W: Record,
    U: Record,
    F: Fn(K, V, &[W], &mut Emit<U>) + Send + Sync + 'static,
{
    fn map_side(&self, side: u32, context: &WorkerContext, port: Port) -> ErasedPush {
        if side == REFERENCE {
            ErasedPush::new::<(K, W)>(VersionPush::new(port, context.partitions))
        } else {
            ErasedPush::new::<(K, V)>(ShufflePush::new(port, context.partitions))
        }
    }

    fn is_partitioned_by_key(&self) -> bool {
        true
    }

    fn reduce_side(&self, context: &WorkerContext, downstream: Downstream) -> Result<Box<dyn Reduce>> {
        Ok(Box::new(LookUpReduce::<K, V, W, U, F> {
            tables: Tables::load(context, &self.spec)?,
            slide: self.slide,
            each: self.each.clone(),
            emit: Emit::new(context.name.clone(), downstream.into_typed()),
            types: PhantomData,
        }))
    }

    fn type_problem(&self) -> Option<String> {
        as_key::<K>().problem
    }

    fn state(&self) -> Option<StateDescriptor> {
        // One kind for all joins with reference data: their state is the same, so one may become another.
        Some(StateDescriptor::of("reference", &self.spec))
    }
}

/// Sends the entries of a version to their partitions, and word of the version to all of them.
struct VersionPush<K, W> {
    shuffle: ShufflePush<K, W>,
    port: Port,
    partitions: u32,
    origin: Origin,
}

impl<K: Key, W: Record> VersionPush<K, W> {
    fn new(port: Port, partitions: u32) -> Self {
        let shuffle = ShufflePush::new(port.clone(), partitions);
        Self { shuffle, port, partitions, origin: Origin::default() }
    }
}

impl<K: Key, W: Record> Push<(K, W)> for VersionPush<K, W> {
    fn begin(&mut self, unit: &Unit) {
        self.origin = unit.origin.clone();
        self.shuffle.begin(unit);
    }

    fn push(&mut self, run: &mut Vec<(K, W)>) {
        self.shuffle.push(run);
    }

    fn end(&mut self) {
        self.shuffle.end();
        for partition in 0..self.partitions {
            self.port.send(&self.origin, u32::MAX, partition, Records::new(Vec::<Keyed<K, W>>::new()));
        }
    }
}

struct LookUpReduce<K, V, W, U, F> {
    tables: Tables<K, Vec<W>>,
    slide: Slide,
    each: Arc<F>,
    emit: Emit<U>,
    types: PhantomData<fn(V)>,
}

impl<K: Key, V, W: Record, U, F> LookUpReduce<K, V, W, U, F> {
    /// Makes a version the contents of a partition.
    fn replace(&mut self, partition: u32, version: impl Iterator<Item = Chunk>) {
        let (table, fingerprint) = self.tables.of(partition);
        let mut values = Groups::new();
        for chunk in version {
            for entry in chunk.records.into_typed::<Keyed<K, W>>() {
                values.add(table.slot_or_vacant(entry.hash(), &entry.key).place(), entry.value);
            }
        }
        values.settle(table.slots());
        for place in 0..table.slots() {
            let slot = Slot::at(place);
            let (_, hash, old) = table.entry(slot);
            let new = values.of(place);
            if is_same(old.map(Vec::as_slice).unwrap_or_default(), new) {
                continue;
            }
            let new = (!new.is_empty()).then(|| new.to_vec());
            fingerprint.note(hash, &new);
            table.put(slot, new, true);
        }
        table.settle();
    }
}

/// Whether the values of a key are the same, by their encodings: values need not be comparable.
fn is_same<W: Record>(old: &[W], new: &[W]) -> bool {
    if old.len() != new.len() {
        return false;
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    encode_into(old, &mut one).expect("a state encodes");
    encode_into(new, &mut other).expect("a value that was decoded encodes");
    one == other
}

impl<K, V, W, U, F> Reduce for LookUpReduce<K, V, W, U, F>
where
    K: Key,
    V: Record,
    W: Record,
    F: Fn(K, V, &[W], &mut Emit<U>),
{
    fn run(&mut self, partition: u32, unit: &Unit, chunks: Vec<Chunk>) {
        let mut chunks = chunks.into_iter().peekable();
        if chunks.peek().is_some_and(|chunk| chunk.side == REFERENCE) {
            self.replace(partition, std::iter::from_fn(|| chunks.next_if(|chunk| chunk.side == REFERENCE)));
        }
        let Some(time) = unit.batch.timing.due(self.slide) else { return };
        let (table, _) = self.tables.of(partition);
        self.emit.begin(&Unit { time, ..unit.clone() });
        for record in chunks.flat_map(|chunk| chunk.records.into_typed::<Keyed<K, V>>()) {
            if !self.emit.wants_more() {
                break;
            }
            let values = table.slot(record.hash(), &record.key).and_then(|slot| table.value(slot));
            let values = values.map(Vec::as_slice).unwrap_or_default();
            (self.each)(record.key, record.value, values, &mut self.emit);
        }
        self.emit.end();
    }

    fn state(&self) -> Option<&dyn OperatorState> {
        Some(&self.tables)
    }

    fn state_mut(&mut self) -> Option<&mut dyn OperatorState> {
        Some(&mut self.tables)
    }
}
