//! A sink on an object store, as a user would write it, under a sweep; and the three ways in which such sinks go wrong, each of
//! which the sweep finds.
//!
//! The protocol: a batch is one object that is created only where it is absent. Any answer but success is ambiguous, so the same
//! bytes are put again under the same name; where something is there already, it is read back and compared. Every epoch
//! creates the next fence object, and no batch is published past the fence of another. A list is a hint; what is last is found
//! by looking forward from there. Names with a dot are the sink's own business.

use std::sync::Arc;

use floodmark::testing::disk::Step;
use floodmark::{BatchId, Epoch, Lineage, PublishedBatch, Sink, SinkError, StreamingContext};
use floodmark_chaos::sweep::{Env, Fault, Oracle, Restart, Sweep};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use tokio::runtime::{Builder, Runtime};

const BATCHES: &str = "batches";
const FENCES: &str = ".fences";
const NEWEST: &str = ".newest";
const ATTEMPTS: usize = 3;
const SEED: u64 = 20_261_121;
const STEPS: [Step; 3] = [Step::StorePut, Step::StoreDelete, Step::StoreList];

/// How a sink goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the protocol.
    Right,
    /// Overwrites, at the place after what a list says is the last batch.
    TrustsLists,
    /// Takes a put without an answer for one that was not done, and puts under a new name.
    PutsUnderNewName,
    /// Lets every driver publish.
    LetsAllIn,
}

struct ObjectSink {
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
    way: Way,
    /// The driver that was let in.
    epoch: Option<Epoch>,
    /// The number of the newest fence that was seen.
    fence: u64,
    /// The last batch, for one that trusts lists.
    last: u64,
}

/// What is there after a create.
#[derive(Debug, PartialEq, Eq)]
enum Created {
    Ours,
    Another(String),
}

impl ObjectSink {
    fn new(store: Arc<dyn ObjectStore>, way: Way) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self { store, runtime, way, epoch: None, fence: 0, last: 0 })
    }

    /// Creates an object, and tries again until it is known what is there.
    fn create(&self, at: &Path, body: &str) -> Result<Created, SinkError> {
        let mut newest = None;
        for _ in 0..ATTEMPTS {
            let put = self.store.put_opts(at, body.to_string().into(), PutMode::Create.into());
            match self.runtime.block_on(put) {
                Ok(_) => return Ok(Created::Ours),
                // Perhaps by an attempt of ours whose answer was lost.
                Err(Error::AlreadyExists { .. }) => match self.read(at)? {
                    Some(found) if found == body => return Ok(Created::Ours),
                    Some(found) => return Ok(Created::Another(found)),
                    None => {}
                },
                Err(error) => newest = Some(error),
            }
        }
        Err(SinkError::other(format!("it is not known whether {at} was put: {newest:?}")))
    }

    /// The body of an object; nothing where there is none.
    fn read(&self, at: &Path) -> Result<Option<String>, SinkError> {
        let read = self.runtime.block_on(async { self.store.get(at).await?.bytes().await });
        match read {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(SinkError::other(error)),
        }
    }

    /// The largest number below a directory, as far as a list knows. When there is no list there is no hint.
    fn hint(&self, directory: &str) -> u64 {
        let prefix = Path::from(directory);
        let listed = self.runtime.block_on(self.store.list(Some(&prefix)).try_collect::<Vec<_>>());
        let numbers =
            listed.unwrap_or_default().into_iter().filter_map(|object| object.location.filename()?.parse().ok());
        numbers.max().unwrap_or(0)
    }

    /// The newest fence from `hint` on, and whose it is.
    fn newest_fence(&self, hint: u64) -> Result<(u64, u64), SinkError> {
        let mut newest = (0, 0);
        for number in hint.max(1).. {
            let Some(body) = self.read(&numbered(FENCES, number))? else { break };
            newest = (number, body.parse().map_err(SinkError::other)?);
        }
        Ok(newest)
    }

    fn claim(&mut self, epoch: Epoch) -> Result<(), SinkError> {
        self.fence = self.hint(FENCES);
        loop {
            let (number, held) = self.newest_fence(self.fence)?;
            self.fence = number;
            match held {
                held if held > epoch.0 => return Err(fenced(epoch, held)),
                held if held == epoch.0 => return Ok(()),
                _ => self.create(&numbered(FENCES, number + 1), &epoch.0.to_string())?,
            };
        }
    }

    fn check_fence(&self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        if self.epoch != Some(batch.epoch) {
            let PublishedBatch { epoch, lineage, batch, .. } = *batch;
            return Err(SinkError::NotFenced { place: BATCHES.to_string(), epoch, lineage, batch });
        }
        match self.newest_fence(self.fence)? {
            (_, held) if held > batch.epoch.0 => Err(fenced(batch.epoch, held)),
            _ => Ok(()),
        }
    }

    fn last_batch(&self) -> Result<u64, SinkError> {
        let mut last = self.hint(NEWEST);
        while self.read(&numbered(BATCHES, last + 1))?.is_some() {
            last += 1;
        }
        Ok(last)
    }

    /// Leaves a hint to where the batches end, so that nobody has to list all of them.
    fn leave_hint(&self, batch: u64) -> Result<(), SinkError> {
        let (here, before) = (numbered(NEWEST, batch), numbered(NEWEST, batch - 1));
        self.again(|| self.runtime.block_on(self.store.put(&here, "".into())).map(drop))?;
        self.again(|| self.runtime.block_on(self.store.delete(&before)))
    }

    /// For what can be done twice.
    fn again(&self, act: impl Fn() -> object_store::Result<()>) -> Result<(), SinkError> {
        let mut done = act();
        for _ in 1..ATTEMPTS {
            done = done.or_else(|_| act());
        }
        done.map_err(SinkError::other)
    }

    fn publish_rightly(&self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        let (at, body) = (numbered(BATCHES, batch.batch.0), body_of(batch));
        match self.create(&at, &body)? {
            Created::Ours => self.leave_hint(batch.batch.0),
            Created::Another(found) => {
                Err(SinkError::Conflict { place: at.to_string(), batch: batch.batch, expected: body, found })
            }
        }
    }

    fn publish_after_the_last(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        if batch.batch.0 <= self.last {
            return Ok(());
        }
        self.last += 1;
        let at = numbered(BATCHES, self.last);
        self.again(|| self.runtime.block_on(self.store.put(&at, body_of(batch).into())).map(drop))
    }

    fn publish_under_a_new_name(&self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        let put = |at: Path| {
            let put = self.store.put_opts(&at, body_of(batch).into(), PutMode::Create.into());
            match self.runtime.block_on(put) {
                Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
                Err(error) => Err(SinkError::other(error)),
            }
        };
        let name = numbered(BATCHES, batch.batch.0);
        put(name.clone()).or_else(|_| put(Path::from(format!("{name}-again"))))
    }
}

