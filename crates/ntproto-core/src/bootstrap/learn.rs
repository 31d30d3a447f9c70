//! What of an answer a client believes.

use core::fmt;

use super::answer::{Answer, Endpoints};
use super::ticket::BootstrapTicket;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::CertificateError;
use crate::session::handshake::choose_version;
use crate::text::ConnectString;
use crate::time::UnixMillis;

/// How a client knows whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The connection it came by was checked: a certificate that the public's authorities vouch for, with the name that
    /// was asked, or one that was pinned. So the operator's key in it may be believed.
    Connection,
    /// This operator's key is known already; whoever carried the answer need not be.
    Operator([u8; 32]),
}

/// What a client signs in with after a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The server's static key, which the operator vouches for.
    pub server_static: [u8; 32],
    /// The bootstrap ticket.
    pub ticket: BootstrapTicket,
    /// Server clock minus ours, in milliseconds.
    pub clock_offset_ms: i64,
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
        trust: Trust,
        now: UnixMillis,
    ) -> Result<Learned, LearnError> {
        //= spec: bootstrap-6
        if let Trust::Operator(known) = trust
            && known != self.operator_key
        {
            return Err(LearnError::Operator);
        }
        //= spec: bootstrap-7
        if choose_version(core::slice::from_ref(&self.version)).is_none() {
            return Err(LearnError::Version);
        }
        let home = self.endpoints.quic.as_ref().or(self.endpoints.tcp.as_ref()).ok_or(LearnError::Nowhere)?;
        let connect = ConnectString {
            host: home.host.clone(),
            port: home.port,
            operator_key: self.operator_key,
            tls_pin: self.tls_pin,
            certificate: self.certificate,
        };
        //= spec: bootstrap-6
        let server_static = connect.verify(provider, now).map_err(LearnError::Certificate)?;
        let offset = i128::from(self.server_time.0) - i128::from(now.0);
        let clock_offset_ms = i64::try_from(offset).unwrap_or(0);
        let bootstrap = Bootstrap { server_static, ticket: self.ticket, clock_offset_ms };
        Ok(Learned { connect, bootstrap, endpoints: self.endpoints, version: self.version })
    }
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
    /// The server listens for no native client.
    Nowhere,
}

impl fmt::Display for LearnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("the answer is another operator's than the one that is known"),
            Self::Certificate(error) => error.fmt(f),
            Self::Version => f.write_str("the server chose a version that is not spoken here"),
            Self::Nowhere => f.write_str("the server can be reached by browsers only"),
        }
    }
}

impl core::error::Error for LearnError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::bootstrap::Address;
    use crate::crypto::identity::{Certificate, DeviceKeys, ServerKey};
    use crate::crypto::rustcrypto::RUSTCRYPTO;
    use crate::rng::Rng;

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

    /// An answer, the operator's key in it, and the server's.
    fn answer() -> (Answer, [u8; 32], [u8; 32]) {
        let mut rng = Rng::new([1; 32]);
        let operator = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        let server = ServerKey::generate(&mut rng, &RUSTCRYPTO, 1);
        let certificate = Certificate {
            static_key: *server.public(),
            key_id: 1,
            not_before: UnixMillis(NOW.0 - 1000),
            not_after: UnixMillis(NOW.0 + 1000),
        };
        let answer = Answer {
            version: "2.4.1".into(),
            versions: vec!["2.4.1".into()],
            ticket: BootstrapTicket { sealed: vec![7; 100].into(), expires: UnixMillis(NOW.0 + 600_000) },
            certificate: certificate.sign(&RUSTCRYPTO, operator.signing_secret()),
            operator_key: *operator.signing_public(),
            endpoints: Endpoints {
                quic: Some(Address { host: "chat.example.org".into(), port: 7424 }),
                ..Endpoints::default()
            },
            tls_pin: [4; 32],
            web_certificate_hashes: vec![],
            limits: ntproto_proto::v2::Limits::default(),
            server_time: UnixMillis(NOW.0 + 500),
        };
        (answer, *operator.signing_public(), *server.public())
    }

    //= proof: bootstrap-6
    #[test]
    fn the_operator_vouches_for_the_server() {
        let (answer, operator, server) = answer();
        for trust in [Trust::Connection, Trust::Operator(operator)] {
            let learned = answer.clone().learn(&RUSTCRYPTO, trust, NOW).unwrap();
            assert_eq!(learned.bootstrap.server_static, server);
            assert_eq!(learned.bootstrap.clock_offset_ms, 500);
            assert_eq!((&*learned.connect.host, learned.connect.port), ("chat.example.org", 7424));
        }
        let learn = |answer: &Answer, trust, now| answer.clone().learn(&RUSTCRYPTO, trust, now);
        assert_eq!(learn(&answer, Trust::Operator([9; 32]), NOW), Err(LearnError::Operator));
        let late = learn(&answer, Trust::Connection, UnixMillis(NOW.0 + 1000));
        // Whatever the answer says the time is.
        assert_eq!(late, Err(LearnError::Certificate(CertificateError::Expired)));
        let mut forged = answer;
        forged.operator_key = [9; 32];
        let forged = learn(&forged, Trust::Connection, NOW);
        assert_eq!(forged, Err(LearnError::Certificate(CertificateError::Signature)));
    }

    //= proof: bootstrap-7
    #[test]
    fn a_version_that_is_not_spoken_is_not_used() {
        let (mut answer, ..) = answer();
        answer.version = "2.5.0".into();
        assert_eq!(answer.learn(&RUSTCRYPTO, Trust::Connection, NOW), Err(LearnError::Version));
    }

    #[test]
    fn a_server_for_browsers_only() {
        let (mut answer, ..) = answer();
        answer.endpoints = Endpoints { web: answer.endpoints.quic.take(), ..Endpoints::default() };
        assert_eq!(answer.learn(&RUSTCRYPTO, Trust::Connection, NOW), Err(LearnError::Nowhere));
    }
}
