//! Looks for a better transport beside the one in use: QUIC, when TCP was all that got through; TCP, when QUIC has
//! fallen silent in the middle of a session.

use core::time::Duration;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::time::{Instant, Now};
use ntproto_net::{ConnId, Endpoint};

use super::Server;

/// A session on TCP looks for QUIC after this, and after a failure waits twice as long as before.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(30);
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
    wait: Duration,
}

impl Scout {
    /// A connection is in use from now on.
    pub(super) fn begin(&mut self, now: Instant, transport: TransportId) {
        *self = Self { wait: FIRST_LOOK, ..Self::default() };
        if transport == TransportId::Tcp {
            self.look_at = Some(now + FIRST_LOOK);
        }
    }

    /// When to do something. `doubt`: when silence on QUIC becomes suspicious.
    pub(super) fn deadline(&self, doubt: Option<Instant>) -> Option<Instant> {
        match (self.conn, self.ready) {
            (_, Some((_, latest))) => Some(latest),
            (Some(_), None) => None,
            (None, None) => self.look_at.or(doubt),
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
            TransportId::Quic | TransportId::QuicEarly => Some(net.connect_tcp(now, remote)),
            TransportId::Tcp => net.connect_quic(now, &server.tls, remote, &server.host).ok(),
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
        if self.look_at.is_some() {
            self.wait = (self.wait * 2).min(LAST_LOOK);
            self.look_at = Some(now + self.wait);
        }
    }

    /// Nothing to look for any more, or the old one was heard after all.
    pub(super) fn recall(&mut self, now: Now, net: &mut Endpoint) {
        self.ready = None;
        if let Some(conn) = self.conn.take() {
            net.with(now, conn, |c| c.close(0, b""));
        }
    }
}
