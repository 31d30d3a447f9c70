//! One connection: TLS, then hyper, until it is idle, drained, stuck or ended.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream as _;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use ntproto_drive::Runtime;
use ntproto_drive::https::Visitor;
use ntproto_drive::runtime::Timer as _;

use super::exchange::{Carrier, answer};
use super::{CarrierId, H2, Shared};
use crate::rt::{Tasks, Timers};
use crate::tls::Tls;

/// Serves one connection to its end.
pub(super) async fn serve<R: Runtime>(shared: &Arc<Shared<R>>, visitor: Visitor<R::Stream>) {
    let limits = &shared.limits;
    let Visitor { stream, remote, place } = visitor;
    let handshake = Tls::accept(stream, Arc::clone(&shared.tls));
    let Some(Ok(tls)) = within(shared, limits.handshake, handshake).await else { return };
    let (stuck, unstuck) = async_channel::bounded(1);
    let carrier = Arc::new(Carrier {
        shared: Arc::clone(shared),
        id: CarrierId(shared.carriers.fetch_add(1, Relaxed)),
        remote,
        place,
        active: AtomicUsize::new(0),
        begun: AtomicUsize::new(0),
        stuck,
    });
    let is_h2 = tls.alpn() == Some(H2);
    let service = {
        let carrier = Arc::clone(&carrier);
        service_fn(move |request| answer(Arc::clone(&carrier), request))
    };
    // How a connection ends is its peer's affair.
    if is_h2 {
        let mut builder = http2::Builder::new(Tasks(shared.runtime.clone()));
        builder
            .timer(Timers(shared.runtime.clone()))
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.resets)
            .max_local_error_reset_streams(limits.resets)
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.window)
            .max_send_buf_size(limits.send_buffer)
            .keep_alive_interval(limits.ping)
            .keep_alive_timeout(limits.pong);
        let connection = builder.serve_connection(tls, service);
        run(&carrier, unstuck, connection, |c| c.graceful_shutdown()).await;
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(Timers(shared.runtime.clone()))
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .max_headers(limits.fields);
        let connection = builder.serve_connection(tls, service);
        // Its head's timeout counts the time between requests too.
        run(&carrier, unstuck, connection, |c| c.graceful_shutdown()).await;
    }
}

/// Waits for `future`, no longer than `patience`, and not when the server ends.
async fn within<R: Runtime, T>(
    shared: &Shared<R>,
    patience: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut timer = shared.runtime.timer();
    timer.set(patience);
    let (mut future, mut drained) = (pin!(future), pin!(shared.drained.clone()));
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        if drained.as_mut().poll_next(cx).is_ready() {
            return Poll::Ready(None);
        }
        timer.poll(cx).map(|()| None)
    })
    .await
}

async fn run<R: Runtime, C: Future>(
    carrier: &Carrier<R>,
    stuck: async_channel::Receiver<()>,
    connection: C,
    shut: impl Fn(Pin<&mut C>),
) {
    let shared = &carrier.shared;
    let (idle, last) = (shared.limits.idle, shared.limits.last);
    let (mut connection, mut stuck) = (pin!(connection), pin!(stuck));
    let (mut drained, mut ended) = (pin!(shared.drained.clone()), pin!(shared.ended.clone()));
    // How many exchanges began, if none is under way.
    let resting = || (carrier.active.load(Relaxed) == 0).then(|| carrier.begun.load(Relaxed));
    let mut timer = shared.runtime.timer();
    timer.set(idle);
    let (mut draining, mut rested) = (false, resting());
    poll_fn(|cx| {
        if stuck.as_mut().poll_next(cx).is_ready() || ended.as_mut().poll_next(cx).is_ready() {
            return Poll::Ready(());
        }
        if !draining && drained.as_mut().poll_next(cx).is_ready() {
            (draining, rested) = (true, resting());
            shut(connection.as_mut());
            timer.set(last);
        }
        while timer.poll(cx).is_ready() {
            let now = resting();
            // Nothing since it last rang.
            if now.is_some() && now == rested {
                if draining {
                    return Poll::Ready(());
                }
                draining = true;
                shut(connection.as_mut());
            }
            rested = now;
            timer.set(if draining { last } else { idle });
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}
