//! The other side of a connection under [`STUB`](crate::STUB): well-formed frames with any content.

use arbitrary::Arbitrary;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::session::records;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Flags, FrameType};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2::{self, auth_request, auth_response};
use prost::Message as _;

/// One thing a peer sends.
#[derive(Arbitrary, Debug)]
pub enum Sent<'a> {
    /// Bytes as they are.
    Raw { channel: u8, bytes: &'a [u8] },
    /// A frame in the clear.
    Clear { kind: u8, payload: Content<'a> },
    /// A sealed frame with the right numbers.
    Sealed { kind: u8, flags: u8, channel: u8, content: Content<'a> },
    /// A sealed frame with a wrong one.
    Misnumbered { kind: u8, channel: u8, frame_seq: u64, msg_seq: u64, content: Content<'a> },
}

/// What a frame holds.
#[derive(Arbitrary, Debug)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    AuthRequest(AuthRequest<'a>),
    Grant { session: &'a [u8], device: &'a [u8], version_known: bool, expires: u32 },
    Refusal(u8),
    Packets(Vec<AnyPacket<'a>>),
    Number(u64),
    Ticket { issued: u32, expires: u32 },
    Error { code: u32, detail: &'a str },
    Update(bool),
}

/// A handshake request, mostly legal.
#[derive(Arbitrary, Debug)]
pub struct AuthRequest<'a> {
    credential: u8,
    secret: &'a [u8],
    signing_key: Option<&'a [u8]>,
    versions: Vec<&'a str>,
    device_name: &'a str,
    timestamp_ms: u64,
    /// The cursor and the request id of a first page.
    early: Option<(u64, u32)>,
}

/// A packet of any kind.
#[derive(Arbitrary, Debug)]
pub struct AnyPacket<'a> {
    id: u16,
    kind: u8,
    request: u32,
    deadline: Option<u32>,
    body: Body<'a>,
}

/// What a packet says, to a server mostly.
#[derive(Arbitrary, Debug)]
pub enum Body<'a> {
    Bytes(&'a [u8]),
    Send { to: u8, id: u8, body: &'a [u8], resolve_only: bool },
    SendResponse { conv_seq: u8, position: u8, previous: u8, duplicate: bool },
    Sync { epoch: bool, cursor: u8, limit: u16 },
    Delivered(Vec<(u8, u16)>),
    Revoke([u8; 16]),
    Invite { uses: u16, lifetime: u32, may_invite: bool },
    Change { to: u8, id: u8, action: u8, target: u8, by_id: bool, body: &'a [u8] },
    Social(Social<'a>),
}

/// What accounts ask of each other, of groups and of the server. `other` and `group` are mostly there.
#[derive(Arbitrary, Debug)]
pub struct Social<'a> {
    what: u8,
    other: u8,
    group: u8,
    number: u8,
    flag: bool,
    text: &'a str,
}

impl Social<'_> {
    fn encode(&self) -> (PacketId, Vec<u8>) {
        use PacketId as P;
        let Self { what, other, group, number, flag, .. } = *self;
        let (uin, version, text) = (uin(other), u64::from(number), self.text.to_owned());
        let group_id = 1 + u64::from(group % 3);
        let one = v2::GroupRequest { group: group_id }.encode_to_vec();
        let conversation = conversation(other);
        let limit = u32::from(number);
        match what % 32 {
            0 => (P::PROFILE_SET, v2::ProfileSetRequest { nick: text, ..Default::default() }.encode_to_vec()),
            1 => (P::PROFILES, v2::ProfilesRequest { uins: vec![uin; usize::from(number)] }.encode_to_vec()),
            2 => (P::FRIEND_REQUEST, v2::FriendRequestRequest { uin, message: text }.encode_to_vec()),
            3 => (P::FRIEND_ANSWER, v2::FriendAnswerRequest { uin, accept: flag }.encode_to_vec()),
            4 => {
                let update = v2::FriendUpdateRequest { uin, blocked: Some(flag), ..Default::default() };
                (P::FRIEND_UPDATE, update.encode_to_vec())
            }
            5 => (P::FRIEND_DELETE, v2::FriendDeleteRequest { uin }.encode_to_vec()),
            6 => (P::FRIENDS, v2::FriendsRequest { after: version, limit }.encode_to_vec()),
            7 => {
                let request = vec![number; 16].into();
                let create =
                    v2::GroupCreateRequest { name: text, members: vec![uin], request, ..Default::default() };
                (P::GROUP_CREATE, create.encode_to_vec())
            }
            8 => (P::GROUP_GET, v2::GroupGetRequest { groups: vec![group_id] }.encode_to_vec()),
            9 => {
                let join = Some(i32::from(number));
                let update =
                    v2::GroupUpdateRequest { group: group_id, name: Some(text), join, ..Default::default() };
                (P::GROUP_UPDATE, update.encode_to_vec())
            }
            10 => {
                (P::GROUP_INVITE, v2::GroupInviteRequest { group: group_id, uins: vec![uin] }.encode_to_vec())
            }
            11 => (P::GROUP_JOIN, one),
            12 => (P::GROUP_LEAVE, one),
            13 => (P::GROUP_REMOVE, v2::GroupRemoveRequest { group: group_id, uin }.encode_to_vec()),
            14 => (P::GROUP_DISSOLVE, one),
            15 => {
                let role = i32::from(number % 4);
                (P::GROUP_ROLE, v2::GroupRoleRequest { group: group_id, uin, role }.encode_to_vec())
            }
            16 => {
                let until_ms = version << 40;
                (P::GROUP_MUTE, v2::GroupMuteRequest { group: group_id, uin, until_ms }.encode_to_vec())
            }
            17 => {
                let members = v2::GroupMembersRequest { group: group_id, page: number.into(), size: limit };
                (P::GROUP_MEMBERS, members.encode_to_vec())
            }
            18 => {
                let changes = v2::GroupChangesRequest { group: group_id, since: version, limit };
                (P::GROUP_CHANGES, changes.encode_to_vec())
            }
            19 => (P::GROUPS, v2::GroupsRequest { after: version, limit }.encode_to_vec()),
            20 => {
                let history =
                    v2::HistoryRequest { conversation, before_seq: version, limit, ..Default::default() };
                (P::HISTORY, history.encode_to_vec())
            }
            21 => (P::SNAPSHOT, v2::SnapshotRequest { after: conversation, limit }.encode_to_vec()),
            22 => (P::MARKS, v2::MarksRequest { conversation, after: version, limit }.encode_to_vec()),
            23 | 24 => {
                let set = v2::PresenceSetRequest { status: i32::from(other % 4), version };
                (P::PRESENCE_SET, set.encode_to_vec())
            }
            25 => {
                let (add, remove) = if flag { (vec![uin], vec![]) } else { (vec![], vec![uin]) };
                (P::PRESENCE_SUBSCRIBE, v2::PresenceSubscribeRequest { add, remove }.encode_to_vec())
            }
            26 | 27 => (P::TYPING, v2::TypingRequest { conversation, active: flag }.encode_to_vec()),
            28 => {
                let invite = v2::AdminInviteRequest {
                    uses: limit,
                    admin: flag,
                    uin: uin * u64::from(group % 2),
                    ..Default::default()
                };
                (P::ADMIN_INVITE, invite.encode_to_vec())
            }
            29 => (P::ADMIN_BACKUP, v2::AdminBackupRequest { name: text }.encode_to_vec()),
            30 => (P::ADMIN_VERIFY, Vec::new()),
            _ => (P::ADMIN_STATS, Vec::new()),
        }
    }
}

/// The account that a server numbers `n`-th.
pub fn uin(n: u8) -> u64 {
    10001 + u64::from(n % 4)
}

/// Some conversation: mostly one that may exist.
fn conversation(n: u8) -> bytes::Bytes {
    match n {
        0xff => vec![0; 16].into(),
        0xfe => vec![n; 7].into(),
        n if n >= 0x80 => ConversationId::of_group(GroupId(1 + u64::from(n % 3))).0.to_vec().into(),
        n => ConversationId::direct(Uin(uin(n)), Uin(uin(n >> 2))).0.to_vec().into(),
    }
}

impl Body<'_> {
    /// As protobuf, and the id of the packet it belongs in.
    fn encode(&self) -> (Option<PacketId>, Vec<u8>) {
        match self {
            Self::Bytes(bytes) => (None, bytes.to_vec()),
            Self::Send { to, id, body, resolve_only } => {
                let request = v2::SendRequest {
                    conversation: conversation(*to),
                    client_msg_id: vec![*id; if *id == 0xff { 3 } else { 16 }].into(),
                    body: body.to_vec().into(),
                    resolve_only: *resolve_only,
                    ..Default::default()
                };
                (Some(PacketId::SEND), request.encode_to_vec())
            }
            Self::SendResponse { conv_seq, position, previous, duplicate } => {
                let response = v2::SendResponse {
                    conv_seq: (*conv_seq).into(),
                    stored_ms: 1,
                    position: (*position).into(),
                    previous: (*previous).into(),
                    duplicate: *duplicate,
                };
                (Some(PacketId::SEND), response.encode_to_vec())
            }
            Self::Sync { epoch, cursor, limit } => {
                let epoch = if *epoch { vec![0xee; 16].into() } else { bytes::Bytes::new() };
                let request = v2::SyncRequest { epoch, cursor: (*cursor).into(), limit: (*limit).into() };
                (Some(PacketId::SYNC), request.encode_to_vec())
            }
            Self::Delivered(marks) => {
                let mark = |(to, seq): &(u8, u16)| v2::Watermark {
                    conversation: conversation(*to),
                    delivered_seq: (*seq).into(),
                    read_seq: (*seq >> 1).into(),
                };
                let request = v2::DeliveredRequest { watermarks: marks.iter().map(mark).collect() };
                (Some(PacketId::DELIVERED), request.encode_to_vec())
            }
            Self::Revoke(id) => {
                let request = v2::RevokeDeviceRequest { device_id: id.to_vec().into() };
                (Some(PacketId::REVOKE_DEVICE), request.encode_to_vec())
            }
            Self::Invite { uses, lifetime, may_invite } => {
                let request = v2::InviteRequest {
                    uses: (*uses).into(),
                    lifetime_ms: (*lifetime).into(),
                    may_invite: *may_invite,
                };
                (Some(PacketId::INVITE), request.encode_to_vec())
            }
            Self::Change { to, id, action, target, by_id, body } => {
                let request = v2::SendRequest {
                    conversation: conversation(*to),
                    client_msg_id: vec![*id; 16].into(),
                    body: body.to_vec().into(),
                    action: i32::from(action % 4),
                    target_seq: if *by_id { 0 } else { (*target).into() },
                    target_id: if *by_id { vec![*target; 16].into() } else { bytes::Bytes::new() },
                    ..Default::default()
                };
                (Some(PacketId::SEND), request.encode_to_vec())
            }
            Self::Social(social) => {
                let (id, body) = social.encode();
                (Some(id), body)
            }
        }
    }
}

impl AuthRequest<'_> {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// The message itself.
    pub fn message(&self) -> v2::AuthRequest {
        use auth_request::Credential as C;
        let secret = bytes::Bytes::copy_from_slice(self.secret);
        let code = bytes::Bytes::copy_from_slice(&[self.credential; 16]);
        let credential = match self.credential % 7 {
            0 => C::Ticket(secret),
            1 => C::Invitation(secret),
            2 => C::Link(v2::DeviceLink { body: secret, signature: vec![0; 64].into() }),
            3 => C::KnownDevice(v2::KnownDevice {}),
            4 => C::OpenRegistration(v2::OpenRegistration {}),
            _ => C::Invitation(code),
        };
        let mut versions: Vec<String> = self.versions.iter().map(|v| (*v).to_owned()).collect();
        versions.push("2.4.1".into());
        v2::AuthRequest {
            credential: Some(credential),
            signing_key: self.signing_key.unwrap_or(&[7; 32]).to_vec().into(),
            fingerprint_hash: vec![1; 32].into(),
            timestamp_ms: self.timestamp_ms,
            versions,
            transports: vec!["quic".into()],
            signature: vec![0; 64].into(),
            app_id: 10001,
            device_name: self.device_name.into(),
            early: self.early.map(|(cursor, request_id)| v2::EarlyStart {
                sync: Some(v2::SyncRequest { cursor, ..Default::default() }),
                request_id,
            }),
            ..Default::default()
        }
    }
}

impl Content<'_> {
    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::AuthRequest(request) => request.encode(),
            Self::Grant { session, device, version_known, expires } => {
                let pick = |given: &[u8]| if given.is_empty() { vec![5; 16] } else { given.to_vec() };
                answer(auth_response::Answer::Grant(v2::Grant {
                    session_id: pick(session).into(),
                    device_id: pick(device).into(),
                    ticket: Some(v2::Ticket {
                        sealed: vec![9; 40].into(),
                        issued_ms: 0,
                        expires_ms: (*expires).into(),
                    }),
                    version: if *version_known { "2.4.1" } else { "9" }.into(),
                    uin: 10001,
                    ..Default::default()
                }))
            }
            Self::Refusal(code) => answer(auth_response::Answer::Refusal(v2::Refusal {
                code: u32::from(*code),
                server_time_ms: u64::from(*code) << 40,
                ..Default::default()
            })),
            Self::Packets(packets) => {
                let mut out = Vec::new();
                packets.iter().for_each(|p| p.packet().encode(&mut out));
                out
            }
            Self::Number(n) => n.to_be_bytes().to_vec(),
            Self::Ticket { issued, expires } => v2::Ticket {
                sealed: vec![9; 40].into(),
                issued_ms: (*issued).into(),
                expires_ms: (*expires).into(),
            }
            .encode_to_vec(),
            Self::Error { code, detail } => {
                v2::Error { code: *code, detail: (*detail).into(), retry_after_ms: *code }.encode_to_vec()
            }
            Self::Update(too) => vec![u8::from(*too)],
        }
    }
}

