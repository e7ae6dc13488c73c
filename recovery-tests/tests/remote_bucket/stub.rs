//! A server that speaks as much S3 as a bucket needs, and does with the next requests what a script says: what only a wire can do.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// It is answered with this status and this code in the body, and nothing was done.
    Refuse(u16, &'static str),
    /// The same, but it was done.
    DoAndRefuse(u16, &'static str),
    /// The connection ends without an answer, and nothing was done.
    Reset,
    /// The same, but it was done.
    DoAndReset,
    /// The answer ends in the middle of its body.
    Cut,
    /// The answer stops in the middle of its body, and the connection stays.
    Stall,
}

#[derive(Clone)]
pub struct Stub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    script: BTreeMap<&'static str, VecDeque<Act>>,
    asked: BTreeMap<String, usize>,
    /// Connections that stalled; they end with the test.
    stalled: Vec<TcpStream>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Stub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = stub.clone();
        // It ends with the process: the listener is its own.
        thread::Builder::new().name("stub".into()).spawn(move || serving.serve(&listener)).unwrap();
        stub
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the next requests of this method meet, one each.
    pub fn next(&self, method: &'static str, acts: &[Act]) {
        self.state.lock().unwrap().script.entry(method).or_default().extend(acts);
    }

    pub fn asked(&self, method: &str) -> usize {
        self.state.lock().unwrap().asked.get(method).copied().unwrap_or_default()
    }

    /// An object, by its name in its bucket.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.objects.iter().find(|(path, _)| path.ends_with(name)).map(|(_, bytes)| bytes.clone())
    }

    fn serve(&self, listener: &TcpListener) {
        for connection in listener.incoming() {
            let stub = self.clone();
            let answer = move || match connection.and_then(|connection| stub.answer(connection)) {
                Ok(()) => {}
                Err(error) => eprintln!("the stub lost a connection: {error}"),
            };
            thread::Builder::new().name("stub".into()).spawn(answer).unwrap();
        }
    }

    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        let Some(request) = Request::read(&connection)? else { return Ok(()) };
        let mut state = self.state.lock().unwrap();
        *state.asked.entry(request.method.clone()).or_default() += 1;
        let act = state.script.get_mut(request.method.as_str()).and_then(VecDeque::pop_front);
        let is_done = !matches!(act, Some(Act::Refuse(..) | Act::Reset));
        let (status, headers, body) = if is_done { state.perform(&request) } else { Default::default() };
        match act {
            Some(Act::Refuse(status, code) | Act::DoAndRefuse(status, code)) => {
                let body = format!("<Error><Code>{code}</Code><Message>by the region's script</Message></Error>");
                write_answer(&mut connection, status, "", body.len(), body.as_bytes())
            }
            Some(Act::Reset | Act::DoAndReset) => Ok(()),
            Some(Act::Cut) => write_answer(&mut connection, status, &headers, body.len(), &body[..body.len() / 2]),
            Some(Act::Stall) => {
                write_answer(&mut connection, status, &headers, body.len(), &body[..body.len() / 2])?;
                state.stalled.push(connection);
                Ok(())
            }
            None => write_answer(&mut connection, status, &headers, body.len(), &body),
        }
    }
}

impl State {
    /// Status, further headers and body.
    fn perform(&mut self, request: &Request) -> (u16, String, Vec<u8>) {
        let path = request.path.clone();
        let error = |status, code: &str| (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into());
        match request.method.as_str() {
            "PUT" => {
                let is_create = request.headers.get("if-none-match").is_some_and(|value| value == "*");
                if is_create && self.objects.contains_key(&path) {
                    return error(412, "PreconditionFailed");
                }
                self.objects.insert(path, request.body.clone());
                (200, "ETag: \"1\"\r\n".into(), Vec::new())
            }
            "GET" if request.query.contains("list-type") => {
                (200, String::new(), b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".into())
            }
            "GET" => match self.objects.get(&path) {
                Some(bytes) => {
                    let headers = "ETag: \"1\"\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n";
                    (200, headers.into(), bytes.clone())
                }
                None => error(404, "NoSuchKey"),
            },
            "POST" => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
                let deleted: Vec<String> = keys.map(|(key, _)| key.to_string()).collect();
                self.objects.retain(|path, _| !deleted.iter().any(|key| path.ends_with(key.as_str())));
                let lines = deleted.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
                (200, String::new(), format!("<DeleteResult>{}</DeleteResult>", lines.collect::<String>()).into())
            }
            _ => error(405, "MethodNotAllowed"),
        }
    }
}

impl Request {
    /// Nothing where the connection ended before it began.
    fn read(connection: &TcpStream) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(String::from);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method, path: path.into(), query: query.into(), headers, body }))
    }
}

/// One request per connection, so that what ends is always what was meant.
fn write_answer(connection: &mut TcpStream, status: u16, headers: &str, length: usize, body: &[u8]) -> io::Result<()> {
    write!(connection, "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")?;
    connection.write_all(body)
}
