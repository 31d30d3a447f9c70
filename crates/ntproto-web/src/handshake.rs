//! `GET /v2/handshake` (specification, "Bootstrap"): what a client is told of this server.

use core::fmt;
use core::net::IpAddr;

use http::{Request, StatusCode, header};
use ntproto_core::bootstrap::{Address, Answer, BootstrapKeys, Endpoints, Given, LIFETIME, Query, Refused};
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::VERSIONS;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2::{Limits, ServerCertificate};

use crate::answer;
use crate::problem::{Code, Problem};

/// What the host knows of its server. It brings it anew, by [`Input::Bootstrap`](crate::Input::Bootstrap), whenever a part of
/// it has changed: keys of tickets every day, web certificates every week.
pub struct Bootstrap {
    /// The applications that may come in.
    pub app_ids: Vec<u32>,
    /// What tickets are made with.
    pub keys: BootstrapKeys,
    /// The server's static key, signed by the operator.
    pub certificate: ServerCertificate,
    /// The operator's key.
    pub operator_key: [u8; 32],
    /// What clients reach the server by. `None`: by the name that they asked.
    pub host: Option<String>,
    /// The UDP port of `ntp/2`.
    pub quic: Option<u16>,
    /// The TCP port.
    pub tcp: Option<u16>,
    /// The UDP port of WebTransport.
    pub web: Option<u16>,
    /// The pin of the certificate under `ntp/2`.
    pub tls_pin: [u8; 32],
    /// SHA-256 of the certificates under `h3`, unless the public knows them.
    pub web_certificate_hashes: Vec<[u8; 32]>,
    /// What a session is held to.
    pub limits: Limits,
}

impl fmt::Debug for Bootstrap {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap")
            .field("app_ids", &self.app_ids)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Bootstrap {
    /// The answer to a request from an address.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn answer(
        &self,
        rng: &mut Rng,
        now: UnixMillis,
        from: IpAddr,
        request: &Request<()>,
    ) -> Result<Answer, Problem> {
        let query = Query::parse(request.uri().query()).map_err(problem)?;
        let version = query.admit(&self.app_ids).map_err(problem)?;
        let host = match &self.host {
            Some(host) => host.clone(),
            None => asked_host(request).ok_or(Problem::new(Code::BadRequest).detail("no host"))?,
        };
        let at = |port: Option<u16>| port.map(|port| Address { host: host.clone(), port });
        let given = Given { app_id: query.app_id, version, from };
        let answer = Answer {
            version: version.into(),
            versions: VERSIONS.iter().map(|v| (*v).into()).collect(),
            ticket: self.keys.issue(rng, given, now, LIFETIME),
            certificate: self.certificate.clone(),
            operator_key: self.operator_key,
            endpoints: Endpoints { quic: at(self.quic), tcp: at(self.tcp), web: at(self.web) },
            tls_pin: self.tls_pin,
            web_certificate_hashes: self.web_certificate_hashes.clone(),
            limits: self.limits,
            server_time: now,
        };
        match answer.check() {
            Ok(()) => Ok(answer),
            // What the host brought is for it to have right; the name is the client's.
            Err(_) if self.host.is_none() => {
                Err(Problem::new(Code::BadRequest).detail("this host is no host"))
            }
            Err(_) => Err(Problem::new(Code::Internal)),
        }
    }

    pub(crate) fn respond(
        &self,
        rng: &mut Rng,
        now: UnixMillis,
        from: IpAddr,
        request: &Request<()>,
    ) -> answer::Answer {
        match self.answer(rng, now, from, request).map(|answer| answer.to_json()) {
            //= spec: bootstrap-5
            Ok(Ok(json)) => answer::Answer::new(StatusCode::OK).text("application/json", json.into_bytes()),
            Ok(Err(_)) => Problem::new(Code::Internal).into(),
            Err(problem) => problem.into(),
        }
    }
}

