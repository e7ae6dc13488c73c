//! Signals, on a thread of their own: nothing that a receiver or a batch does holds them up.

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::start::environment;
use crate::driver::stopper::Stopper;
use floodmark_base::error::Result;

/// Listens until it is dropped.
pub(crate) struct Signals(Option<Runtime>);

impl Signals {
    /// SIGTERM, and the first SIGINT, stop gracefully; the second SIGINT stops hard.
    pub fn listen(stopper: Stopper) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("signals").enable_all().build();
        let runtime = runtime.map_err(|error| environment("start the thread for signals", error))?;
        let entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| environment("listen to signals", error));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        drop(entered);
        runtime.spawn(async move {
            let mut interrupted = false;
            loop {
                let graceful = tokio::select! {
                    _ = terminate.recv() => true,
                    _ = interrupt.recv() => !std::mem::replace(&mut interrupted, true),
                };
                tracing::info!(graceful, "stopping on a signal");
                stopper.stop(graceful);
            }
        });
        Ok(Self(Some(runtime)))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The thread ends by itself: a runtime must not be waited for inside of another one, where the driver may be.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
