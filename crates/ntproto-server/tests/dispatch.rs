//! Packets of an application: a real server, real clients, and handlers that misbehave.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::dispatch::{Occupied, Outcome, PacketId, Refusal, Router};
use ntproto_sdk::driver::{Server as ServerAt, Transports};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, Credential, ErrorCode, Event, Options, RequestError};
use ntproto_server::config::ServerConfig;
use ntproto_server::run::{PushError, Running, Server, StartOptions};
use ntproto_tokio::{Clock, connect};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const ECHO: PacketId = PacketId(0x8001);
const STUCK: PacketId = PacketId(0x8002);
const BROKEN: PacketId = PacketId(0xffff);

#[derive(Clone, PartialEq, prost::Message)]
struct Count {
    #[prost(uint64, tag = "1")]
    count: u64,
}

struct Desk {
    server: Running,
    router: Router,
    _dir: tempfile::TempDir,
}

async fn start() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().join("data"),
        open_registration: true,
        drain_timeout: Duration::from_secs(1),
        ..ServerConfig::default()
    };
    let router = Router::new();
    let options = StartOptions { router: router.clone(), ..StartOptions::default() };
    Desk { server: Server::start_with(config, options).await.unwrap(), router, _dir: dir }
}

impl Desk {
    async fn client(&self, seed: u8) -> Client {
        self.client_over(seed, Transports::Any).await
    }

    async fn client_over(&self, seed: u8, transports: Transports) -> Client {
        let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
        let mut server = ServerAt::new(&self.server.connect_string, Clock::start().now().unix).unwrap();
        server.transports = transports;
        let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
        options.enrol = Some(Credential::Open);
        let client = connect(options).await.unwrap();
        timeout(PATIENCE, client.online()).await.unwrap().unwrap();
        client
    }
}

fn count(count: u64) -> Count {
    Count { count }
}

async fn echo(client: &Client, n: u64) -> Result<u64, RequestError> {
    Ok(client.request_typed::<Count, Count>(ECHO, &count(n)).await?.count)
}