fn answer(answer: auth_response::Answer) -> Vec<u8> {
    v2::AuthResponse { answer: Some(answer) }.encode_to_vec()
}

impl AnyPacket<'_> {
    /// The packet; illegal combinations are made legal.
    pub fn packet(&self) -> Packet {
        let request = self.request.max(1);
        let kind = match self.kind % 8 {
            5 => Kind::Response(request),
            6 => Kind::Error(request),
            7 => Kind::Push,
            _ => Kind::Request(request),
        };
        let (of_body, body) = self.body.encode();
        let known = usize::from(self.id) % (PacketId::ALL.len() + 8);
        let any = PacketId::ALL.get(known).copied().unwrap_or(PacketId(self.id));
        Packet {
            id: of_body.filter(|_| self.id % 16 > 0).unwrap_or(any),
            kind,
            deadline_ms: self.deadline.filter(|_| matches!(kind, Kind::Request(_))),
            trace: None,
            body: body.into(),
        }
    }
}

/// The channel of a number, the streams more often than not.
pub fn channel(n: u8) -> Channel {
    Channel::ALL[usize::from(n % 16 % 7 % 4)]
}

/// A frame type, a known one more often than not.
pub fn kind(n: u8) -> u8 {
    FrameType::ALL.get(usize::from(n % 13)).map_or(n, |k| *k as u8)
}

