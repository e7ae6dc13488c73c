//! Panes: what each batch gave to a key, as far as a window covers it.

use std::collections::VecDeque;

use floodmark_base::id::BatchTime;

/// The values of one key by the time of their batch, in order.
pub(crate) type Panes<V> = VecDeque<(BatchTime, V)>;

/// Merges the panes after `after` up to and with `through`, the oldest first.
pub(crate) fn fold<V: Clone>(
    panes: &Panes<V>,
    after: BatchTime,
    through: BatchTime,
    reduce: impl Fn(V, V) -> V,
) -> Option<V> {
    let covered = panes.iter().filter(|(time, _)| *time > after && *time <= through);
    covered.map(|(_, value)| value.clone()).reduce(reduce)
}

/// Drops the panes up to and with `through`. Says whether there were any.
pub(crate) fn drop_through<V>(panes: &mut Panes<V>, through: BatchTime) -> bool {
    let before = panes.len();
    while panes.front().is_some_and(|(time, _)| *time <= through) {
        panes.pop_front();
    }
    panes.len() < before
}
