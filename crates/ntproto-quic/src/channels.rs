//! Channels on streams: CONTROL, MESSAGE and SYNC are the client's bidirectional streams 0, 1 and 2.
//!
//! Both sides take the three as open once the handshake is complete, so a server may speak first on any of
//! them. They live as long as the connection: a peer that ends or resets one breaks the protocol.

use ntproto_core::wire::channel::Channel;
use quinn_proto::{Dir, Side, StreamEvent, StreamId};

use crate::slots::Slot;

/// CONTROL goes out before the others, which share what is left evenly.
pub(crate) const CONTROL_PRIORITY: i32 = 1;

/// The stream of a channel; MEDIA has none.
pub(crate) fn stream_of(channel: Channel) -> Option<StreamId> {
    match channel {
        Channel::Media => None,
        _ => Some(StreamId::new(Side::Client, Dir::Bi, channel.index() as u64)),
    }
}

/// The channel of a stream, if it carries one.
pub(crate) fn channel_of(stream: StreamId) -> Option<Channel> {
    if stream.initiator() != Side::Client || stream.dir() != Dir::Bi {
        return None;
    }
    Channel::STREAMS.into_iter().find(|channel| channel.index() as u64 == stream.index())
}

/// Notes what happened to a stream of a connection that has channels. `false`: nothing its host should hear of.
pub(crate) fn channel_event(slot: &mut Slot, event: StreamEvent) -> Result<bool, &'static str> {
    match event {
        StreamEvent::Opened { dir } => {
            let Some(quic) = slot.quic.as_deref_mut() else { return Ok(false) };
            while let Some(stream) = quic.streams().accept(dir) {
                //= spec: quic-10
                let channel = channel_of(stream).ok_or("the peer opened a stream that is no channel")?;
                slot.readable = slot.readable.with(channel);
            }
        }
        StreamEvent::Readable { id } => match channel_of(id) {
            Some(channel) => slot.readable = slot.readable.with(channel),
            None => return Ok(false),
        },
        StreamEvent::Writable { id } => match channel_of(id) {
            Some(channel) => slot.writable = slot.writable.with(channel),
            None => return Ok(false),
        },
        //= spec: quic-2
        StreamEvent::Stopped { id, .. } if channel_of(id).is_some() => {
            return Err("the peer stopped reading a channel");
        }
        StreamEvent::Stopped { .. } | StreamEvent::Finished { .. } | StreamEvent::Available { .. } => {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_channels_map_both_ways() {
        for channel in Channel::STREAMS {
            let stream = stream_of(channel).expect("a stream channel");
            assert_eq!(u64::from(quinn_proto::VarInt::from(stream)), 4 * channel.index() as u64);
            assert_eq!(channel_of(stream), Some(channel));
        }
        assert_eq!(stream_of(Channel::Media), None);
        assert_eq!(channel_of(StreamId::new(Side::Client, Dir::Bi, 3)), None);
        assert_eq!(channel_of(StreamId::new(Side::Server, Dir::Bi, 0)), None);
        assert_eq!(channel_of(StreamId::new(Side::Client, Dir::Uni, 0)), None);
    }
}
