//! Packets: what a sealed frame holds, one or more of them (specification, "Packets").
//!
//! ```text
//! u16 id · u16 flags · u32 request id · u32 body length · [u32 deadline] · [25 bytes trace] · body
//! ```

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::Hidden;

use super::channel::Channel;

/// Bytes of the fixed part.
pub const HEADER_LEN: usize = 12;
/// Bytes of the optional deadline.
pub const DEADLINE_LEN: usize = 4;
/// Bytes of the optional trace context: trace id (16), parent id (8) and flags (1) of a W3C trace context. Its
/// version is always 00 and not sent.
pub const TRACE_LEN: usize = 25;

/// What a packet asks for or tells. Numbers from [`PacketId::APPLICATION`] on are for applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u16);

macro_rules! packets {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl PacketId {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every packet of ours.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the specification, if it is one of ours.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

packets! {
    /// SendRequest → SendResponse.
    SEND = 0x0101;
    /// Push: Notify.
    NOTIFY = 0x0102;
    /// DeliveredRequest → DeliveredResponse.
    DELIVERED = 0x0103;
    /// TypingRequest → TypingResponse; pushed as TypingPush.
    TYPING = 0x0105;
    /// MarksRequest → MarksResponse.
    MARKS = 0x0106;
    /// SyncRequest → SyncResponse, on the sync channel.
    SYNC = 0x0201;
    /// HistoryRequest → HistoryResponse, on the sync channel.
    HISTORY = 0x0202;
    /// SnapshotRequest → SnapshotResponse, on the sync channel.
    SNAPSHOT = 0x0203;
    /// Push: Dirty.
    DIRTY = 0x0204;
    /// DevicesRequest → DevicesResponse.
    DEVICES = 0x0301;
    /// RevokeDeviceRequest → RevokeDeviceResponse.
    REVOKE_DEVICE = 0x0302;
    /// InviteRequest → InviteResponse.
    INVITE = 0x0303;
    /// AdminAccountsRequest → AdminAccountsResponse.
    ADMIN_ACCOUNTS = 0x0401;
    /// AdminDevicesRequest → DevicesResponse.
    ADMIN_DEVICES = 0x0402;
    /// AdminInviteRequest → InviteResponse.
    ADMIN_INVITE = 0x0403;
    /// AdminRevokeRequest → RevokeDeviceResponse.
    ADMIN_REVOKE = 0x0404;
    /// AdminGroupsRequest → AdminGroupsResponse.
    ADMIN_GROUPS = 0x0405;
    /// AdminStatsRequest → AdminStatsResponse.
    ADMIN_STATS = 0x0406;
    /// AdminBackupRequest → AdminBackupResponse.
    ADMIN_BACKUP = 0x0407;
    /// AdminVerifyRequest → AdminVerifyResponse.
    ADMIN_VERIFY = 0x0408;
    /// AdminAuditRequest → AdminAuditResponse.
    ADMIN_AUDIT = 0x0409;
    /// ProfileSetRequest → ProfileSetResponse.
    PROFILE_SET = 0x0501;
    /// ProfilesRequest → ProfilesResponse.
    PROFILES = 0x0502;
    /// FriendRequestRequest → FriendResponse.
    FRIEND_REQUEST = 0x0503;
    /// FriendAnswerRequest → FriendResponse.
    FRIEND_ANSWER = 0x0504;
    /// FriendUpdateRequest → FriendResponse.
    FRIEND_UPDATE = 0x0505;
    /// FriendDeleteRequest → FriendResponse.
    FRIEND_DELETE = 0x0506;
    /// FriendsRequest → FriendsResponse.
    FRIENDS = 0x0507;
    /// GroupCreateRequest → GroupResponse.
    GROUP_CREATE = 0x0601;
    /// GroupGetRequest → GroupGetResponse.
    GROUP_GET = 0x0602;
    /// GroupUpdateRequest → GroupResponse.
    GROUP_UPDATE = 0x0603;
    /// GroupInviteRequest → GroupResponse.
    GROUP_INVITE = 0x0604;
    /// GroupRequest → GroupResponse.
    GROUP_JOIN = 0x0605;
    /// GroupRequest → GroupResponse.
    GROUP_LEAVE = 0x0606;
    /// GroupRemoveRequest → GroupResponse.
    GROUP_REMOVE = 0x0607;
    /// GroupRequest → GroupResponse.
    GROUP_DISSOLVE = 0x0608;
    /// GroupRoleRequest → GroupResponse.
    GROUP_ROLE = 0x0609;
    /// GroupMuteRequest → GroupResponse.
    GROUP_MUTE = 0x060a;
    /// GroupMembersRequest → GroupMembersResponse.
    GROUP_MEMBERS = 0x060b;
    /// GroupChangesRequest → GroupChangesResponse.
    GROUP_CHANGES = 0x060c;
    /// GroupsRequest → GroupsResponse.
    GROUPS = 0x060d;
    /// Push: GroupDelta.
    GROUP_DELTA = 0x060e;
    /// PresenceSetRequest → PresenceSetResponse.
    PRESENCE_SET = 0x0701;
    /// PresenceSubscribeRequest → PresenceSubscribeResponse.
    PRESENCE_SUBSCRIBE = 0x0702;
    /// Push: PresencePush.
    PRESENCE = 0x0703;
}

impl PacketId {
    /// The first id that is for applications; all above it are too.
    pub const APPLICATION: Self = Self(0x8000);

    /// Whether it is for applications to give a meaning to.
    ///
    /// ```
    /// use ntproto_core::wire::packet::PacketId;
    /// assert!(PacketId(0x8001).is_application() && !PacketId::SEND.is_application());
    /// ```
    #[must_use]
    pub const fn is_application(self) -> bool {
        self.0 >= Self::APPLICATION.0
    }

    /// The channel its requests travel on: what reads back much stays out of the way of messages.
    ///
    /// ```
    /// use ntproto_core::wire::{channel::Channel, packet::PacketId};
    /// assert_eq!(PacketId::HISTORY.channel(), Channel::Sync);
    /// assert_eq!(PacketId(0x8001).channel(), Channel::Message);
    /// ```
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::SYNC | Self::HISTORY | Self::SNAPSHOT => Channel::Sync,
            _ => Channel::Message,
        }
    }

    /// Whether it is for administrators only, one without a meaning included.
    ///
    /// ```
    /// use ntproto_core::wire::packet::PacketId;
    /// assert!(PacketId::ADMIN_STATS.is_admin() && PacketId(0x04ff).is_admin() && !PacketId::SEND.is_admin());
    /// ```
    #[must_use]
    pub const fn is_admin(self) -> bool {
        self.0 >> 8 == Self::ADMIN_ACCOUNTS.0 >> 8
    }
}

