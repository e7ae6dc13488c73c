//! The listeners that a program has added, as the settings of a job carry them.

use std::any::type_name;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::listener::StreamingListener;
use crate::listener::events::Event;
use floodmark_base::user_code;

/// Listeners in the order in which they were added. Clones of a builder share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Vec<Registered>);

#[derive(Clone)]
struct Registered {
    /// The name of its type.
    name: &'static str,
    listener: Arc<Mutex<dyn StreamingListener>>,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Listeners {
    pub fn add<L: StreamingListener>(&mut self, listener: L) {
        self.0.push(Registered { name: type_name::<L>(), listener: Arc::new(Mutex::new(listener)) });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets every listener hear an event. One that panics is removed; says how many were.
    pub fn hear(&mut self, event: &Event) -> u64 {
        let before = self.0.len();
        self.0.retain(|Registered { name, listener }| {
            let heard = user_code::call(format_args!("listener {name}"), || {
                let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
                event.deliver(&mut *listener);
            });
            if let Err(error) = &heard {
                tracing::error!(%error, "the listener is removed; the job goes on");
            }
            heard.is_ok()
        });
        (before - self.0.len()) as u64
    }
}
