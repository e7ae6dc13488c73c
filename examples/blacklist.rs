//! A chat whose blacklist is replaced while it runs.
//!
//! ```text
//! cargo run --release --example blacklist
//! ```
//!
//! Every message is joined with the blacklist by its user: the list is reference data, so a new one is planned with a batch, holds from
//! that batch on, and is the same in every replay. Half-way the program replaces the file, as an administrator would, and goes on.
//! What it prints is the same each time.

mod common;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use floodmark::{Batch, Rdd, ReferenceFile, StreamingContext};

use common::arguments::Arguments;

const USAGE: &str = "blacklist [--rounds N] [--batch-interval 50ms]";

const USERS: [&str; 4] = ["ann", "bob", "mallory", "trudy"];
const FIRST_LIST: &str = "# who may not speak\nmallory\n";
const SECOND_LIST: &str = "# mallory has apologised\ntrudy\nbob\n";

/// A user, and what the user says.
type Message = (String, String);

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let rounds = arguments.optional("--rounds")?.unwrap_or(4);
    let batch_interval = arguments.duration("--batch-interval")?.unwrap_or(Duration::from_millis(50));
    arguments.finish()?;
    common::show_warnings();
    let place = tempfile::tempdir()?;
    chat(place.path(), rounds, batch_interval, |line| println!("{line}"))
}

/// Lets everybody speak once a round, a batch per round.
fn chat(
    place: &Path,
    rounds: u32,
    batch_interval: Duration,
    tell: impl Fn(String) + Clone + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let list = place.join("blacklist");
    replace(&list, FIRST_LIST)?;

    let context =
        StreamingContext::builder("chat").checkpoint(place.join("state")).batch_interval(batch_interval).build()?;
    let blacklist = context.reference_data("blacklist", ReferenceFile::new(&list, listed));
    let (speakers, messages) = context.queue_stream::<Message>("messages");
    let checked = messages.left_outer_join_reference("checked", &blacklist);
    let (let_through, blocked) = (tell.clone(), tell.clone());
    checked
        .filter(|(_user, (_message, listed))| listed.is_none())
        .map(|(user, (message, _))| format!("{user}: {message}"))
        .foreach_rdd(show("let through", let_through));
    checked
        .filter(|(_user, (_message, listed))| listed.is_some())
        .map(|(user, (message, _))| format!("{user}: {message}"))
        .foreach_rdd(show("blocked", blocked));

    let running = context.start()?;
    for round in 1..=rounds {
        if round == rounds / 2 + 1 {
            replace(&list, SECOND_LIST)?;
            tell("the blacklist is replaced".to_string());
        }
        // One push is one block, so a round is never spread over two batches.
        speakers.push(USERS.map(|user| (user.to_string(), format!("hello, {round}"))).to_vec())?;
        let said = u64::from(round) * USERS.len() as u64;
        running.wait_until(|status| status.records >= said)?;
    }
    Ok(running.stop(true)?)
}

/// The entry that a line of the file stands for.
fn listed(line: &str) -> Option<(String, ())> {
    (!line.is_empty() && !line.starts_with('#')).then(|| (line.to_string(), ()))
}

/// Replaces a file as a whole: whoever reads it finds the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary: PathBuf = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(temporary, path)
}

/// Tells the lines of every batch that has some; they leave by partition of their users, hence sorted.
fn show(what: &'static str, tell: impl Fn(String) + Send + 'static) -> impl FnMut(Batch, Rdd<String>) + Send + 'static {
    move |_batch, lines| {
        let mut lines = lines.collect();
        lines.sort_unstable();
        if !lines.is_empty() {
            tell(format!("{what}: {}", lines.join("; ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_new_blacklist_holds_from_the_next_batch_on() {
        let (told, place) = (Arc::<Mutex<Vec<String>>>::default(), tempfile::tempdir().unwrap());
        let teller = told.clone();
        let tell = move |line| teller.lock().unwrap().push(line);
        chat(place.path(), 4, Duration::from_millis(10), tell).unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            [
                "let through: ann: hello, 1; bob: hello, 1; trudy: hello, 1",
                "blocked: mallory: hello, 1",
                "let through: ann: hello, 2; bob: hello, 2; trudy: hello, 2",
                "blocked: mallory: hello, 2",
                "the blacklist is replaced",
                "let through: ann: hello, 3; mallory: hello, 3",
                "blocked: bob: hello, 3; trudy: hello, 3",
                "let through: ann: hello, 4; mallory: hello, 4",
                "blocked: bob: hello, 4; trudy: hello, 4",
            ]
        );
    }
}
