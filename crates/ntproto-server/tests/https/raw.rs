//! Clients that write what they like: bytes over TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ntproto_http::server::H2;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, StreamOwned};

use crate::common::within;

/// What takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection. It blocks: see [`apart`].
pub(crate) struct Raw(StreamOwned<ClientConnection, TcpStream>);

/// Does what blocks on a thread of its own.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    within(tokio::task::spawn_blocking(work)).await.unwrap()
}

impl Raw {
    pub(crate) fn connect(at: SocketAddr, certificate: &CertificateDer<'static>, alpn: &[u8]) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let tls = ClientConnection::new(Arc::new(tls), "localhost".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(StreamOwned::new(tls, stream))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// What comes up to the end of a head, or of the connection.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && self.0.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Whether nothing comes for a while.
    pub(crate) fn silent(&mut self) -> bool {
        self.0.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let nothing = self.0.read(&mut [0]).is_err();
        self.0.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }

    /// Asks over HTTP/2 for `/`, with room for a single byte of the answer.
    pub(crate) fn ask_h2_for_a_byte(&mut self) {
        self.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS_INITIAL_WINDOW_SIZE 1.
        self.write(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
        let section = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
        let mut headers = vec![0, 0, section.len() as u8, 1, 0x05, 0, 0, 0, 1];
        headers.extend(section);
        self.write(&headers);
    }

    /// Behaves but for its window: answers SETTINGS and PING until the connection ends.
    pub(crate) fn live_h2(&mut self) {
        loop {
            let mut head = [0; 9];
            if self.0.read_exact(&mut head).is_err() {
                return;
            }
            let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            if self.0.read_exact(&mut body).is_err() {
                return;
            }
            if matches!(head[3], 4 | 6) && head[4] & 1 == 0 {
                let mut ack = if head[3] == 4 { vec![0; 9] } else { head.to_vec() };
                (ack[3], ack[4]) = (head[3], 1);
                if head[3] == 6 {
                    ack.extend(body);
                }
                if self.0.write_all(&ack).and_then(|()| self.0.flush()).is_err() {
                    return;
                }
            }
        }
    }

    /// Asks for `/`, takes as good as nothing of the answer, and is there until the connection ends.
    pub(crate) fn ask_and_stay(mut self, alpn: &[u8], until: std::sync::mpsc::Receiver<()>) {
        if alpn == H2 {
            self.ask_h2_for_a_byte();
            self.live_h2();
        } else {
            self.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let _ = until.recv();
        }
    }
}
