//! What idle connections cost a server: the time of a poll of QUIC and of the hub that finds nothing to do, and
//! QUIC's memory.
//!
//! `cargo bench -p ntproto-tests --bench idle`. Both endpoints live in memory under a virtual clock; bytes count
//! what the server's own code allocated and kept. The bar: a poll costs the same at 1 and at 10,000 connections,
//! within 20 %.
#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::crypto::identity::{ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::{ConnId, Hub, HubConfig, HubKeys};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, Endpoint, EndpointConfig, Event, Input, Limits, Output, Pin, Received, ServerTls,
    TX_LIMIT, Trust,
};

/// Counts what is allocated and freed while the server runs.
struct Counting;

static COUNT: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNT.load(Relaxed) {
            BYTES.fetch_add(layout.size() as i64, Relaxed);
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNT.load(Relaxed) {
            BYTES.fetch_sub(layout.size() as i64, Relaxed);
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<R>(run: impl FnOnce() -> R) -> R {
    COUNT.store(true, Relaxed);
    let result = run();
    COUNT.store(false, Relaxed);
    result
}

struct World {
    at: u64,
    server: Endpoint,
    client: Endpoint,
    tx: TxBuf,
}

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 2], 1);

impl World {
    fn now(&self) -> Now {
        let mono = ntproto_core::time::Instant::from_micros(self.at);
        Now { mono, unix: UnixMillis(1_780_272_000_000) }
    }

    /// Lets both talk until neither has anything to say, then on for `time`.
    fn run(&mut self, time: Duration) {
        let until = self.at + time.as_micros() as u64;
        loop {
            let now = self.now();
            let (mut to_client, mut to_server) = (VecDeque::new(), VecDeque::new());
            let a = counted(|| drain(&mut self.server, now, &mut self.tx, &mut to_client));
            let b = drain(&mut self.client, now, &mut self.tx, &mut to_server);
            let quiet = to_client.is_empty() && to_server.is_empty();
            for (bytes, stride) in to_server {
                let received = Received { stride, ..Received::one(SocketAddr::from(CLIENT), &bytes) };
                counted(|| self.server.handle(now, Input::Datagram(received)));
            }
            for (bytes, stride) in to_client {
                let received = Received { stride, ..Received::one(SocketAddr::from(SERVER), &bytes) };
                self.client.handle(now, Input::Datagram(received));
            }
            if quiet {
                let Some(next) = a.into_iter().chain(b).min().filter(|at| at.as_micros() <= until) else {
                    self.at = until;
                    return;
                };
                self.at = self.at.max(next.as_micros());
                let now = self.now();
                counted(|| self.server.handle(now, Input::Timeout));
                self.client.handle(now, Input::Timeout);
            } else {
                self.at += 10;
            }
        }
    }
}

fn drain(
    endpoint: &mut Endpoint,
    now: Now,
    tx: &mut TxBuf,
    out: &mut VecDeque<(Vec<u8>, usize)>,
) -> Option<ntproto_core::time::Instant> {
    loop {
        match endpoint.poll_output(now, Some(tx)) {
            Output::Transmit(transmit) => {
                // The harness's copy is not the server's memory.
                let was = COUNT.swap(false, Relaxed);
                out.push_back((tx.as_slice().to_vec(), transmit.segment_size.unwrap_or(transmit.len)));
                COUNT.store(was, Relaxed);
            }
            Output::Event(Event::Connected { conn, .. }) => {
                // One stream in use each way, as a session has.
                endpoint.with(now, conn, |c| c.write(Channel::Control, &[0; 100]));
            }
            Output::Event(Event::Readable { conn, channel }) => {
                endpoint.with(now, conn, |c| c.read(channel, 1000));
            }
            Output::Event(event) => assert!(!matches!(event, Event::Closed { .. }), "{event:?}"),
            Output::Wait { at, .. } => return at,
        }
    }
}

