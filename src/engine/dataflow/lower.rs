//! Lowering: the declared graph becomes a timely dataflow, the same on every worker.
//!
//! Each stage is one timely operator. Its narrow operators are fused into a chain of [`Push`](crate::dataflow::push::Push)es
//! inside it; every wide operator that its records flow into is one output, joined to that operator's stage by an exchange of
//! chunks by partition. An extra output without data lets one probe see when a batch is through all stages.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::core::{Concatenate, Input, Probe};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{InputCapability, probe};
use timely::dataflow::{InputHandle, Scope, Stream};

use crate::dataflow::blame;
use crate::dataflow::chunk::{Chunk, Origin};
use crate::dataflow::freezing::Freezing;
use crate::dataflow::graph::{Graph, NodeId, Operator, RunTask, SharedReduce, WorkerContext, owner};
use crate::dataflow::push::{BatchContext, Downstream, ErasedPush, Unit};
use crate::dataflow::report::{OutputTray, Port, Reports};
use crate::dataflow::task::{BlockReader, SourceFailure, Task};
use floodmark_base::error::Result;
use floodmark_store::batch::timing::Slide;
use floodmark_store::state::StateFailure;
use floodmark_store::state::loader::StateLoader;

type Chunks<'s> = Stream<'s, u64, Vec<Chunk>>;
type ChunkOutput = OutputBuilder<u64, CapacityContainerBuilder<Vec<Chunk>>>;

/// The batches that are under way on this worker, by execution.
pub(crate) type Batches = Rc<RefCell<BTreeMap<u64, Rc<BatchContext>>>>;

/// The dataflow of one worker, with what the worker's loop needs to drive it.
pub(crate) struct Lowered {
    pub inputs: HashMap<NodeId, InputHandle<u64, CapacityContainerBuilder<Vec<Task>>>>,
    pub probe: probe::Handle<u64>,
    pub batches: Batches,
    pub reports: Reports,
    pub freezing: Freezing,
    /// The stateful operators, for queries between batches.
    pub reduces: Vec<(NodeId, SharedReduce)>,
    /// The first task whose input could not be had.
    pub failure: Rc<RefCell<Option<SourceFailure>>>,
}

/// What is fixed for the whole dataflow.
pub(crate) struct Lowering<'a> {
    pub graph: &'a Graph,
    pub worker: u32,
    pub workers: u32,
    pub partitions: u32,
    pub loader: StateLoader,
    pub blocks: BlockReader,
}

/// What follows a root inside of its stage: narrow operators, wide ones that run in place, and the ports it ends in.
#[derive(Default)]
struct Chain {
    ports: Vec<(NodeId, Port)>,
    in_place: Vec<(NodeId, SharedReduce)>,
}

