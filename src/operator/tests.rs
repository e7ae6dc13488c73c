//! The operators, run as jobs: each with 1, 2 and 4 workers, and once more after a crash.

mod by_key;
mod joins;
mod kit;
mod partitions;
mod random_graphs;
mod slides;
mod stateless;
mod transform;
mod windows;
