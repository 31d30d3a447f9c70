//! A server that logs all it can, and clients: no credential, no secret key and no message is in what they print.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::collector::Collector;
use common::{Server, client, get, hurry, json, run};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{ConversationId, UploadId};
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::transfer::{download, upload};
use ntproto_http::bootstrap::{Ask, Whom, bootstrap};
use ntproto_http::client::site::Speak;
use ntproto_http::files::{self, Reach, Sink, Source, Watch};
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, Credential, Event, Options};
use ntproto_tokio::{Clock, Tokio, connect as connect_to};

/// How many bytes of a secret count as a leak.
const ENOUGH: usize = 12;
/// What stands before a bearer.
const SCHEME: &[u8] = b"Bearer ";

fn base64(bytes: &[u8], url: bool) -> String {
    let last: &[u8; 2] = if url { b"-_" } else { b"+/" };
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
    let mut out = String::new();
    for three in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        out.extend([18, 12, 6, 0].map(|shift| char::from(letters[(bits >> shift) as usize & 63])));
    }
    out
}

/// The ways a secret could be written: as it is, in hexadecimal, in base64 from any offset, as `{:?}` has it.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let start = &secret[..ENOUGH];
    let join =
        |with: &str, each: fn(u8) -> String| start.iter().map(|&b| each(b)).collect::<Vec<_>>().join(with);
    let mut forms = vec![
        join("", |b| format!("{b:02x}")),
        join("", |b| format!("{b:02X}")),
        join(", ", |b| b.to_string()),
        join(", ", |b| format!("{b:02x}")),
        join(", ", |b| format!("0x{b:02x}")),
        start.escape_ascii().to_string(),
        format!("{:?}", bytes::Bytes::copy_from_slice(start))[2..].trim_end_matches('"').to_owned(),
    ];
    for offset in 0..3 {
        forms.extend([base64(&start[offset..], false), base64(&start[offset..], true)]);
    }
    let mut forms: Vec<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    forms.push(start.to_vec());
    forms
}

fn finds(haystack: &[u8], secret: &[u8]) -> bool {
    forms(secret).iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
}