impl Lowering<'_> {
    /// Builds the dataflow in `scope`.
    ///
    /// # Errors
    /// When the state of an operator cannot be loaded.
    pub fn build(&self, scope: Scope<'_, u64>) -> Result<Lowered> {
        let mut lowered = Lowered {
            inputs: HashMap::new(),
            probe: probe::Handle::new(),
            batches: Batches::default(),
            reports: Reports::default(),
            freezing: Freezing::new(self.graph),
            reduces: Vec::new(),
            failure: Rc::default(),
        };
        let mut arriving: HashMap<NodeId, Vec<Chunks<'_>>> = HashMap::new();
        let mut done = Vec::new();
        for (id, node) in self.graph.iter() {
            let context = self.context(id);
            let mut chain = Chain::default();
            let stage = match &node.operator {
                Operator::Source(source) => {
                    let head = self.downstream(id, &lowered.reports, &mut chain)?;
                    let (input, tasks) = scope.new_input::<Vec<Task>>();
                    lowered.inputs.insert(id, input);
                    source_stage(id, &node.name, tasks, source.stage(&context, head), chain.ports, &lowered)
                }
                Operator::Wide(wide) if !self.graph.runs_in_place(id) => {
                    let head = self.downstream(id, &lowered.reports, &mut chain)?;
                    blame::enter(&context.name);
                    let chunks = scope.concatenate(arriving.remove(&id).unwrap_or_default());
                    let root: SharedReduce = Rc::new(RefCell::new(wide.reduce_side(&context, head)?));
                    chain.in_place.push((id, root.clone()));
                    lowered.reduces.extend(chain.in_place.iter().cloned());
                    let slide = self.graph.input_slide(id);
                    wide_stage(&context, slide, chunks, root, chain, &lowered)
                }
                Operator::Wide(_) | Operator::Narrow(_) | Operator::Snapshots(_) | Operator::Output(_) => continue,
            };
            for (target, stream) in stage.outputs {
                arriving.entry(target).or_default().push(stream);
            }
            done.push(stage.done);
        }
        scope.concatenate(done).probe_with(&lowered.probe);
        Ok(lowered)
    }

    fn context(&self, id: NodeId) -> WorkerContext {
        WorkerContext {
            name: self.graph.node(id).name.clone(),
            worker: self.worker,
            workers: self.workers,
            partitions: self.partitions,
            loader: self.loader.clone(),
            blocks: self.blocks.clone(),
        }
    }

    /// What follows a node inside of its stage, down to the next shuffles and outputs.
    fn downstream(&self, parent: NodeId, reports: &Reports, chain: &mut Chain) -> Result<Downstream> {
        let children: Vec<(NodeId, u32)> = self.graph.children(parent).collect();
        let mut downstream = Downstream::default();
        for (child, side) in children {
            let receiver = self.receiver(child, side, reports, chain)?;
            match &self.graph.node(child).operator {
                Operator::Snapshots(_) => downstream.snapshots.push(receiver),
                _ => downstream.records.push(receiver),
            }
        }
        Ok(downstream)
    }

    fn receiver(&self, id: NodeId, side: u32, reports: &Reports, chain: &mut Chain) -> Result<ErasedPush> {
        let context = self.context(id);
        Ok(match &self.graph.node(id).operator {
            Operator::Source(_) => unreachable!("a source has no parents"),
            Operator::Narrow(narrow) | Operator::Snapshots(narrow) => {
                narrow.lower(side, &context, self.downstream(id, reports, chain)?)
            }
            Operator::Output(output) => output.collect(&context, OutputTray { node: id, reports: reports.clone() }),
            Operator::Wide(wide) if self.graph.runs_in_place(id) => {
                let head = self.downstream(id, reports, chain)?;
                blame::enter(&context.name);
                let reduce: SharedReduce = Rc::new(RefCell::new(wide.reduce_side(&context, head)?));
                chain.in_place.push((id, reduce.clone()));
                wide.local_side(reduce)
            }
            Operator::Wide(wide) => {
                let port = Port::new(side);
                chain.ports.push((id, port.clone()));
                wide.map_side(side, &context, port)
            }
        })
    }
}

/// A stage as timely sees it from outside.
struct Stage<'s> {
    outputs: Vec<(NodeId, Chunks<'s>)>,
    done: Chunks<'s>,
}

/// The first stage: planned tasks come in, chunks go out.
fn source_stage<'s>(
    id: NodeId,
    name: &str,
    tasks: Stream<'s, u64, Vec<Task>>,
    mut run: Box<dyn RunTask>,
    ports: Vec<(NodeId, Port)>,
    lowered: &Lowered,
) -> Stage<'s> {
    let mut builder = OperatorBuilder::new(name.to_string(), tasks.scope());
    let mut input = builder.new_input(tasks, Pipeline);
    let (mut outputs, stage) = stage_outputs(&mut builder, &ports);
    let (batches, reports, failure) = (lowered.batches.clone(), lowered.reports.clone(), lowered.failure.clone());
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_frontiers| {
            input.for_each(|capability: InputCapability<u64>, tasks| {
                let execution = *capability.time();
                blame::enter_execution(execution);
                for task in tasks.drain(..) {
                    if failure.borrow().is_some() {
                        return;
                    }
                    let batch = batches.borrow()[&execution].clone();
                    let unit = Unit { origin: Origin::of(task.index), partition: 0, time: batch.timing.time, batch };
                    match run.run(&task, &unit) {
                        Ok(done) => reports.update(execution, |report| {
                            report.records.push((id, done.records, done.failed));
                            if !done.receipt.is_empty() {
                                report.receipts.push((id, task.index, done.receipt));
                            }
                        }),
                        Err(error) => *failure.borrow_mut() = Some(error),
                    }
                    for ((_, port), output) in ports.iter().zip(&mut outputs) {
                        let mut output = output.activate();
                        output.session(&capability).give_iterator(port.drain().into_iter());
                    }
                }
            });
        }
    });
    stage
}

