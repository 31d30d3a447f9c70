//! The socket.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

use ntproto_quic::{Received, Transmit};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

/// Messages taken from the kernel in one call. With GRO one of them holds up to 64 datagrams; more would only
/// let one receive keep everything else waiting.
const RECV_MESSAGES: usize = 16;
/// The size of one: the largest a UDP message gets, with or without GRO. Pages that no message reached are
/// never touched.
const MESSAGE_SIZE: usize = 65_536;
/// Errors a receive skips before it gives up for this time: each was a report on a datagram sent before.
const MAX_SKIPPED: usize = 32;

/// The socket takes no more for now: offer the transmit again from byte `sent` when it is writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// How many bytes it took.
    pub sent: usize,
}

/// A UDP socket that never blocks.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    lost: AtomicU64,
}

impl Socket {
    /// Binds to `address`. An IPv6 one also takes IPv4, so `[::]:port` serves everybody.
    ///
    /// # Errors
    /// The address is taken or not ours, or the system refuses a socket.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // Some systems have no IPv4 beside IPv6; then it is IPv6 alone.
            let _ = socket.set_only_v6(false);
        }
        socket.bind(&address.into())?;
        Self::from_std(socket.into())
    }

    /// Takes over a bound socket.
    ///
    /// # Errors
    /// The system refuses an option it cannot do without.
    pub fn from_std(io: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        let local = io.local_addr()?;
        Ok(Self { io, state, local, lost: AtomicU64::new(0) })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The socket itself, for a runtime to watch.
    #[must_use]
    pub fn as_std(&self) -> &UdpSocket {
        &self.io
    }

    /// Whether the system may fragment what it sends: then MTU discovery must stay off.
    #[must_use]
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Datagrams the system refused to send, for whatever reason: too large for the path, no buffer, no route.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Sends the datagrams of `transmit`, of which `bytes` are what is left. What the network refuses counts as
    /// lost: QUIC sends it again, or learns that the path is narrower.
    ///
    /// # Errors
    /// Only [`Blocked`], when the socket is full.
    pub fn try_send(&self, transmit: &Transmit, bytes: &[u8]) -> Result<(), Blocked> {
        let segment = transmit.segment_size.filter(|size| (1..bytes.len()).contains(size));
        let Some(size) = segment else {
            return self.send(transmit, None, bytes).map_err(|()| Blocked { sent: 0 });
        };
        let at_once = || self.state.max_gso_segments().max(1);
        in_batches(bytes, size, at_once, |segment, batch| self.send(transmit, segment, batch))
    }

    fn send(&self, transmit: &Transmit, segment_size: Option<usize>, contents: &[u8]) -> Result<(), ()> {
        let transmit = quinn_udp::Transmit {
            destination: self.outward(transmit.remote),
            ecn: transmit.ecn.and_then(EcnCodepoint::from_bits),
            contents,
            segment_size,
            src_ip: transmit.local_ip.filter(|ip| self.local.is_ipv6() || ip.is_ipv4()),
        };
        match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(()),
            Err(_) => {
                let datagrams = contents.len().div_ceil(segment_size.unwrap_or(contents.len()).max(1));
                self.lost.fetch_add(datagrams as u64, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Receives what is there into `batch`, replacing what it held.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; anything else means that the socket is of no more use.
    pub fn try_recv(&self, batch: &mut RecvBatch) -> io::Result<()> {
        batch.clear();
        let mut skipped = 0;
        loop {
            let mut slices: [IoSliceMut<'_>; RECV_MESSAGES] = {
                let mut rest = batch.bytes.chunks_exact_mut(MESSAGE_SIZE);
                std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()))
            };
            match self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut batch.meta) {
                Ok(count) => {
                    batch.count = count;
                    return Ok(());
                }
                // A report on a datagram we sent: the peer's port is closed, the route is gone.
                Err(error) if is_report(&error) && skipped < MAX_SKIPPED => skipped += 1,
                Err(error) if is_report(&error) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// IPv4 peers look like themselves outside and like IPv6 to an IPv6 socket.
    fn outward(&self, remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(v4) if self.local.is_ipv6() => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => remote,
        }
    }
}

/// Sends datagrams of `size` bytes, as many at once as the system takes: one, once it was found to know no GSO.
fn in_batches(
    bytes: &[u8],
    size: usize,
    at_once: impl Fn() -> usize,
    mut send: impl FnMut(Option<usize>, &[u8]) -> Result<(), ()>,
) -> Result<(), Blocked> {
    let mut sent = 0;
    while sent < bytes.len() {
        let end = bytes.len().min(sent + size * at_once());
        let segment = (end - sent > size).then_some(size);
        send(segment, &bytes[sent..end]).map_err(|()| Blocked { sent })?;
        sent = end;
    }
    Ok(())
}

fn is_report(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::Interrupted
    )
}

/// Room for what one receive brings. A host keeps one and uses it again.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    meta: [RecvMeta; RECV_MESSAGES],
    count: usize,
}

