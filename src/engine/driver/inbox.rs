//! The driver's inbox: all messages to the driver, in one order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::driver::message::DriverMessage;

/// Receives messages, and keeps those that the driver has to postpone.
///
/// It holds a sender itself, so it is never disconnected.
pub(crate) struct Inbox {
    sender: Sender<DriverMessage>,
    receiver: Receiver<DriverMessage>,
    /// Messages that [`next_of`](Self::next_of) passed over, in the order of their arrival.
    postponed: VecDeque<DriverMessage>,
}

impl Inbox {
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, postponed: VecDeque::new() }
    }

    /// A new sender to this inbox.
    pub fn sender(&self) -> Sender<DriverMessage> {
        self.sender.clone()
    }

    /// Waits for the next message. Postponed messages come first.
    pub fn next(&mut self) -> DriverMessage {
        self.postponed.pop_front().unwrap_or_else(|| self.receive())
    }

    /// Waits for the first message that is wanted. The others are postponed: they keep their order.
    pub fn next_of(&mut self, wanted: impl Fn(&DriverMessage) -> bool) -> DriverMessage {
        let postponed = self.postponed.iter().position(&wanted).and_then(|at| self.postponed.remove(at));
        postponed.unwrap_or_else(|| {
            loop {
                let message = self.receive();
                if wanted(&message) {
                    return message;
                }
                self.postponed.push_back(message);
            }
        })
    }

    /// Drops all messages that have arrived.
    pub fn clear(&mut self) {
        self.postponed.clear();
        while self.receiver.try_recv().is_ok() {}
    }

    fn receive(&self) -> DriverMessage {
        self.receiver.recv().expect("the inbox holds a sender itself")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_stop(message: &DriverMessage) -> bool {
        matches!(message, DriverMessage::Stop { .. })
    }

    fn name(message: &DriverMessage) -> &'static str {
        match message {
            DriverMessage::Tick => "tick",
            DriverMessage::Stop { graceful: true } => "graceful stop",
            DriverMessage::Stop { graceful: false } => "hard stop",
            DriverMessage::ReceiversStopped(_) => "receivers stopped",
            _ => "another one",
        }
    }

    fn inbox(messages: impl IntoIterator<Item = DriverMessage>) -> Inbox {
        let inbox = Inbox::new();
        messages.into_iter().for_each(|message| inbox.sender().send(message).unwrap());
        inbox
    }

    #[test]
    fn messages_that_were_postponed_come_in_their_order_and_before_later_ones() {
        let (graceful, hard) = (DriverMessage::Stop { graceful: true }, DriverMessage::Stop { graceful: false });
        let mut inbox = inbox([DriverMessage::Tick, DriverMessage::ReceiversStopped(Ok(())), graceful, hard]);
        assert_eq!(name(&inbox.next_of(is_stop)), "graceful stop");
        inbox.sender().send(DriverMessage::Tick).unwrap();
        let rest: Vec<_> = (0..4).map(|_| name(&inbox.next())).collect();
        assert_eq!(rest, ["tick", "receivers stopped", "hard stop", "tick"]);
    }

    #[test]
    fn a_postponed_message_is_found_by_a_later_wait_for_it() {
        let mut inbox = inbox([DriverMessage::Tick, DriverMessage::Stop { graceful: true }]);
        inbox.next_of(is_stop);
        assert_eq!(name(&inbox.next_of(|message| matches!(message, DriverMessage::Tick))), "tick");
    }

    #[test]
    fn a_cleared_inbox_has_neither_messages_that_wait_nor_postponed_ones() {
        let mut inbox = inbox([DriverMessage::Tick, DriverMessage::Stop { graceful: true }, DriverMessage::Tick]);
        inbox.next_of(is_stop);
        inbox.clear();
        inbox.sender().send(DriverMessage::Stop { graceful: false }).unwrap();
        assert_eq!(name(&inbox.next()), "hard stop");
    }
}
