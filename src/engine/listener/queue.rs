//! The queue between the job and its listeners, and the thread that empties it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::listener::Listeners;
use crate::listener::events::{Event, EventsMissed};
use floodmark_base::error::{Error, ErrorKind, Result};

/// Where the parts of a job tell what happens; clones tell the same listeners. The default has none.
#[derive(Clone, Default)]
pub(crate) struct Events(Option<Arc<Queue>>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("listened_to", &self.0.is_some()).finish()
    }
}

impl Events {
    /// Tells the listeners an event. Never waits; without listeners the event is not even made.
    pub fn tell<E: Into<Event>>(&self, event: impl FnOnce() -> E) {
        if let Some(queue) = &self.0 {
            queue.put(event().into(), queue.capacity);
        }
    }

    /// Whether there are listeners.
    pub fn are_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there are listeners, and their queue is not full.
    pub fn have_room(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.lock().waiting.len() < queue.capacity)
    }

    /// Tells an event that must not be dropped, though the queue may have become full since it [had room](Self::have_room).
    pub fn tell_surely(&self, event: impl Into<Event>) {
        if let Some(queue) = &self.0 {
            queue.put(event.into(), usize::MAX);
        }
    }
}

/// Where the queue reports what its listeners have missed and who has left.
pub(crate) trait ListenerCounts: Send + Sync {
    /// Counts events that were dropped because the queue was full.
    fn events_missed(&self, count: u64);
    /// Counts listeners that were removed because they panicked.
    fn listeners_removed(&self, count: u64);
    /// Reports that the thread is left behind in a listener that has not returned within the grace period.
    fn left_behind(&self);
}

/// The thread of the listeners.
#[derive(Debug)]
pub(crate) struct ListenerThread {
    events: Events,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread has heard everything.
    listening: Option<Receiver<()>>,
}

impl ListenerThread {
    /// Starts the thread; without listeners there is none. `capacity` events may wait.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(listeners: Listeners, capacity: usize, counts: Arc<dyn ListenerCounts>) -> Result<Self> {
        if listeners.is_empty() {
            return Ok(Self { events: Events::default(), thread: None, listening: None });
        }
        let (listens, listening) = channel();
        let queue = Arc::new(Queue { capacity, counts, state: Mutex::default(), changed: Condvar::new() });
        let served = queue.clone();
        let thread = std::thread::Builder::new()
            .name("listeners".into())
            .spawn(move || {
                let _listens: Sender<()> = listens;
                served.serve(listeners);
            })
            .map_err(|error| Error::caused_by(ErrorKind::Environment, "listeners cannot be started", error))?;
        Ok(Self { events: Events(Some(queue)), thread: Some(thread), listening: Some(listening) })
    }

    /// Where to tell them events.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Tells the last event, which is never dropped, and waits until everything is heard; no longer than `grace`. Then what waits is
    /// dropped and counted, except for the last event, and the thread is left behind with the listener that it waits for.
    pub fn end(self, last: impl Into<Event>, grace: Duration) {
        let (Some(queue), Some(thread), Some(listening)) = (self.events.0, self.thread, self.listening) else { return };
        queue.close(last.into());
        if listening.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
            queue.drop_all_but_the_last();
            return queue.counts.left_behind();
        }
        if thread.join().is_err() {
            tracing::error!("the thread of the listeners panicked");
        }
    }
}

struct Queue {
    capacity: usize,
    counts: Arc<dyn ListenerCounts>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    /// Events that were dropped behind the last one that waits.
    missed: u64,
    closed: bool,
}

impl State {
    /// Puts an event behind a word on what is missing before it.
    fn put(&mut self, event: Event) {
        if self.missed > 0 {
            let count = std::mem::take(&mut self.missed);
            tracing::warn!(count, "listeners were too slow and have missed events");
            self.waiting.push_back(EventsMissed { count }.into());
        }
        self.waiting.push_back(event);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event into the queue, or drops and counts it where `capacity` events wait.
    fn put(&self, event: Event, capacity: usize) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.waiting.len() < capacity {
            state.put(event);
            self.changed.notify_one();
            return;
        }
        state.missed += 1;
        let first = state.missed == 1;
        drop(state);
        if first {
            tracing::warn!(waiting = self.capacity, "listeners are too slow: events are dropped until they catch up");
        }
        self.counts.events_missed(1);
    }

    fn close(&self, last: Event) {
        let mut state = self.lock();
        state.put(last);
        state.closed = true;
        self.changed.notify_one();
    }

