//! A server that speaks the S3 protocol on the loopback: moto's, from PyPI, in an environment of its own below `target/`.
//!
//! It is installed by the first test that wants it, which takes some seconds and a package index; where that, or Python, is not to
//! be had, [`Server::shared`] says so and gives nothing, and the test has nothing to do. With `FLOODMARK_S3=required` in the
//! environment that is a failure: for places where it must not pass unseen.
//!
//! The server reads its standard input, whose other end is held here: it ends with this process, however that ends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// What is installed. The version is in the name of the directory, so that a new one is installed beside it.
const MOTO: &str = "moto[s3]==5.2.5";
const DIRECTORY: &str = "moto-5.2.5";
/// moto's own server needs them, and `moto[server]` would install three times as much.
const WITH: [&str; 2] = ["flask", "flask-cors"];
const PROGRAM: &str = include_str!("s3_server.py");
/// No answer of a server on this machine takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A server that runs, with nothing in it.
///
/// ```no_run
/// let Some(server) = floodmark_chaos::s3::Server::shared() else { return };
/// server.create_bucket("jobs");
/// assert!(server.options().iter().any(|(key, _)| *key == "aws_endpoint"));
/// ```
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// The server ends when this is closed.
    _life: ChildStdin,
    address: SocketAddr,
}

impl Server {
    /// The one server of this process, started when it is first asked for. Tests keep apart by the names of their buckets.
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// A server of one's own: for tests that end it.
    #[must_use]
    pub fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(server) => Some(server),
            Err(why) if std::env::var("FLOODMARK_S3").is_ok_and(|value| value == "required") => {
                panic!("no S3 server, and FLOODMARK_S3=required: {why}")
            }
            Err(why) => {
                eprintln!("skipped: no S3 server: {why}");
                None
            }
        }
    }

    fn try_start() -> io::Result<Self> {
        let python = installed()?;
        let mut process = Command::new(&python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot run {}: {error}", python.display())))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (life, stdout) = stdin.zip(stdout).ok_or_else(|| io::Error::other("no pipes to the server"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().map_err(|_| io::Error::other(format!("expected a port, found {line:?}")))?;
        Ok(Self { process, _life: life, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// `http://127.0.0.1:…`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client needs to know of this server, by the names of `object_store`'s options.
    #[must_use]
    pub fn options(&self) -> [(&'static str, String); 4] {
        [
            ("aws_endpoint", self.endpoint()),
            ("aws_region", "us-east-1".into()),
            ("aws_access_key_id", "test".into()),
            ("aws_secret_access_key", "test".into()),
        ]
    }

    /// Creates a bucket, or finds it there.
    ///
    /// # Panics
    /// If the server does not do it.
    pub fn create_bucket(&self, name: &str) {
        let answer = self.ask("PUT", &format!("/{name}")).expect("the server answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "bucket {name}: {answer}");
    }

    fn ask(&self, method: &str, path: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&self.address, ANSWER_WITHIN)?;
        connection.set_read_timeout(Some(ANSWER_WITHIN))?;
        let host = self.address;
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It would end by itself; this way it has ended when this returns.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the S3 server cannot be ended: {error}");
        }
    }
}

/// The Python that has moto. Whoever comes first installs it; others, of other processes too, wait for that.
fn installed() -> io::Result<PathBuf> {
    let directory = target()?.join(DIRECTORY);
    let (python, complete) = (directory.join("bin/python"), directory.join("complete"));
    let lock = File::create(directory.with_extension("lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(python);
    }
    eprintln!("installing {MOTO} into {}: some seconds, once", directory.display());
    if directory.exists() {
        fs::remove_dir_all(&directory)?; // an installation that was cut off
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", MOTO]).args(WITH))?;
    File::create(complete)?;
    Ok(python)
}

fn run(command: &mut Command) -> io::Result<()> {
    let failed = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => error.to_string(),
    };
    Err(io::Error::other(format!("{command:?}: {failed}")))
}

/// The build's directory, in which this program is.
fn target() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let is_target = |directory: &&Path| directory.join("CACHEDIR.TAG").exists();
    let found = this.ancestors().find(is_target);
    found.map(Path::to_path_buf).ok_or_else(|| io::Error::other(format!("{} is in no build", this.display())))
}
