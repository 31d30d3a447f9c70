//! Where connections live: a slot each, found by name or by quinn's handle in one step.

use bytes::Bytes;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use quinn_proto::{Connection, ConnectionHandle};
use std::net::SocketAddr;

use crate::hello::Hello;
use crate::streams::Streams;
use crate::{Closed, ConnId, Event};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until the handshake completes, or this deadline comes.
    Handshake(Instant),
    /// Channels are open.
    Open,
    /// Its end is known: no more bytes are taken.
    Over,
}

/// A connection and what its host has yet to hear.
pub(crate) struct Slot {
    pub(crate) id: ConnId,
    pub(crate) handle: ConnectionHandle,
    /// Gone once it has drained; the slot stays until `Closed` was told.
    pub(crate) quic: Option<Box<Connection>>,
    pub(crate) server: bool,
    pub(crate) phase: Phase,
    /// Whether the host knows of it: a server's host first hears of a connection when it is connected.
    pub(crate) announced: bool,
    /// Whether the channels are used before the handshake is complete, and whether its host is to be told so.
    pub(crate) early: bool,
    pub(crate) early_from: Option<SocketAddr>,
    pub(crate) hello: Option<Box<Hello>>,
    pub(crate) readable: ChannelSet,
    pub(crate) writable: ChannelSet,
    pub(crate) datagrams: bool,
    /// In place of channels, when another protocol is spoken.
    pub(crate) streams: Option<Box<Streams>>,
    /// CONTROL waits until the peer has acknowledged everything before it.
    pub(crate) control_last: bool,
    pub(crate) closed: Option<Closed>,
    /// The close to send once what was written before it is out.
    pub(crate) farewell: Option<(u32, Bytes)>,
    pub(crate) in_ready: bool,
    pub(crate) in_events: bool,
    pub(crate) armed: Option<Instant>,
}

impl Slot {
    /// The next thing to tell.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let conn = self.id;
        if let Some(remote) = self.early_from.take() {
            return Some(Event::Early { conn, remote });
        }
        if let Some(hello) = self.hello.take() {
            let Hello { alpn, binding, remote, early } = *hello;
            return Some(Event::Connected { conn, alpn, binding, remote, early });
        }
        if let Some(channel) = pop(&mut self.readable) {
            return Some(Event::Readable { conn, channel });
        }
        if let Some(channel) = pop(&mut self.writable) {
            return Some(Event::Writable { conn, channel });
        }
        if self.streams.as_mut().is_some_and(|streams| std::mem::take(&mut streams.stirred)) {
            return Some(Event::Streams { conn });
        }
        if std::mem::take(&mut self.datagrams) {
            return Some(Event::Datagram { conn });
        }
        self.closed.take().map(|reason| Event::Closed { conn, reason })
    }

    /// Whether the channels may be used.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open || (self.early && self.phase != Phase::Over)
    }

    /// Whether nobody needs it any more.
    pub(crate) fn is_free(&self) -> bool {
        self.quic.is_none() && !(self.announced && self.closed.is_some())
    }

    /// Whether its host has heard, or will never hear, that it is over.
    pub(crate) fn is_told(&self) -> bool {
        self.phase == Phase::Over && self.closed.is_none()
    }
}

fn pop(set: &mut ChannelSet) -> Option<Channel> {
    let channel = Channel::STREAMS.into_iter().find(|channel| set.contains(*channel))?;
    *set = set.without(channel);
    Some(channel)
}

/// No slot for this handle.
const NONE: u32 = u32::MAX;

/// All slots.
#[derive(Default)]
pub(crate) struct Slots {
    list: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    by_handle: Vec<u32>,
    used: usize,
    count: u64,
}

impl Slots {
    /// How many are in use.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Gives a connection a slot and a name.
    pub(crate) fn insert(
        &mut self,
        handle: ConnectionHandle,
        quic: Connection,
        server: bool,
        deadline: Instant,
    ) -> (u32, ConnId) {
        let no = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as u32
        });
        self.count += 1;
        self.used += 1;
        let id = ConnId::new(self.count, no);
        if self.by_handle.len() <= handle.0 {
            self.by_handle.resize(handle.0 + 1, NONE);
        }
        self.by_handle[handle.0] = no;
        self.list[no as usize] = Some(Box::new(Slot {
            id,
            handle,
            quic: Some(Box::new(quic)),
            server,
            phase: Phase::Handshake(deadline),
            announced: !server,
            early: false,
            early_from: None,
            hello: None,
            readable: ChannelSet::NONE,
            writable: ChannelSet::NONE,
            datagrams: false,
            streams: None,
            control_last: false,
            closed: None,
            farewell: None,
            in_ready: false,
            in_events: false,
            armed: None,
        }));
        (no, id)
    }

    /// The slot with this number.
    pub(crate) fn get(&mut self, no: u32) -> Option<&mut Slot> {
        self.list.get_mut(no as usize)?.as_deref_mut()
    }

    /// The number of a connection the host may still speak of.
    pub(crate) fn find(&self, id: ConnId) -> Option<u32> {
        let no = id.slot();
        let slot = self.list.get(no as usize)?.as_deref()?;
        (slot.id == id && slot.announced && !slot.is_told()).then_some(no)
    }

    /// The number of the connection quinn calls `handle`.
    pub(crate) fn by_handle(&self, handle: ConnectionHandle) -> Option<u32> {
        self.by_handle.get(handle.0).copied().filter(|no| *no != NONE)
    }

    /// quinn has forgotten `handle` and may use it again.
    pub(crate) fn unhandle(&mut self, handle: ConnectionHandle) {
        if let Some(no) = self.by_handle.get_mut(handle.0) {
            *no = NONE;
        }
    }

    /// Empties a slot for the next connection.
    pub(crate) fn remove(&mut self, no: u32) {
        if self.list.get_mut(no as usize).is_some_and(|slot| slot.take().is_some()) {
            self.free.push(no);
            self.used -= 1;
        }
    }

    /// The numbers of all slots in use. Walks every slot: for shutting down, not for a poll.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        (0..self.list.len() as u32).filter(|no| self.list[*no as usize].is_some()).collect()
    }
}
