//! The answer as JSON (feature `json`), and a refusal as `application/problem+json` (RFC 9457).
//!
//! Names are the fields'. Keys, tickets and hashes are base64 with padding (RFC 4648, section 4). Times are numbers of
//! milliseconds, which JavaScript holds exactly for the next 280,000 years. What is not known is skipped.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ntproto_proto::v2::{Limits, ServerCertificate};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::answer::{Address, Answer, AnswerError, Endpoints, MAX_ANSWER};
use super::query::Refused;
use super::ticket::BootstrapTicket;
use crate::session::handshake::{MAX_OFFER_LEN, MAX_OFFERS};
use crate::text::base64::{decode_padded, encode_padded};
use crate::time::UnixMillis;

/// The largest number that JavaScript holds exactly.
const MAX_EXACT: u64 = 1 << 53;
/// What of a stranger's words is repeated.
const MAX_WORDS: usize = 200;

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    versions: Vec<Cow<'a, str>>,
    ticket: Cow<'a, str>,
    ticket_expires_ms: u64,
    certificate: Cow<'a, str>,
    operator_key: Cow<'a, str>,
    #[serde(borrow)]
    endpoints: WireEndpoints<'a>,
    tls_pin: Cow<'a, str>,
    #[serde(default)]
    web_certificate_hashes: Vec<Cow<'a, str>>,
    limits: WireLimits,
    server_time_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireEndpoints<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    quic: Option<WireAddress<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tcp: Option<WireAddress<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    web: Option<WireAddress<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireAddress<'a> {
    #[serde(borrow)]
    host: Cow<'a, str>,
    port: u16,
}

#[derive(Serialize, Deserialize)]
struct WireLimits {
    max_payload: u32,
    max_body: u32,
    heartbeat_ms: u32,
    sync_page: u32,
}

impl<'a> WireAddress<'a> {
    fn of(address: &'a Address) -> Self {
        Self { host: (&*address.host).into(), port: address.port }
    }

    fn address(self) -> Address {
        Address { host: self.host.into_owned(), port: self.port }
    }
}

impl Answer {
    /// As JSON.
    ///
    /// # Errors
    /// It breaks a rule of [`check`](Self::check).
    pub fn to_json(&self) -> Result<String, AnswerError> {
        self.check()?;
        let Limits { max_payload, max_body, heartbeat_ms, sync_page } = self.limits;
        let wire = Wire {
            version: (&*self.version).into(),
            versions: self.versions.iter().map(|v| (&**v).into()).collect(),
            ticket: encode_padded(&self.ticket.sealed).into(),
            ticket_expires_ms: self.ticket.expires.0,
            certificate: encode_padded(&self.certificate.encode_to_vec()).into(),
            operator_key: encode_padded(&self.operator_key).into(),
            endpoints: WireEndpoints {
                quic: self.endpoints.quic.as_ref().map(WireAddress::of),
                tcp: self.endpoints.tcp.as_ref().map(WireAddress::of),
                web: self.endpoints.web.as_ref().map(WireAddress::of),
            },
            tls_pin: encode_padded(&self.tls_pin).into(),
            web_certificate_hashes: self
                .web_certificate_hashes
                .iter()
                .map(|hash| encode_padded(hash).into())
                .collect(),
            limits: WireLimits { max_payload, max_body, heartbeat_ms, sync_page },
            server_time_ms: self.server_time.0,
        };
        serde_json::to_string(&wire).map_err(|e| syntax(&e))
    }

