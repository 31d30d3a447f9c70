//! The draft's four steps with the real program: a GET over HTTPS, the ticket, AuthRequest, AuthResponse.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::proxy::Proxy;
use common::{Server, fails, json, ok, text, with_input};
use http::Request;
use ntproto_core::bootstrap::{Answer, MAX_ANSWER};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_http::bootstrap::{Ask, BootstrapError, Whom, bootstrap, sign_in};
use ntproto_http::client::site::Speak;
use ntproto_http::client::trust::Trust;
use ntproto_http::client::{Http as _, Outgoing, h2};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{ConnectString, Credential};
use ntproto_tokio::Tokio;
use rustls::pki_types::ServerName;

const OPEN: [&str; 4] = ["--open-registration", "true", "--require-bootstrap", "true"];

fn url(server: &Server) -> String {
    format!("https://localhost:{}", server.listening.port())
}

fn operator(server: &Server) -> [u8; 32] {
    server.connect.parse::<ConnectString>().unwrap().operator_key
}

fn open(home: &Path) -> Server {
    Server::launch(home, "127.0.0.1:0", &OPEN)
}

/// Step by step through the library, and all four in one call.
#[tokio::test]
async fn the_four_steps() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let whom = Whom::Operator(operator(&server));
    let ask = Ask::new(&url(&server), whom.clone()).unwrap();
    let learned = bootstrap(&Tokio, &ask).await.unwrap();
    let printed: ConnectString = server.connect.parse().unwrap();
    assert_eq!(
        (learned.connect.tls_pin, &learned.connect.certificate),
        (printed.tls_pin, &printed.certificate)
    );
    assert_eq!((&*learned.version, learned.connect.port), ("2.4.1", server.listening.port()));

    let keys = DeviceKeys::generate(&mut Rng::new([5; 32]), &RUSTCRYPTO);
    let store = Box::new(MemoryStore::new());
    let client = sign_in(Tokio, ask, keys, store, Some(Credential::Open)).await.unwrap();
    assert_eq!(client.online().await.unwrap().uin.0, 10001);
    client.close().await;

    // Whom it does not know it does not believe.
    let stranger = Ask::new(&url(&server), Whom::Operator([7; 32])).unwrap();
    assert!(matches!(bootstrap(&Tokio, &stranger).await, Err(BootstrapError::Learn(_))));
    let stranger = Ask::new(&url(&server), Whom::Certificates(vec![[7; 32]])).unwrap();
    assert!(matches!(bootstrap(&Tokio, &stranger).await, Err(BootstrapError::Http(_))));
    let mut other = Ask::new(&url(&server), whom).unwrap();
    other.app_id = 7;
    let Err(BootstrapError::Problem(problem)) = bootstrap(&Tokio, &other).await else {
        panic!("it was let in")
    };
    assert_eq!((problem.status, &*problem.code), (404, "unknown_app"));
}

#[test]
fn a_profile_made_by_name_alone_follows_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = open(home);
    let (url, operator) = (url(&server), common::hex(&operator(&server)));
    // Without a bootstrap nobody comes in here over QUIC.
    let by_string =
        ["register", "--connect", &server.connect, "--open", "--transport", "quic", "--profile", "x"];
    assert!(fails(home, &by_string, 3).contains("BOOTSTRAP"));
    let register = ["register", "--json", "--bootstrap", &url, "--operator", &operator, "--open"];
    assert_eq!(json(home, &register)["uin"].as_u64(), Some(10001));

    // The server's key changes, and the one before it is forgotten: as after a theft.
    server.terminate();
    let data = home.join("server");
    for _ in 0..2 {
        ok(home, &["keys", "rotate", "--now", "--data-dir", data.to_str().unwrap()]);
        server = Server::launch(home, &server.listening.to_string(), &OPEN);
        server.terminate();
    }
    let server = Server::launch(home, &server.listening.to_string(), &OPEN);
    ok(home, &["devices", "--transport", "quic", "--timeout", "30"]);
    // It is kept for the next start.
    let kept = std::fs::read_to_string(home.join("profiles/default/connect")).unwrap();
    let (kept, printed): (ConnectString, ConnectString) =
        (kept.parse().unwrap(), server.connect.parse().unwrap());
    assert_eq!(kept.certificate, printed.certificate);
}

//= proof: bootstrap-13
#[test]
fn another_tls_key_is_learnt_from_the_operators_signature() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = open(home);
    let (url, operator) = (url(&server), common::hex(&operator(&server)));
    json(home, &["register", "--json", "--bootstrap", &url, "--operator", &operator, "--open"]);
    let pins = |text: &str| text.trim().parse::<ConnectString>().unwrap().tls_pins(&RUSTCRYPTO);
    let before = pins(&server.connect);
    server.terminate();
    // Another one, as another server has it.
    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path()).terminate();
    std::fs::copy(elsewhere.path().join("server/tls.key"), home.join("server/tls.key")).unwrap();
    let server = Server::launch(home, &server.listening.to_string(), &OPEN);
    let now = pins(&server.connect);
    assert_ne!(now, before);
    ok(home, &["devices", "--transport", "quic", "--timeout", "30"]);
    assert_eq!(pins(&std::fs::read_to_string(home.join("profiles/default/connect")).unwrap()), now);
}