fn world() -> (World, ClientTls) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let tls = ServerTls::new(default_provider(), vec![cert.der().clone()], der, &[ALPN]).unwrap();
    let pins = vec![Pin::of(cert.der()).unwrap()];
    // Two hours of silence, so that the run itself ends nobody.
    let limits = Limits { idle_timeout: Duration::from_secs(7200), ..Limits::default() };
    let config = EndpointConfig { limits: limits.clone(), ..EndpointConfig::server(tls) };
    let base = Instant::now();
    let client = EndpointConfig { limits, ..EndpointConfig::client() };
    let world = World {
        at: 1_000_000,
        server: Endpoint::new(config, base, [1; 32]),
        client: Endpoint::new(client, base, [2; 32]),
        tx: TxBuf::new(TX_LIMIT),
    };
    (world, ClientTls::new(default_provider(), Trust::Pinned(pins), &[ALPN]).unwrap())
}

const POLLS: u32 = 2_000_000;
const CONNECTIONS: [usize; 3] = [1, 100, 10_000];

/// Nanoseconds of a poll, the best of several rounds: whatever else the machine does only adds to them.
fn nanoseconds(mut poll: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        (0..POLLS).for_each(|_| poll());
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(POLLS));
    }
    best
}

fn quic() {
    println!("{:>17} {:>14} {:>14} {:>16}", "QUIC connections", "idle poll ns", "× at 1", "bytes each");
    let (mut world, tls) = world();
    let (mut connections, mut first) = (0, None);
    for target in CONNECTIONS {
        while connections < target {
            for _ in 0..100.min(target - connections) {
                let now = world.now();
                world.client.connect(now, &tls, SERVER.into(), "localhost").unwrap();
                connections += 1;
            }
            world.run(Duration::ZERO);
        }
        // Path probing and delayed acknowledgements come to rest.
        world.run(Duration::from_secs(60));
        assert_eq!(world.server.stats().completed, target as u64);
        let now = world.now();
        let best = nanoseconds(|| {
            let output = black_box(world.server.poll_output(black_box(now), Some(&mut world.tx)));
            assert!(matches!(output, Output::Wait { .. }));
        });
        let first = *first.get_or_insert(best);
        let each = BYTES.load(Relaxed) / target as i64;
        println!("{target:>17} {best:>14.1} {:>14.2} {each:>16}", best / first);
    }
}

/// A hub with so many transports that have said nothing yet.
fn hub_with(connections: usize, now: Now) -> Hub {
    let mut rng = Rng::new([1; 32]);
    let server = ServerKeys::new(ServerKey::generate(&mut rng, &RUSTCRYPTO, 1), None);
    let key = TicketKey::generate(&mut rng, 1, now.unix);
    let tickets = TicketSealer::new(&RUSTCRYPTO, key, None);
    let keys = HubKeys { provider: &RUSTCRYPTO, server: Arc::new(server), tickets };
    let boot = Boot { epoch: [0; 16], clock: now.unix, floor: now.unix };
    let config = HubConfig { max_connections: connections, ..HubConfig::default() };
    let mut hub = Hub::new(config, &boot, keys, [2; 32], now);
    for n in 0..connections {
        let binding = Binding { transport: TransportId::Quic, exporter: [0; 32] };
        let input = ntproto_hub::Input::Opened { conn: ConnId(n as u64), binding, remote: CLIENT.into() };
        hub.handle(now, input);
    }
    hub
}

fn hub() {
    println!("{:>17} {:>14} {:>14}", "hub connections", "idle poll ns", "× at 1");
    let now = Now { mono: ntproto_core::time::Instant::from_micros(1), unix: UnixMillis(1_780_272_000_000) };
    let mut tx = TxBuf::new(TX_LIMIT);
    let mut first = None;
    for target in CONNECTIONS {
        let mut hub = hub_with(target, now);
        while !matches!(hub.poll_output(now, Some(&mut tx)), ntproto_hub::Output::Wait { .. }) {}
        assert_eq!(hub.connections(), target);
        let best = nanoseconds(|| {
            let output = black_box(hub.poll_output(black_box(now), Some(&mut tx)));
            assert!(matches!(output, ntproto_hub::Output::Wait { .. }));
        });
        let first = *first.get_or_insert(best);
        println!("{target:>17} {best:>14.1} {:>14.2}", best / first);
    }
}

fn main() {
    quic();
    hub();
}
