//! Which operator's user code is running on this thread, so that a panic can be reported by name.

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Notes that the named operator's code runs from here on.
#[inline]
pub(crate) fn enter(operator: &Arc<str>) {
    RUNNING.with(|running| {
        let mut running = running.borrow_mut();
        if !running.as_ref().is_some_and(|current| Arc::ptr_eq(current, operator)) {
            *running = Some(operator.clone());
        }
    });
}

/// The operator whose code ran last on this thread.
pub(crate) fn running() -> String {
    RUNNING.with(|running| running.borrow().as_ref().map_or_else(|| "the dataflow".to_string(), |name| name.to_string()))
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_string())
}
