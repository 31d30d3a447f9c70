//! Two people exchange files through a real server: whole, after kills of the client in the middle of it, and after kills of the server.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use common::proxy::Proxy;
use common::{Server, ended, fails, json, ntp, ok};

/// More than what is under way at once, so that a kill finds something to lose and something to keep.
const SIZE: usize = 24_000_000;
/// Kills of the client, and of the server, in one upload.
const KILLS: usize = 3;

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Ada (10001) and Bob (10002).
fn two(home: &Path) -> Server {
    let server = Server::open(home);
    for profile in ["ada", "bob"] {
        ok(home, &["register", "--profile", profile, "--connect", &server.connect, "--open"]);
    }
    server
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn sent(home: &Path, file: &Path, more: &[&str]) -> u64 {
    let args = [&["upload", path(file), "--to", "10002", "--profile", "ada", "--json"], more].concat();
    json(home, &args)["conv_seq"].as_u64().unwrap()
}

/// Whether the server's folder of files holds this anywhere.
fn kept(home: &Path, needle: &[u8]) -> bool {
    fn walk(dir: &Path, needle: &[u8]) -> bool {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
            true => walk(&path, needle),
            false => std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle),
        })
    }
    walk(&home.join("server"), needle)
}

#[test]
fn a_file_goes_from_one_to_the_other_and_the_server_can_not_read_it() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let _server = two(home);
    let words = b"nobody but Bob reads these words";
    let mut content = bytes(200_000);
    content[1_000..1_000 + words.len()].copy_from_slice(words);
    let file = home.join("letter.txt");
    std::fs::write(&file, &content).unwrap();
    let number = sent(home, &file, &["--text", "as promised", "--mime", "text/plain"]).to_string();
    assert!(!kept(home, words));

    // The message says what it brings, and not how to open it.
    let told = ok(home, &["recv", "--profile", "bob"]);
    let message: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(message["text"], "as promised");
    assert_eq!(
        (&message["files"][0]["name"], &message["files"][0]["encrypted"]),
        (&"letter.txt".into(), &true.into())
    );
    assert!(message["files"][0].get("key").is_none());
    assert!(ok(home, &["history", "10001", "--profile", "bob"]).contains("[letter.txt] as promised"));

    let out = home.join("got");
    std::fs::create_dir(&out).unwrap();
    let fetch = ["download", "10001", &number, "--profile", "bob", "--out", path(&out)];
    let shown = ok(home, &fetch);
    assert_eq!(Path::new(shown.trim()), out.join("letter.txt"));
    assert!(std::fs::read(out.join("letter.txt")).unwrap() == content);
    assert!(fails(home, &fetch, 1).contains("is there"));
    ok(home, &[&fetch[..], &["--force"]].concat());
    assert!(fails(home, &["download", "10001", "99", "--profile", "bob"], 1).contains("no message 99"));

    // Not sealed, if one asks for that. An empty file is a file.
    std::fs::write(&file, &content).unwrap();
    sent(home, &file, &["--plain"]);
    assert!(kept(home, words));
    let empty = home.join("empty");
    std::fs::write(&empty, b"").unwrap();
    for more in [&[][..], &["--plain"]] {
        let number = sent(home, &empty, more).to_string();
        let got = out.join(format!("empty{}", more.len()));
        ok(home, &["download", "10001", &number, "--profile", "bob", "--out", path(&got)]);
        assert_eq!(std::fs::read(&got).unwrap(), b"");
    }
    assert!(fails(home, &["upload", "nothing", "--to", "10002", "--profile", "ada"], 1).contains("nothing"));
}

#[test]
fn files_go_over_http_3_where_the_session_goes_over_quic() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let _server = two(home);
    let content = bytes(3_000_000);
    let file = home.join("photo");
    std::fs::write(&file, &content).unwrap();
    for (n, (more, spoken)) in [
        (&["--http", "3"][..], "h3"),
        (&["--http", "2"], "h2"),
        (&[], "h3"),
        (&["--transport", "tcp"], "h2"),
        (&["--transport", "tcp", "--http", "3"], "h3"),
    ]
    .into_iter()
    .enumerate()
    {
        let upload = ["upload", path(&file), "--plain", "--to", "10002", "--profile", "ada", "--json"];
        let sent = json(home, &[&upload[..], more].concat());
        let (number, got) = (sent["conv_seq"].to_string(), home.join(format!("got{n}")));
        let fetch = ["download", "10001", &number, "--profile", "bob", "--json", "--out", path(&got)];
        let fetched = json(home, &[&fetch[..], more].concat());
        assert_eq!((&sent["http"], &fetched["http"]), (&spoken.into(), &spoken.into()), "{more:?}");
        assert!(std::fs::read(&got).unwrap() == content);
    }
}

