//! Lowering: the declared graph becomes a timely dataflow, the same on every worker.
//!
//! Each stage is one timely operator. Its narrow operators are fused into a chain of [`Push`](crate::dataflow::push::Push)es
//! inside it; every wide operator that its records flow into is one output, joined to that operator's stage by an exchange of
//! chunks by partition. An extra output without data lets one probe see when a batch is through all stages.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
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
use crate::dataflow::graph::{Graph, NodeId, Operator, Reduce, RunTask, WorkerContext, owner};
use crate::dataflow::push::{BatchContext, Downstream, ErasedPush, Unit};
use crate::dataflow::report::{OutputTray, Port, Reports};
use crate::dataflow::task::{SourceFailure, Task};
use crate::state::loader::StateLoader;

type Chunks<'s> = Stream<'s, u64, Vec<Chunk>>;
type ChunkOutput = OutputBuilder<u64, CapacityContainerBuilder<Vec<Chunk>>>;
type SharedReduce = Rc<RefCell<Box<dyn Reduce>>>;

/// The batches that are under way on this worker, by execution.
pub(crate) type Batches = Rc<RefCell<BTreeMap<u64, Rc<BatchContext>>>>;

/// The dataflow of one worker, with what the worker's loop needs to drive it.
pub(crate) struct Lowered {
    pub inputs: HashMap<NodeId, InputHandle<u64, CapacityContainerBuilder<Vec<Task>>>>,
    pub probe: probe::Handle<u64>,
    pub batches: Batches,
    pub reports: Reports,
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
}

/// A stage's chain of narrow operators, with the ports it ends in.
struct Chain {
    head: Downstream,
    ports: Vec<(NodeId, Port)>,
}

impl Lowering<'_> {
    /// Builds the dataflow in `scope`.
    ///
    /// # Errors
    /// When the state of an operator cannot be loaded.
    pub fn build(&self, scope: Scope<'_, u64>) -> Result<Lowered, crate::Error> {
        let mut lowered = Lowered {
            inputs: HashMap::new(),
            probe: probe::Handle::new(),
            batches: Batches::default(),
            reports: Reports::default(),
            reduces: Vec::new(),
            failure: Rc::default(),
        };
        let mut arriving: HashMap<NodeId, Vec<Chunks<'_>>> = HashMap::new();
        let mut done = Vec::new();
        for (id, node) in self.graph.iter() {
            let context = self.context(id);
            let stage = match &node.operator {
                Operator::Source(source) => {
                    let chain = self.chain(id, &lowered.reports);
                    let (input, tasks) = scope.new_input::<Vec<Task>>();
                    lowered.inputs.insert(id, input);
                    let run = source.stage(&context, chain.head);
                    source_stage(id, &node.name, tasks, run, chain.ports, &lowered)
                }
                Operator::Wide(wide) => {
                    let chain = self.chain(id, &lowered.reports);
                    let chunks = scope.concatenate(arriving.remove(&id).unwrap_or_default());
                    let reduce = Rc::new(RefCell::new(wide.reduce_side(&context, chain.head)?));
                    if wide.state().is_some() {
                        lowered.reduces.push((id, reduce.clone()));
                    }
                    wide_stage(id, &context, chunks, reduce, chain.ports, &lowered)
                }
                Operator::Narrow(_) | Operator::Output(_) => continue,
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
        }
    }

    /// The narrow operators after a root, down to the next wide operators and outputs.
    fn chain(&self, root: NodeId, reports: &Reports) -> Chain {
        let mut ports = Vec::new();
        let head = self.downstream(root, reports, &mut ports);
        Chain { head, ports }
    }

    fn downstream(&self, parent: NodeId, reports: &Reports, ports: &mut Vec<(NodeId, Port)>) -> Downstream {
        let receivers = self.graph.children(parent).map(|(child, side)| self.receiver(child, side, reports, ports));
        Downstream(receivers.collect())
    }

    fn receiver(&self, id: NodeId, side: u32, reports: &Reports, ports: &mut Vec<(NodeId, Port)>) -> ErasedPush {
        let context = self.context(id);
        match &self.graph.node(id).operator {
            Operator::Source(_) => unreachable!("a source has no parents"),
            Operator::Narrow(narrow) => narrow.lower(&context, self.downstream(id, reports, ports)),
            Operator::Output(output) => output.collect(&context, OutputTray { node: id, reports: reports.clone() }),
            Operator::Wide(wide) => {
                let port = Port::new(side);
                ports.push((id, port.clone()));
                wide.map_side(side, &context, port)
            }
        }
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
                for task in tasks.drain(..) {
                    if failure.borrow().is_some() {
                        return;
                    }
                    let batch = batches.borrow()[&execution].clone();
                    let unit = Unit { origin: Origin { stage: id.0, unit: task.index }, batch };
                    match run.run(&task, &unit) {
                        Ok(done) => reports.update(execution, |report| report.records.push((id, done.records, done.failed))),
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
fn wide_stage<'s>(
    id: NodeId,
    context: &WorkerContext,
    chunks: Chunks<'s>,
    reduce: SharedReduce,
    ports: Vec<(NodeId, Port)>,
    lowered: &Lowered,
) -> Stage<'s> {
    let (workers, partitions) = (context.workers, context.partitions);
    let owned: Vec<u32> = context.owned().collect();
    let name = context.name.clone();
    let mut builder = OperatorBuilder::new(name.to_string(), chunks.scope());
    let route = Exchange::new(move |chunk: &Chunk| u64::from(owner(chunk.partition, workers, partitions)));
    let mut input = builder.new_input(chunks, route);
    let (mut outputs, stage) = stage_outputs(&mut builder, &ports);
    let (batches, reports) = (lowered.batches.clone(), lowered.reports.clone());
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
                blame::enter(&name);
                let mut reduce = reduce.borrow_mut();
                for &partition in &owned {
                    let unit = Unit { origin: Origin { stage: id.0, unit: partition }, batch: batch.clone() };
                    reduce.run(partition, &unit, by_partition.remove(&partition).unwrap_or_default());
                    for (((_, port), output), capability) in ports.iter().zip(&mut outputs).zip(held.iter()) {
                        let mut output = output.activate();
                        output.session(capability).give_iterator(port.drain().into_iter());
                    }
                }
                reports.update(execution, |report| {
                    report.digests.extend(reduce.take_digest().map(|digest| (id, digest)));
                    report.entries.push((id, reduce.entries()));
                    if batch.freeze {
                        report.frozen.push((id, reduce.freeze()));
                    }
                });
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
    chunks.sort_by_key(|chunk| (chunk.side, chunk.origin, chunk.sequence));
    let mut by_partition: HashMap<u32, Vec<Chunk>> = HashMap::new();
    for chunk in chunks {
        by_partition.entry(chunk.partition).or_default().push(chunk);
    }
    by_partition
}
