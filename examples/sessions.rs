//! Sessions: what each user did, put out when nothing came from them for thirty seconds.
//!
//! ```text
//! cargo run --release --example sessions
//! ```
//!
//! Three minutes of generated page views, on a clock that runs as fast as the machine can; the process "dies" in the middle, and no
//! session is lost, cut in two, or put out twice.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::{BatchId, KeyedState, Queue, Running, StateSpec, Text};
use serde::{Deserialize, Serialize};

use common::simulation::{Simulation, clock_time};

const TIMEOUT: Duration = Duration::from_secs(30);
const SECONDS: u64 = 180;

/// What is known of a user who is still there; and, when the user has gone, the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    user: Text,
    first_ms: u64,
    last_ms: u64,
    pages: Vec<Text>,
}

/// A user and a page.
type View = (Text, Text);

/// The page views of a second: each user comes in bursts, with pauses shorter and longer than the timeout.
fn views(second: u64) -> Vec<View> {
    let users = [("ann", 10, 45, "maps"), ("bob", 25, 28, "prices"), ("eve", 1, 100, "help")];
    let is_there = |burst: u64, every: u64| second % every < burst && second.is_multiple_of(4);
    let there = users.iter().filter(|(_, burst, every, _)| is_there(*burst, *every));
    there.map(|(user, _, _, page)| (Text::from(*user), Text::from(*page))).collect()
}

/// Sessions by the batch that put them out: a batch that comes again after a crash replaces itself.
type Sessions = Arc<Mutex<BTreeMap<BatchId, Vec<Session>>>>;

fn main() -> ExitCode {
    common::exit(run(&[SECONDS / 2]).map(|sessions| sessions.iter().for_each(print)))
}

/// Runs the job, which dies after these seconds and is started again.
fn run(deaths: &[u64]) -> Result<Vec<Session>, Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let simulation = Simulation::new(Duration::from_secs(1));
    let sessions = Sessions::default();
    let (mut running, mut input) = start(&simulation, place.path(), sessions.clone())?;
    for second in 0..SECONDS {
        if deaths.contains(&second) {
            drop(running); // nothing is stopped in order: the next start recovers
            (running, input) = start(&simulation, place.path(), sessions.clone())?;
        }
        input.push(views(second))?;
        simulation.run_batch(&running)?;
    }
    running.stop(true)?;
    let sessions = sessions.lock().expect("no panic while held").values().flatten().cloned().collect();
    Ok(sessions)
}

fn start(simulation: &Simulation, place: &Path, sessions: Sessions) -> Result<(Running, Queue<View>), Box<dyn Error>> {
    let context = simulation.builder("sessions", &place.join("state")).build()?;
    let (input, views) = context.queue_stream::<View>("views");
    views
        .map_with_state_and_time(
            StateSpec::new("sessions").timeout(TIMEOUT),
            |time, user: &Text, page, session: &mut KeyedState<Session>| {
                let Some(page) = page else {
                    return session.get().cloned(); // it is timing out: this is the whole session
                };
                let new = Session { user: user.clone(), first_ms: time.0, last_ms: time.0, pages: Vec::new() };
                let mut now = session.get().cloned().unwrap_or(new);
                now.last_ms = time.0;
                now.pages.push(page);
                session.update(now);
                None
            },
        )
        .foreach_rdd(move |batch, rdd| {
            sessions.lock().expect("no panic while held").insert(batch.id, rdd.collect());
        });
    Ok((context.start()?, input))
}

fn print(session: &Session) {
    let Session { user, first_ms, last_ms, pages } = session;
    let views = if pages.len() == 1 { "view" } else { "views" };
    println!("{user} from {} to {}: {} {views}", clock_time(*first_ms), clock_time(*last_ms), pages.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sessions of the input, found without a stream.
    fn expected() -> Vec<(String, usize)> {
        let mut open: BTreeMap<String, (u64, usize)> = BTreeMap::new();
        let mut closed = Vec::new();
        for second in 0..SECONDS {
            for (user, _) in views(second) {
                let (last, pages) = open.entry(user.to_string()).or_default();
                (*last, *pages) = (second, *pages + 1);
            }
            let idle: Vec<String> = open
                .iter()
                .filter(|(_, (last, _))| second - last > TIMEOUT.as_secs())
                .map(|(user, _)| user.clone())
                .collect();
            closed.extend(idle.into_iter().map(|user| (user.clone(), open.remove(&user).unwrap().1)));
        }
        closed
    }

    fn found(deaths: &[u64]) -> Vec<(String, usize)> {
        run(deaths).unwrap().into_iter().map(|session| (session.user.to_string(), session.pages.len())).collect()
    }

    #[test]
    fn a_session_ends_when_its_user_was_idle_for_longer_than_the_timeout() {
        let expected = expected();
        assert!(expected.len() >= 3, "{expected:?}");
        assert_eq!(found(&[]), expected);
    }

    #[test]
    fn no_session_is_lost_or_put_out_twice_by_a_death() {
        assert_eq!(found(&[1, 17, 45, 46, 90, 120, 150]), expected());
    }
}
