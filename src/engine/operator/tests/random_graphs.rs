//! Random graphs of operators over random batches, with random workers, ticks that merge, and crashes: what comes out is what a
//! naive model says, partition by partition and in order.
//!
//! `make random-graphs CASES=10000 SEED=1` runs more of them; a failure names its seed and the smallest case that was found.

mod case;
mod graph;
mod history;
mod model;
mod run;
mod ticks;
mod values;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::values::{Shape, TestKey};
use floodmark_base::text::Text;

/// How many cases run by default, over all types of keys.
const CASES: u32 = 240;
const TYPES: u32 = 3;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: expected a number")))
}

fn random_graphs<K: TestKey>() {
    let cases: u32 = setting("FLOODMARK_GRAPH_CASES").unwrap_or(CASES).div_ceil(TYPES);
    let seed: u64 = setting("FLOODMARK_GRAPH_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let keys = std::any::type_name::<K>();
    println!("{cases} random graphs over {keys}, seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&case::cases(), |case| run::check::<K>(&case).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("seed {seed}, keys {keys}: {error}");
    }
}

#[test]
fn random_graphs_over_numbers_do_what_the_model_says() {
    random_graphs::<u64>();
}

#[test]
fn random_graphs_over_texts_do_what_the_model_says() {
    random_graphs::<Text>();
}

#[test]
fn random_graphs_over_keys_of_several_shapes_do_what_the_model_says() {
    random_graphs::<Shape>();
}