impl RecvBatch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let bytes = vec![0; RECV_MESSAGES * MESSAGE_SIZE].into_boxed_slice();
        Self { bytes, meta: [RecvMeta::default(); RECV_MESSAGES], count: 0 }
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether every message of it was used, so that more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count >= RECV_MESSAGES.min(quinn_udp::BATCH_SIZE)
    }

    /// What came: each item is one datagram or several in a row from one peer.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        let messages = self.bytes.chunks_exact(MESSAGE_SIZE).zip(&self.meta).take(self.count);
        messages.map(|(bytes, meta)| Received {
            remote: SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port()),
            local_ip: meta.dst_ip.as_ref().map(IpAddr::to_canonical),
            ecn: meta.ecn.map(|ecn| ecn as u8),
            stride: meta.stride,
            data: &bytes[..meta.len.min(bytes.len())],
        })
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn recv(socket: &Socket, batch: &mut RecvBatch) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match socket.try_recv(batch) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }

    fn transmit(remote: SocketAddr, len: usize, segment_size: Option<usize>) -> Transmit {
        Transmit { remote, local_ip: None, ecn: Some(0b10), segment_size, len }
    }

    /// Collects datagrams until there are `want` of them.
    fn collect(socket: &Socket, want: usize) -> Vec<Vec<u8>> {
        let (mut batch, mut got) = (RecvBatch::new(), Vec::new());
        while got.len() < want {
            recv(socket, &mut batch).unwrap();
            for received in batch.iter() {
                assert!(received.stride > 0);
                got.extend(received.data.chunks(received.stride).map(<[u8]>::to_vec));
            }
        }
        got
    }

    #[test]
    fn a_batch_arrives_as_its_datagrams() {
        let (a, b) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
        let bytes: Vec<u8> = (0..9_500u32).map(|i| (i / 1000) as u8).collect();
        a.try_send(&transmit(b.local_addr(), bytes.len(), Some(1000)), &bytes).unwrap();
        a.try_send(&transmit(b.local_addr(), 3, None), b"end").unwrap();
        let got = collect(&b, 11);
        assert_eq!(got[..9].concat(), &bytes[..9000]);
        assert_eq!((got[9].len(), got[10].as_slice()), (500, b"end".as_slice()));
        assert_eq!(a.lost(), 0);
    }

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn peers_of_both_families_reach_one_socket() {
        let Ok(server) = Socket::bind("[::]:0".parse().unwrap()) else { return };
        let port = server.local_addr().port();
        let client = Socket::bind(local()).unwrap();
        let mut batch = RecvBatch::new();
        client.try_send(&transmit(([127, 0, 0, 1], port).into(), 2, None), b"hi").unwrap();
        recv(&server, &mut batch).unwrap();
        let received = batch.iter().next().unwrap();
        assert_eq!(received.remote, client.local_addr(), "an IPv4 peer looks like itself");
        assert_eq!(received.local_ip, Some(local().ip()));
        assert_eq!(received.ecn, Some(0b10));
        // The answer goes back the way it came.
        let back = Transmit { local_ip: received.local_ip, ..transmit(received.remote, 2, None) };
        server.try_send(&back, b"ho").unwrap();
        recv(&client, &mut batch).unwrap();
        assert_eq!(batch.iter().next().unwrap().remote, ([127, 0, 0, 1], port).into());
    }

    #[test]
    fn what_the_network_refuses_is_lost_not_fatal() {
        let socket = Socket::bind(local()).unwrap();
        // Larger than any UDP datagram, and to an address family the socket has not.
        socket.try_send(&transmit(local(), 70_000, None), &[0; 70_000]).unwrap();
        socket.try_send(&transmit("[::1]:9".parse().unwrap(), 1, None), b"x").unwrap();
        assert_eq!(socket.lost(), 2);
        // A closed port answers with a report, which is no error of ours.
        let closed = Socket::bind(local()).unwrap().local_addr();
        socket.try_send(&transmit(closed, 1, None), b"x").unwrap();
        let mut batch = RecvBatch::new();
        let error = socket.try_recv(&mut batch).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.iter().count(), 0);
    }

    /// Loopback sockets never fill for certain, so the system is played: it takes one call, then is full once.
    #[test]
    fn a_full_socket_says_where_it_stopped_and_goes_on_there() {
        let bytes: Vec<u8> = (0..9_500u32).map(|i| (i / 1000) as u8).collect();
        for at_once in [1, 3, 64] {
            let (mut datagrams, mut from, mut blocked) = (Vec::new(), 0, 0);
            let mut takes = false;
            loop {
                let result = in_batches(
                    &bytes[from..],
                    1000,
                    || at_once,
                    |segment, batch| {
                        takes = !takes;
                        if !takes {
                            return Err(());
                        }
                        assert!(batch.len() <= at_once * 1000);
                        assert_eq!(segment, (batch.len() > 1000).then_some(1000));
                        datagrams.extend(batch.chunks(1000).map(<[u8]>::to_vec));
                        Ok(())
                    },
                );
                let Err(Blocked { sent }) = result else { break };
                (from, blocked) = (from + sent, blocked + 1);
                assert!(blocked < 10, "it gets nowhere");
            }
            assert_eq!(blocked, 10_usize.div_ceil(at_once) - 1, "{at_once}");
            assert!(
                datagrams.iter().map(Vec::as_slice).eq(bytes.chunks(1000)),
                "each once, in order: {at_once}"
            );
        }
        let full = in_batches(&bytes, 1000, || 4, |_, _| Err(()));
        assert_eq!(full, Err(Blocked { sent: 0 }));
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let first = Socket::bind(local()).unwrap();
        let error = Socket::bind(first.local_addr()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