fn code<T: std::fmt::Debug>(result: Result<T, RequestError>) -> ErrorCode {
    match result {
        Err(RequestError::Refused(Some(code), _)) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn handlers_come_and_go_while_traffic_flows() {
    let desk = start().await;
    let (alice, bob) = (desk.client(1).await, desk.client(2).await);
    assert_eq!(code(echo(&alice, 1).await), ErrorCode::UnknownPacket);

    // Handler number n adds n thousands. Each request is answered by one that was there between its start and
    // its end, and the last one stays.
    let (from, to) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let add = |n: u64| move |_, Count { count: c }: Count| async move { Ok(count(n * 1_000 + c)) };
    desk.router.register(ECHO, add(0)).unwrap();
    assert_eq!(desk.router.register(ECHO, add(1)), Err(Occupied(ECHO)));
    let over = Arc::new(AtomicBool::new(false));
    let asks = [alice.clone(), bob.clone()].map(|client| {
        let (from, to, over) = (Arc::clone(&from), Arc::clone(&to), Arc::clone(&over));
        tokio::spawn(async move {
            let mut asked = 0;
            while !over.load(Ordering::SeqCst) {
                let oldest = from.load(Ordering::SeqCst);
                let n = echo(&client, asked % 1_000).await.unwrap();
                assert_eq!(n % 1_000, asked % 1_000);
                assert!((oldest..=to.load(Ordering::SeqCst)).contains(&(n / 1_000)));
                asked += 1;
            }
            asked
        })
    });
    for n in 1..=200 {
        to.store(n, Ordering::SeqCst);
        assert!(desk.router.replace(ECHO, add(n)));
        from.store(n, Ordering::SeqCst);
        // Others come and go beside it.
        desk.router.register(PacketId(0x8100 + n as u16), add(n)).unwrap();
        assert!(n == 1 || desk.router.remove(PacketId(0x8100 + n as u16 - 1)));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    over.store(true, Ordering::SeqCst);
    for ask in asks {
        assert!(ask.await.unwrap() > 0);
    }
    assert_eq!(echo(&alice, 5).await.unwrap(), 200_005);
    desk.router.remove(ECHO);
    assert_eq!(code(echo(&bob, 1).await), ErrorCode::UnknownPacket);
    desk.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn either_transport_carries_them() {
    let desk = start().await;
    desk.router.register(ECHO, |_, c: Count| async move { Ok(c) }).unwrap();
    for (seed, transports) in [(1, Transports::RequireQuic), (2, Transports::RequireTcp)] {
        let client = desk.client_over(seed, transports).await;
        let mut events = client.events().unwrap();
        assert_eq!(echo(&client, 7).await.unwrap(), 7);
        desk.server.pusher().push(client.identity().unwrap().uin, ECHO, &count(8)).unwrap();
        let pushed = async {
            loop {
                if let Some(Event::Push(packet)) = events.next().await {
                    return packet.id;
                }
            }
        };
        assert_eq!(timeout(PATIENCE, pushed).await.unwrap(), ECHO);
    }
    desk.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_handler_knows_who_asks_and_how_long_they_wait() {
    let desk = start().await;
    let alice = desk.client(1).await;
    let me = alice.identity().unwrap();
    desk.router
        .register(ECHO, move |cx, _: Count| async move {
            let left = cx.time_left.unwrap();
            let known = cx.packet == ECHO && cx.from == Some(me);
            let patient = left > Duration::from_secs(8) && left <= Duration::from_secs(9);
            Ok(count(u64::from(known && patient)))
        })
        .unwrap();
    let asked = alice.request_typed_within::<_, Count>(ECHO, &count(0), Duration::from_secs(9)).await;
    assert_eq!(asked.unwrap(), count(1));
    // A body that is no Count is the asker's fault; an answer that is none the server's.
    assert_eq!(code(alice.request(ECHO, &b"\xff"[..]).await), ErrorCode::BadRequest);
    desk.router.replace(ECHO, |_, _: Count| async { Ok(Bytes::from_static(b"\x0a").to_vec()) });
    assert_eq!(echo(&alice, 0).await, Err(RequestError::BadAnswer));
    let refusal = |_, _: Count| async { Err::<(), _>(Refusal::new(ErrorCode::NotFound, "no such room")) };
    desk.router.replace(ECHO, refusal);
    let refused = RequestError::Refused(Some(ErrorCode::NotFound), "no such room".into());
    assert_eq!(echo(&alice, 0).await, Err(refused));
    desk.server.shutdown().await.unwrap();
}

/// Counts those that were begun and not dropped.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn stuck(at_work: &Arc<AtomicUsize>) -> impl Fn() -> AtWork + Send + Sync + 'static + use<> {
    let at_work = Arc::clone(at_work);
    move || {
        at_work.fetch_add(1, Ordering::SeqCst);
        AtWork(Arc::clone(&at_work))
    }
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn a_panic_and_a_handler_that_never_answers_hold_up_nobody() {
    let desk = start().await;
    let (alice, bob) = (desk.client(1).await, desk.client(2).await);
    let at_work = Arc::new(AtomicUsize::new(0));
    let begin = stuck(&at_work);
    desk.router
        .register(STUCK, move |_, ()| {
            let work = begin();
            async move {
                let _work = work;
                std::future::pending::<Result<(), Refusal>>().await
            }
        })
        .unwrap();
    desk.router
        .register(BROKEN, |_, c: Count| async move { if c.count > 0 { panic!("planted") } else { Ok(c) } })
        .unwrap();
    desk.router.register(ECHO, |_, c: Count| async move { Ok(c) }).unwrap();

    // More than one connection may have pending: the rest is sent away, and messages go on beside them.
    let hang = Duration::from_millis(700);
    let asks: Vec<_> = (0..200)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.request_typed_within::<(), ()>(STUCK, &(), hang).await })
        })
        .collect();
    until(|| at_work.load(Ordering::SeqCst) == 128).await;
    let to = bob.identity().unwrap().uin;
    timeout(PATIENCE, alice.send(to, "beside them")).await.unwrap().unwrap();
    assert_eq!(echo(&bob, 7).await.unwrap(), 7);
    for n in [1, 0, 2] {
        let answer = bob.request_typed::<Count, Count>(BROKEN, &count(n)).await;
        if n == 0 {
            assert_eq!(answer.unwrap(), count(0), "the handler lives on");
        } else {
            assert_eq!(code(answer), ErrorCode::Internal);
        }
    }
    let (mut late, mut refused) = (0, 0);
    for ask in asks {
        match ask.await.unwrap() {
            // The asker's clock or the server's, whichever rings first.
            Err(
                RequestError::DeadlineExceeded | RequestError::Refused(Some(ErrorCode::DeadlineExceeded), _),
            ) => late += 1,
            Err(RequestError::Refused(Some(ErrorCode::RetryAfter), _)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // Those that found no room were asked again, as the server told, until their time was over.
    assert!(late >= 128, "{late} late and {refused} refused");
    until(|| at_work.load(Ordering::SeqCst) == 0).await;

    // A client that leaves takes its requests along.
    let asked = tokio::spawn({
        let alice = alice.clone();
        async move { alice.request_typed::<(), ()>(STUCK, &()).await }
    });
    until(|| at_work.load(Ordering::SeqCst) == 1).await;
    alice.close().await;
    until(|| at_work.load(Ordering::SeqCst) == 0).await;
    assert!(asked.await.unwrap().is_err());

    // And a server that ends is not held up for longer than its drain.
    let asked = tokio::spawn(async move { bob.request_typed::<(), ()>(STUCK, &()).await });
    until(|| at_work.load(Ordering::SeqCst) == 1).await;
    timeout(PATIENCE, desk.server.shutdown()).await.unwrap().unwrap();
    until(|| at_work.load(Ordering::SeqCst) == 0).await;
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_push_reaches_the_devices_that_are_there() {
    let desk = start().await;
    let (alice, bob) = (desk.client(1).await, desk.client(2).await);
    let mut events = alice.events().unwrap();
    let (to, pusher) = (alice.identity().unwrap().uin, desk.server.pusher());
    assert_eq!(pusher.push(to, PacketId::NOTIFY, &count(1)), Err(PushError::Reserved));
    pusher.push(to, ECHO, &count(7)).unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let pushes = Router::new();
    let hears = Arc::clone(&heard);
    pushes
        .register(ECHO, move |_, c: Count| {
            hears.store(c.count, Ordering::SeqCst);
            async { Ok(()) }
        })
        .unwrap();
    let next = async {
        loop {
            if let Some(Event::Push(packet)) = events.next().await {
                return pushes.push(packet).await;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, next).await.unwrap(), Some(Outcome::Answered(Bytes::new())));
    assert_eq!(heard.load(Ordering::SeqCst), 7);
    drop((bob, alice, events));
    desk.server.shutdown().await.unwrap();
    assert_eq!(pusher.push(to, ECHO, &count(8)), Err(PushError::Ended));
}
