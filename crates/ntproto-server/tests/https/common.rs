//! A server on a real port, and hyper's client to it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream as _;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use ntproto_drive::Runtime;
use ntproto_drive::https::{Place, Visitor};
use ntproto_drive::runtime::Listener as _;
use ntproto_http::rt::{Tasks, Timers};
use ntproto_http::server::{Came, H2, HTTP1, Limits, Server};
use ntproto_http::tls::Tls;
use ntproto_tokio::Tokio;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::raw::{Raw, apart};

const PATIENCE: Duration = Duration::from_secs(20);

/// What takes longer is a failure.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// A server, and what it is asked.
pub(crate) struct Host {
    pub(crate) at: SocketAddr,
    certificate: CertificateDer<'static>,
    server: Server<Tokio>,
    came: Receiver<Came>,
}

impl Host {
    pub(crate) async fn start(limits: Limits) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        let (server, came) = Server::new(Tokio, Arc::new(tls), limits);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let (listener, accepting) = (Tokio.listener(listener).unwrap(), server.clone());
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                accepting.accept(Visitor { stream, remote, place: Place::nowhere() });
            }
        });
        Self { at, certificate, server, came }
    }

    /// A client that writes what it likes.
    pub(crate) async fn raw(&self, alpn: &'static [u8]) -> Raw {
        let (at, certificate) = (self.at, self.certificate.clone());
        apart(move || Raw::connect(at, &certificate, alpn)).await
    }

    pub(crate) async fn came(&self) -> Came {
        within(self.came.recv()).await.unwrap()
    }

    /// Whether nothing is told.
    pub(crate) async fn silent(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.came.recv()).await.is_err()
    }

    pub(crate) fn drain(&self) {
        self.server.drain();
    }

    pub(crate) fn accepting(&self) -> Server<Tokio> {
        self.server.clone()
    }

    pub(crate) async fn finish(self) {
        self.finish_within(Duration::from_millis(500)).await;
    }

    pub(crate) async fn finish_within(self, patience: Duration) {
        within(self.server.finish(patience)).await;
    }
}

/// hyper's client.
pub(crate) enum Peer {
    H1(http1::SendRequest<Sent>),
    H2(http2::SendRequest<Sent>),
}

impl Peer {
    pub(crate) async fn connect(host: &Host, alpn: &[u8]) -> Self {
        Self::try_connect(host, alpn).await.unwrap()
    }

    pub(crate) async fn try_connect(host: &Host, alpn: &[u8]) -> Option<Self> {
        Self::to(host.at, &host.certificate, alpn).await
    }

    /// A server that shows this certificate.
    pub(crate) async fn to(
        at: SocketAddr,
        certificate: &CertificateDer<'static>,
        alpn: &[u8],
    ) -> Option<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let stream = Tokio::connect(at).await.ok()?;
        let tls = within(Tls::connect(stream, Arc::new(tls), "localhost".try_into().unwrap())).await.ok()?;
        assert_eq!(tls.alpn(), Some(alpn));
        if alpn == H2 {
            let mut builder = http2::Builder::new(Tasks(Tokio));
            let (sender, connection) = builder.timer(Timers(Tokio)).handshake(tls).await.ok()?;
            tokio::spawn(connection);
            Some(Self::H2(sender))
        } else {
            let (sender, connection) = http1::handshake(tls).await.ok()?;
            tokio::spawn(connection);
            Some(Self::H1(sender))
        }
    }

    /// Waits until it can ask: of HTTP/1.1, until the answer before is over.
    pub(crate) async fn ready(&mut self) {
        match self {
            Self::H1(sender) => sender.ready().await.unwrap(),
            Self::H2(sender) => sender.ready().await.unwrap(),
        }
    }

    /// Asks, at once; the answer is to be waited for.
    pub(crate) fn ask(
        &mut self,
        request: Request<Sent>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let (tell, told) = async_channel::bounded(1);
        match self {
            Self::H1(sender) => drop(tokio::spawn(relay(sender.send_request(request), tell))),
            Self::H2(sender) => drop(tokio::spawn(relay(sender.send_request(request), tell))),
        }
        async move { told.recv().await.unwrap() }
    }
}

/// Whoever stops waiting stops asking.
async fn relay<T>(answer: impl Future<Output = T>, tell: Sender<T>) {
    let closed = tell.clone();
    tokio::select! {
        answer = answer => drop(tell.try_send(answer)),
        () = closed.closed() => {}
    }
}

/// The whole of an answer's body.
pub(crate) async fn collect(mut body: Incoming) -> hyper::Result<Bytes> {
    let mut all = Vec::new();
    while let Some(frame) = within(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
        all.extend_from_slice(&frame?.into_data().unwrap());
    }
    Ok(all.into())
}

/// A request's body, part by part.
pub(crate) struct Sent(Option<Pin<Box<Receiver<Bytes>>>>);

impl Sent {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// All of it at once.
    pub(crate) fn all(bytes: impl Into<Bytes>) -> Self {
        let (sender, body) = Self::channel();
        sender.try_send(bytes.into()).unwrap();
        body
    }

    pub(crate) fn channel() -> (Sender<Bytes>, Self) {
        let (sender, parts) = async_channel::bounded(1);
        (sender, Self(Some(Box::pin(parts))))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(parts) => parts.as_mut().poll_next(cx).map(|part| Some(Ok(Frame::data(part?)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
