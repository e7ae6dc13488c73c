//! Senders that the tests of receivers need: one that keeps numbers until they are acknowledged, and one behind a socket.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// What a sender of numbers has, shared with its receivers. A number is its own position.
#[derive(Clone)]
pub struct Numbers {
    pub state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// How many there are to send.
    pub sent: u64,
    /// How many were acknowledged, from the first on.
    pub acknowledged: u64,
    /// How often the connection broke.
    pub breaks: u64,
    /// How many were handed out by a sender that gives each number once.
    pub handed_out: u64,
}

impl Numbers {
    pub fn new() -> Self {
        Self { state: watch::channel(State::default()).0 }
    }

    pub fn send(&self, records: u64) {
        self.state.send_modify(|state| state.sent += records);
    }

    pub fn acknowledge(&self, through: u64) {
        self.state.send_modify(|state| state.acknowledged = state.acknowledged.max(through));
    }

    pub fn acknowledged(&self) -> u64 {
        self.state.borrow().acknowledged
    }

    pub fn interrupt(&self) {
        self.state.send_modify(|state| state.breaks += 1);
    }
}

/// Sends lines to whoever connects; to the newest one only.
pub struct LineServer {
    pub address: SocketAddr,
    lines: Sender<String>,
    connection: Arc<Mutex<Option<TcpStream>>>,
}

impl LineServer {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (lines, to_send) = mpsc::channel();
        let connection: Arc<Mutex<Option<TcpStream>>> = Arc::default();
        std::thread::spawn({
            let connection = Arc::clone(&connection);
            move || serve(&listener, &to_send, &connection)
        });
        Self { address, lines, connection }
    }

    pub fn send(&self, line: String) {
        self.lines.send(line).unwrap();
    }

    /// Ends the connection.
    pub fn interrupt(&self) {
        if let Some(connection) = self.connection.lock().unwrap().take() {
            // Whoever has closed it already is as far as we want them.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Until the server is dropped.
fn serve(listener: &TcpListener, lines: &Receiver<String>, connection: &Mutex<Option<TcpStream>>) {
    listener.set_nonblocking(true).unwrap();
    let mut line = None;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            *connection.lock().unwrap() = Some(stream);
        }
        if line.is_none() {
            line = match lines.recv_timeout(Duration::from_millis(1)) {
                Ok(line) => Some(line),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
        let mut connection = connection.lock().unwrap();
        if let (Some(stream), Some(text)) = (&mut *connection, &line) {
            match stream.write_all(text.as_bytes()) {
                Ok(()) => line = None,
                Err(_) => *connection = None,
            }
        }
    }
}
