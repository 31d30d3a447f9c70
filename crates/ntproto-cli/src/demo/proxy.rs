//! A network between the demo's clients and its server, in this process: it forwards UDP and TCP on one port
//! number, or, while UDP is cut, TCP alone.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::exit::Failure;

/// Port numbers tried: one that UDP got may be taken for TCP.
const TRIES: usize = 16;
/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// Before reading again after the system said that nobody listens.
const PAUSE: Duration = Duration::from_millis(10);

/// The network. Its threads end with the process.
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// One before this server.
    pub(crate) fn start(server: SocketAddr) -> Result<Self, Failure> {
        let failed = |e| Failure::failed(format!("no sockets for the network between: {e}"));
        let (udp, tcp) = bind().map_err(failed)?;
        let address = udp.local_addr().map_err(failed)?;
        let cut = Arc::new(AtomicBool::new(false));
        let (front, cut_here) = (Arc::new(udp), Arc::clone(&cut));
        thread::spawn(move || forward_datagrams(&front, server, &cut_here));
        thread::spawn(move || forward_connections(&tcp, server));
        Ok(Self { address, cut })
    }

    /// Where clients find it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops datagrams from now on, both ways, or not.
    pub(crate) fn cut_udp(&self, cut: bool) {
        self.cut.store(cut, SeqCst);
    }
}

fn bind() -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut tries = TRIES;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

/// A socket of its own to the server for every client, as a router would have a port.
fn forward_datagrams(front: &Arc<UdpSocket>, server: SocketAddr, cut: &Arc<AtomicBool>) {
    let mut backs: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
    let mut data = vec![0; DATAGRAM];
    loop {
        let Ok((len, client)) = front.recv_from(&mut data) else {
            thread::sleep(PAUSE);
            continue;
        };
        if cut.load(SeqCst) {
            continue;
        }
        if let Some(back) = backs.get(&client) {
            // A server that is down loses it, as it would without us.
            let _ = back.send(&data[..len]);
            continue;
        }
        let Ok(back) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
        let (Ok(()), Ok(reader)) = (back.connect(server), back.try_clone()) else { continue };
        let (front, cut) = (Arc::clone(front), Arc::clone(cut));
        thread::spawn(move || {
            let mut data = vec![0; DATAGRAM];
            loop {
                match reader.recv(&mut data) {
                    Ok(len) if !cut.load(SeqCst) => drop(front.send_to(&data[..len], client)),
                    Ok(_) => {}
                    // It is told when the server's port is closed; it will open again.
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        let _ = back.send(&data[..len]);
        backs.insert(client, back);
    }
}

fn forward_connections(front: &TcpListener, server: SocketAddr) {
    for client in front.incoming() {
        let Ok(client) = client else {
            thread::sleep(PAUSE);
            continue;
        };
        // A server that is down: the client's connection ends here.
        let Ok(server) = TcpStream::connect(server) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(up), Ok(down)) = (client.try_clone(), server.try_clone()) else { continue };
        thread::spawn(move || copy(up, server));
        thread::spawn(move || copy(down, client));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut data = vec![0; DATAGRAM];
    while let Ok(len @ 1..) = from.read(&mut data) {
        if to.write_all(&data[..len]).is_err() {
            break;
        }
    }
    // Either end that goes takes the other along.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
