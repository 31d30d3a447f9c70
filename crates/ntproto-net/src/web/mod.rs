//! HTTP/3 connections: exchanges for the host, and sessions over WebTransport as connections like any other
//! (specification, "Web").
//!
//! ```text
//!   QUIC streams ──▶ carrier ──▶ HTTP/3 ──▶ exchanges ──▶ Event::Http
//!                                      └──▶ sessions  ──▶ Event::Connected, Readable, Writable, Closed
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`carrier`] | the HTTP/3 machine on QUIC's streams, either side |
//! | `http3` | one connection of a server, and its end |
//! | `session` | channels on the streams of a session |
//! | `held` | bytes that wait to be read |
//! | `exchange` | what of an answer has yet to leave |

pub mod carrier;
mod exchange;
mod held;
mod http3;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use http::Uri;
use http::header::{HeaderMap, ORIGIN};
use http::uri::Authority;
use ntproto_core::time::{Instant, Now};
use ntproto_h3::{Code, SessionId, StreamId};

pub use carrier::Carrier;
pub use http3::{IDLE_TIME, STALL_TIME};
pub use ntproto_h3::origin::Origins;
pub use session::{CLOSE_TIME, WebSession};

use crate::event::{Closed, Event, WebClosed};
use crate::{ConnId, ExchangeId, HttpAnswer, HttpEvent};
use http3::{Http3, Shared};

/// Where sessions are asked for.
pub const SESSION_PATH: &str = "/v2/session";

/// How a server speaks HTTP/3.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Pages of which origins may open sessions, besides those of the server's own hosts. Whoever names no origin is
    /// no browser, and may.
    pub origins: Origins,
    /// The server's own hosts, DNS names and IP addresses without brackets: a page of one may open a session that it asks of the
    /// same host. Any other name may be somebody's who lets it point here, and is no more than that.
    pub hosts: Vec<String>,
    /// What HTTP/3 takes.
    pub http3: ntproto_h3::Config,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { origins: Origins::only([""; 0]), hosts: Vec::new(), http3: ntproto_h3::Config::default() }
    }
}

impl WebConfig {
    //= spec: web-2
    /// Whether a request with this target and these fields may open a session.
    fn lets_in(&self, target: &Uri, fields: &HeaderMap) -> bool {
        self.origins.allow(fields) || same_host(target, fields).is_some_and(|host| self.is_own(host))
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// The host that a request asks, if the page comes from it as well, by any scheme and port.
fn same_host<'a>(target: &'a Uri, fields: &HeaderMap) -> Option<&'a str> {
    let mut origins = fields.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    let (_, origin) = origin.to_str().ok()?.split_once("://")?;
    let (origin, host) = (origin.parse::<Authority>().ok()?, target.host()?);
    origin.host().eq_ignore_ascii_case(host).then_some(host)
}

/// All HTTP/3 connections of an endpoint.
#[derive(Default)]
pub(crate) struct Web {
    config: Option<WebConfig>,
    conns: BTreeMap<ntproto_quic::ConnId, Http3>,
    sessions: BTreeMap<ConnId, (ntproto_quic::ConnId, SessionId)>,
    timers: BTreeSet<(Instant, ntproto_quic::ConnId)>,
    /// Sessions so far.
    count: u64,
    /// Nobody new is let in.
    leaving: bool,
    pub(crate) events: VecDeque<Event>,
}

impl Web {
    pub(crate) fn serve(&mut self, config: WebConfig) {
        self.config = Some(config);
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.config.is_some()
    }

