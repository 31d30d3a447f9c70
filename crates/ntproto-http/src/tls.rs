//! A TLS connection over a stream of the runtime, as hyper reads and writes it.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt;
use ntproto_drive::runtime::Stream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// Read at once: a TLS record holds no more.
const READ: usize = 16 * 1024;

/// One connection. What is written is buffered by rustls up to its own limit (64 KiB), then it takes no more.
#[derive(Debug)]
pub struct Tls<S> {
    stream: S,
    tls: Connection,
}

impl<S: Stream> Tls<S> {
    /// A server's side, once the handshake is over. It has no timeout of its own.
    ///
    /// # Errors
    /// The handshake failed, or the stream.
    pub async fn accept(stream: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Self::shake(stream, tls.into()).await
    }

    /// A client's side, once the handshake is over. It has no timeout of its own.
    ///
    /// # Errors
    /// The handshake failed, or the stream.
    pub async fn connect(
        stream: S,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::shake(stream, tls.into()).await
    }

    async fn shake(stream: S, tls: Connection) -> io::Result<Self> {
        // Small frames wait for nobody. One that can't be set so is slow, not wrong.
        let _ = stream.socket().set_tcp_nodelay(true);
        let mut this = Self { stream, tls };
        poll_fn(|cx| {
            while this.tls.is_handshaking() {
                ready!(this.poll_send(cx))?;
                if this.tls.is_handshaking() && ready!(this.poll_fill(cx))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            this.poll_send(cx)
        })
        .await?;
        Ok(this)
    }

    /// What both sides agreed to speak, if they named anything.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The stream below.
    #[must_use]
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends what rustls holds.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls } = self;
        while tls.wants_write() {
            ready!(stream.poll_writable(cx))?;
            match stream.try_write(|| tls.write_tls(&mut &*stream.socket())) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what the stream brings; 0 is its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, tls } = self;
        loop {
            ready!(stream.poll_readable(cx))?;
            match stream.try_read(|| tls.read_tls(&mut &*stream.socket())) {
                Ok(n) => {
                    if let Err(error) = tls.process_new_packets() {
                        // The alert says why, if it can leave at once.
                        let _ = self.poll_send(cx);
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(error) if again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            // An end without a farewell is an error of the next read.
            let _ = ready!(self.poll_fill(cx))?;
            // What TLS has to say by itself need not be waited for.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl<S> Unpin for Tls<S> {}

impl<S: Stream> rt::Read for Tls<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = [0; READ];
        let room = into.remaining().min(READ);
        let n = ready!(self.poll_plain(cx, &mut buffer[..room]))?;
        into.put_slice(&buffer[..n]);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> rt::Write for Tls<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let n = self.tls.writer().write(bytes)?;
            let sent = self.poll_send(cx);
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            if n > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(n));
            }
            // The buffer was full: once some of it has left there is room.
            ready!(sent)?;
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.send_close_notify();
        ready!(self.poll_send(cx))?;
        match self.stream.socket().shutdown(std::net::Shutdown::Write) {
            // The peer was first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