/// A later stage: chunks are gathered until a batch is complete, then every owned partition runs.
///
/// In a batch in which its input yields nothing (it slides by more than the interval) no partition runs.
fn wide_stage<'s>(
    context: &WorkerContext,
    input_slide: Slide,
    chunks: Chunks<'s>,
    root: SharedReduce,
    chain: Chain,
    lowered: &Lowered,
) -> Stage<'s> {
    let (workers, partitions) = (context.workers, context.partitions);
    let owned: Vec<u32> = context.owned().collect();
    let name = context.name.clone();
    let Chain { ports, in_place } = chain;
    let mut builder = OperatorBuilder::new(name.to_string(), chunks.scope());
    let route = Exchange::new(move |chunk: &Chunk| u64::from(owner(chunk.partition, workers, partitions)));
    let mut input = builder.new_input(chunks, route);
    let (mut outputs, stage) = stage_outputs(&mut builder, &ports);
    let (batches, reports, freezing) = (lowered.batches.clone(), lowered.reports.clone(), lowered.freezing.clone());
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        let mut execution = 0_u64;
        let mut gathered: BTreeMap<u64, Vec<Chunk>> = BTreeMap::new();
        move |frontiers| {
            input.for_each(|capability, chunks| gathered.entry(*capability.time()).or_default().append(chunks));
            while !frontiers[0].less_equal(&execution) {
                let Some(batch) = batches.borrow().get(&execution).cloned() else {
                    // The input is closed and no batch is under way: the dataflow ends.
                    capabilities = None;
                    return;
                };
                let held = capabilities.as_mut().expect("capabilities are held until the input is closed");
                let mut by_partition = in_source_order(gathered.remove(&execution).unwrap_or_default());
                blame::enter_execution(execution);
                freezing.before_touching(&in_place);
                blame::enter(&name);
                let due = batch.timing.due(input_slide);
                for (&partition, time) in owned.iter().flat_map(|partition| due.map(|time| (partition, time))) {
                    let unit = Unit::of_partition(partition, time, batch.clone());
                    root.borrow_mut().run(partition, &unit, by_partition.remove(&partition).unwrap_or_default());
                    for (((_, port), output), capability) in ports.iter().zip(&mut outputs).zip(held.iter()) {
                        let mut output = output.activate();
                        output.session(capability).give_iterator(port.drain().into_iter());
                    }
                }
                reports.update(execution, |report| {
                    for (id, reduce) in &in_place {
                        let mut reduce = reduce.borrow_mut();
                        let Some(state) = reduce.state_mut() else { continue };
                        if let Err(error) = state.absorb(batch.freeze) {
                            resume_unwind(Box::new(StateFailure(error)));
                        }
                        if batch.stored {
                            state.confirm();
                        }
                        let (counts, pressure) = state.take_cache_counts();
                        report.cache.add(counts);
                        report.pressure = report.pressure.max(pressure);
                        report.digests.push((*id, state.take_digest()));
                        report.entries.push((*id, state.entries()));
                    }
                });
                if batch.freeze {
                    freezing.defer(&in_place);
                }
                execution += 1;
                held.iter_mut().for_each(|capability| capability.downgrade(&execution));
            }
        }
    });
    stage
}

/// One output per port, and one without data for the probe.
fn stage_outputs<'s>(
    builder: &mut OperatorBuilder<'s, u64>,
    ports: &[(NodeId, Port)],
) -> (Vec<ChunkOutput>, Stage<'s>) {
    let (mut outputs, mut streams) = (Vec::new(), Vec::new());
    for (target, _) in ports {
        let (output, stream) = builder.new_output();
        outputs.push(OutputBuilder::from(output));
        streams.push((*target, stream));
    }
    let (output, done) = builder.new_output();
    outputs.push(OutputBuilder::from(output));
    (outputs, Stage { outputs: streams, done })
}

/// Chunks by partition, each partition's in the order of the source, whatever order they arrived in (I-3).
fn in_source_order(mut chunks: Vec<Chunk>) -> HashMap<u32, Vec<Chunk>> {
    chunks.sort_by(|one, other| {
        one.side.cmp(&other.side).then_with(|| one.origin.cmp(&other.origin)).then(one.sequence.cmp(&other.sequence))
    });
    let mut by_partition: HashMap<u32, Vec<Chunk>> = HashMap::new();
    for chunk in chunks {
        by_partition.entry(chunk.partition).or_default().push(chunk);
    }
    by_partition
}
