//! The sweep over a job that has everything.

use floodmark::StreamingContext;
use recovery_tests::sweep::{Env, Sweep};

fn totals(env: &Env) -> floodmark::Result<StreamingContext> {
    let context = env.builder("totals").build()?;
    env.input::<(String, u64)>(&context, "payments")
        .update_state_by_key("totals", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.iter().sum::<u64>()))
        .sink("out", env.sink("totals"));
    Ok(context)
}

#[test]
fn a_job_with_one_operator_survives() {
    Sweep::new("totals", totals)
        .input("payments", (1..=12_u64).map(|n| vec![("ann".to_string(), n), ("bob".to_string(), 2 * n)]))
        .nested(200)
        .check("nothing is lost", |run| run.state::<String, u64>("totals").values().sum::<u64>() == 3 * 78)
        .run()
        .assert_survived();
}
