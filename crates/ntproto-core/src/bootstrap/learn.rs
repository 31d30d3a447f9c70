//! What of an answer a client believes.

use core::fmt;

use super::answer::{Address, Answer, Endpoints};
use super::ticket::BootstrapTicket;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::{Certificate, CertificateError};
use crate::session::handshake::choose_version;
use crate::text::ConnectString;
use crate::time::UnixMillis;

/// How a client knows whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust<'a> {
    /// The connection it came by was checked: a certificate that the public's authorities vouch for, with the name that
    /// was asked, or one that was pinned. So the operator's key in it may be believed.
    Connection,
    /// This operator's key is known already; whoever carried the answer need not be. So what he did not sign is not believed,
    /// other hosts than the one that was asked included.
    Operator {
        /// His key.
        key: [u8; 32],
        /// The host that was asked. `None`: a person brought the answer, and vouches for the hosts in it.
        asked: Option<&'a str>,
    },
    /// This server is known already, and asked again: as with its operator's key, and what was signed before what is known is
    /// not believed either.
    Known {
        /// What is known of it.
        server: &'a ConnectString,
        /// The host that was asked.
        asked: &'a str,
    },
}

impl Trust<'_> {
    /// The operator who must have signed.
    const fn operator(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Connection => None,
            Self::Operator { key, .. } => Some(key),
            Self::Known { server, .. } => Some(&server.operator_key),
        }
    }

    /// Whether an answer may lead there. The operator signs no host: there may be a relay, which leads whoever comes once back to
    /// itself for ever.
    fn leads_to(&self, host: &str) -> bool {
        match self {
            Self::Connection | Self::Operator { asked: None, .. } => true,
            Self::Operator { asked: Some(asked), .. } => asked.eq_ignore_ascii_case(host),
            Self::Known { server, asked } => {
                [*asked, &*server.host].iter().any(|known| known.eq_ignore_ascii_case(host))
            }
        }
    }

    /// What of these may be followed. What is left out on QUIC stays where it is known to be.
    fn follow(&self, told: Endpoints) -> Endpoints {
        let Endpoints { quic, tcp, web } = told;
        let may = |at: &Address| self.leads_to(&at.host);
        let quic = quic.and_then(|at| match self {
            _ if may(&at) => Some(at),
            Self::Known { server, .. } => Some(Address { host: server.host.clone(), port: server.port }),
            _ => None,
        });
        Endpoints { quic, tcp: tcp.filter(may), web: web.filter(may) }
    }
}

/// What a client signs in with after a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The server's static key, which the operator vouches for.
    pub server_static: [u8; 32],
    /// When the certificate that says so begins.
    pub since: UnixMillis,
    /// The bootstrap ticket.
    pub ticket: BootstrapTicket,
    /// Server clock minus ours, in milliseconds; `None`: who told it could not be made sure of.
    pub clock_offset_ms: Option<i64>,
}

/// What a client has learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Where the server is and how to know it: what a connect string says.
    pub connect: ConnectString,
    /// What to sign in with.
    pub bootstrap: Bootstrap,
    /// Everywhere it listens.
    pub endpoints: Endpoints,
    /// The version chosen.
    pub version: alloc::string::String,
}

