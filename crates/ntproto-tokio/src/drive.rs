//! The loop.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::{Receiver, TryRecvError};
use futures_core::Stream;
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_quic::{DatagramMachine, Step, TX_LIMIT, Transmit};
use ntproto_udp::{Clock, RecvBatch, Socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Sleep, sleep};

/// Outputs taken before the socket and the queue are looked at again: about 1 MB of datagrams.
const MAX_OUTPUTS: usize = 64;
/// Commands taken before the machine is drained again: what they write leaves together.
const MAX_COMMANDS: usize = 64;
/// How long a full socket may hide the machine's timers.
const BLOCKED_TICK: Duration = Duration::from_millis(5);

/// Runs `machine` over `socket` until it is done. Whatever it wants done is given to `effects`, which must not
/// block; what others want of it comes by `commands`.
///
/// Dropping the future stops the machine where it is; a datagram about to be sent is lost.
///
/// # Errors
/// The socket failed for good.
pub async fn drive<M: DatagramMachine>(
    machine: &mut M,
    socket: &Socket,
    clock: &Clock,
    commands: Receiver<M::Command>,
    mut effects: impl FnMut(M::Effect),
) -> io::Result<()> {
    let mut link = Link::new(socket)?;
    let mut batch = RecvBatch::new();
    let mut timer = Timer { sleep: pin!(sleep(Duration::ZERO)), rings: None };
    let mut queue = Queue { commands: pin!(commands), open: true };
    let mut now = clock.now();
    loop {
        // Drain.
        let wait = match drain(machine, now, &mut link, &mut effects) {
            Drained::Done => return Ok(()),
            Drained::More => None,
            Drained::Wait(at) => Some(at),
        };

        // Sleep, unless there is more to do; even then let others run and the socket stir.
        let mut first = None;
        if let Some(at) = wait {
            let at = if link.pending.is_some() {
                let tick = now.mono + BLOCKED_TICK;
                Some(at.filter(|at| *at > now.mono).map_or(tick, |at| at.min(tick)))
            } else {
                at
            };
            timer.arm(at, clock);
            first = poll_fn(|cx| stir(cx, &link, &mut timer, &mut queue)).await?;
        } else {
            tokio::task::yield_now().await;
        }

        // Take what came: one batch of each, so that none starves the others.
        now = clock.now();
        link.receive(&mut batch)?;
        for received in batch.iter() {
            machine.datagram(now, received);
        }
        queue.take(first, |command| match command {
            Some(command) => machine.command(now, command),
            None => machine.commands_closed(now),
        });
        // A machine that still had outputs did not say its deadline; asking too early does no harm.
        if wait.is_none_or(|at| at.is_some_and(|at| at <= now.mono)) {
            machine.timeout(now);
        }
    }
}

/// How a drain ended.
enum Drained {
    Wait(Option<Instant>),
    More,
    Done,
}

fn drain<M: DatagramMachine>(
    machine: &mut M,
    now: Now,
    link: &mut Link<'_>,
    effects: &mut impl FnMut(M::Effect),
) -> Drained {
    link.flush();
    for _ in 0..MAX_OUTPUTS {
        let tx = if link.pending.is_none() { Some(&mut link.tx) } else { None };
        match machine.poll(now, tx) {
            Step::Transmit(transmit) => {
                link.pending = Some((transmit, 0));
                link.flush();
            }
            Step::Effect(effect) => effects(effect),
            Step::Wait(at) => return Drained::Wait(at),
            Step::Done if link.pending.is_some() => return Drained::Wait(None),
            Step::Done => return Drained::Done,
        }
    }
    Drained::More
}

/// What the sleeper heard from the queue, if it was the queue that woke it.
type Woken<C> = Option<Option<C>>;

