//! The loop.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::Receiver;
use ntproto_core::time::Instant;
use ntproto_net::{Machine, Step, StreamInput};
use ntproto_udp::{Clock, RecvBatch, Socket};

use crate::https::{Https, Place, Visitor};
use crate::queue::{Queue, Woken};
use crate::runtime::{Runtime, Timer};
use crate::streams::{Came, Streams};
use crate::udp::Link;

/// Outputs taken before the socket and the queues are looked at again: about 1 MB of datagrams.
const MAX_OUTPUTS: usize = 64;
/// Commands, and what streams brought, taken before the machine is drained again: what they write leaves together.
const MAX_COMMANDS: usize = 64;
/// How long a full socket may hide the machine's timers.
const BLOCKED_TICK: Duration = Duration::from_millis(5);

/// What a machine speaks over. `S` is the runtime's TCP connection.
pub struct Sockets<'a, S> {
    /// Its UDP socket.
    pub udp: &'a Socket,
    /// Where it takes TCP connections, if it does.
    pub tcp: Option<std::net::TcpListener>,
    /// Who serves TCP connections that begin as TLS does; without anybody they are the machine's, as all others.
    pub https: Option<Https<S>>,
}

/// UDP alone.
impl<'a, S> From<&'a Socket> for Sockets<'a, S> {
    fn from(udp: &'a Socket) -> Self {
        Self { udp, tcp: None, https: None }
    }
}