/// Whether a packet asks, answers or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer with its request id (never 0).
    Request(u32),
    /// The answer to a request.
    Response(u32),
    /// The refusal of a request; the body is an `Error`.
    Error(u32),
    /// Wants no answer.
    Push,
}

/// One packet. The body shares the frame's buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is about.
    pub id: PacketId,
    /// Whether it asks, answers or tells.
    pub kind: Kind,
    /// Milliseconds left to the asker, on a request.
    pub deadline_ms: Option<u32>,
    /// The trace it belongs to.
    pub trace: Option<[u8; TRACE_LEN]>,
    /// A protobuf message, decoded by whoever handles the id.
    pub body: Bytes,
}

impl fmt::Debug for Packet {
    /// Without the body, which may hold an invitation or what somebody wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("deadline_ms", &self.deadline_ms)
            .field("trace", &self.trace)
            .field("body", &Hidden(&self.body))
            .finish()
    }
}

const RESPONSE: u16 = 1;
const ERROR: u16 = 2;
const DEADLINE: u16 = 4;
const TRACE: u16 = 8;
/// Flags that change how a packet is read: an unknown one can't be skipped.
const CRITICAL: u16 = 0x00ff;

/// Why a plaintext is no sequence of packets. The sender is authenticated, so this is its bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// The plaintext ends inside a packet.
    Truncated,
    /// Flags that contradict each other or are not known.
    Flags(u16),
    /// A request, response or error with request id 0, or a push with another.
    RequestId,
    /// A frame without a packet.
    Empty,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the plaintext ends inside a packet"),
            Self::Flags(x) => write!(f, "packet flags {x:#06x} make no sense"),
            Self::RequestId => f.write_str("a request id where none may be, or none where one must be"),
            Self::Empty => f.write_str("a frame without a packet"),
        }
    }
}

impl core::error::Error for PacketError {}

