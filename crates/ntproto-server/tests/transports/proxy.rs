//! A network between a client and a server: it forwards UDP and TCP on one port number, or does not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntproto_sdk::ConnectString;

/// The proxy. It ends with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    drop_udp: AtomicBool,
    hollow_tcp: AtomicBool,
    tcp_connections: AtomicUsize,
    /// Both ends of everything forwarded over TCP.
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy before the server of this connect string.
    pub(crate) fn start(server: &ConnectString) -> Self {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (a, b) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || forward_udp(&Arc::new(udp), server, &a));
        std::thread::spawn(move || forward_tcp(&tcp, server, &b));
        Self { address, shared }
    }

    /// The server's connect string, through the proxy.
    pub(crate) fn connect_string(&self, server: &ConnectString) -> ConnectString {
        ConnectString { host: "127.0.0.1".into(), port: self.address.port(), ..server.clone() }
    }

    /// From now on datagrams are dropped, both ways, or not.
    pub(crate) fn drop_udp(&self, drop: bool) {
        self.shared.drop_udp.store(drop, SeqCst);
    }

    /// From now on TCP connections are accepted, whoever asks, and lead nowhere: as on some networks.
    pub(crate) fn hollow_tcp(&self) {
        self.shared.hollow_tcp.store(true, SeqCst);
    }

    /// Ends every TCP connection there is.
    pub(crate) fn cut_tcp(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// TCP connections that were taken.
    pub(crate) fn tcp_connections(&self) -> usize {
        self.shared.tcp_connections.load(SeqCst)
    }
}

fn forward_udp(front: &Arc<UdpSocket>, server: SocketAddr, shared: &Arc<Shared>) {
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut data = vec![0; 65_536];
    while let Ok((len, client)) = front.recv_from(&mut data) {
        if shared.drop_udp.load(SeqCst) {
            continue;
        }
        let back = backs.entry(client).or_insert_with(|| {
            let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            let (front, reader, shared) = (Arc::clone(front), Arc::clone(&back), Arc::clone(shared));
            std::thread::spawn(move || {
                let mut data = vec![0; 65_536];
                loop {
                    // An ICMP report of a server that is down is no end.
                    let Ok(len) = reader.recv(&mut data) else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    if !shared.drop_udp.load(SeqCst) {
                        let _ = front.send_to(&data[..len], client);
                    }
                }
            });
            back.connect(server).unwrap();
            back
        });
        let _ = back.send(&data[..len]);
    }
}

fn forward_tcp(front: &TcpListener, server: SocketAddr, shared: &Shared) {
    for client in front.incoming() {
        shared.tcp_connections.fetch_add(1, SeqCst);
        if shared.hollow_tcp.load(SeqCst) {
            continue;
        }
        let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
        let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        shared.streams.lock().unwrap().extend(ends);
        let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || copy(client, server));
        std::thread::spawn(move || copy(server2, client2));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut data = vec![0; 65_536];
    while let Ok(len @ 1..) = from.read(&mut data) {
        if to.write_all(&data[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
