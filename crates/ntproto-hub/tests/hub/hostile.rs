//! Whatever comes, in whatever order: no panic, every bound kept, one end for each connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::dispatch::{Outcome as Answer, Refusal};
use ntproto_core::endpoint::client::Command as ClientCommand;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::journal::replay;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::frame::{Flags, encode};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_hub::store::{Outcome, StoreError};
use ntproto_hub::{AskId, Command, ConnId, HubConfig, HubEvent, Input};
use ntproto_proto::v2;
use proptest::prelude::*;
use prost::Message;

use crate::bench::{Bench, SEED, config, message, uin};

#[derive(Clone, Debug)]
enum Step {
    Open,
    Account,
    Close(usize),
    Raw(usize, u8, Vec<u8>),
    Frame(usize, u8, u8, u8, Vec<u8>),
    Packet(usize, bool, u16, bool, Option<u32>, Vec<u8>),
    Send(usize, usize, u8, usize),
    /// Something about another account and a group.
    Say(usize, u8, usize, u8),
    /// An administrator comes.
    Boss,
    /// The host is done with what it was asked, or was never asked.
    Host(u64, bool),
    Writable(usize, u8),
    Hold,
    Release,
    Fail(bool),
    Nonsense(u64),
    Advance(u64),
    Full(bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    let id = prop_oneof![
        Just(0x0101_u16),
        Just(0x0102),
        Just(0x0103),
        Just(0x0201),
        Just(0x0301),
        Just(0x0302),
        Just(0x0303),
        (0..PacketId::ALL.len()).prop_map(|n| PacketId::ALL[n].0),
        any::<u16>(),
    ];
    prop_oneof![
        1 => Just(Step::Open),
        2 => Just(Step::Account),
        1 => any::<usize>().prop_map(Step::Close),
        2 => (any::<usize>(), 0..4_u8, bytes()).prop_map(|(c, ch, b)| Step::Raw(c, ch, b)),
        2 => (any::<usize>(), 0..4_u8, any::<u8>(), any::<u8>(), bytes())
            .prop_map(|(c, ch, kind, flags, b)| Step::Frame(c, ch, kind, flags, b)),
        6 => (any::<usize>(), any::<bool>(), id, any::<bool>(), prop::option::of(any::<u32>()), bytes())
            .prop_map(|(c, sync, id, push, ms, b)| Step::Packet(c, sync, id, push, ms, b)),
        8 => (any::<usize>(), any::<usize>(), any::<u8>(), 0..70_000_usize)
            .prop_map(|(a, b, id, size)| Step::Send(a, b, id, size)),
        10 => (any::<usize>(), any::<u8>(), any::<usize>(), any::<u8>())
            .prop_map(|(c, what, other, n)| Step::Say(c, what, other, n)),
        1 => Just(Step::Boss),
        1 => (0..4_u64, any::<bool>()).prop_map(|(id, done)| Step::Host(id, done)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(c, set)| Step::Writable(c, set)),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => any::<u64>().prop_map(Step::Nonsense),
        3 => (0..40_000_u64).prop_map(Step::Advance),
        2 => any::<bool>().prop_map(Step::Full),
        1 => prop::bool::weighted(0.1).prop_map(|drain| if drain { Step::Drain } else { Step::Open }),
    ]
}

/// A request that makes sense, mostly.
fn say(what: u8, own: u64, other: u64, n: u8) -> (PacketId, Vec<u8>) {
    let direct = ConversationId::direct(Uin(own), Uin(other));
    let talk =
        if n.is_multiple_of(2) { ConversationId::of_group(GroupId(1 + u64::from(n % 4))) } else { direct };
    let conversation = Bytes::copy_from_slice(&talk.0);
    let group = 1 + u64::from(n % 3);
    let one = v2::GroupRequest { group }.encode_to_vec();
    let seq = u64::from(n % 8);
    match what % 28 {
        0 => (
            PacketId::FRIEND_REQUEST,
            v2::FriendRequestRequest { uin: other, message: "hi".into() }.encode_to_vec(),
        ),
        1 => (
            PacketId::FRIEND_ANSWER,
            v2::FriendAnswerRequest { uin: other, accept: !n.is_multiple_of(4) }.encode_to_vec(),
        ),
        2 => {
            let blocked = Some(n.is_multiple_of(3));
            (
                PacketId::FRIEND_UPDATE,
                v2::FriendUpdateRequest { uin: other, blocked, ..Default::default() }.encode_to_vec(),
            )
        }
        3 => (PacketId::FRIEND_DELETE, v2::FriendDeleteRequest { uin: other }.encode_to_vec()),
        4 => {
            let request = Bytes::copy_from_slice(&[n; 16]);
            let create = v2::GroupCreateRequest {
                name: "g".into(),
                members: vec![other],
                request,
                ..Default::default()
            };
            (PacketId::GROUP_CREATE, create.encode_to_vec())
        }
        5 => {
            (PacketId::GROUP_INVITE, v2::GroupInviteRequest { group, uins: vec![other, own] }.encode_to_vec())
        }
        6 => (PacketId::GROUP_LEAVE, one),
        7 => (PacketId::GROUP_JOIN, one),
        8 => (PacketId::GROUP_DISSOLVE, one),
        9 => (PacketId::GROUP_REMOVE, v2::GroupRemoveRequest { group, uin: other }.encode_to_vec()),
        10 => (
            PacketId::GROUP_ROLE,
            v2::GroupRoleRequest { group, uin: other, role: i32::from(n % 4) }.encode_to_vec(),
        ),
        11 => (
            PacketId::GROUP_MEMBERS,
            v2::GroupMembersRequest { group, page: 0, size: n.into() }.encode_to_vec(),
        ),
        12 => (
            PacketId::GROUP_CHANGES,
            v2::GroupChangesRequest { group, since: 0, limit: n.into() }.encode_to_vec(),
        ),
        13 | 14 => {
            let set = v2::PresenceSetRequest { status: i32::from(n % 4), version: (n / 4).into() };
            (PacketId::PRESENCE_SET, set.encode_to_vec())
        }
        15 | 16 => {
            let (add, remove) =
                if !n.is_multiple_of(4) { (vec![other], vec![]) } else { (vec![], vec![other]) };
            (PacketId::PRESENCE_SUBSCRIBE, v2::PresenceSubscribeRequest { add, remove }.encode_to_vec())
        }
        17 => (PacketId::TYPING, v2::TypingRequest { conversation, active: n > 9 }.encode_to_vec()),
        18 => {
            let read_seq = seq / 2;
            let watermarks = vec![v2::Watermark { conversation, delivered_seq: seq, read_seq }];
            (PacketId::DELIVERED, v2::DeliveredRequest { watermarks }.encode_to_vec())
        }
        19 => {
            let edit =
                v2::SendRequest { action: i32::from(n % 4), target_seq: seq, ..message(talk, n, b"e") };
            (PacketId::SEND, edit.encode_to_vec())
        }
        20 => (PacketId::SEND, message(talk, n, b"to all").encode_to_vec()),
        21 => (
            PacketId::HISTORY,
            v2::HistoryRequest { conversation, limit: 5, ..Default::default() }.encode_to_vec(),
        ),
        22 => (PacketId::SNAPSHOT, Vec::new()),
        23 => (PacketId::ADMIN_VERIFY, Vec::new()),
        24 => (PacketId::ADMIN_STATS, Vec::new()),
        25 => (PacketId::ADMIN_BACKUP, v2::AdminBackupRequest { name: "b".into() }.encode_to_vec()),
        26 => {
            let invite =
                v2::AdminInviteRequest { uses: 1, uin: other * u64::from(n % 2), ..Default::default() };
            (PacketId::ADMIN_INVITE, invite.encode_to_vec())
        }
        _ => (
            PacketId::PROFILE_SET,
            v2::ProfileSetRequest { nick: "n".into(), ..Default::default() }.encode_to_vec(),
        ),
    }
}

fn pick(bench: &Bench, n: usize) -> Option<ConnId> {
    let live: Vec<ConnId> = bench.peers.keys().copied().collect();
    live.get(n.checked_rem(live.len())?).copied()
}

fn run(bench: &mut Bench, step: Step, accounts: &mut Vec<u64>) {
    match step {
        Step::Open => {
            bench.transport();
        }
        Step::Account => {
            let device = bench.device();
            let credential =
                ntproto_proto::v2::auth_request::Credential::OpenRegistration(Default::default());
            let conn = bench.connect(&device, credential);
            let granted = bench.peers[&conn].events.iter().find_map(|event| match event {
                ntproto_core::endpoint::client::Event::Granted(grant) => Some(uin(grant).0),
                _ => None,
            });
            accounts.extend(granted);
        }
        Step::Close(n) => {
            if let Some(conn) = pick(bench, n) {
                bench.hub.handle(bench.now, Input::Closed { conn });
                bench.peers.remove(&conn);
            }
        }
        Step::Raw(n, channel, data) => {
            let conn = pick(bench, n).unwrap_or(ConnId(n as u64));
            let channel = Channel::from_wire(channel).unwrap();
            bench.hub.handle(bench.now, Input::Bytes { conn, channel, data: &data });
        }
        Step::Frame(n, channel, kind, flags, payload) => {
            let conn = ConnId(1 + (n % 40) as u64);
            let channel = Channel::from_wire(channel).unwrap();
            let mut data = Vec::new();
            encode(kind, Flags(flags), channel, 1, &payload, &mut data);
            bench.hub.handle(bench.now, Input::Bytes { conn, channel, data: &data });
        }
        Step::Packet(n, sync, id, push, deadline_ms, body) => {
            let Some(conn) = pick(bench, n) else { return };
            let kind = if push { Kind::Push } else { Kind::Request(7) };
            let deadline_ms = deadline_ms.filter(|_| !push);
            let body = Bytes::from(body);
            let packet = Packet { id: PacketId(id), kind, deadline_ms, trace: None, body };
            let channel = if sync { Channel::Sync } else { Channel::Message };
            let now = bench.now;
            let peer = bench.peers.get_mut(&conn).unwrap();
            // A client that is not in, or has too much waiting, refuses by itself.
            let _ = peer.endpoint.call(now, ClientCommand::Send(channel, packet));
        }
        Step::Send(n, other, id, size) => {
            let Some(conn) = pick(bench, n) else { return };
            let (Some(&a), Some(&b)) = (
                accounts.get(n.checked_rem(accounts.len()).unwrap_or(0)),
                accounts.get(other.checked_rem(accounts.len()).unwrap_or(0)),
            ) else {
                return;
            };
            let to = ConversationId::direct(ntproto_core::ids::Uin(a), ntproto_core::ids::Uin(b));
            let body = message(to, id, &vec![id; size]).encode_to_vec().into();
            let kind = Kind::Request(u32::from(id) + 1);
            let packet = Packet { id: PacketId::SEND, kind, deadline_ms: None, trace: None, body };
            let now = bench.now;
            let peer = bench.peers.get_mut(&conn).unwrap();
            let _ = peer.endpoint.call(now, ClientCommand::Send(Channel::Message, packet));
        }
        Step::Say(n, what, other, by) => {
            let Some(conn) = pick(bench, n) else { return };
            let other = accounts.get(other.checked_rem(accounts.len()).unwrap_or(0)).copied().unwrap_or(77);
            let own = accounts.get(n.checked_rem(accounts.len()).unwrap_or(0)).copied().unwrap_or(78);
            let (id, body) = say(what, own, other, by);
            let on_sync = [PacketId::HISTORY, PacketId::SNAPSHOT].contains(&id);
            let channel = if on_sync { Channel::Sync } else { Channel::Message };
            let kind = Kind::Request(u32::from(by) + 300);
            let packet = Packet { id, kind, deadline_ms: None, trace: None, body: body.into() };
            let now = bench.now;
            let peer = bench.peers.get_mut(&conn).unwrap();
            let _ = peer.endpoint.call(now, ClientCommand::Send(channel, packet));
        }
        Step::Boss => {
            crate::admin::admin_comes(bench);
        }
        Step::Host(id, done) => {
            let ask = bench.host.pop().map_or(AskId(id), |ask| ask.id);
            let refusal = Refusal::new(ntproto_core::code::ErrorCode::Unavailable, "no");
            let answer =
                if done { Answer::Answered(Bytes::from_static(b"x")) } else { Answer::Refused(refusal) };
            bench.hub.handle(bench.now, Input::HostAnswered { ask, answer });
        }
        Step::Writable(n, set) => {
            if let Some(conn) = pick(bench, n) {
                let channels = Channel::ALL
                    .into_iter()
                    .filter(|channel| set & (1 << channel.index()) != 0)
                    .fold(ChannelSet::NONE, ChannelSet::with);
                bench.writable(conn, channels);
                bench.accepts(conn);
            }
        }
        Step::Hold => bench.hold = true,
        Step::Release => bench.release(),
        Step::Fail(full) => {
            if let Some((op, _, _)) = bench.held.pop_front() {
                let error = if full { StoreError::Full } else { StoreError::Unavailable };
                bench.done(op, Err(error));
            }
        }
        Step::Nonsense(op) => {
            let op = bench.held.pop_front().map_or(ntproto_hub::store::OpId(op), |(op, _, _)| op);
            bench.done(op, Ok(Outcome::Done));
        }
        Step::Advance(ms) => bench.advance(Duration::from_millis(ms)),
        Step::Full(full) => bench.full = full,
        Step::Drain => {
            let _ = bench.hub.call(bench.now, Command::Drain);
        }
    }
    bench.run();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_the_hub(steps in prop::collection::vec(step(), 1..60)) {
        let limits = HubConfig { max_requests: 16, max_ops: 40, max_connections: 12, ..config() };
        let mut bench = Bench::new(limits);
        let mut accounts = Vec::new();
        for step in steps {
            run(&mut bench, step, &mut accounts);
            prop_assert!(bench.hub.connections() <= 12);
            prop_assert!(bench.hub.in_store() <= 41, "the clock floor is on top");
        }
        // Everybody leaves, everything ends.
        bench.full = false;
        bench.release();
        let _ = bench.hub.call(bench.now, Command::Drain);
        bench.run();
        bench.advance(Duration::from_secs(10));
        prop_assert_eq!(bench.hub.connections(), 0);
        prop_assert_eq!(bench.hub.in_store(), 0);
        let mut ends = BTreeMap::new();
        for event in &bench.events {
            if let HubEvent::Closed { conn, .. } = event {
                *ends.entry(*conn).or_insert(0) += 1;
            }
        }
        prop_assert!(ends.values().all(|ends| *ends == 1), "one end for each: {:?}", ends);
        let mut closes: Vec<_> = bench.closes.iter().map(|(conn, _)| *conn).collect();
        let count = closes.len();
        closes.sort_unstable();
        closes.dedup();
        prop_assert_eq!(closes.len(), count, "each is taken down once");
        prop_assert_eq!(bench.events.iter().filter(|event| **event == HubEvent::Drained).count(), 1);
        prop_assert_eq!(replay(&bench.hub.journal(), |now| bench.hub_again(now, SEED)), Ok(()));
    }
}
