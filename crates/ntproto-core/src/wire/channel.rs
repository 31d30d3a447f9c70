//! The four channels (specification, "Channels").

/// An ordered byte stream with keys of its own; MEDIA is datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Authentication, liveness, tickets, closing. Never waits behind messages.
    Control = 0,
    /// Messages and requests.
    Message = 1,
    /// Inbox pages.
    Sync = 2,
    /// Media datagrams.
    Media = 3,
}

impl Channel {
    /// The channels that are streams, most urgent first.
    pub const STREAMS: [Self; 3] = [Self::Control, Self::Message, Self::Sync];
    /// Every channel.
    pub const ALL: [Self; 4] = [Self::Control, Self::Message, Self::Sync, Self::Media];

    /// The channel with this number.
    #[must_use]
    pub const fn from_wire(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Control),
            1 => Some(Self::Message),
            2 => Some(Self::Sync),
            3 => Some(Self::Media),
            _ => None,
        }
    }

    /// Its number, which is also its place in an array.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A set of channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelSet(u8);

impl ChannelSet {
    /// No channel.
    pub const NONE: Self = Self(0);
    /// Every channel.
    pub const ALL: Self = Self(0b1111);

    /// With `channel` added.
    #[must_use]
    pub const fn with(self, channel: Channel) -> Self {
        Self(self.0 | 1 << channel as u8)
    }

    /// With `channel` taken out.
    #[must_use]
    pub const fn without(self, channel: Channel) -> Self {
        Self(self.0 & !(1 << channel as u8))
    }

    /// Whether `channel` is in it.
    #[must_use]
    pub const fn contains(self, channel: Channel) -> bool {
        self.0 & (1 << channel as u8) != 0
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for channel in Channel::ALL {
            let one = ChannelSet::NONE.with(channel);
            assert!(one.contains(channel) && !one.is_empty());
            assert!(one.without(channel).is_empty());
            assert!(!ChannelSet::ALL.without(channel).contains(channel));
            assert_eq!(ChannelSet::ALL.without(channel).with(channel), ChannelSet::ALL);
            assert_eq!(Channel::from_wire(channel as u8), Some(channel));
        }
        assert_eq!(Channel::from_wire(4), None);
    }
}
