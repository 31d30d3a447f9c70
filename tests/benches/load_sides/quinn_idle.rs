//! A quinn server in a process of its own, and idle connections to it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::resident_bytes;

/// The first argument of a process that is the quinn server.
const SERVE: &str = "quinn-for-a-benchmark";
/// Connections that come up at the same time, as many as ours.
const WAVE: usize = 16;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A transport that never gives an idle connection up, on both sides.
fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(None);
    Arc::new(transport)
}

/// Is this process the server? Then it serves until its input ends.
pub fn served() -> bool {
    if std::env::args().nth(1).as_deref() != Some(SERVE) {
        return false;
    }
    runtime().block_on(async {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = quinn::ServerConfig::with_single_cert(vec![cert.der().clone()], der.into()).unwrap();
        config.transport = transport();
        let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
        let hex: String = cert.der().iter().map(|b| format!("{b:02x}")).collect();
        println!("{} {hex}", endpoint.local_addr().unwrap());
        tokio::task::spawn_blocking(|| {
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(0);
        });
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                let (mut send, mut recv) = connection.accept_bi().await.unwrap();
                recv.read_exact(&mut [0]).await.unwrap();
                send.write_all(&[1]).await.unwrap();
                let _ = recv.read_exact(&mut [0]).await;
            });
        }
    });
    true
}

/// Resident bytes of the server for each of `connections`.
pub fn run(connections: usize, rest: Duration) -> f64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _input = child.stdin.take().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (address, hex) = line.trim().split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let der: Vec<u8> =
        (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap()).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der.into()).unwrap();
    let mut config = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    config.transport_config(transport());

    let each = runtime().block_on(async {
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        endpoint.set_default_client_config(config);
        let open = async |count: usize| {
            let mut open = Vec::new();
            while open.len() < count {
                let wave = (0..WAVE.min(count - open.len())).map(|_| {
                    let connecting = endpoint.connect(address, "localhost").unwrap();
                    tokio::spawn(async move {
                        let connection = connecting.await.unwrap();
                        let (mut send, mut recv) = connection.open_bi().await.unwrap();
                        send.write_all(&[1]).await.unwrap();
                        recv.read_exact(&mut [0]).await.unwrap();
                        (connection, send, recv)
                    })
                });
                for task in wave.collect::<Vec<_>>() {
                    open.push(task.await.unwrap());
                }
            }
            open
        };
        drop(open(50).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = resident_bytes(child.id());
        let all = open(connections).await;
        tokio::time::sleep(rest).await;
        let after = resident_bytes(child.id());
        drop(all);
        (after - before) as f64 / connections as f64
    });
    let _ = child.kill();
    let _ = child.wait();
    each
}