impl Sink<u64> for ObjectSink {
    fn fence(&mut self, epoch: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
        self.epoch = Some(epoch);
        if self.way == Way::TrustsLists {
            self.last = self.hint(BATCHES);
            return Ok(Some(BatchId(self.last)));
        }
        if self.way != Way::LetsAllIn {
            self.claim(epoch)?;
        }
        self.last_batch().map(|last| Some(BatchId(last)))
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        if matches!(self.way, Way::Right | Way::PutsUnderNewName) {
            self.check_fence(batch)?;
        }
        match self.way {
            Way::Right | Way::LetsAllIn => self.publish_rightly(batch),
            Way::TrustsLists => self.publish_after_the_last(batch),
            Way::PutsUnderNewName => self.publish_under_a_new_name(batch),
        }
    }
}

fn numbered(directory: &str, number: u64) -> Path {
    Path::from(format!("{directory}/{number:020}"))
}

/// Nothing in it depends on the attempt.
fn body_of(batch: &PublishedBatch<u64>) -> String {
    format!("{} {:?}", batch.time.0, batch.partitions)
}

fn fenced(epoch: Epoch, newer: u64) -> SinkError {
    SinkError::Fenced { place: BATCHES.to_string(), epoch, newer: Epoch(newer) }
}

fn sweep(name: &str, way: Way) -> Sweep {
    let job = move |env: &Env| -> floodmark::Result<StreamingContext> {
        let context = env.builder("objects").build()?;
        let sink = ObjectSink::new(env.object_store("bucket"), way).expect("a runtime needs nothing");
        env.input::<u64>(&context, "orders").sink("objects", sink);
        Ok(context)
    };
    // The graceful stop after a checkpoint, the kill between two of them.
    let restarts = [Restart::Graceful(4), Restart::Kill(6)];
    let orders = (1..=8_u64).map(|batch| vec![batch, 10 * batch]);
    Sweep::new(name, job).seed(SEED).input("orders", orders).restarts(restarts)
}

#[test]
fn a_sink_by_the_protocol_survives_every_fault_at_every_step_of_the_store() {
    let report = sweep("object-sink", Way::Right).at(STEPS).run();
    report.assert_survived();
    let struck = |step: Step, fault: Fault| {
        let row = report.rows.iter().find(|row| row.step == step.name());
        row.is_some_and(|row| row.cells.iter().any(|cell| cell.fault == fault.name() && cell.runs > 0))
    };
    for step in STEPS {
        for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::IoError, Fault::LostAck, Fault::Zombie] {
            assert!(struck(step, fault), "{fault} never struck at {step}");
        }
        assert_eq!(struck(step, Fault::ListLag), step == Step::StoreList, "at {step}");
    }
    assert_eq!(report.rows.len(), STEPS.len(), "faults strike at no other step");
}

/// Without errors of the local disk: they are no business of a sink on a store, whose own errors come at every step of it above.
#[test]
fn a_sink_by_the_protocol_survives_a_sample_of_faults_at_all_steps_and_of_two_faults() {
    let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::IoError);
    sweep("object-sink-sample", Way::Right).faults(faults).sample(150).nested(100).run().assert_survived();
}

#[test]
fn a_sink_that_overwrites_where_a_list_ends_is_found_by_what_it_has_overwritten() {
    let report = sweep("trusts-lists", Way::TrustsLists).faults([Fault::ListLag]).run();
    assert_eq!(report.oracles(), [Oracle::ExactlyOnce], "{report}");
}

#[test]
fn a_sink_that_puts_under_a_new_name_when_an_answer_is_lost_is_found_by_the_batch_that_is_there_twice() {
    let report = sweep("new-name", Way::PutsUnderNewName).faults([Fault::LostAck]).run();
    assert_eq!(report.oracles(), [Oracle::ExactlyOnce], "{report}");
}

#[test]
fn a_sink_without_a_fence_is_found_by_what_an_overtaken_driver_publishes() {
    let report = sweep("no-fence", Way::LetsAllIn).faults([Fault::Zombie]).run();
    assert_eq!(report.oracles(), [Oracle::Fencing], "{report}");
}
