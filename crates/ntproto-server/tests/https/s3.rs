//! A whole server whose files lie in a bucket, on either runtime, in a process of its own that is killed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::ConversationId;
use ntproto_core::rng::Rng;
use ntproto_drive::Runtime;
use ntproto_http::server::H2;
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, Credential, Options};
use ntproto_server::config::{FilesConfig, Place, ServerConfig};
use ntproto_server::run::{Server, StartOptions};
use ntproto_smol::Smol;
use ntproto_tokio::{Clock, Tokio};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::common::{Peer, Sent, within};
use crate::moto::Moto;
use crate::web::{Got, ask, base64url, bytes, config, header, token};

/// What tells a process that it is to be the server: its runtime, its folder, where it listens, its prefix in the bucket.
const SERVE: &str = "NTP_TEST_SERVE";
const TEST: &str = "s3::this_process_is_the_server";

/// The server, when this process was started to be it. It ends when nobody writes to it any more.
#[test]
fn this_process_is_the_server() {
    let Ok(settings) = std::env::var(SERVE) else { return };
    let [runtime, dir, listen, prefix] = settings.split('|').collect::<Vec<_>>()[..] else { panic!() };
    let place = Place::S3 { bucket: "chat".into(), prefix: prefix.into() };
    let files = FilesConfig { place, ..FilesConfig::default() };
    let config = ServerConfig { files, ..config(Path::new(dir), listen) };
    match runtime {
        "tokio" => tokio::runtime::Runtime::new().unwrap().block_on(serve(Tokio, config, dir)),
        "tokio, one thread" => {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(serve(Tokio, config, dir));
        }
        _ => smol::block_on(serve(Smol::global(), config, dir)),
    }
}

async fn serve<R: Runtime>(runtime: R, config: ServerConfig, dir: &str) {
    let server = Server::start_on(runtime.clone(), config, StartOptions::default()).await.unwrap();
    let ready = Path::new(dir).join("ready");
    std::fs::write(ready.with_extension("new"), server.connect_string.to_string()).unwrap();
    std::fs::rename(ready.with_extension("new"), ready).unwrap();
    runtime.unblock(|| std::io::stdin().read_to_end(&mut Vec::new()).map(drop)).await.unwrap().unwrap();
    server.shutdown().await.unwrap();
}

/// A server in its process.
struct Served {
    child: Child,
    connect: ConnectString,
}

impl Served {
    async fn start(moto: &Moto, runtime: &str, dir: &Path, listen: &str) -> Self {
        let ready = dir.join("ready");
        let _ = std::fs::remove_file(&ready);
        let prefix = runtime.replace([',', ' '], "");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", TEST, "--nocapture"]).envs(moto.variables());
        command.env(SERVE, format!("{runtime}|{}|{listen}|{prefix}", dir.display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let text = within(async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&ready) {
                    return text;
                }
                assert_eq!(child.try_wait().unwrap(), None, "it ended on {runtime}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Self { child, connect: text.parse().unwrap() }
    }

    /// It is killed, and another comes in its place.
    async fn restart(mut self, moto: &Moto, runtime: &str, dir: &Path) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Self::start(moto, runtime, dir, &format!("127.0.0.1:{}", self.connect.port)).await
    }

    /// It ends as it should: nothing panics.
    async fn stop(mut self) {
        drop(self.child.stdin.take());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        assert!(within(ended).await.unwrap().success());
    }

    async fn client(&self, seed: u8) -> Client {
        let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
        let server = ServerAt::new(&self.connect, Clock::start().now().unix).unwrap();
        let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
        options.enrol = Some(Credential::Open);
        let client = ntproto_tokio::connect(options).await.unwrap();
        within(client.online()).await.unwrap();
        client
    }

    async fn peer(&self, certificate: &PathBuf) -> Peer {
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let at = format!("127.0.0.1:{}", self.connect.port).parse().unwrap();
        Peer::to(at, &certificate, H2).await.unwrap()
    }
}

/// Where a file is, asked with the token of the session after a server's end.
async fn again(peer: &mut Peer, client: &Client, at: &str) -> (String, Got) {
    client.network_changed().await;
    within(async {
        loop {
            let token = token(client).await;
            let got = ask(peer, Method::HEAD, at, &token, &[], "").await;
            if got.0.status() != StatusCode::UNAUTHORIZED {
                return (token, got);
            }
            // It has not noticed yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_bucket_starts_is_killed_and_ends_on_either_runtime() {
    let Some(moto) = tokio::task::spawn_blocking(Moto::start).await.unwrap() else { return };
    for runtime in ["tokio", "tokio, one thread", "smol"] {
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("data/web.pem");
        let served = Served::start(&moto, runtime, dir.path(), "127.0.0.1:0").await;
        let (alice, bob) = (served.client(1).await, served.client(2).await);
        let pair = ConversationId::direct(alice.identity().unwrap().uin, bob.identity().unwrap().uin);
        let (file, alices) = (bytes(3_000_000), token(&alice).await);
        let mut peer = served.peer(&certificate).await;
        let create = format!("/v2/files?conversation={}&upload_id=u", base64url(&pair.0));
        let length = ("upload-length", "3000000");
        let got = ask(&mut peer, Method::POST, &create, &alices, &[length], "").await;
        let at = header(&got, "location").to_owned();
        let first = ("content-range", "bytes 0-1499999/*");
        let got = ask(&mut peer, Method::PATCH, &at, &alices, &[first], file.slice(..1_500_000)).await;
        assert_eq!(header(&got, "upload-offset"), "1500000", "{got:?}");
        // Killed in mid-chunk.
        let (sender, body) = Sent::channel();
        let request = Request::builder().method(Method::PATCH).uri(format!("https://localhost{at}"));
        let request =
            request.header("authorization", &alices).header("content-range", "bytes 1500000-2999999/*");
        let asked = peer.ask(request.body(body).unwrap());
        sender.send(file.slice(1_500_000..2_000_000)).await.unwrap();
        within(async {
            while !sender.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let served = served.restart(&moto, runtime, dir.path()).await;
        drop((asked, peer));

        let mut peer = served.peer(&certificate).await;
        let (alices, got) = again(&mut peer, &alice, &at).await;
        let offset: usize = header(&got, "upload-offset").parse().unwrap();
        assert!((1_500_000..=2_000_000).contains(&offset), "{offset}");
        let range = format!("bytes {offset}-2999999/*");
        let headers = [("content-range", range.as_str())];
        let got = ask(&mut peer, Method::PATCH, &at, &alices, &headers, file.slice(offset..)).await;
        assert_eq!(got.0.status(), StatusCode::NO_CONTENT, "{got:?}");
        let (bobs, _) = again(&mut peer, &bob, &at).await;
        let got = ask(&mut peer, Method::GET, &at, &bobs, &[], "").await;
        assert!(got.0.status() == StatusCode::OK && got.1 == file, "{runtime}");
        served.stop().await;
    }
}