impl Answer {
    /// Believes an answer, or not. `now` is the client's own clock when the answer came.
    ///
    /// # Errors
    /// See [`LearnError`].
    pub fn learn(
        self,
        provider: &dyn CryptoProvider,
        trust: Trust<'_>,
        now: UnixMillis,
    ) -> Result<Learned, LearnError> {
        //= spec: bootstrap-6
        if trust.operator().is_some_and(|known| *known != self.operator_key) {
            return Err(LearnError::Operator);
        }
        //= spec: bootstrap-7
        if choose_version(core::slice::from_ref(&self.version)).is_none() {
            return Err(LearnError::Version);
        }
        //= spec: bootstrap-6
        let certificate = Certificate::verify(provider, &self.operator_key, &self.certificate, now)
            .map_err(LearnError::Certificate)?;
        if let Trust::Known { server: known, .. } = trust
            && is_older(provider, certificate.not_before, known)
        {
            return Err(LearnError::Older);
        }
        let tls_pin = self.tls_pin(trust, &certificate)?;
        //= spec: bootstrap-15
        let clock_offset_ms = match trust {
            Trust::Connection => {
                let offset = i128::from(self.server_time.0) - i128::from(now.0);
                Some(i64::try_from(offset).unwrap_or(0))
            }
            Trust::Operator { .. } | Trust::Known { .. } => None,
        };
        if self.endpoints.quic.is_none() && self.endpoints.tcp.is_none() {
            return Err(LearnError::Nowhere);
        }
        //= spec: bootstrap-18
        let endpoints = trust.follow(self.endpoints);
        let home = endpoints.quic.as_ref().or(endpoints.tcp.as_ref()).ok_or(LearnError::Elsewhere)?;
        let connect = ConnectString {
            host: home.host.clone(),
            port: home.port,
            operator_key: self.operator_key,
            tls_pin,
            certificate: self.certificate,
        };
        let bootstrap = Bootstrap {
            server_static: certificate.static_key,
            since: certificate.not_before,
            ticket: self.ticket,
            clock_offset_ms,
        };
        Ok(Learned { connect, bootstrap, endpoints, version: self.version })
    }

    /// The pin to go on with: a signed one. Where the operator signed none it is the one that is known, or the word of a
    /// connection that was checked.
    fn tls_pin(&self, trust: Trust<'_>, certificate: &Certificate) -> Result<[u8; 32], LearnError> {
        //= spec: bootstrap-13
        match trust {
            _ if certificate.tls_pins.contains(&self.tls_pin) => Ok(self.tls_pin),
            _ if !certificate.tls_pins.is_empty() => Err(LearnError::Pin),
            Trust::Connection => Ok(self.tls_pin),
            Trust::Known { server, .. } => Ok(server.tls_pin),
            Trust::Operator { .. } => Err(LearnError::Pin),
        }
    }
}

impl Learned {
    /// What was learnt of a connection that was checked, or by the operator's key alone, for a client that knows the server
    /// already: the operator may be another one, but must not have signed this before what is known.
    ///
    /// # Errors
    /// [`LearnError::Older`].
    pub fn after(self, provider: &dyn CryptoProvider, known: &ConnectString) -> Result<Self, LearnError> {
        let is_same = self.connect.operator_key == known.operator_key;
        let is_older = is_same && is_older(provider, self.bootstrap.since, known);
        if is_older { Err(LearnError::Older) } else { Ok(self) }
    }
}

/// Whether a certificate that begins `since` is from before what is known.
fn is_older(provider: &dyn CryptoProvider, since: UnixMillis, known: &ConnectString) -> bool {
    // What is known may have expired meanwhile: it still tells when it was signed.
    let held = Certificate::signed(provider, &known.operator_key, &known.certificate);
    //= spec: bootstrap-14
    held.is_ok_and(|held| since < held.not_before)
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnError {
    /// It is another operator's than the one that is known.
    Operator,
    /// The operator does not vouch for the server's key, or not now.
    Certificate(CertificateError),
    /// The version chosen is not spoken here.
    Version,
    /// The operator did not sign the TLS pin.
    Pin,
    /// The operator signed what is known already after it.
    Older,
    /// The server listens for no native client.
    Nowhere,
    /// It leads to another host than the one that was asked, and nobody vouches for that.
    Elsewhere,
}

impl fmt::Display for LearnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("the answer is another operator's than the one that is known"),
            Self::Certificate(error) => error.fmt(f),
            Self::Version => f.write_str("the server chose a version that is not spoken here"),
            Self::Pin => f.write_str("the operator did not sign the TLS key that the answer names"),
            Self::Older => f.write_str("the operator's certificate is older than the one that is known"),
            Self::Elsewhere => f.write_str(
                "the answer leads to another host than the one that was asked, and nobody vouches for that",
            ),
            Self::Nowhere => f.write_str("the server can be reached by browsers only"),
        }
    }
}