/// A first handshake message with this payload, as Noise under the stub writes it.
pub fn noise_request(payload: &[u8]) -> Vec<u8> {
    noise_request_of(0xc1, 0xe1, payload)
}

/// The same by a device of its own, with an ephemeral of its own.
pub fn noise_request_of(device: u8, ephemeral: u8, payload: &[u8]) -> Vec<u8> {
    [&[ephemeral; 32][..], &[device; 32], &[0; 16], payload, &[0; 16]].concat()
}

/// A second handshake message.
pub fn noise_response(payload: &[u8]) -> Vec<u8> {
    [&[0xe2; 32][..], payload, &[0; 16]].concat()
}

/// A challenge of handshake B, by a server with this static key.
pub fn noise_challenge(server: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    [&[0xe3; 32][..], server, payload].concat()
}

/// The answer to a challenge, by a device of its own with an ephemeral of its own.
pub fn noise_answer(device: u8, ephemeral: u8, payload: &[u8]) -> Vec<u8> {
    [&[ephemeral; 32][..], &[device; 32], &[0; 16], payload, &[0; 16]].concat()
}

/// A challenge's payload, mostly legal.
#[derive(Arbitrary, Debug)]
pub struct Challenge<'a> {
    token: u8,
    /// The key that the certificate names, if not the server's.
    key: Option<u8>,
    not_before: u8,
    not_after: u8,
    /// Instead of a certificate's body.
    body: Option<&'a [u8]>,
    versions: Vec<&'a str>,
    version_known: bool,
    transports: Vec<&'a str>,
}

