//! Counts the words that come through a socket, for ever, whatever happens to the process.
//!
//! ```text
//! nc -lk 9999                                    # in one terminal: type lines here
//! cargo run --release --example network_word_count -- --connect 127.0.0.1:9999 --checkpoint ./state
//! ```
//!
//! With a plain socket, lines that were received and not yet logged when the process died are gone. With `--acknowledged` the
//! far end is told how far the log has come, and sends the rest again: `make demo` shows it.

mod common;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use floodmark::{Position, Receiver, ReceiverContext, ReceiverError, StreamingContext, Text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::arguments::Arguments;
use common::report;
use common::top::TopWords;
use common::words::WORDS;

const USAGE: &str = "network_word_count --connect HOST:PORT --checkpoint DIR [--acknowledged] [--workers N] \
    [--batch-interval 500ms] [--checkpoint-every N] [--stop-at-eof] [--dump FILE] [--without-log] [--schema FILE]";

struct Settings {
    connect: String,
    checkpoint: PathBuf,
    acknowledged: bool,
    workers: u32,
    batch_interval: Duration,
    checkpoint_every: Option<u64>,
    stop_at_eof: bool,
    dump: Option<PathBuf>,
    /// Only to write down what the job declares, for `floodmark compat`.
    schema: Option<PathBuf>,
    /// Only to measure what the log costs: nothing can be recovered.
    without_log: bool,
}

fn main() -> ExitCode {
    common::exit(settings().and_then(run))
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let settings = Settings {
        connect: arguments.required("--connect")?,
        checkpoint: arguments.required("--checkpoint")?,
        acknowledged: arguments.switch("--acknowledged"),
        workers: arguments.optional("--workers")?.unwrap_or(2),
        batch_interval: arguments.duration("--batch-interval")?.unwrap_or(Duration::from_millis(500)),
        checkpoint_every: arguments.optional("--checkpoint-every")?,
        stop_at_eof: arguments.switch("--stop-at-eof"),
        dump: arguments.optional("--dump")?,
        schema: arguments.optional("--schema")?,
        without_log: arguments.switch("--without-log"),
    };
    arguments.finish()?;
    Ok(settings)
}

fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    common::show_warnings();
    let mut builder = StreamingContext::builder("network-word-count")
        .checkpoint(&settings.checkpoint)
        .workers(settings.workers)
        .batch_interval(settings.batch_interval)
        .install_signal_handlers();
    if let Some(batches) = settings.checkpoint_every {
        builder = builder.checkpoint_every(batches);
    }
    if settings.without_log {
        builder = builder.log_switched_off();
    }
    let context = builder.build()?;

    let lines = if settings.acknowledged {
        context.receiver_stream("lines", AcknowledgedLines { address: settings.connect.clone() })
    } else {
        context.socket_text_stream("lines", &settings.connect)
    };
    let mut top = TopWords::default();
    lines
        .flat_map(Text::split_words)
        .map(|word| (word, 1_u64))
        .reduce_by_key(|a, b| a + b)
        .update_state_by_key("counts", |new: &[u64], total: Option<u64>| {
            let words = new.iter().sum();
            WORDS.add(words);
            Some(total.unwrap_or(0) + words)
        })
        .map_partitions(TopWords::of_partition)
        .foreach_rdd(move |_, rdd| top.show(rdd.iter()));

    if let Some(file) = &settings.schema {
        std::fs::write(file, context.schema()?.to_json())?;
        return Ok(());
    }
    let running = context.start()?;
    println!("{}", running.recovery());
    if !settings.stop_at_eof {
        running.await_termination()?;
        return Ok(());
    }
    report::finish(&running, settings.dump.as_deref())
}

/// Receives lines from a sender that keeps them until they are acknowledged.
///
/// On connecting it says the byte offset that the log has reached, in decimal and `\n`, and the sender begins there. After each
/// block that is synced to the log it says the new offset.
struct AcknowledgedLines {
    address: String,
}

/// What is read at most before it becomes a block. While one block is synced the next one gathers in the socket.
const BLOCK_BYTES: usize = 1 << 20;

impl Receiver for AcknowledgedLines {
    type Item = Text;

    async fn on_start(&mut self, context: ReceiverContext<Text>) -> Result<(), ReceiverError> {
        let mut stream = TcpStream::connect(&self.address).await?;
        context.keep_alive(&stream)?;
        stream.set_nodelay(true)?;
        let mut position = context.stored_position().unwrap_or_default();
        stream.write_all(format!("{position}\n").as_bytes()).await?;

        let mut received = Vec::with_capacity(BLOCK_BYTES);
        loop {
            received.reserve(BLOCK_BYTES);
            let ended = stream.read_buf(&mut received).await? == 0;
            let Some(block) = take_lines(&mut received, ended) else {
                if ended {
                    return Ok(());
                }
                continue;
            };
            let lines = std::str::from_utf8(&block)?.lines().map(Text::from).collect();
            position = Position(position.0 + block.len() as u64);
            context.store_block_at(position, lines).await?;
            stream.write_all(format!("{position}\n").as_bytes()).await?;
        }
    }
}

/// Takes the whole lines from the front of what was received; at the end also a last one that has no line end.
fn take_lines(received: &mut Vec<u8>, ended: bool) -> Option<Vec<u8>> {
    let end = memchr::memrchr(b'\n', received).map_or(0, |at| at + 1);
    let end = if ended { received.len() } else { end };
    if end == 0 {
        return None;
    }
    let rest = received.split_off(end);
    Some(std::mem::replace(received, rest))
}
