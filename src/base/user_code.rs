//! Calls of user code outside of a dataflow: a panic becomes an error that says whose code it was.
//!
//! Everything that the library calls on a thread of its own (receivers, direct sources, loaders, sinks, migrations, listeners)
//! goes through [`call`] or [`Guarded`]. A thread may have an [`Observer`] of the calls: the driver's has one (`driver/watch.rs`).
//! Inside of a dataflow `dataflow/worker.rs` catches the panics of a whole step, and `dataflow/blame.rs` knows which operator ran.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    static OBSERVER: RefCell<Option<Rc<dyn Observer>>> = const { RefCell::new(None) };
}

/// Hears of the calls of user code on one thread.
pub trait Observer {
    /// User code begins; `code` names it. Returns `false` where this belongs to a call that is under way, and is not observed.
    fn enter(&self, code: &dyn Display) -> bool;

    /// The code that was entered has returned.
    fn leave(&self);
}

/// Observes the calls on this thread from here on.
pub fn observe_this_thread(observer: impl Observer + 'static) {
    OBSERVER.replace(Some(Rc::new(observer)));
}

/// User code runs until this is dropped.
#[must_use]
pub struct Entered(Option<Rc<dyn Observer>>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(observer) = &self.0 {
            observer.leave();
        }
    }
}

/// Notes that user code runs on this thread; `code` names it in reports.
pub fn enter(code: impl Display) -> Entered {
    let entered = |observer: &RefCell<Option<Rc<dyn Observer>>>| {
        observer.borrow().as_ref().filter(|observer| observer.enter(&code)).cloned()
    };
    Entered(OBSERVER.try_with(entered).ok().flatten()) // a thread that ends has none
}

/// Calls user code.
///
/// # Errors
/// `UserCode` when it panics: "`whose` panicked: " and the message of the panic.
pub fn call<R>(whose: impl Display, code: impl FnOnce() -> R) -> Result<R> {
    let _entered = enter(&whose);
    catch(code).map_err(|panic| Error::new(ErrorKind::UserCode, format!("{whose} panicked: {panic}")))
}

/// As [`call`], where the error says more.
///
/// # Errors
/// The message of the panic.
pub fn catch<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    // Whatever the code had half done is the user's own: it is called again, or dropped, by the documented rule.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| panic_message(&*panic))
}

/// A user's future. No panic gets out of it: not while it is polled, and not while it is dropped.
pub struct Guarded<F> {
    whose: &'static str,
    future: Option<Pin<Box<F>>>,
}

impl<F> Guarded<F> {
    /// `whose` code it is stands in the error.
    pub fn new(whose: &'static str, future: F) -> Self {
        Self { whose, future: Some(Box::pin(future)) }
    }

    fn end(&mut self) -> Result<()> {
        let future = self.future.take();
        call(self.whose, || drop(future))
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let whose = self.whose;
        let future = self.future.as_mut().expect("it is not polled after its end");
        let polled = call(whose, || future.as_mut().poll(task));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(error) => Err(error),
        };
        let dropped = self.end();
        Poll::Ready(ended.and_then(|output| dropped.map(|()| output)))
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "a future of the user's panicked when it was dropped");
        }
    }
}

/// What a caught panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_whose_code_it_was() {
        let error = call("the loader of \"prices\"", || panic!("line {} has no comma", 7)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UserCode);
        assert_eq!(error.to_string(), "the loader of \"prices\" panicked: line 7 has no comma");
        assert_eq!(call("nobody", || 7).unwrap(), 7);
    }

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }

    #[tokio::test]
    async fn no_panic_gets_out_of_a_guarded_future() {
        let polled = Guarded::new("on_start", async { panic!("out of luck") }).await;
        assert_eq!(polled.unwrap_err().to_string(), "on_start panicked: out of luck");
        let bomb = Bomb;
        let ended = Guarded::new("on_start", async move {
            let _held = bomb;
            tokio::task::yield_now().await;
        });
        assert_eq!(ended.await.unwrap_err().to_string(), "on_start panicked: boom");
        let bomb = Bomb;
        drop(Guarded::new("on_start", async move {
            let _held = &bomb;
            std::future::pending::<()>().await;
        }));
    }
}