impl Challenge<'_> {
    /// As TLV3 records; as they come where the rules forbid them. Times are hours, a client's clock shows 100.
    pub fn encode(&self, server: &[u8; 32]) -> Vec<u8> {
        let body = v2::ServerCertificateBody {
            static_key: self.key.map_or(*server, |key| [key; 32]).to_vec().into(),
            key_id: 1,
            not_before_ms: u64::from(self.not_before) * HOUR_MS,
            not_after_ms: u64::from(self.not_after) * HOUR_MS,
            tls_pins: vec![],
        };
        let body = self.body.map_or_else(|| body.encode_to_vec(), <[u8]>::to_vec);
        let mut versions: Vec<String> = self.versions.iter().map(|v| (*v).to_owned()).collect();
        if self.version_known {
            versions.push("2.4.1".into());
        }
        let challenge = records::Challenge {
            token: [self.token; 32],
            certificate: v2::ServerCertificate { body: body.into(), signature: vec![0; 64].into() },
            versions,
            transports: self.transports.iter().map(|t| (*t).to_owned()).collect(),
        };
        records::write_challenge(&challenge).unwrap_or_default()
    }
}

/// An hour.
pub const HOUR_MS: u64 = 3_600_000;

/// Something done to bytes.
#[derive(Arbitrary, Debug)]
pub struct Change<'a> {
    at: u16,
    by: u8,
    insert: &'a [u8],
    keep: Option<u16>,
}

