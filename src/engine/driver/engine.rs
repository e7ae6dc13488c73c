//! Start, restart and end of the dataflow.
//!
//! Every dataflow has a generation. Messages of an older one are ignored.

use crate::dataflow::engine::Engine;
use crate::driver::Driver;
use crate::driver::message::DriverMessage;
use floodmark_base::error::Result;
use floodmark_store::state::LoadTasks;
use floodmark_store::state::loader::StateLoader;

impl Driver {
    /// Starts a dataflow on the state of the newest published checkpoint.
    pub(super) fn start_engine(&mut self) -> Result<()> {
        self.generation += 1;
        let (sender, generation) = (self.inbox.sender(), self.generation);
        let tell = move |event| drop(sender.send(DriverMessage::Engine { generation, event }));
        let store = self.store.as_ref().expect("a store is there while the driver serves");
        let mut loader = StateLoader::new(store.reader(), self.stored.clone());
        loader = loader.with_limit(self.table_bytes());
        let tasks = LoadTasks::default();
        if self.lazy.is_some() {
            loader = loader.with_background(tasks.clone());
        }
        let (graph, blocks, patience) = (self.graph.clone(), self.blocks.clone(), self.settings.stop_grace);
        self.engine = Some(Engine::start(graph, self.settings.width, loader, blocks, patience, tell)?);
        self.start_background(&tasks)
    }

    /// Each table's share of the memory budget, in bytes; only operators that can look up missing keys in the store have one.
    fn table_bytes(&self) -> Option<u64> {
        let operators = self.graph.stateful().filter(|(_, wide, _)| wide.keeps_within_budget()).count() as u64;
        let tables = operators * u64::from(self.settings.width.partitions);
        self.settings.state_memory.map(|budget| budget / tables.max(1))
    }

    /// Drops the dataflow, and starts another one from the newest published checkpoint.
    pub(super) fn restart_engine(&mut self) -> Result<()> {
        self.drop_engine();
        self.settle_checkpoint()?;
        self.checkpoint.batches = 0;
        self.checkpoint.replay_ms = 0;
        self.history.rewind();
        match self.start_engine() {
            // Operators that need all of their state read it here, so it may prove to be damaged.
            Err(error) => self.state_failed(error),
            Ok(()) => Ok(()),
        }
    }

    /// Ends the dataflow. Whatever its workers still report is ignored.
    pub(super) fn drop_engine(&mut self) {
        self.generation += 1;
        self.in_flight.clear();
        if let Some(lazy) = &mut self.lazy {
            lazy.rest();
        }
        if let Some(engine) = self.engine.take() {
            self.shared.leave_behind(engine.stop());
        }
    }
}