#[test]
fn where_udp_does_not_answer_a_file_goes_over_http_2() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    // The session is the first that speaks over UDP: its socket gets through, that of the files does not.
    let proxy = Proxy::with_one_udp_client();
    let public = format!("127.0.0.1:{}", proxy.port);
    let server =
        Server::launch(home, "127.0.0.1:0", &["--public-host", &public, "--open-registration", "true"]);
    proxy.leads_to(server.listening);
    for profile in ["ada", "bob"] {
        let by = ["register", "--profile", profile, "--connect", &server.connect, "--open"];
        ok(home, &[&by[..], &["--transport", "tcp"]].concat());
    }
    let file = home.join("photo");
    std::fs::write(&file, bytes(100_000)).unwrap();
    let began = Instant::now();
    let upload = ["upload", path(&file), "--to", "10002", "--profile", "ada", "--json"];
    let sent = json(home, &[&upload[..], &["--transport", "quic"]].concat());
    assert_eq!(sent["http"], "h2");
    assert!(began.elapsed() >= ntproto_http::client::h3::UDP_TIME, "HTTP/3 had its time");
}

#[test]
fn a_file_gets_no_name_that_is_taken_or_hides_it() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let _server = two(home);
    let file = home.join(".bashrc");
    std::fs::write(&file, b"alias ls=rm").unwrap();
    let number = sent(home, &file, &[]).to_string();
    let out = home.join("got");
    std::fs::create_dir(&out).unwrap();
    let fetch = ["download", "10001", &number, "--profile", "bob", "--out"];
    let shown = ok(home, &[&fetch[..], &[path(&out)]].concat());
    assert_eq!(Path::new(shown.trim()), out.join("_bashrc"));
    // A link to nowhere is a name that is taken, though no file is there: nothing is fetched through it.
    let taken = home.join("taken");
    std::os::unix::fs::symlink(home.join("elsewhere"), &taken).unwrap();
    let told = fails(home, &[&fetch[..], &[path(&taken)]].concat(), 1);
    assert!(told.contains("made meanwhile") && !home.join("elsewhere").exists(), "{told}");
    assert!(taken.is_symlink());
    ok(home, &[&fetch[..], &[path(&taken), "--force"]].concat());
    assert_eq!(std::fs::read(&taken).unwrap(), b"alias ls=rm");
    assert!(!taken.is_symlink() && !home.join("elsewhere").exists());
}

/// How far it is: bytes that the server has of any upload, or that have been fetched.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let of = |path: &Path| if path.is_dir() { size(path) } else { path.metadata().map_or(0, |m| m.len()) };
    entries.filter_map(Result::ok).map(|entry| of(&entry.path())).sum()
}

/// Waits until a command has brought so much, or ended. Whether it is still at it.
fn at_work(child: &mut Child, enough: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < common::PATIENCE, "it does not move");
        if enough() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Runs a command, does `then` once it has brought enough, and kills it. Whether it was killed before it was through.
fn killed(args: &[&str], home: &Path, enough: impl Fn() -> bool, then: impl FnOnce()) -> bool {
    let mut child = ntp(home, args).spawn().unwrap();
    if at_work(&mut child, enough) {
        then();
    }
    // One that is through can't be killed.
    let _ = child.kill();
    !child.wait().unwrap().success()
}

#[test]
fn kills_of_either_side_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    let mut server = two(home);
    let content = bytes(SIZE);
    let file = home.join("large");
    std::fs::write(&file, &content).unwrap();
    // Not sealed: without optimization that is slow.
    let upload = ["upload", path(&file), "--plain", "--to", "10002", "--profile", "ada", "--json"];
    let stored = home.join("server").join("files");
    // A machine that is quick may be done before it is killed.
    let mut done = false;
    for kill in 1..=KILLS {
        let goal = (SIZE / (KILLS + 1) * kill) as u64;
        done = done || !killed(&upload, home, || size(&stored) > goal, || {});
        let before = size(&stored);
        assert!(before > goal, "what came stays");
        // And the server, under the next one.
        let mut dead = false;
        let strike = || {
            server.kill();
            dead = true;
        };
        done = done || !killed(&upload, home, || size(&stored) > before, strike);
        if dead {
            server.restart();
        }
    }
    if !done {
        ok(home, &upload);
    }
    let told = ok(home, &["recv", "--profile", "bob"]);
    assert_eq!(told.lines().count(), 1, "one message, however often it was tried");

    let out = home.join("got");
    let part = || {
        let entries = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap());
        entries.into_iter().find(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
    };
    let fetch = ["download", "10001", "1", "--profile", "bob", "--out", path(&out), "--json"];
    let mut child = ntp(home, &fetch).spawn().unwrap();
    let some = || part().is_some_and(|entry| entry.metadata().is_ok_and(|m| m.len() > SIZE as u64 / 2));
    if at_work(&mut child, some) {
        child.kill().unwrap();
        child.wait().unwrap();
        let done = ended(ntp(home, &fetch).spawn().unwrap());
        assert!(done.status.success(), "{}", common::text(&done.stderr));
    }
    assert!(std::fs::read(&out).unwrap() == content);
    assert!(part().is_none());
}
