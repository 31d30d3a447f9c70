//! Sockets: a server's, UDP and TCP on one port number, and a client's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use ntproto_udp::Socket;
use socket2::{Domain, Protocol, Type};

/// Connections that wait to be accepted: a burst of reconnects after a restart. The system may hold fewer.
const BACKLOG: i32 = 1024;
/// Port numbers tried when any will do: one that UDP got may be taken for TCP.
const TRIES: usize = 16;

/// Binds both to `address`; with port 0, to one that is free for both. An IPv6 address also takes IPv4.
///
/// # Errors
/// The address is taken or not ours, or the system refuses a socket.
pub fn bind(address: SocketAddr) -> io::Result<(Socket, TcpListener)> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        let udp = Socket::bind(address)?;
        match listen(udp.local_addr()) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries <= 1 || error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Some systems have no IPv4 beside IPv6; then it is IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    // Connections of the server before it that linger do not keep the port. (On Windows this means something else.)
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A client's UDP socket, for both families, or for IPv4 where there is no other.
///
/// # Errors
/// The system refuses a socket.
pub fn client_socket() -> io::Result<Socket> {
    Socket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
        .or_else(|_| Socket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_have_one_number_and_a_taken_one_is_an_error() {
        let (udp, tcp) = bind(([127, 0, 0, 1], 0).into()).unwrap();
        assert_eq!(udp.local_addr(), tcp.local_addr().unwrap());
        let again = bind(udp.local_addr()).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(udp);
        // TCP alone is still taken.
        let again = bind(tcp.local_addr().unwrap()).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }
}