    /// From JSON. Never trusts a length, and takes at most [`MAX_ANSWER`] bytes.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn from_json(text: &[u8]) -> Result<Self, AnswerError> {
        use AnswerError::Field;
        //= spec: bootstrap-8
        if text.len() > MAX_ANSWER {
            return Err(AnswerError::TooLarge);
        }
        // What is derived would take an array for its fields in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(AnswerError::Syntax { line: 1, column: 1 });
        }
        let wire: Wire<'_> = serde_json::from_slice(text).map_err(|e| syntax(&e))?;
        let bytes = |text: &str, name| decode_padded(text).ok_or(Field(name));
        let key = |text: &str, name| -> Result<[u8; 32], AnswerError> {
            bytes(text, name)?.try_into().map_err(|_| Field(name))
        };
        let time = |ms: u64, name| if ms <= MAX_EXACT { Ok(UnixMillis(ms)) } else { Err(Field(name)) };
        let WireLimits { max_payload, max_body, heartbeat_ms, sync_page } = wire.limits;
        let answer = Self {
            ticket: BootstrapTicket {
                sealed: bytes(&wire.ticket, "ticket")?.into(),
                expires: time(wire.ticket_expires_ms, "ticket_expires_ms")?,
            },
            certificate: ServerCertificate::decode(&bytes(&wire.certificate, "certificate")?[..])
                .map_err(|_| Field("certificate"))?,
            operator_key: key(&wire.operator_key, "operator_key")?,
            endpoints: Endpoints {
                quic: wire.endpoints.quic.map(WireAddress::address),
                tcp: wire.endpoints.tcp.map(WireAddress::address),
                web: wire.endpoints.web.map(WireAddress::address),
            },
            tls_pin: key(&wire.tls_pin, "tls_pin")?,
            web_certificate_hashes: wire
                .web_certificate_hashes
                .iter()
                .map(|hash| key(hash, "web_certificate_hashes"))
                .collect::<Result<_, _>>()?,
            limits: Limits { max_payload, max_body, heartbeat_ms, sync_page },
            server_time: time(wire.server_time_ms, "server_time_ms")?,
            version: wire.version.into_owned(),
            versions: wire.versions.into_iter().map(Cow::into_owned).collect(),
        };
        answer.check()?;
        Ok(answer)
    }
}

fn syntax(error: &serde_json::Error) -> AnswerError {
    AnswerError::Syntax { line: error.line(), column: error.column() }
}

/// What a server says when it has no answer, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The code, when it is one of those a bootstrap can be refused with.
    pub refused: Option<Refused>,
    /// The code as it came.
    pub code: String,
    /// What it says to people.
    pub detail: String,
    /// The versions the server speaks, best first.
    pub versions: Vec<String>,
}

