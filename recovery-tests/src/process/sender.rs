//! The far end of an acknowledging receiver: sends a text, and again what was not acknowledged.
//!
//! # Protocol
//! The receiver connects and says a byte offset in decimal and `\n`: where its log ends. The sender sends the text from
//! there. After each block that is durable the receiver says the offset that it has reached, in the same way. The sender
//! closes its half at the end of the text; the receiver closes when it has acknowledged everything.
//!
//! The sender watches over I-1: a receiver that comes back and asks for less than it had acknowledged has lost data.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{ProcessError, Text};

const CHUNK_BYTES: usize = 64 * 1024;

/// What a pace lets go at once at least.
const PACED_BYTES: u64 = 4 * 1024;

/// How fast a text is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the receiver takes it.
    Unlimited,
    /// So many bytes each second, on average since the pace was set.
    BytesPerSecond(f64),
}

/// What a receiver asked for when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where it wants to begin.
    pub position: u64,
    /// How many bytes are sent to it for the second time: sent before, but never acknowledged.
    pub again: u64,
}

/// Listens on a local port and serves one receiver after the other, on a thread of its own.
pub struct Sender {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    text: Text,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    pace: Pace,
    /// When the pace was set, and what had been sent by then.
    paced_from: (Instant, u64),
    /// Bytes beyond this are kept back for now.
    limit: u64,
    sent: u64,
    acknowledged: u64,
    connections: Vec<Connection>,
    connected: bool,
    stopping: bool,
    failure: Option<ProcessError>,
}

impl Sender {
    /// Listens, on a port that the system chooses.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(text: Text, pace: Pace) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = State {
            pace,
            paced_from: (Instant::now(), 0),
            limit: text.bytes(),
            sent: 0,
            acknowledged: 0,
            connections: Vec::new(),
            connected: false,
            stopping: false,
            failure: None,
        };
        let shared = Arc::new(Shared { text, state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("sender".to_string()).spawn(move || serve(&listener, &serving))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the pace from now on.
    pub fn set_pace(&self, pace: Pace) {
        let mut state = self.shared.state();
        state.pace = pace;
        state.paced_from = (Instant::now(), state.sent);
    }

    /// Takes the end of the text to be at the first line end at or after this byte. To be called between connections.
    pub fn set_limit(&self, bytes: u64) {
        self.shared.state().limit = self.shared.text.line_end(bytes);
    }

    /// How many bytes of the text have been sent, at least once.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.state().sent
    }

    /// How many bytes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.state().acknowledged
    }

    /// Every connection so far.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.state().connections.clone()
    }

    /// Waits until nobody is connected, and tells how many bytes were acknowledged by then. To be asked when the job has
    /// ended: its last acknowledgement may still be on the way.
    ///
    /// # Errors
    /// When a receiver broke the protocol, or lost what it had acknowledged.
    pub fn settled(&self) -> Result<u64, ProcessError> {
        let wait = self.shared.changed.wait_while(self.shared.state(), |state| state.connected);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        match state.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(state.acknowledged),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
        // Wakes the thread from waiting for a connection; if that fails, it has ended.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the sender's thread panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes note of where a receiver wants to begin.
    fn connect(&mut self, position: u64) -> Result<(), ProcessError> {
        if position < self.acknowledged {
            return Err(ProcessError::LostAcknowledged { asked: position, acknowledged: self.acknowledged });
        }
        self.acknowledge(position)?;
        self.connections.push(Connection { position, again: self.sent - position });
        Ok(())
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), ProcessError> {
        if position > self.sent {
            return Err(ProcessError::NotSent { acknowledged: position, sent: self.sent });
        }
        self.acknowledged = self.acknowledged.max(position);
        Ok(())
    }

    /// How far the pace allows to send.
    fn allowed(&self) -> u64 {
        match self.pace {
            Pace::Unlimited => self.limit,
            Pace::BytesPerSecond(rate) => {
                let (since, from) = self.paced_from;
                self.limit.min(from + (since.elapsed().as_secs_f64() * rate) as u64)
            }
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state().stopping {
            return;
        }
        shared.state().connected = true;
        // A broken connection is what this is about: the receiver was killed.
        let outcome = stream.map_err(Into::into).and_then(|stream| serve_one(&stream, shared));
        let mut state = shared.state();
        state.connected = false;
        if let Err(Broken::Protocol(failure)) = outcome {
            state.failure.get_or_insert(failure);
        }
        shared.changed.notify_all();
    }
}

/// Why a connection ended before the end of the text.
enum Broken {
    Connection,
    Protocol(ProcessError),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Connection
    }
}

