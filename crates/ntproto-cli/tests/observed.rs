//! What a server and its clients let be seen from outside: spans, metrics, health.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader};

use common::collector::{Came, Collector};
use common::{Server, fails, get, json, lines, ntp, ok, run, scrape};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Two accounts on a server: `a` is 10001, `b` 10002.
fn two(home: &std::path::Path, server: &Server) {
    for profile in ["a", "b"] {
        ok(home, &["register", "--open", "--connect", &server.connect, "--profile", profile]);
    }
}

fn one<'a>(spans: &'a [Came], name: &str, trace: &str) -> &'a Came {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.trace == trace).collect();
    let [one] = found[..] else { panic!("{name}: {spans:#?}") };
    one
}

#[test]
fn one_trace_goes_through_sender_server_and_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let collector = Collector::start();
    let more = ["--open-registration", "true", "--otlp-endpoint", &collector.url];
    let server = Server::launch(home, "127.0.0.1:0", &more);
    two(home, &server);

    // Within the trace of whoever started the process; nobody receives it yet.
    let body = "a canary that sings to nobody else";
    let send = ["send", "10002", body, "--profile", "a", "--otlp-endpoint", &collector.url];
    let sent = ntp(home, &send).env("TRACEPARENT", PARENT).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    // The receiver comes later, and finds it in its inbox.
    let recv = ["recv", "--profile", "b", "--otlp-endpoint", &collector.url];
    assert_eq!(json(home, &recv)["text"].as_str(), Some(body));

    let trace = &PARENT[3..35];
    let spans = collector.wait("the three spans of a trace", |spans| {
        ["send SEND", "process SEND", "receive NOTIFY"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name && span.trace == trace))
    });
    let [send, process, receive] =
        ["send SEND", "process SEND", "receive NOTIFY"].map(|name| one(&spans, name, trace));
    // Each is caused by the one before it, the first by whoever started the sender.
    assert_eq!(send.parent, &PARENT[36..52]);
    assert_eq!((&process.parent, &receive.parent), (&send.id, &process.id));
    assert_eq!([&send.service, &process.service, &receive.service], ["ntp", "ntp serve", "ntp"]);
    // PRODUCER, SERVER, CONSUMER.
    assert_eq!([send.kind, process.kind, receive.kind], [4, 2, 5]);
    assert!(process.lasted <= send.lasted, "{spans:#?}");
    for (span, operation) in [(send, "send"), (process, "process"), (receive, "receive")] {
        let attributes: Vec<_> = span.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("messaging.operation", operation),
            ("messaging.system", "ntproto"),
            ("ntproto.conversation.kind", "direct"),
            ("rpc.method", if operation == "receive" { "NOTIFY" } else { "SEND" }),
            ("rpc.status_code", "OK"),
        ];
        assert_eq!(attributes, expected, "and nothing else");
    }

    // Without one, a process begins a trace of its own.
    ok(home, &["send", "10002", "again", "--profile", "a", "--otlp-endpoint", &collector.url]);
    let own = |span: &&Came| span.name == "send SEND" && span.trace != trace;
    let spans = collector.wait("a trace of its own", |spans| spans.iter().any(|span| own(&span)));
    let root = spans.iter().find(own).unwrap();
    assert_eq!(root.parent, "");
    // What is refused says so.
    fails(home, &["send", "99999", "nobody", "--profile", "a", "--otlp-endpoint", &collector.url], 3);
    let refused = |span: &Came| span.attributes["rpc.status_code"] == "NOT_FOUND";
    collector.wait("a refusal at both ends", |spans| spans.iter().filter(|span| refused(span)).count() == 2);
    let raw = collector.raw();
    assert!(!raw.windows(12).any(|window| window == &body.as_bytes()[..12]), "no body is in a span");
}

#[test]
fn json_lines_of_a_trace_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let more = ["--open-registration", "true", "--log", "json", "--log-level", "debug"];
    let mut server = Server::launch(home, "127.0.0.1:0", &more);
    two(home, &server);
    let send = ["send", "10002", "hello", "--profile", "a"];
    assert!(ntp(home, &send).env("TRACEPARENT", PARENT).status().unwrap().success());
    assert_eq!(server.terminate(), Some(0));
    let lines = lines(&server.log());
    assert!(
        lines.len() > 5 && lines.iter().all(|line| line["timestamp"].is_string()),
        "each line is an object"
    );
    let told: Vec<_> =
        lines.iter().filter(|line| line["span"]["trace_id"].as_str() == Some(&PARENT[3..35])).collect();
    let [line] = told[..] else { panic!("{told:#?}") };
    assert_eq!(line["fields"]["message"], "process SEND");
    assert_eq!(line["span"]["rpc.status_code"], "OK");
}

