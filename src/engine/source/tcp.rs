//! TCP connections of receivers: how a peer that is gone, or that stalls, is noticed.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::source::receiver::ReceiverContext;
use floodmark_base::clock::Clock;
use floodmark_base::codec::Record;

/// The settings of a job's TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpSettings {
    /// The time without traffic after which the system probes the peer.
    pub keepalive_idle: Duration,
    /// The time between two probes.
    pub keepalive_interval: Duration,
    /// Unanswered probes after which the connection is broken; 0 for no keepalive.
    pub keepalive_probes: u32,
    /// A connection on which nothing comes in for this time is given up.
    pub idle_timeout: Option<Duration>,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            keepalive_idle: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 6,
            idle_timeout: None,
        }
    }
}

impl TcpSettings {
    /// Sets TCP keepalive on a socket.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn keep_alive(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        if self.keepalive_probes == 0 {
            return socket.set_keepalive(false);
        }
        let keepalive = TcpKeepalive::new()
            .with_time(self.keepalive_idle)
            .with_interval(self.keepalive_interval)
            .with_retries(self.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)
    }

    /// Returns what is wrong with the settings: the system counts keepalive in whole seconds.
    pub fn problem(&self) -> Option<String> {
        let is_whole = |duration: Duration| duration.as_secs() > 0 && duration.subsec_nanos() == 0;
        let keepalive = self.keepalive_probes == 0
            || is_whole(self.keepalive_idle) && is_whole(self.keepalive_interval) && self.keepalive_probes <= 127;
        if !keepalive {
            return Some(format!(
                "tcp_keepalive is {:?}, {:?}, {} probes: expected whole seconds, at least 1, and at most 127 probes",
                self.keepalive_idle, self.keepalive_interval, self.keepalive_probes
            ));
        }
        let is_zero = self.idle_timeout.is_some_and(|timeout| timeout.is_zero());
        is_zero.then(|| "socket_idle_timeout is 0: expected more".to_string())
    }
}

/// The time for which nothing has come in on a connection.
pub(super) struct IdleTimer {
    clock: Arc<dyn Clock>,
    timeout: Option<Duration>,
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl IdleTimer {
    /// Starts the timer.
    pub fn start(clock: Arc<dyn Clock>, timeout: Option<Duration>) -> Self {
        let mut timer = Self { clock, timeout, over: None };
        timer.restart();
        timer
    }

    /// Something came in.
    pub fn restart(&mut self) {
        self.over = self.timeout.map(|timeout| self.clock.sleep(timeout));
    }

    /// Waits until the time is over; for ever without a time-out.
    pub async fn over(&mut self) -> io::Error {
        match &mut self.over {
            Some(over) => over.await,
            None => pending().await,
        }
        let timeout = self.timeout.unwrap_or_default();
        io::Error::new(io::ErrorKind::TimedOut, format!("nothing came in for {timeout:?}"))
    }
}

/// Returns what is wrong with the text of an address, without resolving it: expected is `host:port`.
pub(crate) fn address_problem(address: &str) -> Option<&'static str> {
    if address.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let Some((host, port)) = address.rsplit_once(':') else { return Some("expected host:port") };
    if host.contains("//") {
        return Some("expected host:port, without a scheme");
    }
    if host.contains(':') {
        return Some("expected brackets around an IPv6 address: [address]:port");
    }
    if host.is_empty() || host.contains(|of_host: char| of_host.is_whitespace() || "[]/".contains(of_host)) {
        return Some("expected the name of a host before the port");
    }
    port.parse::<u16>().is_err().then_some("expected a port between 0 and 65535 after the host")
}

impl<T: Record> ReceiverContext<T> {
    /// Sets TCP keepalive, as the job's
    /// [`tcp_keepalive`](crate::StreamingContextBuilder::tcp_keepalive) says, on a socket that this receiver has connected or accepted.
    /// Then a read from a peer that vanished without closing the connection fails, instead of waiting for ever.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// ```no_run
    /// # async fn example(context: floodmark::ReceiverContext<u64>) -> std::io::Result<()> {
    /// let stream = tokio::net::TcpStream::connect("feed.example:7000").await?;
    /// context.keep_alive(&stream)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_alive(&self, socket: &impl AsFd) -> io::Result<()> {
        self.block_store().settings().tcp.keep_alive(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_judged_by_its_text_and_never_resolved() {
        for address in ["127.0.0.1:9999", "[::1]:9999", "localhost:1", "feed.no-such-host.invalid:9999", "host_1:0"] {
            assert_eq!(address_problem(address), None, "{address}");
        }
        for address in
            ["localhost", "localhost:", "localhost:99999", ":9999", "::1:9999", "tcp://host:1", "a b:1", "[::1:9"]
        {
            assert!(address_problem(address).is_some(), "{address}");
        }
    }

    #[test]
    fn keepalive_in_fractions_of_a_second_is_refused() {
        let settings = TcpSettings::default();
        assert_eq!(settings.problem(), None);
        assert!(TcpSettings { keepalive_idle: Duration::from_millis(1_500), ..settings }.problem().is_some());
        assert!(TcpSettings { keepalive_interval: Duration::ZERO, ..settings }.problem().is_some());
        assert!(
            TcpSettings { keepalive_interval: Duration::ZERO, keepalive_probes: 0, ..settings }.problem().is_none()
        );
        assert!(TcpSettings { idle_timeout: Some(Duration::ZERO), ..settings }.problem().is_some());
    }
}