impl Change<'_> {
    /// The bytes, changed.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let at = usize::from(self.at) % (out.len() + 1);
        if let Some(byte) = out.get_mut(at) {
            *byte ^= self.by;
        }
        out.splice(at..at, self.insert.iter().copied());
        if let Some(keep) = self.keep {
            out.truncate(usize::from(keep));
        }
        out
    }
}

/// Numbers the frames it makes.
#[derive(Default)]
pub struct Peer {
    frame_seq: [u64; 4],
    msg_seq: [u64; 4],
}

impl Peer {
    /// AUTH_REQ: the message as given, numbered.
    pub fn auth_req(&mut self, message: &[u8]) -> Vec<u8> {
        self.frame_seq[0] += 1;
        let mut out = Vec::new();
        let kind = FrameType::AuthReq as u8;
        frame::encode(kind, Flags(0), Channel::Control, self.frame_seq[0], message, &mut out);
        out
    }

    /// A packet in a sealed frame, where its id belongs.
    pub fn request(&mut self, packet: &AnyPacket<'_>) -> (Channel, Vec<u8>) {
        let packet = packet.packet();
        let (kind, channel) = match packet.id {
            PacketId::SYNC | PacketId::HISTORY | PacketId::SNAPSHOT => (FrameType::SyncDelta, Channel::Sync),
            _ => (FrameType::MsgEncryptedV2, Channel::Message),
        };
        let mut plain = Vec::new();
        packet.encode(&mut plain);
        self.frame_seq[channel.index()] += 1;
        self.msg_seq[channel.index()] += 1;
        let (frame_seq, msg_seq) = (self.frame_seq[channel.index()], self.msg_seq[channel.index()]);
        (channel, sealed(kind as u8, 0, channel, frame_seq, msg_seq, &plain))
    }

    /// The bytes of what it sends, and the channel they go on. `open`: authenticated on its side.
    pub fn bytes(&mut self, sent: &Sent<'_>, open: bool) -> (Channel, Vec<u8>) {
        match sent {
            Sent::Raw { channel: n, bytes } => (channel(*n), bytes.to_vec()),
            Sent::Clear { kind: n, payload } => {
                let kind = kind(*n);
                let plain = payload.encode();
                let payload = match kind {
                    1 => noise_request(&plain),
                    2 => noise_response(&plain),
                    _ => plain,
                };
                self.frame_seq[0] += 1;
                let mut out = Vec::new();
                frame::encode(kind, Flags(0), Channel::Control, self.frame_seq[0], &payload, &mut out);
                (Channel::Control, out)
            }
            Sent::Sealed { kind: n, flags, channel: c, content } => {
                let c = if open && *n % 4 > 0 { home(kind(*n)) } else { channel(*c) };
                self.frame_seq[c.index()] += 1;
                self.msg_seq[c.index()] += 1;
                let (frame_seq, msg_seq) = (self.frame_seq[c.index()], self.msg_seq[c.index()]);
                (c, sealed(kind(*n), *flags, c, frame_seq, msg_seq, &content.encode()))
            }
            Sent::Misnumbered { kind: n, channel: c, frame_seq, msg_seq, content } => {
                let c = channel(*c);
                (c, sealed(kind(*n), 0, c, *frame_seq, *msg_seq, &content.encode()))
            }
        }
    }
}

/// The channel where a frame of this type is legal.
fn home(kind: u8) -> Channel {
    match FrameType::from_wire(kind) {
        Some(FrameType::MsgEncryptedV2) => Channel::Message,
        Some(FrameType::SyncDelta) => Channel::Sync,
        _ => Channel::Control,
    }
}

/// A sealed frame under the stub: the IV is zeros, so the nonce is the number.
fn sealed(kind: u8, flags: u8, channel: Channel, frame_seq: u64, msg_seq: u64, plain: &[u8]) -> Vec<u8> {
    let number = msg_seq.to_be_bytes();
    let payload = [&number[..], &[0; 4], &number, plain, &[0; 16]].concat();
    let mut out = Vec::new();
    frame::encode(kind, Flags(flags), channel, frame_seq, &payload, &mut out);
    out
}
