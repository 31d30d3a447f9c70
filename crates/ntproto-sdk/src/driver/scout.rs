//! Looks for a better transport beside the one in use: QUIC, when TCP was all that got through; TCP, when QUIC has
//! fallen silent in the middle of a session.

use core::time::Duration;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::time::{Instant, Now};
use ntproto_net::{ConnId, Endpoint};

use super::Server;

/// A session on TCP looks for QUIC after this, and after a failure waits twice as long as before.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(30);
/// A session on silent QUIC that found no TCP either looks again after this, and then after twice as long each time.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(2);
/// But never longer than this.
pub(super) const LAST_LOOK: Duration = Duration::from_secs(15 * 60);
/// A move waits this long at most for answers that are owed: they would have to be asked for again.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// The look-out.
#[derive(Default)]
pub(super) struct Scout {
    /// What it tries.
    conn: Option<ConnId>,
    /// It is up; the move is made by then.
    ready: Option<(Binding, Instant)>,
    look_at: Option<Instant>,
    /// Over QUIC: not again before this, however silent it is.
    retry_at: Option<Instant>,
    wait: Duration,
}

impl Scout {
    /// A connection is in use from now on.
    pub(super) fn begin(&mut self, now: Instant, transport: TransportId) {
        *self = match transport {
            TransportId::Tcp => {
                Self { look_at: Some(now + FIRST_LOOK), wait: 2 * FIRST_LOOK, ..Self::default() }
            }
            _ => Self { wait: FIRST_RETRY, ..Self::default() },
        };
    }

    /// When to do something. `doubt`: when silence on QUIC becomes suspicious.
    pub(super) fn deadline(&self, doubt: Option<Instant>) -> Option<Instant> {
        match (self.conn, self.ready) {
            (_, Some((_, latest))) => Some(latest),
            (Some(_), None) => None,
            (None, None) => self.look_at.or_else(|| doubt.max(self.retry_at.filter(|_| doubt.is_some()))),
        }
    }

    /// Tries the other transport, if it is time. `remote`: where the server answers now.
    pub(super) fn look(
        &mut self,
        now: Now,
        net: &mut Endpoint,
        server: &Server,
        current: ConnId,
        doubt: Option<Instant>,
    ) {
        if self.conn.is_some() || self.deadline(doubt).is_none_or(|at| at > now.mono) {
            return;
        }
        let Some(remote) = net.with(now, current, |c| c.remote()) else { return };
        self.conn = match current.transport() {
            TransportId::Quic | TransportId::QuicEarly => {
                server.beside(remote, TransportId::Tcp).map(|remote| net.connect_tcp(now, remote))
            }
            TransportId::Tcp => server
                .beside(remote, TransportId::Quic)
                .and_then(|remote| net.connect_quic(now, &server.tls, remote, &server.host).ok()),
            TransportId::Web => None,
        };
        if self.conn.is_none() {
            self.failed(now.mono);
        }
    }

    /// Whether this connection is the scout's.
    pub(super) fn is(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    /// It is up.
    pub(super) fn up(&mut self, now: Instant, binding: Binding) {
        self.ready = Some((binding, now + SETTLE));
    }

    /// Gives the connection to move to, if there is one and this is a good moment.
    pub(super) fn take(&mut self, now: Instant, answers_are_owed: bool) -> Option<(ConnId, Binding)> {
        let (binding, latest) = self.ready?;
        if answers_are_owed && now < latest {
            return None;
        }
        self.ready = None;
        Some((self.conn.take()?, binding))
    }

    /// It came to nothing.
    pub(super) fn failed(&mut self, now: Instant) {
        (self.conn, self.ready) = (None, None);
        let after = if self.look_at.is_some() { &mut self.look_at } else { &mut self.retry_at };
        *after = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LAST_LOOK);
    }

    /// Nothing to look for any more, or the old one was heard after all.
    pub(super) fn recall(&mut self, now: Now, net: &mut Endpoint) {
        self.ready = None;
        if let Some(conn) = self.conn.take() {
            net.with(now, conn, |c| c.close(0, b""));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1 + ms * 1000)
    }

    /// Silence on QUIC, and TCP refused: it asks again, but not at once.
    #[test]
    fn a_refused_look_is_not_repeated_at_once() {
        let mut scout = Scout::default();
        scout.begin(at(0), TransportId::Quic);
        assert_eq!(scout.deadline(None), None, "no doubt, no look");
        let doubt = Some(at(3_000));
        assert_eq!(scout.deadline(doubt), doubt);
        let mut looks = Vec::new();
        let mut ms = 3_000;
        while ms < 60_000 {
            looks.push(ms);
            scout.conn = Some(ConnId(1 << 63));
            assert_eq!(scout.deadline(doubt), None, "one at a time");
            scout.failed(at(ms));
            ms = (scout.deadline(doubt).unwrap().as_micros() - 1) / 1000;
            assert_eq!(scout.deadline(None), None, "nor without a doubt");
        }
        assert_eq!(looks, [3_000, 5_000, 9_000, 17_000, 33_000]);
    }

    #[test]
    fn tcp_looks_for_quic_ever_more_rarely() {
        let mut scout = Scout::default();
        scout.begin(at(0), TransportId::Tcp);
        let mut gaps = Vec::new();
        let mut last = 0;
        for _ in 0..8 {
            let next = (scout.deadline(None).unwrap().as_micros() - 1) / 1_000_000;
            gaps.push(next - last);
            last = next;
            scout.conn = Some(ConnId(1));
            scout.failed(at(next * 1000));
        }
        assert_eq!(gaps, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_move_waits_for_answers_that_are_owed_but_not_for_ever() {
        let mut scout = Scout::default();
        scout.begin(at(0), TransportId::Tcp);
        scout.conn = Some(ConnId(1));
        scout.up(at(30_000), Binding::TCP);
        assert!(scout.take(at(30_000), true).is_none());
        assert_eq!(scout.deadline(None), Some(at(35_000)));
        assert!(scout.take(at(35_000), true).is_some());
        assert!(scout.take(at(35_000), false).is_none(), "once");
    }
}
