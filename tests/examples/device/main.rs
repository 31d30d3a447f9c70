//! The device on a desk: [`device::Device`] over a `TcpStream` that never blocks, for trying it out.
//!
//! ```text
//! device <connect string> <uin>     sends a reading each second, and prints what it is told
//! ```

mod device;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use device::{Board, Device, Flash, Link};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::Uin;
use ntproto_core::text::ConnectString;
use ntproto_core::time::UnixMillis;

/// A desk as a board.
pub struct Desk {
    server: SocketAddr,
    start: Instant,
    stream: Option<TcpStream>,
    /// How often its lamp blinked.
    pub blinks: u32,
}

impl Desk {
    /// A desk beside this server.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, start: Instant::now(), stream: None, blinks: 0 }
    }

    /// The result of a call, where there is one; an error drops the connection.
    fn done(&mut self, result: std::io::Result<usize>) -> usize {
        match result {
            Ok(0) => self.stream = None,
            Ok(len) => return len,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.stream = None,
        }
        0
    }
}

impl Board for Desk {
    fn ticks(&mut self) -> u32 {
        self.start.elapsed().as_millis() as u32
    }

    fn unix(&mut self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn dial(&mut self) {
        // A desk may wait for this; a board's stack would not.
        let stream = TcpStream::connect_timeout(&self.server, Duration::from_secs(1));
        self.stream = stream.ok().filter(|stream| {
            let _ = stream.set_nodelay(true);
            stream.set_nonblocking(true).is_ok()
        });
    }

    fn link(&mut self) -> Link {
        if self.stream.is_some() { Link::Up } else { Link::Down }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        let result = stream.write(bytes);
        self.done(result)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        let result = stream.read(buffer);
        self.done(result)
    }

    fn hang_up(&mut self) {
        self.stream = None;
    }

    fn blink(&mut self) {
        self.blinks += 1;
    }
}

/// The device of a connect string. Its certificate is checked here, on the desk: a board is given the key.
pub fn device(connect: &ConnectString) -> Result<Device<Desk>, Box<dyn std::error::Error>> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let key = connect.verify(&RUSTCRYPTO, UnixMillis(unix)).map_err(|e| e.to_string())?;
    let server = (connect.host.as_str(), connect.port).to_socket_addrs()?.next().ok_or("no such host")?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(Device::new(Desk::new(server), key, seed, Flash::default()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [connect, uin] = &args[..] else { return Err("usage: device <connect string> <uin>".into()) };
    let (mut device, to) = (device(&connect.parse()?)?, Uin(uin.parse()?));
    let mut reading = 0;
    loop {
        let wait = device.step().clamp(1, 10);
        if let Some(received) = device.take() {
            println!("{}: {}", received.from, String::from_utf8_lossy(&received.body));
        }
        if device.board.blinks / 2 > reading
            && device.send(to, format!("reading {reading}").as_bytes()).is_ok()
        {
            reading += 1;
        }
        // A desk has no interrupts: it looks often.
        std::thread::sleep(Duration::from_millis(wait));
    }
}
