//! Clicks and sales, joined: the well-known table of time, user, item, clicks, sales, with gaps on both sides.
//!
//! ```text
//! cargo run --release --example stream_join
//! ```
//!
//! Two streams of events, each counted per user and item in windows of ten minutes, and joined by a full outer join: a user may
//! click without buying, and a sale may come from elsewhere than a click. Half an hour, on a clock that runs as fast as the
//! machine can.

mod common;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark::{DStream, Text};

use common::simulation::{Simulation, clock_time};

const WINDOW: Duration = Duration::from_secs(600);
const MINUTES: u64 = 30;

/// Who and what.
type UserItem = (Text, Text);

/// An event of a minute: (from minute, every so many minutes, user, item).
const CLICKS: [(u64, u64, &str, &str); 4] =
    [(0, 1, "ann", "lamp"), (2, 3, "ann", "chair"), (5, 4, "bob", "lamp"), (21, 2, "eve", "desk")];
const SALES: [(u64, u64, &str, &str); 4] =
    [(3, 6, "ann", "lamp"), (8, 100, "bob", "chair"), (17, 100, "bob", "lamp"), (28, 100, "eve", "desk")];

fn events(table: &[(u64, u64, &str, &str)], minute: u64) -> Vec<UserItem> {
    let now = table.iter().filter(|(from, every, ..)| minute >= *from && (minute - from).is_multiple_of(*every));
    now.map(|(_, _, user, item)| (Text::from(*user), Text::from(*item))).collect()
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    end_ms: u64,
    user: String,
    item: String,
    clicks: Option<u64>,
    sales: Option<u64>,
}

fn main() -> ExitCode {
    common::exit(run().map(|rows| {
        println!("until     user  item    clicks  sales");
        rows.iter().for_each(|row| println!("{row}"));
    }))
}

fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let simulation = Simulation::new(Duration::from_secs(60));
    let context = simulation.builder("stream-join", &place.path().join("state")).build()?;

    let (click_events, clicks) = context.queue_stream::<UserItem>("clicks");
    let (sale_events, sales) = context.queue_stream::<UserItem>("sales");
    let rows = Arc::new(Mutex::new(Vec::new()));
    let table = rows.clone();
    per_window("clicks in a window", &clicks).full_outer_join(&per_window("sales in a window", &sales)).foreach_rdd(
        move |batch, joined| {
            let row = |((user, item), (clicks, sales)): ((Text, Text), _)| Row {
                end_ms: batch.time.0,
                user: user.to_string(),
                item: item.to_string(),
                clicks,
                sales,
            };
            table.lock().expect("no panic while held").extend(joined.into_iter().map(row));
        },
    );

    let running = context.start()?;
    for minute in 0..MINUTES {
        click_events.push(events(&CLICKS, minute))?;
        sale_events.push(events(&SALES, minute))?;
        simulation.run_batch(&running)?;
    }
    running.stop(true)?;
    let mut rows = rows.lock().expect("no panic while held").clone();
    rows.sort();
    Ok(rows)
}

/// How many events each user and item has in windows of ten minutes.
fn per_window<'c>(uid: &str, events: &DStream<'c, UserItem>) -> DStream<'c, (UserItem, u64)> {
    events.map(|event| (event, 1)).reduce_by_key_and_window(uid, |a, b| a + b, WINDOW, WINDOW)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<u64>| count.map_or("-".to_string(), |count| count.to_string());
        let Self { end_ms, user, item, clicks, sales } = self;
        write!(f, "{}  {user:4}  {item:6}  {:>6}  {:>5}", clock_time(*end_ms), number(*clicks), number(*sales))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_window_has_a_row_for_each_pair_with_a_gap_where_one_side_had_nothing() {
        let rows = run().unwrap();
        let mut expected: BTreeMap<(u64, String, String), (Option<u64>, Option<u64>)> = BTreeMap::new();
        for minute in 0..MINUTES {
            let mut count = |table, side: fn(&mut (Option<u64>, Option<u64>)) -> &mut Option<u64>| {
                for (user, item) in events(table, minute) {
                    let row = expected.entry((minute / 10, user.to_string(), item.to_string())).or_default();
                    *side(row).get_or_insert(0) += 1;
                }
            };
            count(&CLICKS, |row| &mut row.0);
            count(&SALES, |row| &mut row.1);
        }
        let first_end = rows[0].end_ms;
        let found: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (((row.end_ms - first_end) / 600_000, row.user, row.item), (row.clicks, row.sales)))
            .collect();
        assert_eq!(found, expected);
        assert!(found.values().any(|(clicks, _)| clicks.is_none()), "a sale without a click");
        assert!(found.values().any(|(_, sales)| sales.is_none()), "clicks without a sale");
    }
}