/// The name that a client asked, without a port and brackets.
fn asked_host(request: &Request<()>) -> Option<String> {
    let by_header = || request.headers().get(header::HOST)?.to_str().ok();
    let authority = request.uri().authority().map(|a| a.as_str()).or_else(by_header)?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    Some(host.to_ascii_lowercase())
}

fn problem(why: Refused) -> Problem {
    let problem = Problem::new(match why {
        Refused::BadQuery => Code::BadQuery,
        Refused::MissingAppId => Code::MissingAppId,
        Refused::BadAppId => Code::BadAppId,
        Refused::UnknownApp => Code::UnknownApp,
        Refused::MissingVersion => Code::MissingVersion,
        Refused::BadVersion => Code::BadVersion,
        Refused::UnsupportedVersion => Code::UnsupportedVersion,
    });
    match why {
        Refused::MissingVersion | Refused::BadVersion | Refused::UnsupportedVersion => {
            Problem { versions: VERSIONS, ..problem }
        }
        _ => problem,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::{CarrierId, ExchangeId, Input, Output, Web, WebConfig};
    use bytes::Bytes;
    use http::Response;
    use ntproto_core::bootstrap::{Trust, read_answer};
    use ntproto_core::crypto::identity::{Certificate, DeviceKeys, ServerKey};
    use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
    use ntproto_core::session::ticket::TicketKey;
    use ntproto_core::time::{Instant, Now};
    use serde_json::Value;

    const NOW: Now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1_750_000_000_000) };
    const FROM: &str = "192.0.2.7:4711";

    pub(crate) fn bootstrap() -> Bootstrap {
        let mut rng = Rng::new([1; 32]);
        let operator = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        let server = ServerKey::generate(&mut rng, &RUSTCRYPTO, 1);
        let certificate = Certificate {
            static_key: *server.public(),
            key_id: 1,
            not_before: UnixMillis(0),
            not_after: UnixMillis(u64::MAX),
            tls_pins: vec![],
        };
        Bootstrap {
            app_ids: vec![10001],
            keys: keys(),
            certificate: certificate.sign(&RUSTCRYPTO, operator.signing_secret()),
            operator_key: *operator.signing_public(),
            host: Some("chat.example.org".into()),
            quic: Some(7424),
            tcp: Some(7424),
            web: Some(7424),
            tls_pin: [4; 32],
            web_certificate_hashes: vec![[5; 32]],
            limits: Limits { max_payload: 1, max_body: 2, heartbeat_ms: 3, sync_page: 4 },
        }
    }

    fn keys() -> BootstrapKeys {
        BootstrapKeys::derive(&RUSTCRYPTO, &TicketKey::generate(&mut Rng::new([2; 32]), 7, NOW.unix), None)
    }

    fn ask(web: &mut Web, method: &str, target: &str, host: &str) -> (Response<()>, Bytes) {
        let request = Request::builder().method(method).uri(target).header("host", host).body(()).unwrap();
        let (exchange, carrier) = (ExchangeId(1), CarrierId(1));
        web.handle(NOW, Input::Head { exchange, carrier, remote: FROM.parse().unwrap(), request, end: true });
        let Output::Respond { head, end, .. } = web.poll_output(NOW) else { panic!("an answer") };
        let body = match web.poll_output(NOW) {
            Output::Body { data, end: true, .. } if !end => data,
            Output::Event(_) if end => return (head, Bytes::new()),
            other => panic!("{other:?}"),
        };
        assert!(matches!(web.poll_output(NOW), Output::Event(_)));
        (head, body)
    }

    fn web(bootstrap: Bootstrap) -> Web {
        let mut web = Web::new(WebConfig::default(), [7; 32]);
        web.handle(NOW, Input::Bootstrap(Box::new(bootstrap)));
        web
    }

    const GOOD: &str = "/v2/handshake?app_id=10001&version=2.4.1";

    //= proof: bootstrap-5
    #[test]
    fn a_client_is_told_all_it_needs() {
        let mut web = web(bootstrap());
        let (head, body) = ask(&mut web, "GET", GOOD, "whatever");
        assert_eq!(
            (head.status(), &head.headers()["cache-control"]),
            (StatusCode::OK, &"no-store".parse().unwrap())
        );
        assert_eq!(head.headers()["content-type"], "application/json");
        let answer = read_answer(200, &body).unwrap();
        let given = Given { app_id: 10001, version: "2.4.1", from: [192, 0, 2, 7].into() };
        assert_eq!(keys().check(&answer.ticket.sealed, given, NOW.unix), Ok(()));
        assert_eq!(answer.web_certificate_hashes, [[5; 32]]);
        let learned = answer.learn(&RUSTCRYPTO, Trust::Connection, NOW.unix).unwrap();
        assert_eq!((&*learned.connect.host, learned.connect.port), ("chat.example.org", 7424));
        // No two are given the same ticket.
        let (_, other) = ask(&mut web, "GET", GOOD, "whatever");
        assert_ne!(read_answer(200, &other).unwrap().ticket, read_answer(200, &body).unwrap().ticket);
        let (head, none) = ask(&mut web, "HEAD", GOOD, "whatever");
        assert_eq!((head.status(), none.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers()["content-length"], body.len().to_string());
    }

    #[test]
    fn the_name_that_was_asked_where_no_other_is_known() {
        let mut web = web(Bootstrap { host: None, ..bootstrap() });
        for (asked, told) in [
            ("Chat.Example.org", "chat.example.org"),
            ("localhost:7424", "localhost"),
            ("[::1]:7424", "::1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            let (_, body) = ask(&mut web, "GET", GOOD, asked);
            assert_eq!(read_answer(200, &body).unwrap().endpoints.quic.unwrap().host, told);
        }
        for odd in ["", "a b", "[::1", "<script>", &"x".repeat(300)] {
            assert_eq!(ask(&mut web, "GET", GOOD, odd).0.status(), StatusCode::BAD_REQUEST, "{odd}");
        }
    }

    //= proof: bootstrap-5
    #[test]
    fn refusals_say_why() {
        let mut web = web(bootstrap());
        for (query, why, versions) in [
            ("app_id=10001&app_id=1&version=2.4.1", Refused::BadQuery, false),
            ("app_id=%zz&version=2.4.1", Refused::BadQuery, false),
            ("version=2.4.1", Refused::MissingAppId, false),
            ("app_id=18446744073709561617&version=2.4.1", Refused::BadAppId, false),
            ("app_id=10002&version=2.4.1", Refused::UnknownApp, false),
            ("app_id=10001", Refused::MissingVersion, true),
            ("app_id=10001&version=latest", Refused::BadVersion, true),
            ("app_id=10001&version=2.5.0", Refused::UnsupportedVersion, true),
            ("app_id=10001&version=2.4.0", Refused::UnsupportedVersion, true),
        ] {
            let (head, body) = ask(&mut web, "GET", &format!("/v2/handshake?{query}"), "x");
            assert_eq!(head.status().as_u16(), why.status(), "{query}");
            assert_eq!(head.headers()["content-type"], "application/problem+json");
            assert_eq!(head.headers()["cache-control"], "no-store");
            let told = read_answer(why.status(), &body).unwrap_err().unwrap();
            assert_eq!((told.refused, told.versions.is_empty()), (Some(why), !versions), "{query}");
        }
        let (head, _) = ask(&mut web, "POST", GOOD, "x");
        assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
        let mut early = Web::new(WebConfig::default(), [7; 32]);
        assert_eq!(ask(&mut early, "GET", GOOD, "x").0.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn codes_are_those_that_clients_know() {
        for why in Refused::ALL {
            let code = problem(why).code;
            assert_eq!((code.name(), code.status()), (why.code(), why.status()));
        }
    }

    /// A request with these fields; the answer's head.
    fn with(web: &mut Web, method: &str, fields: &[(&str, &str)]) -> Response<()> {
        let mut request = Request::builder().method(method).uri(GOOD);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (exchange, carrier, request) = (ExchangeId(9), CarrierId(1), request.body(()).unwrap());
        web.handle(NOW, Input::Head { exchange, carrier, remote: FROM.parse().unwrap(), request, end: true });
        let Output::Respond { head, .. } = web.poll_output(NOW) else { panic!("an answer") };
        while !matches!(web.poll_output(NOW), Output::Wait { .. }) {}
        head
    }

    //= proof: bootstrap-11
    #[test]
    fn pages_of_the_operator_may_read_it_and_others_may_not() {
        let mut web = web(bootstrap()).with_origins("https://chat.example.org".parse().unwrap());
        let (mine, other) = (("origin", "https://chat.example.org"), ("origin", "https://evil.example"));
        let told = with(&mut web, "GET", &[mine]);
        assert_eq!(told.headers()["access-control-allow-origin"], "https://chat.example.org");
        assert_eq!(told.headers()["vary"], "origin");
        assert!(!with(&mut web, "GET", &[other]).headers().contains_key("access-control-allow-origin"));
        assert!(!with(&mut web, "GET", &[]).headers().contains_key("vary"));
        let ask = ("access-control-request-method", "PATCH");
        let told = with(&mut web, "OPTIONS", &[mine, ask]);
        assert_eq!(told.status(), StatusCode::NO_CONTENT);
        assert!(told.headers()["access-control-allow-headers"].to_str().unwrap().contains("upload-offset"));
        assert_eq!(with(&mut web, "OPTIONS", &[other, ask]).status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    //= proof: bootstrap-12
    #[test]
    fn strangers_of_one_network_are_told_when_to_come_again() {
        let strangers = Some(ntproto_hub::Rate::one_each(2, core::time::Duration::from_secs(5)));
        let mut web = Web::new(WebConfig { strangers, ..WebConfig::default() }, [7; 32]);
        web.handle(NOW, Input::Bootstrap(Box::new(bootstrap())));
        for _ in 0..2 {
            assert_eq!(with(&mut web, "GET", &[]).status(), StatusCode::OK);
        }
        let late = with(&mut web, "GET", &[]);
        assert_eq!((late.status().as_u16(), &late.headers()["retry-after"]), (429, &"6".parse().unwrap()));
        // A token is looked at where it is asked for, and opens no other door.
        let token = ntproto_core::session::bearer::Bearer {
            session_id: [1; 16],
            token: ntproto_core::crypto::secret::Secret::new([2; 32]),
        };
        let shown = format!("Bearer {}", *token.text());
        for shown in ["Bearer x", &shown] {
            assert_eq!(with(&mut web, "GET", &[("authorization", shown)]).status(), 429);
        }
        let request = Request::builder().method("POST").uri("/v2/files?conversation=AAAAAAAAAAAAAAAAAAAAAQ");
        let request = request.header("authorization", shown).header("upload-length", 1).body(()).unwrap();
        let (exchange, carrier, remote) = (ExchangeId(10), CarrierId(1), FROM.parse().unwrap());
        web.handle(NOW, Input::Head { exchange, carrier, remote, request, end: true });
        assert!(matches!(web.poll_output(NOW), Output::Bearer { .. }));
    }

    //= proof: bootstrap-17
    #[test]
    fn tokens_can_not_be_guessed_without_end() {
        let strangers = Some(ntproto_hub::Rate::one_each(2, core::time::Duration::from_secs(5)));
        let mut web = Web::new(WebConfig { strangers, ..WebConfig::default() }, [7; 32]);
        web.handle(NOW, Input::Bootstrap(Box::new(bootstrap())));
        let mut last = 0;
        let mut guess = |web: &mut Web, now: Now, from: &str| {
            last += 1;
            let token = ntproto_core::session::bearer::Bearer {
                session_id: [1; 16],
                token: ntproto_core::crypto::secret::Secret::new([last; 32]),
            };
            let shown = format!("Bearer {}", *token.text());
            let request = Request::builder().method("POST").header("authorization", shown);
            let request = request.uri("/v2/files?conversation=AAAAAAAAAAAAAAAAAAAAAQ");
            let request = request.header("upload-length", 1).body(()).unwrap();
            let (exchange, carrier) = (ExchangeId(100 + u64::from(last)), CarrierId(1));
            let remote = from.parse().unwrap();
            web.handle(now, Input::Head { exchange, carrier, remote, request, end: true });
            let asked = match web.poll_output(now) {
                Output::Bearer { op, .. } => {
                    web.handle(now, Input::Bearer { op, result: None });
                    true
                }
                Output::Respond { head, .. } => {
                    assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
                    assert_eq!(head.headers()["retry-after"], "6");
                    false
                }
                other => panic!("{other:?}"),
            };
            while !matches!(web.poll_output(now), Output::Wait { .. }) {}
            asked
        };
        assert!(guess(&mut web, NOW, FROM) && guess(&mut web, NOW, FROM));
        assert!(!guess(&mut web, NOW, FROM) && !guess(&mut web, NOW, "192.0.2.7:1"));
        // Neither other networks nor who asks for a bootstrap pays for it, and it is over after a while.
        assert!(guess(&mut web, NOW, "192.0.2.8:1"));
        assert_eq!(with(&mut web, "GET", &[]).status(), StatusCode::OK);
        let later = Now { mono: NOW.mono + core::time::Duration::from_secs(5), ..NOW };
        assert!(guess(&mut web, later, FROM));
        assert!(!guess(&mut web, later, FROM));
    }

    /// As much of JSON Schema as the schema uses. Says where something does not fit.
    fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let schema = root.pointer(&name[1..]).ok_or(format!("{name} is nowhere"))?;
            return fits(root, schema, value, at);
        }
        let bound = |name: &str| schema[name].as_u64();
        let within = |n: u64, least, most| {
            if bound(least).is_none_or(|b| n >= b) && bound(most).is_none_or(|b| n <= b) {
                Ok(())
            } else {
                Err(format!("{at}: {n} is out of bounds"))
            }
        };
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(fields)) => {
                within(fields.len() as u64, "minProperties", "maxProperties")?;
                for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    fields.get(name).ok_or(format!("{at}: no {name}"))?;
                }
                fields.iter().try_for_each(|(name, value)| {
                    let schema =
                        schema["properties"].get(name).ok_or(format!("{at}: {name} is not in the schema"))?;
                    fits(root, schema, value, name)
                })
            }
            (Some("array"), Value::Array(items)) => {
                within(items.len() as u64, "minItems", "maxItems")?;
                items.iter().try_for_each(|item| fits(root, &schema["items"], item, at))
            }
            (Some("string"), Value::String(text)) => within(text.len() as u64, "minLength", "maxLength"),
            (Some("integer"), Value::Number(n)) => {
                within(n.as_u64().ok_or(format!("{at}: no integer"))?, "minimum", "maximum")
            }
            (kind, value) => Err(format!("{at}: {value} is no {kind:?}")),
        }
    }

    #[test]
    fn the_answer_fits_its_schema() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../docs/spec/bootstrap.schema.json")).unwrap();
        for bootstrap in [bootstrap(), Bootstrap { tcp: None, web_certificate_hashes: vec![], ..bootstrap() }]
        {
            let (_, body) = ask(&mut web(bootstrap), "GET", GOOD, "x");
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(fits(&schema, &schema, &answer, "answer"), Ok(()));
            for name in schema["required"].as_array().unwrap() {
                let mut less = answer.clone();
                less.as_object_mut().unwrap().remove(name.as_str().unwrap());
                assert!(fits(&schema, &schema, &less, "answer").is_err());
                assert!(read_answer(200, &serde_json::to_vec(&less).unwrap()).is_err(), "{name}");
            }
        }
    }
}