impl core::error::Error for LearnError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::vec;

    use ntproto_proto::v2::ServerCertificate;

    use super::*;
    use crate::crypto::identity::DeviceKeys;
    use crate::crypto::rustcrypto::RUSTCRYPTO;
    use crate::rng::Rng;

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    fn operator() -> DeviceKeys {
        DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO)
    }

    /// What an operator signs for a server, from an instant on, 2 s long.
    fn certificate(by: &DeviceKeys, from: u64, server: u8, tls_pins: &[[u8; 32]]) -> ServerCertificate {
        let not_before = UnixMillis(from);
        let not_after = UnixMillis(from + 2000);
        Certificate {
            static_key: [server; 32],
            key_id: 1,
            not_before,
            not_after,
            tls_pins: tls_pins.to_vec(),
        }
        .sign(&RUSTCRYPTO, by.signing_secret())
    }

    const SERVER: u8 = 6;
    const PIN: [u8; 32] = [4; 32];
    /// Of a key that somebody between has.
    const FOREIGN: [u8; 32] = [5; 32];

    /// An honest answer.
    fn answer() -> Answer {
        Answer {
            version: "2.4.1".into(),
            versions: vec!["2.4.1".into()],
            ticket: BootstrapTicket { sealed: vec![7; 100].into(), expires: UnixMillis(NOW.0 + 600_000) },
            certificate: certificate(&operator(), NOW.0 - 1000, SERVER, &[[3; 32], PIN]),
            operator_key: *operator().signing_public(),
            endpoints: Endpoints {
                quic: Some(Address { host: "chat.example.org".into(), port: 7424 }),
                ..Endpoints::default()
            },
            tls_pin: PIN,
            web_certificate_hashes: vec![],
            limits: ntproto_proto::v2::Limits::default(),
            server_time: UnixMillis(NOW.0 + 500),
        }
    }

    const HOST: &str = "chat.example.org";

    fn by_operator(key: [u8; 32]) -> Trust<'static> {
        Trust::Operator { key, asked: Some(HOST) }
    }

    fn by_known(server: &ConnectString) -> Trust<'_> {
        Trust::Known { server, asked: HOST }
    }

    /// What a client knows that was here before.
    fn known() -> ConnectString {
        answer().learn(&RUSTCRYPTO, Trust::Connection, NOW).unwrap().connect
    }

    fn learn(answer: &Answer, trust: Trust<'_>, now: UnixMillis) -> Result<Learned, LearnError> {
        answer.clone().learn(&RUSTCRYPTO, trust, now)
    }

    //= proof: bootstrap-6
    #[test]
    fn the_operator_vouches_for_the_server() {
        let (answer, known) = (answer(), known());
        let operator = known.operator_key;
        for trust in [Trust::Connection, by_operator(operator), by_known(&known)] {
            let learned = learn(&answer, trust, NOW).unwrap();
            assert_eq!(learned.bootstrap.server_static, [SERVER; 32]);
            assert_eq!((&*learned.connect.host, learned.connect.port), ("chat.example.org", 7424));
            assert_eq!(
                (learned.connect.tls_pin, learned.connect.tls_pins(&RUSTCRYPTO)),
                (PIN, vec![[3; 32], PIN])
            );
        }
        let late = UnixMillis(NOW.0 + 1000);
        for (trust, other) in [
            (Trust::Connection, None),
            (by_operator(operator), Some(by_operator([9; 32]))),
            (by_known(&known), Some(by_known(&ConnectString { operator_key: [9; 32], ..known.clone() }))),
        ] {
            if let Some(other) = other {
                assert_eq!(learn(&answer, other, NOW), Err(LearnError::Operator));
            }
            // Whatever the answer says the time is.
            let expired = Err(LearnError::Certificate(CertificateError::Expired));
            assert_eq!(learn(&answer, trust, late), expired);
            // Another operator's certificate under the name of the one who is known.
            let mut forged = answer.clone();
            let other = DeviceKeys::generate(&mut Rng::new([2; 32]), &RUSTCRYPTO);
            forged.certificate = certificate(&other, NOW.0, SERVER, &[PIN]);
            assert_eq!(learn(&forged, trust, NOW), Err(LearnError::Certificate(CertificateError::Signature)));
        }
        let forged = Answer { operator_key: [9; 32], ..answer };
        let forged = learn(&forged, Trust::Connection, NOW);
        assert_eq!(forged, Err(LearnError::Certificate(CertificateError::Signature)));
    }

    //= proof: bootstrap-13
    #[test]
    fn a_pin_that_the_operator_did_not_sign_is_not_taken_over() {
        let known = known();
        let unknown = by_operator(known.operator_key);
        // Somebody between has the server's genuine certificate and a TLS key of his own.
        let planted = Answer { tls_pin: FOREIGN, ..answer() };
        for trust in [Trust::Connection, unknown, by_known(&known)] {
            assert_eq!(learn(&planted, trust, NOW), Err(LearnError::Pin));
        }
        // A certificate from before pins were signed: who knows a pin keeps it, who knows none believes a connection that
        // was checked and nobody else.
        let old = certificate(&operator(), NOW.0 - 1000, SERVER, &[]);
        let planted = Answer { certificate: old.clone(), ..planted };
        let known = ConnectString { certificate: old, ..known };
        let pin = |trust| learn(&planted, trust, NOW).map(|learned| learned.connect.tls_pins(&RUSTCRYPTO));
        assert_eq!(pin(by_known(&known)), Ok(vec![PIN]));
        assert_eq!(pin(Trust::Connection), Ok(vec![FOREIGN]));
        assert_eq!(pin(unknown), Err(LearnError::Pin));
    }

    #[test]
    fn a_tls_key_that_changes_is_learnt() {
        let known = known();
        let next = certificate(&operator(), NOW.0, SERVER, &[FOREIGN]);
        let moved = Answer { tls_pin: FOREIGN, certificate: next, ..answer() };
        let learned = learn(&moved, by_known(&known), NOW).unwrap();
        assert_eq!(learned.connect.tls_pins(&RUSTCRYPTO), [FOREIGN]);
    }

    //= proof: bootstrap-14
    #[test]
    fn what_was_signed_before_what_is_known_is_not_believed() {
        let signed = |from| Answer { certificate: certificate(&operator(), from, 8, &[PIN]), ..answer() };
        let known = known();
        let older = signed(NOW.0 - 1001);
        assert_eq!(learn(&older, by_known(&known), NOW), Err(LearnError::Older));
        for from in [NOW.0 - 1000, NOW.0] {
            let learned = learn(&signed(from), by_known(&known), NOW).unwrap();
            assert_eq!(learned.bootstrap.server_static, [8; 32]);
        }
        // What is known has expired: it goes by its time all the same.
        let later = UnixMillis(NOW.0 + 5000);
        assert!(learn(&signed(later.0), by_known(&known), later).is_ok());
        // Nobody knows of another, or remembers it now.
        for trust in [by_operator(known.operator_key), Trust::Connection] {
            let learned = learn(&older, trust, NOW).unwrap();
            assert_eq!(learned.after(&RUSTCRYPTO, &known), Err(LearnError::Older));
            assert!(learn(&answer(), trust, NOW).unwrap().after(&RUSTCRYPTO, &known).is_ok());
        }
        // Another operator's says nothing of this one's.
        let other = DeviceKeys::generate(&mut Rng::new([2; 32]), &RUSTCRYPTO);
        let certificate = certificate(&other, NOW.0 - 1001, 8, &[PIN]);
        let moved = Answer { operator_key: *other.signing_public(), certificate, ..answer() };
        assert!(learn(&moved, Trust::Connection, NOW).unwrap().after(&RUSTCRYPTO, &known).is_ok());
    }

    //= proof: bootstrap-15
    #[test]
    fn a_clock_is_believed_of_a_connection_that_was_checked() {
        let known = known();
        let clock = |trust| learn(&answer(), trust, NOW).unwrap().bootstrap.clock_offset_ms;
        assert_eq!(clock(Trust::Connection), Some(500));
        assert_eq!(clock(by_operator(known.operator_key)), None);
        assert_eq!(clock(by_known(&known)), None);
    }

    /// Somebody between leads the client to a relay of his, where he would stay for ever.
    //= proof: bootstrap-18
    #[test]
    fn another_host_is_not_followed_unless_the_connection_was_checked() {
        let at = |host: &str, port| Some(Address { host: host.into(), port });
        let relay = |quic, tcp| Answer { endpoints: Endpoints { quic, tcp, web: None }, ..answer() };
        let place = |answer: &Answer, trust| {
            let learned = learn(answer, trust, NOW)?;
            Ok((learned.connect.host, learned.connect.port, learned.endpoints.tcp))
        };
        let here = |port, tcp| Ok((HOST.into(), port, tcp));
        let known = known();
        let operator = by_operator(known.operator_key);
        // The whole of it leads elsewhere: who knows a place stays there.
        let all = relay(at("evil.example", 1), at("evil.example", 2));
        assert_eq!(place(&all, operator), Err(LearnError::Elsewhere));
        assert_eq!(place(&all, by_known(&known)), here(7424, None));
        assert_eq!(place(&all, Trust::Connection), Ok(("evil.example".into(), 1, at("evil.example", 2))));
        // A part of it.
        let half = relay(at("evil.example", 1), at(HOST, 2));
        assert_eq!(place(&half, by_known(&known)), here(7424, at(HOST, 2)));
        assert_eq!(place(&half, operator), here(2, at(HOST, 2)));
        let half = relay(at(HOST, 1), at("evil.example", 2));
        for trust in [operator, by_known(&known)] {
            assert_eq!(place(&half, trust), here(1, None));
        }
        // Another port of the host, which is the one that was asked or the one that is known, however it is written.
        let moved = relay(at("Chat.Example.ORG", 9), None);
        for trust in [operator, by_known(&known)] {
            assert_eq!(place(&moved, trust), Ok(("Chat.Example.ORG".into(), 9, None)));
        }
        let elsewhere = Trust::Known { server: &known, asked: "www.example.org" };
        assert_eq!(place(&moved, elsewhere), Ok(("Chat.Example.ORG".into(), 9, None)));
        let asked = relay(at("www.example.org", 8), None);
        assert_eq!(place(&asked, elsewhere), Ok(("www.example.org".into(), 8, None)));
        assert_eq!(place(&asked, by_known(&known)), here(7424, None));
        // A person brought it and named no host.
        let brought = Trust::Operator { key: known.operator_key, asked: None };
        assert_eq!(place(&asked, brought), Ok(("www.example.org".into(), 8, None)));
    }

    //= proof: bootstrap-7
    #[test]
    fn a_version_that_is_not_spoken_is_not_used() {
        let mut answer = answer();
        answer.version = "2.5.0".into();
        assert_eq!(answer.learn(&RUSTCRYPTO, Trust::Connection, NOW), Err(LearnError::Version));
    }

    #[test]
    fn a_server_for_browsers_only() {
        let mut answer = answer();
        answer.endpoints = Endpoints { web: answer.endpoints.quic.take(), ..Endpoints::default() };
        assert_eq!(answer.learn(&RUSTCRYPTO, Trust::Connection, NOW), Err(LearnError::Nowhere));
    }
}