impl Packet {
    /// Bytes on the wire.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN
            + self.deadline_ms.map_or(0, |_| DEADLINE_LEN)
            + self.trace.map_or(0, |_| TRACE_LEN)
            + self.body.len()
    }

    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Self::encode_parts(self.id, self.kind, self.deadline_ms, self.trace.as_ref(), &self.body, out);
    }

    /// Appends a packet that is not in one piece to `out`.
    pub fn encode_parts(
        id: PacketId,
        kind: Kind,
        deadline_ms: Option<u32>,
        trace: Option<&[u8; TRACE_LEN]>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let (mut flags, request_id) = match kind {
            Kind::Request(n) => (0, n),
            Kind::Response(n) => (RESPONSE, n),
            Kind::Error(n) => (RESPONSE | ERROR, n),
            Kind::Push => (0, 0),
        };
        flags |= if deadline_ms.is_some() { DEADLINE } else { 0 };
        flags |= if trace.is_some() { TRACE } else { 0 };
        let mut len = HEADER_LEN;
        let mut head = [0; HEADER_LEN + DEADLINE_LEN];
        head[..2].copy_from_slice(&id.0.to_be_bytes());
        //= spec: packets-3
        head[2..4].copy_from_slice(&flags.to_be_bytes());
        head[4..8].copy_from_slice(&request_id.to_be_bytes());
        head[8..HEADER_LEN].copy_from_slice(&(body.len() as u32).to_be_bytes());
        if let Some(ms) = deadline_ms {
            head[HEADER_LEN..].copy_from_slice(&ms.to_be_bytes());
            len += DEADLINE_LEN;
        }
        out.extend_from_slice(&head[..len]);
        if let Some(trace) = trace {
            out.extend_from_slice(trace);
        }
        out.extend_from_slice(body);
    }

    /// Reads the packet at the start of `plaintext` and leaves the rest there.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn decode(plaintext: &mut Bytes) -> Result<Self, PacketError> {
        let head: [u8; HEADER_LEN] = take(plaintext)?;
        let id = PacketId(u16::from_be_bytes([head[0], head[1]]));
        let flags = u16::from_be_bytes([head[2], head[3]]);
        let request_id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        //= spec: packets-1, packets-2
        if flags & CRITICAL & !(RESPONSE | ERROR | DEADLINE | TRACE) != 0 {
            return Err(PacketError::Flags(flags));
        }
        let kind = match (flags & RESPONSE != 0, flags & ERROR != 0, request_id) {
            (false, true, _) => return Err(PacketError::Flags(flags)),
            (true, _, 0) => return Err(PacketError::RequestId),
            (true, true, n) => Kind::Error(n),
            (true, false, n) => Kind::Response(n),
            (false, false, 0) => Kind::Push,
            (false, false, n) => Kind::Request(n),
        };
        if flags & DEADLINE != 0 && !matches!(kind, Kind::Request(_)) {
            return Err(PacketError::Flags(flags));
        }
        let deadline_ms = match flags & DEADLINE {
            0 => None,
            _ => Some(u32::from_be_bytes(take(plaintext)?)),
        };
        let trace = match flags & TRACE {
            0 => None,
            _ => Some(take(plaintext)?),
        };
        if plaintext.len() < len {
            return Err(PacketError::Truncated);
        }
        let body = plaintext.split_to(len);
        Ok(Self { id, kind, deadline_ms, trace, body })
    }
}

fn take<const N: usize>(from: &mut Bytes) -> Result<[u8; N], PacketError> {
    let out = *from.first_chunk().ok_or(PacketError::Truncated)?;
    bytes::Buf::advance(from, N);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_packet() -> impl Strategy<Value = Packet> {
        let kind = prop_oneof![
            (1..=u32::MAX).prop_map(Kind::Request),
            (1..=u32::MAX).prop_map(Kind::Response),
            (1..=u32::MAX).prop_map(Kind::Error),
            Just(Kind::Push),
        ];
        let body = prop::collection::vec(any::<u8>(), 0..300);
        let trace = proptest::option::of(prop::collection::vec(any::<u8>(), TRACE_LEN));
        (any::<u16>(), kind, any::<Option<u32>>(), trace, body).prop_map(
            |(id, kind, deadline, trace, body)| Packet {
                id: PacketId(id),
                kind,
                deadline_ms: deadline.filter(|_| matches!(kind, Kind::Request(_))),
                trace: trace.map(|t| t.try_into().unwrap()),
                body: body.into(),
            },
        )
    }

    proptest! {
        //= proof: packets-3
        #[test]
        fn round_trip(packets in prop::collection::vec(any_packet(), 1..8)) {
            let mut plain = Vec::new();
            for p in &packets {
                let before = plain.len();
                p.encode(&mut plain);
                prop_assert_eq!(plain.len() - before, p.encoded_len());
            }
            let mut plain = Bytes::from(plain);
            let mut got = Vec::new();
            while !plain.is_empty() {
                got.push(Packet::decode(&mut plain).unwrap());
            }
            prop_assert_eq!(got, packets);
        }

        #[test]
        fn noise_never_panics_and_always_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut plain = Bytes::from(bytes);
            while !plain.is_empty() {
                let before = plain.len();
                if Packet::decode(&mut plain).is_err() { break; }
                prop_assert!(plain.len() < before);
            }
        }

        //= proof: packets-2
        #[test]
        fn what_decodes_encodes_the_same(bytes in prop::collection::vec(0..16u8, 12..60)) {
            let mut plain = Bytes::from(bytes.clone());
            if let Ok(p) = Packet::decode(&mut plain) {
                let mut again = Vec::new();
                p.encode(&mut again);
                let used = bytes.len() - plain.len();
                // Bits outside the critical byte are not kept.
                let mut expect = bytes[..used].to_vec();
                expect[2] = 0;
                prop_assert_eq!(again, expect);
            }
        }
    }

    //= proof: packets-1
    #[test]
    fn contradictions_are_refused() {
        let mut bytes = [0u8; HEADER_LEN];
        bytes[3] = ERROR as u8;
        assert_eq!(Packet::decode(&mut Bytes::copy_from_slice(&bytes)), Err(PacketError::Flags(2)));
        bytes[3] = RESPONSE as u8;
        assert_eq!(Packet::decode(&mut Bytes::copy_from_slice(&bytes)), Err(PacketError::RequestId));
        bytes[3] = 0x40;
        assert_eq!(Packet::decode(&mut Bytes::copy_from_slice(&bytes)), Err(PacketError::Flags(0x40)));
        bytes = [0; HEADER_LEN];
        bytes[8..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Packet::decode(&mut Bytes::copy_from_slice(&bytes)), Err(PacketError::Truncated));
    }
}
