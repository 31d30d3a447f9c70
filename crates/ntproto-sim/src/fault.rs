//! What can go wrong, and which of it does in a seed.

use std::fmt;

/// Which machines are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Client machines and the hub over simulated reliable byte streams: fast.
    Streams,
    /// The same over real QUIC and real TLS, with a link that loses datagrams, and over TCP, with switches between them.
    Quic,
    /// Uploads and downloads: the machines of transfers and of the HTTP surface.
    Files,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 3] = [Self::Streams, Self::Quic, Self::Files];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Quic => "quic",
            Self::Files => "files",
        }
    }

    /// Reads its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $streams:literal, $quic:literal, $files:literal;)*) => {
        /// A class of faults, on or off in a seed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether a plan knows it.
            #[must_use]
            pub const fn in_plan(self, plan: Plan) -> bool {
                match (self, plan) {
                    $(
                        (Self::$name, Plan::Streams) => $streams,
                        (Self::$name, Plan::Quic) => $quic,
                        (Self::$name, Plan::Files) => $files,
                    )*
                }
            }
        }
    };
}

faults! {
    /// Delays of up to 5 s now and then.
    Delay = "delay", true, true, true;
    /// Bytes arrive in pieces of any size.
    Chunks = "chunks", true, true, true;
    /// A stream stands still for a while, the others do not.
    Stall = "stall", true, true, true;
    /// Connections are reset, what was in flight is gone; a side may learn it late or never.
    Reset = "reset", true, true, true;
    /// A reset leaves part of what was in flight, cut anywhere.
    Truncate = "truncate", true, false, false;
    /// One direction of a device's network is cut.
    OneWay = "one-way", true, true, false;
    /// A device's network is cut, and new connections fail.
    Partition = "partition", true, true, true;
    /// A bit flips on the way.
    BitFlip = "bit-flip", true, true, false;
    /// A bit flips and the checksum is made to match.
    ForgedCrc = "forged-crc", true, false, false;
    /// Windows are small and the receiver is slow; over datagrams, sockets are full now and then.
    Backpressure = "backpressure", true, true, false;
    /// Datagrams are lost, up to 30 %.
    Loss = "loss", false, true, false;
    /// Datagrams come twice.
    Duplicate = "duplicate", false, true, false;
    /// Datagrams overtake each other.
    Reorder = "reorder", false, true, false;
    /// Datagrams are cut short.
    ShortDatagram = "short-datagram", false, true, false;
    /// A device's address changes.
    Rebind = "rebind", false, true, false;
    /// The server's power fails, between write and fsync for preference.
    ServerCrash = "server-crash", true, true, true;
    /// The server's fsync fails.
    SyncFails = "sync-fails", true, true, true;
    /// The server's disk is full for a while.
    DiskFull = "disk-full", true, true, true;
    /// The server's fsync takes seconds.
    SlowDisk = "slow-disk", true, true, true;
    /// A device's power fails, between write and fsync for preference.
    ClientCrash = "client-crash", true, true, true;
    /// A device's disk is full, slow, or fails its fsync.
    ClientDisk = "client-disk", true, true, false;
    /// Wall clocks are off by up to ten minutes.
    Skew = "clock-skew", true, true, false;
    /// A device's wall clock jumps by up to a day.
    ClockJump = "clock-jump", true, true, false;
    /// The server's wall clock is set back, or forward, while it is down.
    ClockBack = "clock-back", true, true, false;
    /// A process stands still for a while.
    Freeze = "freeze", true, true, false;
    /// Tickets live for seconds.
    ShortTickets = "short-tickets", true, true, true;
    /// A device is revoked.
    Revoke = "revoke", true, true, false;
    /// A copy of a device connects.
    Supersede = "supersede", true, false, true;
    /// Somebody comes with a stolen, expired or revoked credential.
    Thief = "thief", true, false, false;
    /// Somebody repeats what was overheard, changes it, or sends noise.
    Replay = "replay", true, true, false;
    /// Messages have deadlines.
    Deadlines = "deadlines", true, true, false;
    /// Keys and tickets are renewed for no reason.
    Renewal = "renewal", true, true, false;
    /// An application closes its client, in the middle of things, and starts it again.
    Quit = "quit", true, true, true;
    /// A device's host takes what its machine has to say late.
    SlowHost = "slow-host", true, false, false;
    /// A TCP connection falls silent and nobody is told.
    HalfOpen = "half-open", false, true, true;
    /// TCP connections can't be had: refused, or no answer.
    DialFails = "dial-fails", false, true, false;
    /// The whole network carries no UDP for a while.
    UdpDown = "udp-down", false, true, false;
    /// The whole network carries no TCP for a while.
    TcpDown = "tcp-down", false, true, false;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(u64);

impl FaultSet {
    /// No class.
    pub const NONE: Self = Self(0);

    /// With `fault` added.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u8)
    }

    /// With `fault` taken out.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u8))
    }

    /// Whether `fault` is in it.
    #[must_use]
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u8) != 0
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |f| self.contains(*f))
    }

    /// Reads names with commas between them.
    ///
    /// # Errors
    /// A name that is none.
    pub fn parse(names: &str) -> Result<Self, String> {
        names.split(',').filter(|n| !n.is_empty()).try_fold(Self::NONE, |set, name| {
            match Fault::ALL.iter().find(|f| f.name() == name) {
                Some(fault) => Ok(set.with(*fault)),
                None => Err(format!("no fault class is named {name:?}")),
            }
        })
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Fault::name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_set_survives_the_command_line() {
        let set = FaultSet::NONE
            .with(Fault::Delay)
            .with(Fault::Renewal)
            .with(Fault::BitFlip)
            .without(Fault::BitFlip);
        assert_eq!(set.to_string(), "delay,renewal");
        assert_eq!(FaultSet::parse(&set.to_string()).unwrap(), set);
        assert!(FaultSet::parse("delay,typo").is_err());
        assert!(Fault::ALL.len() <= 64);
    }
}
