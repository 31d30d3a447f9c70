//! The server of a session, reached by HTTPS.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError};

use ntproto_core::binding::TransportId;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_drive::Runtime;
use ntproto_sdk::{Client, ConnectString, State};
use zeroize::Zeroizing;

use super::Host;
use crate::client::site::{Site, Speak};
use crate::client::trust::Trust;
use crate::client::{Http, HttpError, Pending, h2, h3};

/// HTTP/3 connections, one after the other, that carry nothing before HTTP/2 is spoken: there are networks that let through a handshake
/// over UDP and little else. One may break by chance.
const MAX_BARREN: u32 = 2;

/// Which HTTP is spoken, where that may be chosen.
#[derive(Default)]
struct Choice {
    /// Whether the session ran over QUIC when that could be seen last.
    quic: AtomicBool,
    /// HTTP/2 was fallen back to.
    fell: AtomicBool,
    /// Connections since the last that carried something.
    barren: AtomicU32,
}

impl Choice {
    fn is_three(&self) -> bool {
        self.quic.load(SeqCst) && !self.fell.load(SeqCst) && self.barren.load(SeqCst) < MAX_BARREN
    }

    fn over(&self, carried: bool) {
        if carried {
            self.barren.store(0, SeqCst);
        } else {
            self.barren.fetch_add(1, SeqCst);
        }
    }

    /// Whether HTTP/2 got through. Where it does not, HTTP/3 has its turn again.
    fn two(&self, through: bool) {
        if through {
            self.fell.store(true, SeqCst);
        } else {
            self.barren.store(0, SeqCst);
        }
    }
}

/// The server that a client has a session with: it shows the key that the connect string pins, and takes the session's token. Where a
/// bootstrap of this run has told that it moved, or has another key, that counts.
///
/// With [`Speak::Auto`] a connection speaks HTTP/3 when the session runs over QUIC and UDP answers within [`UDP_TIME`](h3::UDP_TIME);
/// else, and when two connections over HTTP/3 carried nothing, HTTP/2, and stays with it: one of these never goes back to HTTP/3. So there is to be one for each file.
///
/// ```no_run
/// use ntproto_http::client::site::Speak;
/// use ntproto_http::files::{Host, Reach};
/// use ntproto_sdk::{Client, ConnectString};
///
/// async fn protocol(runtime: impl ntproto_drive::Runtime, client: &Client, connect: &ConnectString) -> Option<&'static str> {
///     let reach = Reach::new(runtime, client, connect, Speak::Auto);
///     reach.connect().await.ok()?;
///     reach.spoken()
/// }
/// ```
pub struct Reach<R> {
    runtime: R,
    client: Client,
    connect: ConnectString,
    speak: Speak,
    choice: Choice,
    spoken: Mutex<Option<&'static str>>,
}

impl<R: Runtime> Reach<R> {
    /// The server of `client`, which was started with `connect`.
    #[must_use]
    pub fn new(runtime: R, client: &Client, connect: &ConnectString, speak: Speak) -> Self {
        Self {
            runtime,
            client: client.clone(),
            connect: connect.clone(),
            speak,
            choice: Choice::default(),
            spoken: Mutex::new(None),
        }
    }

    /// What the last connection speaks, as ALPN calls it.
    #[must_use]
    pub fn spoken(&self) -> Option<&'static str> {
        *self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Over UDP, and over TCP.
    fn sites(&self) -> (Site, Site) {
        let found = self.client.whereabouts();
        let (connect, tcp) = match &found {
            Some(found) => (&found.connect, found.endpoints.tcp.as_ref()),
            None => (&self.connect, None),
        };
        let trust = Trust::Keys(connect.tls_pins(&RUSTCRYPTO));
        let site = |host: &str, port| Site { host: host.to_owned(), port, trust: trust.clone() };
        let udp = site(&connect.host, connect.port);
        let tcp = tcp.map(|tcp| site(&tcp.host, tcp.port));
        (udp.clone(), tcp.unwrap_or(udp))
    }

    /// Whether HTTP/3 is to be tried.
    fn is_three(&self) -> bool {
        match (self.speak, self.client.state()) {
            (Speak::Three, _) => return true,
            (Speak::Two, _) => return false,
            (Speak::Auto, State::Online { transport, .. }) => {
                let quic = matches!(transport, TransportId::Quic | TransportId::QuicEarly);
                self.choice.quic.store(quic, SeqCst);
            }
            (Speak::Auto, _) => {}
        }
        self.choice.is_three()
    }

    async fn reach(&self) -> Result<Arc<dyn Http>, HttpError> {
        let (udp, tcp) = self.sites();
        if self.is_three() {
            let patience = if self.speak == Speak::Auto { h3::UDP_TIME } else { h2::CONNECT_TIME };
            match udp.h3(&self.runtime, patience).await {
                Err(error) if self.speak == Speak::Auto && error.may_fall_back() => {}
                connected => return Ok(connected?),
            }
        }
        let connected = tcp.h2(&self.runtime).await;
        self.choice.two(connected.is_ok());
        connected
    }
}

impl<R: Runtime> Host for Reach<R> {
    fn base(&self) -> String {
        self.sites().0.base()
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Http>, HttpError>> {
        Box::pin(async {
            let connection = self.reach().await?;
            *self.spoken.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.protocol());
            Ok(connection)
        })
    }

    fn over(&self, carried: bool) {
        self.choice.over(carried);
    }

    fn token(&self) -> Pending<'_, Option<Zeroizing<String>>> {
        // A client that is over has none; the transfer gives up by itself.
        Box::pin(async { self.client.http_token().await.ok().flatten().map(|token| token.text()) })
    }

    fn refused(&self) -> Pending<'_, ()> {
        // A session over QUIC hears nothing of a server that was restarted before it says something itself.
        Box::pin(self.client.network_changed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_carries_nothing_over_udp_is_left_for_tcp() {
        let choice = Choice::default();
        assert!(!choice.is_three(), "the session knows no UDP");
        choice.quic.store(true, SeqCst);
        // Breaks between which something came through.
        for _ in 0..5 {
            choice.over(false);
            assert!(choice.is_three());
            choice.over(true);
        }
        choice.over(false);
        choice.over(false);
        assert!(!choice.is_three());
        // Nor is TCP let through.
        choice.two(false);
        assert!(choice.is_three());
        choice.over(false);
        choice.over(false);
        assert!(!choice.is_three());
        choice.two(true);
        choice.over(true);
        assert!(!choice.is_three(), "it stays");
    }
}