    pub(crate) fn has(&self, conn: ntproto_quic::ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Sessions that are up.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A connection is up that speaks HTTP/3.
    pub(crate) fn opened(
        &mut self,
        now: Now,
        quic: &mut ntproto_quic::Endpoint,
        conn: ntproto_quic::ConnId,
        remote: SocketAddr,
    ) {
        let Some(config) = &self.config else { return };
        self.conns.insert(conn, Http3::new(conn, remote, config.http3.clone()));
        if self.leaving {
            self.goaway_one(now, quic, conn);
        }
        self.stir(now, quic, conn);
    }

    /// Something may have come on a connection.
    pub(crate) fn stir(&mut self, now: Now, quic: &mut ntproto_quic::Endpoint, conn: ntproto_quic::ConnId) {
        self.visit(now, quic, conn, |_| ());
    }

    /// Does something to a connection, and whatever comes of it.
    fn visit<R>(
        &mut self,
        now: Now,
        quic: &mut ntproto_quic::Endpoint,
        conn: ntproto_quic::ConnId,
        visit: impl FnOnce(&mut Http3) -> R,
    ) -> Option<R> {
        let (Some(http3), Some(config)) = (self.conns.get_mut(&conn), &self.config) else { return None };
        let mut shared = Shared {
            config,
            leaving: self.leaving,
            sessions: &mut self.sessions,
            count: &mut self.count,
            events: &mut self.events,
        };
        let result = quic.with(now, conn, |c| {
            http3.look(c);
            let result = visit(http3);
            http3.pump(now, c, &mut shared);
            result
        });
        let at = http3.deadline();
        if http3.armed != at {
            if let Some(old) = http3.armed {
                self.timers.remove(&(old, conn));
            }
            self.timers.extend(at.map(|at| (at, conn)));
            http3.armed = at;
        }
        result
    }

    /// A connection is over, and with it all it carried.
    pub(crate) fn closed(&mut self, conn: ntproto_quic::ConnId, reason: &ntproto_quic::Closed) {
        let Some(http3) = self.conns.remove(&conn) else { return };
        if let Some(at) = http3.armed {
            self.timers.remove(&(at, conn));
        }
        for session in http3.sessions.values() {
            if session.closed.is_none() {
                self.sessions.remove(&session.conn);
                let reason = Closed::Web(WebClosed::Connection(reason.clone()));
                self.events.push_back(Event::Closed { conn: session.conn, reason });
            }
        }
        for stream in http3.exchanges.keys() {
            let exchange = ExchangeId { conn: conn.into(), stream: stream.0 };
            self.events.push_back(Event::Http(exchange, HttpEvent::Gone));
        }
    }

    /// Visits a session that is not over.
    pub(crate) fn with<R>(
        &mut self,
        now: Now,
        quic: &mut ntproto_quic::Endpoint,
        conn: ConnId,
        visit: impl FnOnce(&mut WebSession<'_>) -> R,
    ) -> Option<R> {
        let &(carrier, session) = self.sessions.get(&conn)?;
        self.visit(now, quic, carrier, |http3| http3.with(session, visit))?
    }

    /// What the host says to an exchange.
    pub(crate) fn http(
        &mut self,
        now: Now,
        quic: &mut ntproto_quic::Endpoint,
        exchange: ExchangeId,
        answer: HttpAnswer,
    ) {
        if let Some(conn) = exchange.conn.quic() {
            self.visit(now, quic, conn, |http3| http3.answer(StreamId(exchange.stream), answer));
        }
    }

    /// Nobody new is let in; what is there is finished.
    pub(crate) fn goaway(&mut self, now: Now, quic: &mut ntproto_quic::Endpoint) {
        self.leaving = true;
        for conn in self.all() {
            self.goaway_one(now, quic, conn);
        }
    }

    fn goaway_one(&mut self, now: Now, quic: &mut ntproto_quic::Endpoint, conn: ntproto_quic::ConnId) {
        self.visit(now, quic, conn, Http3::leave);
    }

    /// Closes every session with this code, and every connection with HTTP/3's own.
    pub(crate) fn close_all(
        &mut self,
        now: Now,
        quic: &mut ntproto_quic::Endpoint,
        code: u32,
        reason: &[u8],
    ) {
        let sessions: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in sessions {
            self.with(now, quic, conn, |session| session.close(code, reason));
        }
        for conn in self.all() {
            quic.with(now, conn, |c| c.close(Code::NO_ERROR.0 as u32, b""));
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.conns.is_empty()
    }

    fn all(&self) -> Vec<ntproto_quic::ConnId> {
        self.conns.keys().copied().collect()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn timeout(&mut self, now: Now, quic: &mut ntproto_quic::Endpoint) {
        let due: Vec<_> = self.timers.iter().take_while(|(at, _)| *at <= now.mono).map(|(_, c)| *c).collect();
        for conn in due {
            self.visit(now, quic, conn, |http3| http3.carrier.timeout(now));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    //= proof: web-2
    #[test]
    fn pages_of_the_host_itself_and_of_those_on_the_list_are_let_in() {
        let config = WebConfig {
            origins: Origins::only(["https://chat.example"]),
            hosts: ["ntp.example", "127.0.0.1", "::1"].map(String::from).to_vec(),
            ..WebConfig::default()
        };
        for (target, origin, let_in) in [
            ("https://ntp.example:7424/v2/session", None, true),
            ("https://ntp.example:7424/v2/session", Some("https://ntp.example"), true),
            ("https://NTP.example:7424/v2/session", Some("https://ntp.EXAMPLE:8080"), true),
            ("https://ntp.example:7424/v2/session", Some("https://chat.example"), true),
            ("https://127.0.0.1:7424/v2/session", Some("http://127.0.0.1:8000"), true),
            ("https://[::1]:7424/v2/session", Some("http://[::1]:8000"), true),
            ("https://ntp.example:7424/v2/session", Some("https://evil.example"), false),
            // Names that somebody lets point here: the browser sees one host, which is not ours.
            ("https://evil.example:7424/v2/session", Some("https://evil.example"), false),
            ("https://evil.example:7424/v2/session", Some("https://ntp.example"), false),
            ("https://192.0.2.1:7424/v2/session", Some("http://192.0.2.1"), false),
            ("https://ntp.example:7424/v2/session", Some("https://ntp.example.evil.example"), false),
            ("https://ntp.example:7424/v2/session", Some("https://evil.example#ntp.example"), false),
            ("https://ntp.example:7424/v2/session", Some("null"), false),
            ("https://ntp.example:7424/v2/session", Some(""), false),
        ] {
            let mut fields = HeaderMap::new();
            if let Some(origin) = origin {
                fields.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(config.lets_in(&target.parse().unwrap(), &fields), let_in, "{target} {origin:?}");
        }
        let mut two = HeaderMap::new();
        two.append(ORIGIN, HeaderValue::from_static("https://ntp.example"));
        two.append(ORIGIN, HeaderValue::from_static("https://ntp.example"));
        assert!(!config.lets_in(&"https://ntp.example/".parse().unwrap(), &two));
    }
}