    /// Drops and counts what waits in front of the last event, once the queue is closed.
    fn drop_all_but_the_last(&self) {
        let mut state = self.lock();
        let Some(last) = state.waiting.pop_back() else { return };
        let (mut dropped, mut missed) = (0, 0);
        for event in std::mem::take(&mut state.waiting) {
            match event {
                Event::EventsMissed(before) => missed += before.count,
                _ => dropped += 1,
            }
        }
        state.missed = missed + dropped;
        state.put(last);
        drop(state);
        self.counts.events_missed(dropped);
    }

    /// Lets the listeners hear events until the queue is closed and empty.
    fn serve(&self, mut listeners: Listeners) {
        loop {
            let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
            let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let Some(event) = state.waiting.pop_front() else { return };
            drop(state);
            let removed = listeners.hear(&event);
            if removed > 0 {
                self.counts.listeners_removed(removed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::driver::status::Shared;
    use crate::listener::StreamingListener;
    use crate::listener::events::{ClockJumped, Ending, StreamingStopped};

    /// Writes down what it hears; after each jump of the clock it waits until it may go on.
    struct Slow {
        heard: Sender<String>,
        go_on: Receiver<()>,
    }

    impl StreamingListener for Slow {
        fn on_clock_jump(&mut self, jump: &ClockJumped) {
            self.heard.send(format!("jump {}", jump.by_ms)).unwrap();
            self.go_on.recv().unwrap();
        }

        fn on_events_missed(&mut self, missed: &EventsMissed) {
            self.heard.send(format!("missed {}", missed.count)).unwrap();
        }

        fn on_streaming_stopped(&mut self, _stopped: &StreamingStopped) {
            self.heard.send("stopped".to_string()).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_where_it_is_missing() {
        let ((heard, hears), (go_on, goes_on)) = (channel(), channel());
        let mut listeners = Listeners::default();
        listeners.add(Slow { heard, go_on: goes_on });
        let shared = Arc::new(Shared::default());
        let thread = ListenerThread::start(listeners, 2, shared.clone()).unwrap();
        let events = thread.events();
        events.tell(|| ClockJumped { by_ms: 0 });
        assert_eq!(hears.recv().unwrap(), "jump 0"); // it is out of the queue, and the listener holds it
        (1..=5).for_each(|by_ms| events.tell(|| ClockJumped { by_ms }));
        assert_eq!(shared.status().events_missed, 3);
        for _ in 0..3 {
            go_on.send(()).unwrap();
        }
        assert_eq!((hears.recv().unwrap(), hears.recv().unwrap()), ("jump 1".into(), "jump 2".into()));
        events.tell(|| ClockJumped { by_ms: 6 });
        assert_eq!((hears.recv().unwrap(), hears.recv().unwrap()), ("missed 3".into(), "jump 6".into()));
        (7..=9).for_each(|by_ms| events.tell(|| ClockJumped { by_ms }));
        (0..3).for_each(|_| go_on.send(()).unwrap());
        thread.end(StreamingStopped::new(Ok(&Ending::Hard), 0), Duration::from_secs(60));
        let rest: Vec<String> = hears.into_iter().collect();
        assert_eq!(rest, ["jump 7", "jump 8", "missed 1", "stopped"], "the last event is never dropped");
        assert_eq!(shared.status().events_missed, 4);
        events.tell(|| ClockJumped { by_ms: 10 }); // whoever tells something later is not heard, and does no harm
    }

    #[test]
    fn a_listener_that_does_not_return_is_not_waited_for_and_hears_the_last_event_when_it_does() {
        let ((heard, hears), (go_on, goes_on)) = (channel(), channel());
        let mut listeners = Listeners::default();
        listeners.add(Slow { heard, go_on: goes_on });
        let shared = Arc::new(Shared::default());
        let thread = ListenerThread::start(listeners, 2, shared.clone()).unwrap();
        let events = thread.events();
        events.tell(|| ClockJumped { by_ms: 0 });
        assert_eq!(hears.recv().unwrap(), "jump 0");
        (1..=5).for_each(|by_ms| events.tell(|| ClockJumped { by_ms }));
        assert_eq!(shared.status().events_missed, 3);
        thread.end(StreamingStopped::new(Ok(&Ending::Hard), 0), Duration::ZERO);
        let status = shared.status();
        assert_eq!((status.events_missed, status.left_behind), (5, vec!["listeners".to_string()]));
        go_on.send(()).unwrap();
        assert_eq!(hears.into_iter().collect::<Vec<_>>(), ["missed 5", "stopped"]);
    }
}