/// Runs `machine` over `sockets` until it is done. Whatever it wants done is given to `effects`, which must not
/// block; what others want of it comes by `commands`. Those that it did not get to are dropped when it ends.
///
/// Dropping the future stops the machine where it is; a datagram about to be sent is lost.
///
/// # Errors
/// A socket failed for good.
pub async fn drive<R: Runtime, M: Machine>(
    runtime: R,
    machine: &mut M,
    sockets: Sockets<'_, R::Stream>,
    clock: &Clock,
    commands: Receiver<M::Command>,
    mut effects: impl FnMut(M::Effect),
) -> io::Result<()> {
    let rest = Rest(commands.clone());
    let mut link = Link::new(sockets.udp, runtime.udp(sockets.udp.as_std().try_clone()?)?);
    let mut https = sockets.https;
    let (mut streams, came) = Streams::new(runtime.clone(), https.is_some());
    // Each place says two things at most, and the machine's gate bounds the places.
    let (tell, places) = async_channel::unbounded();
    if let Some(listener) = sockets.tcp {
        listener.set_nonblocking(true)?;
        streams.listen(runtime.listener(listener)?);
    }
    let mut batch = RecvBatch::new();
    let mut alarm = Alarm { timer: runtime.timer(), rings: None };
    let (commands, came, places) = (pin!(commands), pin!(came), pin!(places));
    let (mut commands, mut came, mut places) = (Queue::new(commands), Queue::new(came), Queue::new(places));
    let mut now = clock.now();
    loop {
        // Drain.
        let wait = match drain(machine, now, &mut link, &mut streams, &mut effects) {
            Drained::Done => break,
            Drained::More => None,
            Drained::Wait(at) => Some(at),
        };

        // Sleep, unless there is more to do; even then let others run and the socket stir.
        let (mut command, mut input, mut place) = (None, None, None);
        if let Some(at) = wait {
            let at = if link.is_blocked() {
                let tick = now.mono + BLOCKED_TICK;
                Some(at.filter(|at| *at > now.mono).map_or(tick, |at| at.min(tick)))
            } else {
                at
            };
            alarm.arm(at, clock);
            poll_fn(|cx| {
                let stirred = alarm.poll(cx)
                    | link.poll(cx)?
                    | woken(cx, &mut commands, &mut command)
                    | woken(cx, &mut came, &mut input)
                    | woken(cx, &mut places, &mut place);
                if stirred { Poll::Ready(Ok::<_, io::Error>(())) } else { Poll::Pending }
            })
            .await?;
        } else {
            let mut yielded = false;
            poll_fn(|cx| {
                link.poll(cx)?;
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(Ok::<_, io::Error>(()));
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await?;
        }

        // Take what came: one batch of each, so that none starves the others.
        now = clock.now();
        link.receive(&mut batch)?;
        for received in batch.iter() {
            machine.datagram(now, received);
        }
        came.take(input, MAX_COMMANDS, |came| match came {
            Some(Came::Accepted(stream, remote)) => {
                // One that is not let in is dropped.
                if let Some(id) = machine.accept(now, remote) {
                    streams.accepted(id, stream, remote);
                }
            }
            Some(Came::Tls(id, stream, remote)) => {
                streams.over(id);
                // One that was given up meanwhile is dropped.
                if let Some(https) = &mut https
                    && machine.hand_over(now, id)
                {
                    https(Visitor { stream, remote, place: Place::new(id, tell.clone()) });
                }
            }
            Some(Came::Input(id, input)) => {
                if input == StreamInput::Closed {
                    streams.over(id);
                }
                machine.stream(now, id, input);
            }
            None => {}
        });
        places.take(place, MAX_COMMANDS, |place| {
            if let Some((id, input)) = place {
                machine.stream(now, id, input);
            }
        });
        commands.take(command, MAX_COMMANDS, |command| match command {
            Some(command) => machine.command(now, command),
            None => machine.commands_closed(now),
        });
        // A machine that still had outputs did not say its deadline; asking too early does no harm.
        if wait.is_none_or(|at| at.is_some_and(|at| at <= now.mono)) {
            machine.timeout(now);
        }
    }
    // Nobody takes what is wanted, or what streams bring, any more.
    drop(rest);
    came.close();
    streams.finish().await;
    Ok(())
}

/// Commands that nobody takes any more, however the loop ends: none is added, and those that wait are dropped. A queue without a
/// receiver would keep them for as long as it has a sender, which a command may be itself; and somebody waits for what it answers.
struct Rest<C>(Receiver<C>);

impl<C> Drop for Rest<C> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

/// How a drain ended.
enum Drained {
    Wait(Option<Instant>),
    More,
    Done,
}

fn drain<R: Runtime, M: Machine>(
    machine: &mut M,
    now: ntproto_core::time::Now,
    link: &mut Link<'_, R::Udp>,
    streams: &mut Streams<R>,
    effects: &mut impl FnMut(M::Effect),
) -> Drained {
    link.flush();
    for _ in 0..MAX_OUTPUTS {
        let tx = if link.is_blocked() { None } else { Some(&mut link.tx) };
        match machine.poll(now, tx) {
            Step::Transmit(transmit) => link.send(transmit),
            Step::Stream(id, step) => streams.step(id, step),
            Step::Effect(effect) => effects(effect),
            Step::Wait(at) => return Drained::Wait(at),
            Step::Done if link.is_blocked() => return Drained::Wait(None),
            Step::Done => return Drained::Done,
        }
    }
    Drained::More
}

/// Whether the queue woke the loop; with what is put where it belongs.
fn woken<C>(cx: &mut Context<'_>, queue: &mut Queue<'_, C>, to: &mut Woken<C>) -> bool {
    match queue.poll(cx) {
        Poll::Ready(came) => {
            *to = Some(came);
            true
        }
        Poll::Pending => false,
    }
}

/// The runtime's timer. It is moved only to ring earlier; when it rings early for a deadline that has moved on, it is
/// set again: deadlines move with every packet, and a wake-up a round trip is cheaper than a move a packet.
struct Alarm<T> {
    timer: T,
    /// When it rings; `None` once it has.
    rings: Option<Instant>,
}

impl<T: Timer> Alarm<T> {
    fn arm(&mut self, at: Option<Instant>, clock: &Clock) {
        let Some(at) = at else { return };
        if self.rings.is_none_or(|rings| at < rings) {
            // By what is left, not by the date: the runtime's clock may stop while the device sleeps, ours does not.
            self.timer.set(at.saturating_since(clock.mono()));
            self.rings = Some(at);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let rang = self.rings.is_some() && self.timer.poll(cx).is_ready();
        if rang {
            self.rings = None;
        }
        rang
    }
}