/// Ready when the socket, the timer or the queue is.
fn stir<C>(
    cx: &mut Context<'_>,
    link: &Link<'_>,
    timer: &mut Timer<'_>,
    queue: &mut Queue<'_, C>,
) -> Poll<io::Result<Woken<C>>> {
    let mut ready = timer.poll(cx);
    if let Poll::Ready(result) = link.io.poll_recv_ready(cx) {
        result?;
        ready = true;
    }
    if link.pending.is_some()
        && let Poll::Ready(result) = link.io.poll_send_ready(cx)
    {
        result?;
        ready = true;
    }
    match queue.poll(cx) {
        Poll::Ready(command) => Poll::Ready(Ok(Some(command))),
        Poll::Pending if ready => Poll::Ready(Ok(None)),
        Poll::Pending => Poll::Pending,
    }
}

/// The socket, watched by tokio, and what it has yet to take.
struct Link<'a> {
    socket: &'a Socket,
    io: UdpSocket,
    tx: TxBuf,
    /// A batch in `tx`, and how many of its bytes went out.
    pending: Option<(Transmit, usize)>,
}

impl<'a> Link<'a> {
    fn new(socket: &'a Socket) -> io::Result<Self> {
        // Two descriptors of one socket: tokio watches this, batches go through the other.
        let io = UdpSocket::from_std(socket.as_std().try_clone()?)?;
        Ok(Self { socket, io, tx: TxBuf::new(TX_LIMIT), pending: None })
    }

    /// Sends what is pending, as far as the socket takes it.
    fn flush(&mut self) {
        let Some((transmit, sent)) = &mut self.pending else { return };
        let bytes = &self.tx.as_slice()[..transmit.len];
        let result = self.io.try_io(Interest::WRITABLE, || {
            self.socket.try_send(transmit, &bytes[*sent..]).map_err(|blocked| {
                *sent += blocked.sent;
                io::ErrorKind::WouldBlock.into()
            })
        });
        if result.is_ok() {
            self.pending = None;
        }
    }

    /// Receives what is there, if tokio heard that there is something.
    fn receive(&self, batch: &mut RecvBatch) -> io::Result<()> {
        batch.clear();
        let result = self.io.try_io(Interest::READABLE, || {
            self.socket.try_recv(batch)?;
            // A batch that is not full emptied the socket: saying so saves the call that would find nothing.
            if batch.is_full() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// tokio's timer. It is moved only to ring earlier; when it rings early for a deadline that has moved on, it is
/// set again: deadlines move with every packet, and a wake-up a round trip is cheaper than a move a packet.
struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    /// When it rings; `None` once it has.
    rings: Option<Instant>,
}

impl Timer<'_> {
    fn arm(&mut self, at: Option<Instant>, clock: &Clock) {
        let Some(at) = at else { return };
        if self.rings.is_none_or(|rings| at < rings) {
            // By what is left, not by the date: tokio's clock stops while the device sleeps, ours does not.
            let left = at.saturating_since(clock.mono());
            self.sleep.as_mut().reset(tokio::time::Instant::now() + left);
            self.rings = Some(at);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let rang = self.rings.is_some() && self.sleep.as_mut().poll(cx).is_ready();
        if rang {
            self.rings = None;
        }
        rang
    }
}

/// The queue of commands.
struct Queue<'a, C> {
    commands: Pin<&'a mut Receiver<C>>,
    open: bool,
}

impl<C> Queue<'_, C> {
    /// Ready with a command, or, once, with `None`: there will be none any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<C>> {
        if !self.open {
            return Poll::Pending;
        }
        let next = self.commands.as_mut().poll_next(cx);
        self.open = !matches!(next, Poll::Ready(None));
        next
    }

    /// Gives what woke the loop and what waits behind it, up to a bound. `None` is the end of all commands.
    fn take(&mut self, first: Woken<C>, mut give: impl FnMut(Option<C>)) {
        if let Some(first) = first {
            give(first);
        }
        for _ in 0..MAX_COMMANDS {
            if !self.open {
                return;
            }
            match self.commands.try_recv() {
                Ok(command) => give(Some(command)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Closed) => {
                    self.open = false;
                    give(None);
                }
            }
        }
    }
}
