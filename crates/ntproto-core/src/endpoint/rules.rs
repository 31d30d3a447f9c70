//! Which frame may come when: the table type × channel × phase × side (specification, "Frame types").

use crate::code::ErrorCode;
use crate::wire::channel::Channel;
use crate::wire::frame::{Flags, FrameType};

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The peer's handshake message is awaited.
    Greeting,
    /// The server weighs the credential; the client may only give up.
    Deciding,
    /// The client has answered the challenge; the grant is awaited, sealed.
    Granting,
    /// Authenticated: every frame is sealed.
    Open,
    /// Over: whatever comes is dropped.
    Ended,
}

impl Phase {
    /// Whether frames are always sealed in this phase. While the server decides they are after a challenge, which
    /// leaves both sides with keys.
    #[must_use]
    pub const fn sealed(self) -> bool {
        matches!(self, Self::Open | Self::Granting)
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Take(FrameType),
    /// Unknown and ignorable, and authentic: passed over.
    Skip,
    /// Dropped without an answer: the connection is over.
    Drop,
    /// The connection ends with this code.
    Refuse(ErrorCode),
}

/// Judges a frame. In [`Phase::Open`] only after its tag was verified.
///
/// ```
/// use ntproto_core::endpoint::rules::*;
/// use ntproto_core::wire::{channel::Channel, frame::{Flags, FrameType}};
/// let early = verdict(Side::Server, Phase::Greeting, FrameType::MsgEncryptedV2 as u8, Flags(0), Channel::Message);
/// assert!(matches!(early, Verdict::Refuse(_)));
/// ```
#[must_use]
pub fn verdict(side: Side, phase: Phase, kind: u8, flags: Flags, channel: Channel) -> Verdict {
    //= spec: frames-6
    if phase == Phase::Ended {
        return Verdict::Drop;
    }
    let Some(known) = FrameType::from_wire(kind) else {
        return match phase {
            //= spec: frames-8
            Phase::Open if flags.contains(Flags::IGNORABLE) => Verdict::Skip,
            _ => Verdict::Refuse(ErrorCode::UnexpectedFrame),
        };
    };
    use FrameType as T;
    //= spec: frames-7
    let legal = match (channel, known) {
        //= spec: handshake-4
        (Channel::Control, T::AuthReq) => side == Side::Server && phase == Phase::Greeting,
        (Channel::Control, T::AuthResp) => {
            side == Side::Client && matches!(phase, Phase::Greeting | Phase::Granting)
        }
        (Channel::Control, T::Error | T::Close) => true,
        (Channel::Control, T::Heartbeat | T::HeartbeatAck | T::KeyUpdate) => phase == Phase::Open,
        (Channel::Control, T::TicketRefresh) => side == Side::Server && phase == Phase::Open,
        (Channel::Control, T::TicketIssue) => side == Side::Client && phase == Phase::Open,
        (Channel::Message, T::MsgEncryptedV2) | (Channel::Sync, T::SyncDelta) => phase == Phase::Open,
        _ => false,
    };
    if legal { Verdict::Take(known) } else { Verdict::Refuse(ErrorCode::UnexpectedFrame) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    /// The whole table, walked; the snapshot is what the specification prints.
    //= proof: frames-7, frames-8
    #[test]
    fn the_table() {
        let mut table = String::new();
        for side in [Side::Client, Side::Server] {
            for phase in [Phase::Greeting, Phase::Deciding, Phase::Granting, Phase::Open, Phase::Ended] {
                for channel in Channel::ALL {
                    for kind in 0..=255u8 {
                        for flags in [Flags(0), Flags::IGNORABLE] {
                            let name = match FrameType::from_wire(kind) {
                                Some(t) => t.name(),
                                None if kind == 200 => "(unknown)",
                                None => {
                                    // Every unknown number is judged alike.
                                    assert_eq!(
                                        verdict(side, phase, kind, flags, channel),
                                        verdict(side, phase, 200, flags, channel)
                                    );
                                    continue;
                                }
                            };
                            let v = verdict(side, phase, kind, flags, channel);
                            if matches!(v, Verdict::Take(_) | Verdict::Skip) {
                                table += &format!(
                                    "{side:?} {phase:?} {channel:?} {name}{} {} {}\n",
                                    if flags.0 == 0 { "" } else { " ignorable" },
                                    if phase.sealed() { "sealed" } else { "clear" },
                                    if v == Verdict::Skip { "skip" } else { "take" },
                                );
                            } else if phase == Phase::Ended {
                                assert_eq!(v, Verdict::Drop);
                            } else {
                                assert_eq!(v, Verdict::Refuse(ErrorCode::UnexpectedFrame));
                            }
                        }
                    }
                }
            }
        }
        insta::assert_snapshot!(table);
    }
}
