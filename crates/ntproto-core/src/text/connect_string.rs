//! The connect string: all a client needs to find a server and to know that it is the right one.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use crate::crypto::CryptoProvider;
use crate::crypto::identity::{Certificate, CertificateError};
use crate::time::UnixMillis;
use ntproto_proto::v2::ServerCertificate;
use prost::Message as _;

use super::base64;

const SCHEME: &str = "ntp://";
/// The longest host a connect string may name: the longest DNS name.
const MAX_HOST: usize = 253;
/// The longest encoded certificate accepted; ours has about 130 bytes.
pub(crate) const MAX_CERTIFICATE: usize = 1024;

/// Address, operator key, TLS pin and server certificate, as one line to paste.
///
/// ```text
/// ntp://host:port/?operator=<key>&pin=<SHA-256>&cert=<certificate>
/// ```
///
/// The values are base64url. An IPv6 address stands in brackets.
///
/// ```
/// use ntproto_core::text::ConnectString;
///
/// let error = "ntp://example.org/?operator=AA".parse::<ConnectString>().unwrap_err();
/// assert_eq!(error.to_string(), "the connect string has no port: it begins ntp://host:port/");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectString {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// The operator's Ed25519 key, which signs server certificates.
    pub operator_key: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo of the server's TLS certificate. What the certificate says of it counts more:
    /// [`tls_pins`](Self::tls_pins).
    pub tls_pin: [u8; 32],
    /// The server's static key, vouched for by the operator.
    pub certificate: ServerCertificate,
}

impl ConnectString {
    /// The server's static key, if the operator vouches for it at the time `now`.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(
        &self,
        provider: &dyn CryptoProvider,
        now: UnixMillis,
    ) -> Result<[u8; 32], CertificateError> {
        self.certificate(provider, now).map(|certificate| certificate.static_key)
    }

    /// All that the operator vouches for at the time `now`.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn certificate(
        &self,
        provider: &dyn CryptoProvider,
        now: UnixMillis,
    ) -> Result<Certificate, CertificateError> {
        //= spec: handshake-1
        Certificate::verify(provider, &self.operator_key, &self.certificate, now)
    }

    /// The pins of the keys the server may show in TLS: those the operator signed; where his certificate names none, the
    /// one beside it.
    #[must_use]
    pub fn tls_pins(&self, provider: &dyn CryptoProvider) -> Vec<[u8; 32]> {
        let signed = Certificate::signed(provider, &self.operator_key, &self.certificate);
        let pins = signed.map(|certificate| certificate.tls_pins).unwrap_or_default();
        if pins.is_empty() { [self.tls_pin].into() } else { pins }
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        write!(
            f,
            ":{}/?operator={}&pin={}&cert={}",
            self.port,
            base64::encode(&self.operator_key),
            base64::encode(&self.tls_pin),
            base64::encode(&self.certificate.encode_to_vec()),
        )
    }
}

impl FromStr for ConnectString {
    type Err = ConnectStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ConnectStringError as E;
        let rest = text.trim().strip_prefix(SCHEME).ok_or(E::Scheme)?;
        let (authority, query) = rest.split_once("/?").ok_or_else(|| match rest.contains(['/', '?']) {
            true => E::Path,
            false => E::Missing("operator"),
        })?;
        let (host, port) = split_authority(authority)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(E::Port)?;
        let (mut operator, mut pin, mut cert) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or_else(|| E::Unknown(shorten(pair)))?;
            let (slot, name) = match name {
                "operator" => (&mut operator, "operator"),
                "pin" => (&mut pin, "pin"),
                "cert" => (&mut cert, "cert"),
                other => return Err(E::Unknown(shorten(other))),
            };
            if slot.replace(value).is_some() {
                return Err(E::Twice(name));
            }
        }
        let key = |value: Option<&str>, name| {
            base64::decode_array::<32>(value.ok_or(E::Missing(name))?).ok_or(E::Key(name))
        };
        let (operator_key, tls_pin) = (key(operator, "operator")?, key(pin, "pin")?);
        let cert = cert.ok_or(E::Missing("cert"))?;
        if cert.len() > MAX_CERTIFICATE * 4 / 3 {
            return Err(E::Certificate);
        }
        let certificate = base64::decode(cert)
            .and_then(|bytes| ServerCertificate::decode(&bytes[..]).ok())
            .filter(|c| !c.body.is_empty() && c.signature.len() == 64)
            .ok_or(E::Certificate)?;
        Ok(Self { host: host.to_owned(), port, operator_key, tls_pin, certificate })
    }
}

/// Host, without brackets, and port.
fn split_authority(authority: &str) -> Result<(&str, &str), ConnectStringError> {
    use ConnectStringError as E;
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(E::Host)?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(E::Host);
        }
        return Ok((host, port.strip_prefix(':').ok_or(E::NoPort)?));
    }
    let (host, port) = authority.rsplit_once(':').ok_or(E::NoPort)?;
    if !is_host(host) || host.contains(':') {
        return Err(E::Host);
    }
    Ok((host, port))
}

/// Whether a text is a DNS name or an IP address, without brackets.
pub(crate) fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_ip = || host.parse::<IpAddr>().is_ok();
    !host.is_empty() && host.len() <= MAX_HOST && (host.chars().all(is_name) || is_ip())
}

/// What of a stranger's text an error repeats.
fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}

