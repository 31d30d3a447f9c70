//! Plain quinn with its default settings.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Load, Outcome, identity, runtime};
use crate::MESSAGE;

pub fn run(load: Load) -> Outcome {
    let (cert, key) = identity();
    let (address, at) = std::sync::mpsc::channel();
    let server_cert = cert.clone();
    let server = thread::spawn(move || {
        runtime().block_on(async move {
            let config = quinn::ServerConfig::with_single_cert(vec![server_cert], key).unwrap();
            let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
            address.send(endpoint.local_addr().unwrap()).unwrap();
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            let mut total = 0;
            // The first byte opens the stream.
            let mut one = [0];
            recv.read_exact(&mut one).await.unwrap();
            match load {
                Load::OneWay { messages, .. } => {
                    while total < messages * MESSAGE {
                        let chunk = recv.read_chunk(usize::MAX, true).await.unwrap().unwrap();
                        total += chunk.bytes.len();
                    }
                    send.write_all(&[1]).await.unwrap();
                }
                Load::Echo { messages, .. } => {
                    while total < messages * MESSAGE {
                        let chunk = recv.read_chunk(usize::MAX, true).await.unwrap().unwrap();
                        total += chunk.bytes.len();
                        send.write_chunk(chunk.bytes).await.unwrap();
                    }
                }
            }
            connection.closed().await;
        });
    });
    let remote = at.recv().unwrap();
    let outcome = runtime().block_on(async move {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert).unwrap();
        let config = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect(remote, "localhost").unwrap().await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        let mut round_trips = Vec::new();
        let start = Instant::now();
        match load {
            Load::OneWay { messages, a_write } => {
                let chunk = vec![7; a_write * MESSAGE];
                for _ in 0..messages / a_write {
                    send.write_all(&chunk).await.unwrap();
                }
                recv.read_exact(&mut [0]).await.unwrap();
            }
            Load::Echo { messages, window: 1 } => {
                let mut message = [7; MESSAGE];
                for _ in 0..messages {
                    let sent = Instant::now();
                    send.write_all(&message).await.unwrap();
                    recv.read_exact(&mut message).await.unwrap();
                    round_trips.push(sent.elapsed());
                }
            }
            Load::Echo { messages, window } => {
                let total = messages * MESSAGE;
                let chunk = vec![7; window * MESSAGE];
                let (mut sent, mut back) = (0, 0);
                while back < total {
                    // Whatever came back makes room for as many again, in one write.
                    let room = (back / MESSAGE * MESSAGE + window * MESSAGE).min(total) - sent;
                    if room > 0 {
                        send.write_all(&chunk[..room]).await.unwrap();
                        sent += room;
                    }
                    back += recv.read_chunk(usize::MAX, true).await.unwrap().unwrap().bytes.len();
                }
            }
        }
        let elapsed = start.elapsed();
        connection.close(0u32.into(), b"");
        endpoint.wait_idle().await;
        round_trips.sort();
        Outcome { messages: load.messages(), elapsed, round_trips }
    });
    server.join().unwrap();
    outcome
}