impl Problem {
    fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Wire {
            code: String,
            title: String,
            detail: String,
            versions: Vec<String>,
        }
        let body = if body.len() <= MAX_ANSWER { body } else { &[] };
        let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
        let words = if wire.detail.is_empty() { wire.title } else { wire.detail };
        let printable = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        Self {
            status,
            refused: Refused::from_code(&wire.code),
            code: printable(&wire.code),
            detail: printable(&words),
            versions: wire
                .versions
                .into_iter()
                .filter(|v| v.len() <= MAX_OFFER_LEN)
                .take(MAX_OFFERS)
                .collect(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if !self.versions.is_empty() {
            write!(f, " (it speaks {})", self.versions.join(", "))?;
        }
        Ok(())
    }
}

/// What a server said: an answer, or why there is none. `body` need not be longer than [`MAX_ANSWER`].
///
/// ```
/// use ntproto_core::bootstrap::{Refused, read_answer};
///
/// let body = br#"{"title":"Bad Request","code":"unsupported_version","versions":["2.4.1"]}"#;
/// let problem = read_answer(400, body).unwrap_err().unwrap();
/// assert_eq!(problem.refused, Some(Refused::UnsupportedVersion));
/// assert_eq!(problem.versions, ["2.4.1"]);
/// ```
///
/// # Errors
/// `Ok`: the problem that the server tells. `Err`: it says that it answers, and does not.
pub fn read_answer(status: u16, body: &[u8]) -> Result<Answer, Result<Problem, AnswerError>> {
    //= spec: bootstrap-1
    if status == 200 { Answer::from_json(body).map_err(Err) } else { Err(Ok(Problem::read(status, body))) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::bootstrap::MAX_HASHES;
    use proptest::prelude::*;

    fn sample() -> Answer {
        Answer {
            version: "2.4.1".into(),
            versions: vec!["2.4.1".into()],
            ticket: BootstrapTicket { sealed: vec![7; 116].into(), expires: UnixMillis(1_750_000_600_000) },
            certificate: ServerCertificate { body: vec![1; 48].into(), signature: vec![2; 64].into() },
            operator_key: [3; 32],
            endpoints: Endpoints {
                quic: Some(Address { host: "chat.example.org".into(), port: 7424 }),
                tcp: Some(Address { host: "::1".into(), port: 7424 }),
                web: None,
            },
            tls_pin: [4; 32],
            web_certificate_hashes: vec![[5; 32]],
            limits: Limits { max_payload: 1 << 20, max_body: 1 << 18, heartbeat_ms: 30_000, sync_page: 100 },
            server_time: UnixMillis(1_750_000_000_000),
        }
    }

    #[test]
    fn round_trip() {
        let json = sample().to_json().unwrap();
        assert!(json.len() < MAX_ANSWER / 8, "{}", json.len());
        assert_eq!(Answer::from_json(json.as_bytes()), Ok(sample()));
        let more = json.replacen('{', r#"{"later":[{"a":[1,2]}],"#, 1);
        assert_eq!(Answer::from_json(more.as_bytes()), Ok(sample()));
    }

    //= proof: bootstrap-8
    #[test]
    fn what_breaks_a_rule_is_no_answer() {
        let json = sample().to_json().unwrap();
        let with = |from: &str, to: &str| {
            assert!(json.contains(from), "{from}");
            Answer::from_json(json.replacen(from, to, 1).as_bytes())
        };
        let field = |name| Err(AnswerError::Field(name));
        assert_eq!(with(r#""version":"2.4.1""#, r#""version":"2.4.2""#), field("version"));
        assert_eq!(with(r#"["2.4.1"]"#, r#"["2.4.1","12345678901234567"]"#), field("versions"));
        let many = format!("[{}\"2.4.1\"]", "\"2.4.0\",".repeat(8));
        assert_eq!(with(r#"["2.4.1"]"#, &many), field("versions"));
        assert_eq!(with("chat.example.org", "chat example.org"), field("endpoints"));
        assert_eq!(with("chat.example.org", ""), field("endpoints"));
        assert_eq!(with(":7424", ":0"), field("endpoints"));
        assert!(matches!(with(":7424", ":70000"), Err(AnswerError::Syntax { .. })));
        assert!(matches!(with(":7424", ":-1"), Err(AnswerError::Syntax { .. })));
        assert_eq!(with("1750000600000", "9007199254740993"), field("ticket_expires_ms"));
        assert!(matches!(with("1750000600000", "18446744073709551616"), Err(AnswerError::Syntax { .. })));
        assert_eq!(with("AwMD", "Aw-D"), field("operator_key"));
        assert_eq!(with("\"BAQE", "\"BAQEBAQE"), field("tls_pin"));
        assert!(matches!(with(r#""tls_pin""#, r#""pin""#), Err(AnswerError::Syntax { .. })));
        let twice = r#""tls_pin":"x","tls_pin""#;
        assert!(matches!(with(r#""tls_pin""#, twice), Err(AnswerError::Syntax { .. })));
        let hashes = vec![[5; 32]; MAX_HASHES + 1];
        let many = Answer { web_certificate_hashes: hashes, ..sample() };
        assert_eq!(many.to_json(), Err(AnswerError::Field("web_certificate_hashes")));
        let nowhere = Answer { endpoints: Endpoints::default(), ..sample() };
        assert_eq!(nowhere.to_json(), Err(AnswerError::Field("endpoints")));
        let long = format!("{json}{}", " ".repeat(MAX_ANSWER));
        assert_eq!(Answer::from_json(long.as_bytes()), Err(AnswerError::TooLarge));
        for odd in ["", "[]", "null", "\u{feff}{}", "{}", &"[".repeat(10_000), &"{\"a\":".repeat(2_000)] {
            assert!(
                matches!(Answer::from_json(odd.as_bytes()), Err(AnswerError::Syntax { .. })),
                "{odd:.20}"
            );
        }
    }

    //= proof: bootstrap-1
    #[test]
    fn a_redirection_is_no_answer() {
        let answer = sample().to_json().unwrap();
        for status in [201, 206, 301, 302, 307, 308] {
            assert_eq!(read_answer(status, answer.as_bytes()).unwrap_err().unwrap().status, status);
        }
    }

    #[test]
    fn a_problem_is_read_as_far_as_it_goes() {
        let words = "x\n".repeat(500);
        let body = format!("{{\"code\":\"unknown_app\",\"detail\":{words:?},\"versions\":[]}}");
        let problem = read_answer(404, body.as_bytes()).unwrap_err().unwrap();
        assert_eq!((problem.refused, problem.status), (Some(Refused::UnknownApp), 404));
        assert_eq!(problem.detail, "x".repeat(200));
        let none = read_answer(502, b"<html>").unwrap_err().unwrap();
        assert_eq!((none.refused, &*none.code), (None, ""));
        let answer = read_answer(200, b"<html>").unwrap_err();
        assert_eq!(answer, Err(AnswerError::Syntax { line: 1, column: 1 }));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise: Vec<u8>, cut: usize, at: usize, byte: u8) {
            let _ = read_answer(200, &noise);
            let _ = read_answer(400, &noise);
            let mut json = sample().to_json().unwrap().into_bytes();
            let at = at % json.len();
            json[at] = byte;
            if let Ok(answer) = Answer::from_json(&json) {
                prop_assert_eq!(Answer::from_json(answer.to_json().unwrap().as_bytes()), Ok(answer));
            }
            json.truncate(cut % json.len());
            prop_assert!(Answer::from_json(&json).is_err());
        }
    }
}
