//! `KeyedState`: the state of one key, in the hands of the user's function.

/// The state of the key that [`map_with_state`](crate::DStream::map_with_state) is working on. Spark: `State`.
///
/// ```
/// # fn main() -> floodmark::Result<()> {
/// use floodmark::{KeyedState, testing::TestJob};
///
/// // Every second record of a key passes; the key is forgotten in between.
/// let mut job = TestJob::new(|context| {
///     let (words, stream) = context.queue_stream::<(String, u64)>("words");
///     let second = stream.map_with_state("waiting", |_, value, first: &mut KeyedState<u64>| {
///         if first.exists() {
///             first.remove();
///             value
///         } else {
///             first.update(value.unwrap_or(0));
///             None
///         }
///     });
///     (words, second.collect("second"))
/// })?;
/// let (words, second) = job.handles();
/// words.push(vec![("a".into(), 1), ("a".into(), 2), ("a".into(), 3)])?;
/// job.run_batch()?;
/// assert_eq!(second.last(), [None, Some(2), None]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KeyedState<S> {
    state: Option<S>,
    timing_out: bool,
    updated: bool,
    removed: bool,
}

impl<S> KeyedState<S> {
    pub(crate) fn of(state: Option<S>) -> Self {
        Self { state, timing_out: false, updated: false, removed: false }
    }

    pub(crate) fn timing_out(state: S) -> Self {
        Self { timing_out: true, ..Self::of(Some(state)) }
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.updated || self.removed
    }

    pub(crate) fn into_inner(self) -> Option<S> {
        self.state
    }

    /// Whether the key has a state.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.state.is_some()
    }

    /// The state, if the key has one.
    #[must_use]
    pub fn get(&self) -> Option<&S> {
        self.state.as_ref()
    }

    /// Whether the key was idle for too long: it is forgotten after this call.
    #[must_use]
    pub fn is_timing_out(&self) -> bool {
        self.timing_out
    }

    /// Gives the key this state.
    ///
    /// # Panics
    /// When the key is timing out, or was removed in this call, as in Spark; the batch then fails with this message.
    pub fn update(&mut self, state: S) {
        assert!(!self.removed, "a state cannot be updated after it was removed");
        assert!(!self.timing_out, "the state of a key that is timing out cannot be updated");
        self.state = Some(state);
        self.updated = true;
    }

    /// Forgets the key.
    ///
    /// # Panics
    /// When the key is timing out, or was removed in this call already, as in Spark; the batch then fails with this message.
    pub fn remove(&mut self) {
        assert!(!self.removed, "a state cannot be removed twice");
        assert!(!self.timing_out, "the state of a key that is timing out cannot be removed: it is forgotten anyway");
        self.state = None;
        self.removed = true;
    }
}
