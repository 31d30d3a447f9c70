//! HTTP connections, as far as machines see them: heads and bodies that arrive in their order, late, in pieces, or not.

use bytes::Bytes;
use http::{Request, Response};
use ntproto_core::rng::Rng;
use ntproto_web::{CarrierId, ExchangeId};

use crate::draw::Draw;
use crate::fault::{Fault, FaultSet};
use crate::schedule::Time;

/// What goes to the server.
#[derive(Debug)]
pub(super) enum Up {
    /// A request begins. The last word: it has no body.
    Head(Box<Request<()>>, bool),
    Data(Bytes),
    End,
    /// What came of the answer was taken.
    Room,
    /// Nobody reads the answer any more.
    Gone,
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Down {
    /// The answer begins. The last word: it has no body.
    Head(Box<Response<()>>, bool),
    Data(Bytes, bool),
    /// So much of the body was taken.
    Consumed(usize),
    /// It was broken off.
    Reset,
}

/// A connection.
pub(super) struct Conn {
    pub(super) carrier: CarrierId,
    pub(super) client: usize,
    /// The process of the server it is with.
    pub(super) boot: u32,
    /// Whether the client takes it for one.
    pub(super) open: bool,
    /// What was last put on its way arrives then: up, down.
    last: [Time; 2],
    /// Its exchanges that the server has not heard the end of.
    pub(super) exchanges: Vec<ExchangeId>,
}

/// Which way something goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Conn {
    pub(super) const fn new(carrier: CarrierId, client: usize, boot: u32, now: Time) -> Self {
        Self { carrier, client, boot, open: true, last: [now, now], exchanges: Vec::new() }
    }

    /// When something that is sent now arrives.
    pub(super) fn arrives(&mut self, now: Time, way: Way, faults: FaultSet, rng: &mut Rng) -> Time {
        let late =
            if faults.contains(Fault::Delay) && rng.chance(2) { rng.skewed(50_000, 5_000_000) } else { 0 };
        let last = &mut self.last[way as usize];
        *last = (*last).max(Time(now.0 + rng.skewed(200, 40_000) + late));
        *last
    }

    /// Nothing moves for a while.
    pub(super) fn stall(&mut self, now: Time, rng: &mut Rng) {
        let until = Time(now.0 + rng.between(1_000_000, 45_000_000));
        self.last = self.last.map(|last| last.max(until));
    }
}

/// How large the next piece of a body is.
pub(super) fn piece(faults: FaultSet, rng: &mut Rng) -> usize {
    let small = faults.contains(Fault::Chunks) && rng.chance(3);
    if small { rng.between(1, 5_000) as usize } else { rng.between(16_384, 262_144) as usize }
}