/// Why a text is no connect string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectStringError {
    /// It does not begin with `ntp://`.
    Scheme,
    /// Something else than `/?` follows the port.
    Path,
    /// The host is neither a DNS name nor an IP address; IPv6 needs brackets.
    Host,
    /// There is no port.
    NoPort,
    /// The port is no number from 1 to 65535.
    Port,
    /// This part is missing: the string was cut off.
    Missing(&'static str),
    /// This part comes twice.
    Twice(&'static str),
    /// This part is not known.
    Unknown(String),
    /// This part is not 32 bytes of base64url.
    Key(&'static str),
    /// The certificate can't be read.
    Certificate,
}

impl fmt::Display for ConnectStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("a connect string begins with ntp://"),
            Self::Path => f.write_str("the connect string goes wrong after the port: /?operator=… follows"),
            Self::Host => f.write_str(
                "the connect string's host is neither a DNS name nor an IP address (IPv6 in brackets)",
            ),
            Self::NoPort => f.write_str("the connect string has no port: it begins ntp://host:port/"),
            Self::Port => f.write_str("the connect string's port is not a number from 1 to 65535"),
            Self::Missing(part) => write!(f, "the connect string has no {part}=…: was all of it copied?"),
            Self::Twice(part) => write!(f, "the connect string has {part}= twice"),
            Self::Unknown(part) => write!(f, "the connect string has an unknown part: {part:?}"),
            Self::Key(part) => write!(f, "the connect string's {part}= is not 32 bytes of base64url"),
            Self::Certificate => {
                f.write_str("the connect string's cert= can't be read: was all of it copied?")
            }
        }
    }
}

impl core::error::Error for ConnectStringError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;
    use crate::crypto::identity::{DeviceKeys, ServerKey};
    use crate::crypto::rustcrypto::RUSTCRYPTO;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn sample() -> ConnectString {
        let mut rng = Rng::new([7; 32]);
        let operator = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        let server = ServerKey::generate(&mut rng, &RUSTCRYPTO, 1);
        let certificate = Certificate {
            static_key: *server.public(),
            key_id: 1,
            not_before: UnixMillis(1000),
            not_after: UnixMillis(2000),
            tls_pins: Vec::new(),
        };
        ConnectString {
            host: "chat.example.org".into(),
            port: 4433,
            operator_key: *operator.signing_public(),
            tls_pin: rng.array(),
            certificate: certificate.sign(&RUSTCRYPTO, operator.signing_secret()),
        }
    }

    //= proof: handshake-1
    #[test]
    fn it_verifies_the_certificate() {
        let connect = sample();
        let key = connect.verify(&RUSTCRYPTO, UnixMillis(1500)).unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(connect.verify(&RUSTCRYPTO, UnixMillis(2000)), Err(CertificateError::Expired));
        let stranger = ConnectString { operator_key: [9; 32], ..connect };
        assert_eq!(stranger.verify(&RUSTCRYPTO, UnixMillis(1500)), Err(CertificateError::Signature));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let good = sample().to_string();
        let parse = |text: &str| text.parse::<ConnectString>().unwrap_err();
        assert_eq!(parse(&good.replace("ntp:", "http:")), ConnectStringError::Scheme);
        assert_eq!(parse(&good.replace(":4433", "")), ConnectStringError::NoPort);
        assert_eq!(parse(&good.replace(":4433", ":0")), ConnectStringError::Port);
        assert_eq!(parse(&good.replace(":4433", ":70000")), ConnectStringError::Port);
        assert_eq!(parse(&good.replace("/?", "/x?")), ConnectStringError::Path);
        assert_eq!(parse(&good.replace("chat.example", "chat example")), ConnectStringError::Host);
        assert_eq!(parse(&good.replace("chat.example.org", "::1")), ConnectStringError::Host);
        assert_eq!(parse(&good.replace("chat.example.org", "[::g]")), ConnectStringError::Host);
        assert_eq!(parse(&good.replace("&pin=", "&pin=A")), ConnectStringError::Key("pin"));
        assert_eq!(parse(&good.replace("&pin=", "&pim=")), ConnectStringError::Unknown("pim".into()));
        assert_eq!(parse(&good.replace("&pin=", "&cert=")), ConnectStringError::Twice("cert"));
        assert_eq!(parse(&good[..good.len() - 4]), ConnectStringError::Certificate);
        assert_eq!(parse(good.split_once("&cert").unwrap().0), ConnectStringError::Missing("cert"));
    }

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9-]{0,20}(\\.[a-z]{2,5}){0,3}",
            any::<[u8; 4]>().prop_map(|a| core::net::Ipv4Addr::from(a).to_string()),
            any::<[u8; 16]>().prop_map(|a| Ipv6Addr::from(a).to_string()),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(host in host(), port in 1..=u16::MAX, keys: [[u8; 32]; 2],
                      body in prop::collection::vec(any::<u8>(), 1..200), signature: [u8; 32]) {
            let certificate = ServerCertificate {
                body: body.into(),
                signature: [signature, signature].concat().into(),
            };
            let connect =
                ConnectString { host, port, operator_key: keys[0], tls_pin: keys[1], certificate };
            prop_assert_eq!(connect.to_string().parse(), Ok(connect));
        }

        #[test]
        fn noise_never_panics(text in ".{0,80}", cut in 0..300usize) {
            let _ = text.parse::<ConnectString>();
            let mut good = sample().to_string();
            good.truncate(cut);
            prop_assert!(good.parse::<ConnectString>().is_err() || cut >= good.len());
            good.push_str(&text);
            let _ = good.parse::<ConnectString>();
        }
    }
}