/// `ntp connect https://…` for a profile that knows more than the address.
//= proof: bootstrap-14
#[tokio::test]
async fn what_a_profile_knows_is_not_forgotten_for_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = open(home);
    let (url, operator) = (url(&server), common::hex(&operator(&server)));
    ok(home, &["register", "--bootstrap", &url, "--operator", &operator, "--open"]);
    server.terminate();
    let (data, keys) = (home.join("server"), home.join("server/server.keys"));
    let former = std::fs::read(&keys).unwrap();
    ok(home, &["keys", "rotate", "--now", "--data-dir", data.to_str().unwrap()]);
    server = Server::launch(home, &server.listening.to_string(), &OPEN);
    // No authority vouches for it, and none need: what the profile knows will do.
    ok(home, &["connect", &url]);
    let kept = || std::fs::read_to_string(home.join("profiles/default/connect")).unwrap();
    let newest = kept();
    let certificate = |text: &str| text.trim().parse::<ConnectString>().unwrap().certificate;
    assert_eq!(certificate(&newest), certificate(&server.connect));

    // The key of former days, which was stolen since, with the certificate that it had.
    server.terminate();
    std::fs::write(&keys, former).unwrap();
    server = Server::launch(home, &server.listening.to_string(), &OPEN);
    let told = Answer::from_json(&fetched(&server).await).unwrap();
    let hash = common::hex(&told.web_certificate_hashes[0]);
    let (by_operator, by_hash) = (["--operator", &operator], ["--web-certificate", &hash]);
    for more in [&[][..], &by_operator, &by_hash, &[&by_hash[..], &["--new-operator"]].concat()] {
        let line = fails(home, &[&["connect", &url][..], more].concat(), 1);
        assert!(line.contains("older than the one that is known") && line.contains("ntp connect"), "{line}");
        assert_eq!(kept(), newest, "{more:?}");
    }
    // A connect string is somebody's word.
    ok(home, &["connect", &server.connect]);

    // Another operator's server answers there.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path());
    let before = kept();
    let other = format!("https://localhost:{}", other.listening.port());
    assert!(fails(home, &["connect", &other], 2).contains("--new-operator"));
    assert_eq!(kept(), before);
}

/// A server that has another TLS key: the session learns it by a bootstrap, and the file of the same run goes to it too.
#[test]
fn a_file_goes_where_its_session_has_just_learnt_to_go() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = dir.path();
    let mut server = open(home);
    let (url, operator) = (url(&server), common::hex(&operator(&server)));
    for profile in ["ada", "bob"] {
        let register = ["register", "--bootstrap", &url, "--operator", &operator, "--open", "--profile"];
        ok(home, &[&register[..], &[profile]].concat());
    }
    server.terminate();
    open(elsewhere.path()).terminate();
    std::fs::copy(elsewhere.path().join("server/tls.key"), home.join("server/tls.key")).unwrap();
    let _server = Server::launch(home, &server.listening.to_string(), &OPEN);
    let file = home.join("photo");
    std::fs::write(&file, b"light").unwrap();
    for (profile, to, http) in [("ada", "10002", "3"), ("bob", "10001", "2")] {
        let upload = ["upload", file.to_str().unwrap(), "--to", to, "--profile", profile, "--http", http];
        let sent = json(home, &[&upload[..], &["--json", "--timeout", "30", "--transport", "quic"]].concat());
        assert_eq!(sent["http"], format!("h{http}"));
    }
}

/// Without TCP, and over it when it is quicker.
#[tokio::test]
async fn a_bootstrap_goes_over_either_http() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let whom = Whom::Operator(operator(&server));
    for speak in [Speak::Three, Speak::Two, Speak::Auto] {
        let mut ask = Ask::new(&url(&server), whom.clone()).unwrap();
        ask.speak = speak;
        bootstrap(&Tokio, &ask).await.unwrap();
    }
    // TCP leads nowhere: HTTP/3 takes its place by itself.
    let proxy = Proxy::udp();
    proxy.leads_to(server.listening);
    let ask = Ask::new(&format!("https://localhost:{}", proxy.port), whom).unwrap();
    bootstrap(&Tokio, &ask).await.unwrap();
}

/// What another program fetched, which here is no more than a client of HTTP/2.
async fn fetched(server: &Server) -> Vec<u8> {
    let tls = Trust::Anybody.config(Arc::new(rustls::crypto::ring::default_provider()), &[h2::ALPN]).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = h2::connect(&Tokio, server.listening, name, Arc::new(tls)).await.unwrap();
    let target = format!("{}/v2/handshake?app_id=10001&version=2.4.1", url(server));
    let response = connection.exchange(Request::get(target).body(Outgoing::Empty).unwrap()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.into_body().whole(MAX_ANSWER).await.unwrap()
}

//= proof: bootstrap-13
//= proof: bootstrap-16
#[tokio::test]
async fn what_another_program_was_told_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = open(home);
    let told = fetched(&server).await;
    Answer::from_json(&told).unwrap();
    let args = ["register", "--json", "--bootstrap-answer", "-", "--open"];
    let made = with_input(home, &args, &told);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    // Somebody who knows another operator does not believe it.
    let stranger = "07".repeat(32);
    let other = [&args[..], &["--operator", &stranger, "--profile", "other"]].concat();
    assert_eq!(with_input(home, &other, &told).status.code(), Some(1));
    // Somebody between has put the pin of a key of his own into it.
    let printed: ConnectString = server.connect.parse().unwrap();
    let mut planted: serde_json::Value = serde_json::from_slice(&told).unwrap();
    planted["tls_pin"] = format!("{}Bwc=", "BwcH".repeat(10)).into();
    let operator = common::hex(&printed.operator_key);
    let third = [&args[..], &["--operator", &operator, "--profile", "third"]].concat();
    let made = with_input(home, &third, planted.to_string().as_bytes());
    assert_eq!(made.status.code(), Some(1));
    assert!(text(&made.stderr).contains("did not sign the TLS key"), "{}", text(&made.stderr));
    assert!(!home.join("profiles/third/connect").exists());
}
