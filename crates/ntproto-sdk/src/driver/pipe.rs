//! The bytes of a connection's channels that the transport has not taken yet.

use ntproto_core::time::Now;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_net::{ConnId, Endpoint};

/// What is left of one transmit of each channel: a channel gives no more until it is gone, so the bound is one
/// frame a channel.
#[derive(Default)]
pub(super) struct Pipe {
    left: [Vec<u8>; 3],
    blocked: ChannelSet,
}

impl Pipe {
    /// The channels that take bytes.
    pub(super) fn writable(&self) -> ChannelSet {
        Channel::STREAMS.into_iter().fold(ChannelSet::ALL, |set, channel| {
            if self.blocked.contains(channel) { set.without(channel) } else { set }
        })
    }

    /// Writes `data`, or keeps what the transport does not take. Returns whether the channel takes more.
    pub(super) fn write(
        &mut self,
        now: Now,
        net: &mut Endpoint,
        conn: ConnId,
        channel: Channel,
        data: &[u8],
    ) -> bool {
        let Some(left) = self.left.get_mut(channel.index()) else { return true };
        let done = net.with(now, conn, |c| c.write(channel, data)).unwrap_or(data.len());
        left.extend_from_slice(&data[done..]);
        if left.is_empty() {
            return true;
        }
        self.blocked = self.blocked.with(channel);
        false
    }

    /// The transport takes bytes of this channel again. Returns whether the core may too.
    pub(super) fn resume(&mut self, now: Now, net: &mut Endpoint, conn: ConnId, channel: Channel) -> bool {
        let Some(left) = self.left.get_mut(channel.index()) else { return false };
        let done = net.with(now, conn, |c| c.write(channel, left)).unwrap_or(left.len());
        left.drain(..done);
        if !left.is_empty() {
            return false;
        }
        *left = Vec::new();
        self.blocked = self.blocked.without(channel);
        true
    }
}