fn serve_one(stream: &TcpStream, shared: &Arc<Shared>) -> Result<(), Broken> {
    stream.set_nodelay(true)?;
    let mut offsets = BufReader::new(stream.try_clone()?);
    let Some(position) = read_offset(&mut offsets)? else { return Ok(()) };
    shared.state().connect(position).map_err(Broken::Protocol)?;
    let reading = Arc::clone(shared);
    let read = move || -> Result<(), Broken> {
        while let Some(offset) = read_offset(&mut offsets)? {
            reading.state().acknowledge(offset).map_err(Broken::Protocol)?;
        }
        Ok(())
    };
    let reader = thread::Builder::new().name("acknowledgements".to_string()).spawn(read)?;
    let sent = send(stream, position, shared);
    // The receiver closes when it has acknowledged everything, or because it was killed.
    let read = reader.join().unwrap_or(Err(Broken::Connection));
    sent.map_err(Broken::from).and(read)
}

/// An offset and its line end; none when the receiver has closed. Half a line is what a killed receiver leaves.
fn read_offset(from: &mut impl BufRead) -> Result<Option<u64>, Broken> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix('\n') {
        None => Ok(None),
        Some(digits) => {
            digits.parse().map(Some).map_err(|_| Broken::Protocol(ProcessError::NotAnOffset(digits.to_string())))
        }
    }
}

fn send(mut stream: &TcpStream, mut position: u64, shared: &Shared) -> io::Result<()> {
    loop {
        let (allowed, limit) = {
            let state = shared.state();
            if state.stopping {
                return stream.shutdown(Shutdown::Both);
            }
            (state.allowed(), state.limit)
        };
        if position >= limit {
            return stream.shutdown(Shutdown::Write);
        }
        // What was sent before goes out at once; the pace is for what is new.
        let allowed = allowed.max(shared.state().sent);
        // A little at a time would keep a processor busy with sending alone.
        if allowed - position < PACED_BYTES.min(limit - position) {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        let room = usize::try_from(allowed - position).unwrap_or(usize::MAX);
        let chunk = shared.text.chunk(position, room.min(CHUNK_BYTES));
        // Noted before it is written: the acknowledgement may overtake the note.
        {
            let mut state = shared.state();
            state.sent = state.sent.max(position + chunk.len() as u64);
        }
        stream.write_all(chunk)?;
        position += chunk.len() as u64;
    }
}

impl From<io::Error> for ProcessError {
    fn from(error: io::Error) -> Self {
        ProcessError::file("use", Path::new("a socket"))(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn text() -> Text {
        Text::new("one two three\nfour\n".to_string()).repeated_to(10_000)
    }

    fn connect(sender: &Sender, position: u64) -> TcpStream {
        let mut stream = TcpStream::connect(sender.address()).unwrap();
        writeln!(stream, "{position}").unwrap();
        stream
    }

    fn whole(text: &Text) -> Vec<u8> {
        text.once().repeat(text.times() as usize).into_bytes()
    }

    #[test]
    fn a_receiver_gets_the_text_from_where_it_asked() {
        let sender = Sender::start(text(), Pace::Unlimited).unwrap();
        let mut first = connect(&sender, 0);
        let mut received = vec![0; 5_000];
        first.read_exact(&mut received).unwrap();
        writeln!(first, "4000").unwrap();
        drop(first);
        sender.settled().unwrap();
        let sent = sender.sent();

        received.truncate(4_000);
        let mut second = connect(&sender, 4_000);
        second.read_to_end(&mut received).unwrap();
        writeln!(second, "{}", text().bytes()).unwrap();
        drop(second);
        assert_eq!(received, whole(&text()));
        assert_eq!(sender.settled().unwrap(), text().bytes());
        assert_eq!(sender.connections()[1], Connection { position: 4_000, again: sent - 4_000 });
    }

    #[test]
    fn a_receiver_that_lost_what_it_acknowledged_is_found() {
        let sender = Sender::start(text(), Pace::Unlimited).unwrap();
        let mut first = connect(&sender, 0);
        first.read_exact(&mut [0; 100]).unwrap();
        writeln!(first, "100").unwrap();
        drop(first);
        while sender.acknowledged() < 100 {
            thread::yield_now();
        }
        sender.settled().unwrap();
        let mut second = connect(&sender, 50);
        assert_eq!(second.read_to_end(&mut Vec::new()).unwrap(), 0);
        let failure = sender.settled().unwrap_err().to_string();
        assert!(failure.contains("asked for byte 50 after it had acknowledged 100"), "{failure}");
    }

    #[test]
    fn the_limit_is_moved_to_a_line_end() {
        let sender = Sender::start(text(), Pace::Unlimited).unwrap();
        sender.set_limit(20);
        let mut received = Vec::new();
        connect(&sender, 0).read_to_end(&mut received).unwrap();
        assert_eq!(String::from_utf8(received).unwrap(), "one two three\nfour\none two three\n");
    }
}