/// The secret bytes of the files of keys: every long run of hexadecimal or base64 digits, and binary ones whole.
fn keys(dir: &Path, files: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut secrets = Vec::new();
    for file in files {
        let bytes = std::fs::read(dir.join(file)).unwrap();
        let Ok(text) = String::from_utf8(bytes.clone()) else {
            // Magic, two secrets, check sum.
            secrets.extend([bytes[8..40].to_vec(), bytes[40..72].to_vec()].map(|b| ((*file).to_owned(), b)));
            continue;
        };
        for line in text.lines().filter(|line| !line.starts_with("-----") && !line.starts_with("ntproto")) {
            let word = line.split(' ').find(|word| word.len() >= 2 * ENOUGH).unwrap();
            let hex = |at: usize| u8::from_str_radix(word.get(at..at + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..word.len()).step_by(2).map(hex).collect();
            // The beginning of a PKCS #8 key is the same for all: its end is the secret.
            let secret = bytes.unwrap_or_else(|| word.as_bytes()[word.len() - 2 * ENOUGH..].to_vec());
            secrets.push(((*file).to_owned(), secret));
        }
    }
    secrets
}

#[test]
fn the_hunt_finds_what_is_there() {
    let secret: Vec<u8> = (200..232).collect();
    for form in forms(&secret) {
        assert!(finds(&[b"before ", &form[..], b" after"].concat(), &secret));
    }
    let offset = base64(&[&[1, 2][..], &secret].concat(), true);
    assert!(finds(offset.as_bytes(), &secret));
    assert!(finds(format!("{secret:?}").as_bytes(), &secret));
    assert!(!finds(b"nothing to be found here", &secret));
    let bearer = Bearer { session_id: [1; 16], token: Secret::new([2; 32]) };
    assert!(shows_a_bearer(format!("authorization: bearer {}", *bearer.text()).as_bytes()));
    assert!(!shows_a_bearer(format!("authorization: Sensitive, {bearer:?} Bearer none").as_bytes()));
}

#[test]
fn logs_at_the_highest_level_hold_no_secret() {
    nothing_told_holds_a_secret("text");
}

#[test]
fn json_lines_at_the_highest_level_hold_no_secret() {
    nothing_told_holds_a_secret("json");
}

/// Logs, metrics and spans, of a server that tells all it can.
fn nothing_told_holds_a_secret(format: &str) {
    let collector = Collector::start();
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let more = ["--log-level", "trace", "--log-format", format, "--ops-listen", "127.0.0.1:0"];
    let more = [&more[..], &["--otlp-endpoint", &collector.url]].concat();
    let mut server = Server::launch(home, "127.0.0.1:0", &more);
    let invitation = server.invitation.clone().unwrap();
    let connect = server.connect.clone();
    let mut ntp = |name: &str, args: &[&str]| {
        let output = run(home, args);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        said.push((name.to_owned(), [output.stdout, output.stderr].concat()));
    };
    let register =
        |flag, code, profile| ["register", "--connect", &connect, flag, code, "--profile", profile];
    ntp("register a", &register("--invitation", &invitation, "a"));
    let link = json(home, &["link", "--json", "--profile", "a"])["link"].as_str().unwrap().to_owned();
    ntp("register by link", &register("--link", &link, "a2"));
    let second =
        json(home, &["invite", "--json", "--profile", "a"])["invitation"].as_str().unwrap().to_owned();
    ntp("register b", &register("--invitation", &second, "b"));
    let body = "a canary that sings to nobody else";
    ntp("send", &["send", "10002", body, "--profile", "a", "--otlp-endpoint", &collector.url]);
    // Once more, with a ticket.
    ntp("devices", &["devices", "--profile", "a"]);
    let received = json(home, &["recv", "--profile", "b", "--otlp-endpoint", &collector.url]);
    assert_eq!(received["text"].as_str(), Some(body));
    // A file there and back by either HTTP, sealed under a key of its own, and a third that comes by a bootstrap.
    let (file, got) = (home.join("file"), home.join("got"));
    std::fs::write(&file, body).unwrap();
    let (sent, fetched) = (file.to_str().unwrap(), got.to_str().unwrap());
    for http in ["3", "2"] {
        let more = ["--http", http, "--otlp-endpoint", &collector.url, "--json"];
        let upload = ["upload", sent, "--to", "10002", "--profile", "a"];
        let number = json(home, &[&upload[..], &more].concat())["conv_seq"].to_string();
        let download = ["download", "10001", &number, "--out", fetched, "--force", "--profile", "b"];
        ntp("download", &[&download[..], &more].concat());
        assert_eq!(std::fs::read_to_string(&got).unwrap(), body);
    }
    let url = format!("https://localhost:{}", server.listening.port());
    let operator = common::hex(&connect.parse::<ConnectString>().unwrap().operator_key);
    let third = json(home, &["link", "--json", "--profile", "a"])["link"].as_str().unwrap().to_owned();
    let by_bootstrap = ["register", "--bootstrap", &url, "--operator", &operator, "--link", &third];
    ntp("register by bootstrap", &[&by_bootstrap[..], &["--profile", "a3"]].concat());
    // A refusal is logged as well.
    assert_eq!(run(home, &register("--link", &link, "a4")).status.code(), Some(3));
    collector.wait("spans of both ends", |spans| spans.iter().any(|span| span.name == "receive NOTIFY"));
    said.push(("/metrics".into(), get(server.ops.unwrap(), "GET", "/metrics").1.into_bytes()));
    assert_eq!(server.terminate(), Some(0));
    said.push(("the collector".into(), collector.raw()));

    let log = server.log();
    assert!(
        log.contains("TRACE") && log.contains("enrolled") && log.contains("refused"),
        "it logs all it can"
    );
    said.push(("the server's log".into(), log.into_bytes()));

    let mut secrets = keys(&home.join("server"), &["operator.key", "server.keys", "tls.key", "ticket.keys"]);
    secrets.extend(keys(&home.join("server"), &["reset.key"]));
    for profile in ["a", "a2", "a3", "b"] {
        secrets.extend(keys(&home.join("profiles").join(profile), &["keys"]));
    }
    secrets.push(("the message".into(), body.as_bytes().to_vec()));
    for code in [&invitation, &second, &link, &third] {
        let (kind, code) = code.split_once('.').unwrap();
        // As people pass it on, and the bytes on the wire.
        secrets.push((kind.to_owned(), code.as_bytes().to_vec()));
        secrets.push((kind.to_owned(), decode(code)));
    }
    assert!(secrets.len() >= 18, "{}", secrets.len());
    for profile in ["a", "a2", "b"] {
        let store = std::fs::read(home.join("profiles").join(profile).join("store.redb")).unwrap();
        said.push((format!("the store of {profile}"), store));
    }
    for (place, text) in &said {
        for (name, secret) in &secrets {
            assert!(!finds(text, secret), "{place} holds {name}");
        }
        // Nobody here knows what these processes showed: it is known by what stands before it.
        assert!(!shows_a_bearer(text), "{place} holds a bearer");
    }
}

/// Whether `Bearer` stands before something that could be one.
fn shows_a_bearer(text: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    text.windows(SCHEME.len() + ENOUGH)
        .any(|at| at[..SCHEME.len()].eq_ignore_ascii_case(SCHEME) && at[SCHEME.len()..].iter().all(letter))
}

/// What the log of this process is written to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Clients inside an application that logs all that its libraries say.
#[tokio::test]
async fn an_application_that_logs_everything_logs_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_env_filter("trace").with_writer(move || writer.clone()).init();
    let dir = tempfile::tempdir().unwrap();
    let more = ["--open-registration", "true", "--log-level", "trace"];
    let mut server = Server::launch(dir.path(), "127.0.0.1:0", &more);
    let seeds = [[0xa1; 32], [0xb2; 32]];
    let (by_bootstrap, ticket, learned) = bootstrapped(&server, seeds[1]).await;
    let couple = [client(&server, seeds[0]).await, by_bootstrap];
    hurry(&couple).await;
    let body = "a canary that sings to nobody else";
    couple[0].send(couple[1].identity().unwrap().uin, body).await.unwrap();
    let mut events = couple[1].events().unwrap();
    let message = loop {
        if let Event::Message(message) = events.next().await.unwrap() {
            break message;
        }
    };
    assert_eq!(message.stored.body, body);
    // A file by either HTTP, and the tokens under which it goes.
    let mut bearers = Vec::new();
    for client in &couple {
        bearers.push(client.http_token().await.unwrap().unwrap());
    }
    let uins = [0, 1].map(|n: usize| couple[n].identity().unwrap().uin);
    let connect: ConnectString = server.connect.parse().unwrap();
    for (n, speak) in [Speak::Three, Speak::Two].into_iter().enumerate() {
        let reach = |client| Reach::new(Tokio, client, &connect, speak);
        let (from, to) = (dir.path().join("from"), dir.path().join(format!("to{n}")));
        std::fs::write(&from, body).unwrap();
        let source = Arc::new(Source::open(&from, &RUSTCRYPTO, None).unwrap());
        let (size, sha256) = (source.size(), source.hash(&RUSTCRYPTO).unwrap());
        let conversation = ConversationId::direct(uins[0], uins[1]);
        let plan = upload::Plan { upload_id: UploadId([n as u8; 16]), conversation, size, sha256 };
        let machine = upload::Upload::new(plan, Rng::new([3; 32]));
        let file = files::upload(&Tokio, &reach(&couple[0]), source, machine, &mut Nobody).await.unwrap();
        let sink = Arc::new(Sink::open(&to, &RUSTCRYPTO, None, size).unwrap());
        let plan = download::Plan { file, size, sha256, unit: sink.unit() };
        let machine = download::Download::new(plan, Rng::new([4; 32]));
        files::download(&Tokio, &reach(&couple[1]), sink, machine, &mut Nobody).await.unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), body);
    }
    // As an application might log what it gets.
    let shown = format!("{message:?} {:?} {bearers:?} {learned}", couple[0].state());
    for client in &couple {
        client.close().await;
    }
    let log = [log.0.lock().unwrap().clone(), shown.into_bytes()].concat();
    assert_eq!(server.terminate(), Some(0));
    let servers = server.log().into_bytes();
    for place in [&log, &servers] {
        for bearer in &bearers {
            assert!(!finds(place, bearer.text().as_bytes()), "a log holds a bearer");
            assert!(!finds(place, bearer.token.expose()), "a log holds a bearer's token");
        }
        // What stands before its end is no secret.
        assert!(!finds(place, &ticket[ticket.len() - 32..]), "a log holds a bootstrap ticket");
        assert!(!shows_a_bearer(place), "a log holds a bearer");
    }
    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "it logs all it can");
    for seed in seeds {
        let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
        for secret in [keys.signing_secret(), keys.static_secret()] {
            assert!(!finds(&log, secret.expose()), "the log holds a key");
        }
    }
    assert!(!finds(&log, body.as_bytes()), "the log holds the message");
}

