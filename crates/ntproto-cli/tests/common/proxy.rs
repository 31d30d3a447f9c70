//! What stands between client and server on one port number, and counts what clients send.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Bytes of the largest datagram.
const DATAGRAM: usize = 65_536;
/// Port numbers tried: one that UDP got may be taken for TCP.
const TRIES: usize = 16;

#[derive(Clone, Default)]
struct Way {
    to: Arc<Mutex<Option<SocketAddr>>>,
    sent: Arc<AtomicU64>,
}

impl Way {
    fn to(&self) -> SocketAddr {
        self.to.lock().unwrap().unwrap()
    }
}

pub struct Proxy {
    pub port: u16,
    way: Way,
}

impl Proxy {
    /// UDP is nobody's.
    pub fn tcp() -> Self {
        let way = Way::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        streams(listener, way.clone());
        Self { port, way }
    }

    /// TCP is nobody's.
    pub fn udp() -> Self {
        let way = Way::default();
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = front.local_addr().unwrap().port();
        datagrams(front, way.clone(), usize::MAX);
        Self { port, way }
    }

    /// TCP for everybody, and UDP for the first client socket that sends: what others send is lost.
    pub fn with_one_udp_client() -> Self {
        let way = Way::default();
        for _ in 0..TRIES {
            let front = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = front.local_addr().unwrap();
            if let Ok(listener) = TcpListener::bind(address) {
                streams(listener, way.clone());
                datagrams(front, way.clone(), 1);
                return Self { port: address.port(), way };
            }
        }
        panic!("no port is free for both");
    }

    /// Where it leads. To be said before anybody comes.
    pub fn leads_to(&self, server: SocketAddr) {
        *self.way.to.lock().unwrap() = Some(server);
    }

    /// Bytes that clients have sent.
    pub fn sent(&self) -> u64 {
        self.way.sent.load(SeqCst)
    }
}

fn streams(listener: TcpListener, way: Way) {
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // One that can't be brought on is dropped.
            let Ok(server) = TcpStream::connect(way.to()) else { continue };
            let counted = Arc::clone(&way.sent);
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass(client, server, &counted));
            std::thread::spawn(move || pass(back, forth, &AtomicU64::new(0)));
        }
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n as u64, SeqCst);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A socket towards the server for each of the first `clients`.
fn datagrams(front: UdpSocket, way: Way, clients: usize) {
    let front = Arc::new(front);
    std::thread::spawn(move || {
        let (mut buffer, mut backs) = (vec![0; DATAGRAM], BTreeMap::<SocketAddr, Arc<UdpSocket>>::new());
        loop {
            // A report on a datagram to a client that is gone is an error, and none of the next.
            let Ok((n, client)) = front.recv_from(&mut buffer) else { continue };
            if backs.len() >= clients && !backs.contains_key(&client) {
                continue;
            }
            way.sent.fetch_add(n as u64, SeqCst);
            let back = backs.entry(client).or_insert_with(|| back(&front, client));
            // A server that is gone takes nothing.
            let _ = back.send_to(&buffer[..n], way.to());
        }
    });
}

fn back(front: &Arc<UdpSocket>, client: SocketAddr) -> Arc<UdpSocket> {
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let (from, front) = (Arc::clone(&back), Arc::clone(front));
    std::thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            if let Ok((n, _)) = from.recv_from(&mut buffer) {
                let _ = front.send_to(&buffer[..n], client);
            }
        }
    });
    back
}