#[test]
fn a_server_says_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server =
        Server::launch(home, "127.0.0.1:0", &["--open-registration", "true", "--ops-listen", "127.0.0.1:0"]);
    let ops = server.ops.unwrap();
    assert_eq!(get(ops, "GET", "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(ops, "GET", "/readyz"), (200, "ok\n".into()));
    assert_eq!(get(ops, "HEAD", "/readyz"), (200, String::new()));
    assert_eq!(get(ops, "GET", "/elsewhere").0, 404);
    assert_eq!(get(ops, "POST", "/metrics").0, 405);
    assert_eq!(get(ops, "\u{16}", "/").0, 404);
    two(home, &server);
    ok(home, &["send", "10002", "hello", "--profile", "a"]);
    let value = |series: &str| scrape(ops).get(series).copied();
    assert_eq!(value(r#"ntproto_messages_total{kind="direct"}"#), Some(1.0));
    assert_eq!(value(r#"ntproto_handshakes_total{outcome="enrolled"}"#), Some(2.0));
    assert_eq!(value("ntproto_ready"), Some(1.0));
    assert!(value("ntproto_store_commit_seconds_count").unwrap() > 0.0);
    assert!(value("ntproto_rtt_seconds_count").unwrap() > 0.0);
    let healthz = r#"http_request_duration_seconds_count{method="GET",route="/healthz",status="200"}"#;
    assert_eq!(value(healthz), Some(1.0));

    let address = ops.to_string();
    let once = ["top", "--ops", &address, "--once", "--interval", "0.1"];
    let board = json(home, &[&once[..], &["--json"]].concat());
    assert_eq!((&board["ready"], &board["store"]["failures"]), (&true.into(), &0.0.into()));
    let page = ok(home, &once);
    assert!(page.contains("connections") && page.contains(&address) && page.contains("ready"), "{page}");
    drop(server);
    assert!(fails(home, &once, 4).contains("--ops-listen"));
}

#[test]
fn an_administrator_watches_without_the_listener() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    let invitation = server.invitation.clone().unwrap();
    let register = ["register", "--connect", &server.connect, "--invitation", &invitation, "--profile", "a"];
    ok(home, &register);
    assert_eq!(run(home, &["top", "--once", "--profile", "a"]).status.code(), Some(3), "not for everybody");
    let listening = server.listening.to_string();
    drop(server);

    let data = home.join("server");
    let data = data.to_str().unwrap();
    let made = json(home, &["invite", "--admin", "--data-dir", data, "--json"]);
    let server = Server::launch(home, &listening, &[]);
    let code = made["invitation"].as_str().unwrap();
    ok(home, &["register", "--connect", &server.connect, "--invitation", code, "--profile", "root"]);
    let once = ["top", "--once", "--interval", "0.1", "--profile", "root"];
    let board = json(home, &[&once[..], &["--json"]].concat());
    assert_eq!(board["accounts"]["accounts"], 2.0);
    assert_eq!(
        (&board["connections"]["all"], &board["connections"]["signed in"]),
        (&1.0.into(), &1.0.into())
    );
    assert!(board["store"]["queue"].is_number());
    // What only the listener tells is not known, and not zero.
    assert!(board["ready"].is_null() && board["memory"]["resident"].is_null(), "{board}");
    let page = ok(home, &once);
    assert!(page.contains("as its administrator") && page.contains("accounts"), "{page}");
    // It sees who comes: two looks, with somebody else's session in between.
    let mut watching =
        ntp(home, &["top", "--json", "--interval", "0.1", "--profile", "root"]).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut look = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(look()["connections"]["signed in"], 1.0);
    let mut other = ntp(home, &["recv", "--follow", "--profile", "a"]).spawn().unwrap();
    assert!((0..300).any(|_| look()["connections"]["signed in"] == 2.0), "another session is never seen");
    for child in [&mut other, &mut watching] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn what_quic_does_is_written_down_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let folder = home.join("qlog");
    let more = ["--open-registration", "true", "--qlog-dir", folder.to_str().unwrap()];
    let mut server = Server::launch(home, "127.0.0.1:0", &more);
    two(home, &server);
    let body = "a canary that sings to nobody else";
    ok(home, &["send", "10002", body, "--profile", "a"]);
    assert_eq!(server.terminate(), Some(0));
    let [file] = &std::fs::read_dir(&folder).unwrap().collect::<Vec<_>>()[..] else {
        panic!("one file a start")
    };
    let text = std::fs::read_to_string(file.as_ref().unwrap().path()).unwrap();
    // A sequence of JSON texts, each behind a record separator.
    let records: Vec<serde_json::Value> =
        text.split('\u{1e}').skip(1).map(|record| serde_json::from_str(record).unwrap()).collect();
    let named = |name: &str| records.iter().filter(|record| record["name"] == name).count();
    assert!(records.len() > 20 && named("transport:packet_sent") > 5, "{}", records.len());
    assert!(!text.contains(&body[..12]));
}

#[test]
fn the_operations_listener_is_off_and_stays_at_home_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    assert_eq!(Server::start(home).ops, None);
    let line = fails(home, &["serve", "--ops-listen", "0.0.0.0:9464"], 2);
    assert!(line.contains("ops_public"), "{line}");
    let line = fails(home, &["serve", "--otlp-endpoint", "ftp://collector"], 2);
    assert!(line.contains("http://127.0.0.1:4318"), "{line}");
}