/// A client that came by a bootstrap, the ticket that it showed, and what an application might log of it.
async fn bootstrapped(server: &Server, seed: [u8; 32]) -> (Client, Vec<u8>, String) {
    let connect: ConnectString = server.connect.parse().unwrap();
    let url = format!("https://localhost:{}", server.listening.port());
    let ask = Ask::new(&url, Whom::Operator(connect.operator_key)).unwrap();
    let learned = bootstrap(&Tokio, &ask).await.unwrap();
    let ticket = learned.bootstrap.ticket.sealed.to_vec();
    let at = ServerAt::learned(&learned, Clock::start().now().unix).unwrap();
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    let mut options = Options::new(at, keys, Box::new(MemoryStore::new()));
    options.enrol = Some(Credential::Open);
    let shown = format!("{learned:?}");
    options.bootstrap = Some(learned.bootstrap);
    (connect_to(options).await.unwrap(), ticket, shown)
}

/// Keeps nothing of a transfer.
struct Nobody;

impl<S> Watch<S> for Nobody {
    fn save(&mut self, _: &S) -> std::io::Result<()> {
        Ok(())
    }
}

/// Base64 as codes have it.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let bits =
            four.iter().fold(0u32, |bits, &c| bits << 6 | u32::from(value(c))) << (6 * (4 - four.len()));
        out.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    out
}
