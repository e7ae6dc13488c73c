//! Which operator's user code is running on a worker's thread, so that a panic can be reported by name, and so can code that
//! does not return.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

thread_local! {
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    static EXECUTION: Cell<Option<u64>> = const { Cell::new(None) };
    static SIGHT: RefCell<Option<Sight>> = const { RefCell::new(None) };
}

/// Shows other threads which operator's code runs on a worker's thread. Clones show the same thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight(Arc<Mutex<Option<Arc<str>>>>);

impl Sight {
    /// Shows this thread from here on.
    pub fn watch_this_thread(&self) {
        SIGHT.replace(Some(self.clone()));
    }

    /// The operator whose code ran last.
    pub fn operator(&self) -> String {
        name_of(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    fn show(&self, operator: &Arc<str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(operator.clone());
    }
}

/// Notes that the named operator's code runs from here on.
#[inline]
pub(crate) fn enter(operator: &Arc<str>) {
    RUNNING.with(|running| {
        let mut running = running.borrow_mut();
        if !running.as_ref().is_some_and(|current| Arc::ptr_eq(current, operator)) {
            *running = Some(operator.clone());
            SIGHT.with_borrow(|sight| sight.iter().for_each(|sight| sight.show(operator)));
        }
    });
}

/// Notes that this execution is worked on from here on.
pub(crate) fn enter_execution(execution: u64) {
    EXECUTION.set(Some(execution));
}

/// The execution that was worked on last on this thread, and the operator whose code ran last.
pub(crate) fn running() -> (Option<u64>, String) {
    (EXECUTION.get(), RUNNING.with_borrow(|running| name_of(running.as_ref())))
}

fn name_of(operator: Option<&Arc<str>>) -> String {
    operator.map_or_else(|| "the dataflow".to_string(), ToString::to_string)
}
