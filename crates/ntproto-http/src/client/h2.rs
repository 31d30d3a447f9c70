//! HTTP/2 by hyper, over TLS over a stream of the runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Http, HttpError, Incoming, Outgoing, Pending};
use crate::rt::{Tasks, Timers};
use crate::tls::Tls;

/// What ALPN calls it.
pub const ALPN: &[u8] = b"h2";
/// How long connecting may take, TLS included: what a user waits before looking at the cable.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Bytes of one response that may be under way unread: what a path of a gigabit takes in 30 ms.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes of all responses.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// A connection that says nothing is asked whether it is there, and given up after this: a path that broke is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes of a request's body that hyper takes before they leave: less than that is sent again after a break.
const SEND_BUFFER: usize = 256 * 1024;

/// A connection. Its requests share it; dropped, it closes when they are through.
#[derive(Debug)]
pub struct H2(SendRequest<Outgoing>);

/// Connects to `remote`, which is to prove that it is `name`.
///
/// # Errors
/// It can't be reached, is not trusted, or does not speak HTTP/2.
pub async fn connect<R: Runtime>(
    runtime: &R,
    remote: SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> Result<H2, HttpError> {
    let connecting = async {
        let stream = R::connect(remote).await.map_err(|e| HttpError::of(&e))?;
        let tls = Tls::connect(stream, config, name).await.map_err(|e| HttpError::of(&e))?;
        if tls.alpn() != Some(ALPN) {
            return Err(HttpError("the server does not speak HTTP/2".into()));
        }
        let shaken = Builder::new(Tasks(runtime.clone()))
            .timer(Timers(runtime.clone()))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(tls)
            .await;
        shaken.map_err(|e| HttpError::of(&e))
    };
    let (requests, connection) = within(runtime, CONNECT_TIME, connecting).await??;
    runtime.spawn(async move {
        // Its requests are told why it ended.
        let _ = connection.await;
    });
    Ok(H2(requests))
}

/// What comes of a future in this time.
///
/// # Errors
/// It takes longer.
pub async fn within<R: Runtime, T>(
    runtime: &R,
    time: Duration,
    future: impl Future<Output = T>,
) -> Result<T, HttpError> {
    let mut timer = runtime.timer();
    timer.set(time);
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Ok(value)),
        std::task::Poll::Pending => {
            timer.poll(cx).map(|()| Err(HttpError(format!("nothing came in {time:?}"))))
        }
    })
    .await
}

impl Http for H2 {
    fn exchange(
        &self,
        request: Request<Outgoing>,
    ) -> Pending<'static, Result<Response<Incoming>, HttpError>> {
        // It is in the connection's queue from here on, polled or not.
        let response = self.0.clone().send_request(request);
        Box::pin(async move { Ok(response.await.map_err(|e| HttpError::of(&e))?.map(Incoming::H2)) })
    }

    fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    fn protocol(&self) -> &'static str {
        "h2"
    }
}
