//! The operators, run as jobs: each with 1, 2 and 4 workers, and once more after a crash.

mod by_key;
mod extremes;
mod joins;
mod kit;
mod map_with_state;
mod partitions;
mod random_graphs;
mod reference;
mod slides;
mod stateless;
mod stored;
mod transform;
mod types;
mod update_state;
mod windows;
