//! The UDP socket as the loop sees it.

use std::io;
use std::task::{Context, Poll};

use ntproto_core::tx::TxBuf;
use ntproto_quic::{TX_LIMIT, Transmit};
use ntproto_udp::{RecvBatch, Socket};

use crate::runtime::Watched;

/// The socket, watched by the runtime, and what it has yet to take.
pub(crate) struct Link<'a, U> {
    socket: &'a Socket,
    watched: U,
    pub(crate) tx: TxBuf,
    /// A batch in `tx`, and how many of its bytes went out.
    pending: Option<(Transmit, usize)>,
}

impl<'a, U: Watched> Link<'a, U> {
    /// Two descriptors of one socket: the runtime watches `watched`, batches go through `socket`.
    pub(crate) fn new(socket: &'a Socket, watched: U) -> Self {
        Self { socket, watched, tx: TxBuf::new(TX_LIMIT), pending: None }
    }

    pub(crate) const fn is_blocked(&self) -> bool {
        self.pending.is_some()
    }

    /// Sends what `tx` holds, as far as the socket takes it.
    pub(crate) fn send(&mut self, transmit: Transmit) {
        self.pending = Some((transmit, 0));
        self.flush();
    }

    /// Sends what is pending, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        let Some((transmit, sent)) = &mut self.pending else { return };
        let bytes = &self.tx.as_slice()[..transmit.len];
        let result = self.watched.try_write(|| {
            self.socket.try_send(transmit, &bytes[*sent..]).map_err(|blocked| {
                *sent += blocked.sent;
                io::ErrorKind::WouldBlock.into()
            })
        });
        if result.is_ok() {
            self.pending = None;
        }
    }

    /// Receives what is there, if the runtime heard that there is something.
    pub(crate) fn receive(&self, batch: &mut RecvBatch) -> io::Result<()> {
        batch.clear();
        let result = self.watched.try_read(|| {
            self.socket.try_recv(batch)?;
            // A batch that is not full emptied the socket: saying so saves the call that would find nothing.
            if batch.is_full() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether there may be datagrams, or room for what is pending.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut ready = false;
        if let Poll::Ready(result) = self.watched.poll_readable(cx) {
            result?;
            ready = true;
        }
        if self.is_blocked()
            && let Poll::Ready(result) = self.watched.poll_writable(cx)
        {
            result?;
            ready = true;
        }
        Ok(ready)
    }
}
