//! The interface between a machine that speaks over datagrams and the loop that drives it.
//!
//! The client's driver and the server's node both have it, so one loop an adapter serves both.

use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;

use crate::{Received, Transmit};

/// A machine that speaks over one UDP socket.
///
/// A host calls [`poll`](Self::poll) until it says `Wait` or `Done`, after every other call.
pub trait DatagramMachine {
    /// What the application or another thread asks for: requests, completions of effects.
    type Command;
    /// What the host must do or pass on: store operations, events.
    type Effect;

    /// Datagrams came in.
    fn datagram(&mut self, now: Now, received: Received<'_>);

    /// The deadline came.
    fn timeout(&mut self, now: Now);

    /// The application asks for something.
    fn command(&mut self, now: Now, command: Self::Command);

    /// Nobody can send a command any more. A client closes; a server may go on.
    fn commands_closed(&mut self, now: Now);

    /// What to do next. `tx: None` says that the socket is full: effects and timers still flow.
    /// The buffer is emptied first; it must take [`TX_LIMIT`](crate::TX_LIMIT) bytes.
    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Step<Self::Effect>;
}

/// What a machine wants.
#[derive(Debug)]
#[must_use]
pub enum Step<E> {
    /// Send what is in the buffer, then poll again.
    Transmit(Transmit),
    /// Do this, then poll again.
    Effect(E),
    /// Wait for datagrams, commands, or this deadline. A deadline that has passed means that work is pending.
    Wait(Option<Instant>),
    /// It has ended, farewells included: the loop may return.
    Done,
}
