//! One suite, every adapter: for the same seed the same things happen, in the same order, whatever runtime drives
//! the machines. Nothing here but [`Host`] knows one.
#![allow(clippy::unwrap_used)]

mod people;
mod toy;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;
use ntproto_smol::Smol;
use ntproto_tokio::Tokio;

/// What a test needs beside: something that runs a future to its end.
trait Host: Runtime + Default {
    fn block_on<T>(future: impl Future<Output = T>) -> T;
}

impl Host for Tokio {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(future)
    }
}

impl Host for Smol {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }
}

/// Runs `future`, for a minute at most.
async fn in_time<T>(host: &impl Host, future: impl Future<Output = T>) -> T {
    let (mut timer, mut future) = (host.timer(), pin!(future));
    timer.set(Duration::from_secs(60));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => timer.poll(cx).map(|()| panic!("it took more than a minute")),
    })
    .await
}

/// The same function on each adapter gives the same trace.
macro_rules! alike {
    ($run:path, $($argument:expr),*) => {{
        let on_tokio = Tokio::block_on($run(Tokio::default(), $($argument),*));
        let on_smol = Smol::block_on($run(Smol::default(), $($argument),*));
        let differ = on_tokio.iter().zip(&on_smol).position(|(a, b)| a != b);
        assert!(on_tokio == on_smol, "at {differ:?}: {:?}", differ.map(|at| (&on_tokio[at], &on_smol[at])));
        on_tokio
    }};
}

#[test]
fn machines_see_the_same_inputs_in_the_same_order() {
    let mut traces = Vec::new();
    for seed in 0..8 {
        let trace = alike!(toy::run, seed);
        assert!(trace.len() > 60, "{}", trace.len());
        traces.push(trace);
    }
    traces.dedup();
    assert_eq!(traces.len(), 8, "another seed is another run");
}

#[test]
fn people_see_the_same_over_either_transport() {
    use ntproto_sdk::driver::Transports::{RequireQuic, RequireTcp};
    for seed in 0..2 {
        let quic = alike!(people::run, seed, RequireQuic);
        let tcp = alike!(people::run, seed, RequireTcp);
        assert_eq!(quic, tcp, "and the transport makes no difference either");
        assert!(quic.len() > 40);
    }
}

#[test]
fn a_server_that_has_ended_gives_its_port_back() {
    assert_eq!(alike!(people::restarted,), ["the second server stored number 1"]);
}

#[test]
fn a_peer_that_does_not_read_holds_no_connection_for_ever() {
    assert_eq!(alike!(toy::stuck,), ["it ended"]);
}
