//! How receivers work, unless told otherwise.

use std::time::Duration;

use crate::source::tcp::TcpSettings;

/// Settings of one receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReceiverSettings {
    /// The longest time that a record waits in the block in the making.
    pub block_interval: Duration,
    /// Bytes at which a block is full. Large enough that the log syncs few pieces, small enough that two workers share a
    /// batch evenly.
    pub block_bytes: usize,
    /// The time between a receiver's failure and its next start.
    pub restart_delay: Duration,
    /// Records per second that are never exceeded.
    pub max_rate: Option<f64>,
    /// Of receivers that connect to a server.
    pub tcp: TcpSettings,
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self {
            block_interval: Duration::from_millis(200),
            block_bytes: 1 << 20,
            restart_delay: Duration::from_secs(2),
            max_rate: None,
            tcp: TcpSettings::default(),
        }
    }
}
