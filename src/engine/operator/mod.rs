//! The operators, in folders by kind. Each is one file: its method on [`DStream`](crate::DStream), its documentation, its
//! lowering, and what it keeps in state. To add one, read a neighbour of its kind: `narrow/map.rs`, `narrow/map_partitions.rs`
//! (whole partitions), `wide/reduce_by_key.rs`, `state/update_state_by_key.rs`, `windows/window.rs`, `outputs/sink.rs`.

pub(crate) mod narrow;
pub(crate) mod outputs;
pub(crate) mod reference;
pub(crate) mod shapes;
pub(crate) mod state;
pub(crate) mod wide;
pub(crate) mod windows;

#[cfg(test)]
mod tests;
