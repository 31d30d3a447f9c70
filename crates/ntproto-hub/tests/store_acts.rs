//! Random requests of a few people on a store: whatever they do, its records fit each other, what is refused leaves no trace, and nobody
//! misses a message.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::event::EventType;
use ntproto_hub::store::execute::{FANOUT, execute};
use ntproto_hub::store::memory::Tables;
use ntproto_hub::store::migrate::migrate;
use ntproto_hub::store::txn::{Append, Change, EnrolVia, NewDevice, Rules, Target, Watermark};
use ntproto_hub::store::verify::verify;
use ntproto_hub::store::{Act, Actor, Outcome, StoreError, Txn};
use ntproto_proto::v2;
use proptest::prelude::*;
use prost::Message;

const FIRST: u64 = 10_001;
/// Those who act. There may be others, who are only in groups.
const PEOPLE: u64 = 5;
const START: u64 = 1_000_000;

fn device_of(n: u64) -> DeviceId {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    DeviceId(id)
}

fn enrol(n: u64) -> Txn {
    let mut key = [2; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    let device = NewDevice { id: device_of(n), signing_key: key, static_key: key, name: String::new() };
    Txn::Enrol { via: EnrolVia::Open, device, now: UnixMillis(START) }
}

/// A store with so many accounts; the first device is an administrator's.
fn store(accounts: u64) -> Tables {
    let mut tables = Tables::default();
    migrate(&mut tables).unwrap();
    execute(&Txn::Boot { wall: UnixMillis(START), epoch: [9; 16] }, &mut tables).unwrap();
    let invitation = Txn::CreateInvitation {
        by: None,
        code_hash: [1; 32],
        uses: 1,
        expires: UnixMillis(u64::MAX),
        may_invite: true,
        admin: true,
        account: None,
        audit: None,
    };
    execute(&invitation, &mut tables).unwrap();
    for n in 0..accounts {
        let mut txn = enrol(n);
        if let (0, Txn::Enrol { via, .. }) = (n, &mut txn) {
            *via = EnrolVia::Invitation { code_hash: [1; 32] };
        }
        execute(&txn, &mut tables).unwrap();
    }
    tables
}

fn person() -> impl Strategy<Value = u64> {
    // Mostly one of them, sometimes nobody.
    prop_oneof![20 => FIRST..FIRST + PEOPLE, 1 => Just(77)]
}

fn people() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(person(), 0..4)
}

fn group() -> impl Strategy<Value = u64> {
    prop_oneof![12 => Just(1), 8 => 2..4_u64, 1 => Just(9)]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-c]{1,3}", 1 => Just("\u{202E}x".to_owned()), 1 => Just(String::new())]
}

fn conversation() -> impl Strategy<Value = ConversationId> {
    prop_oneof![
        4 => (person(), person()).prop_map(|(a, b)| ConversationId::direct(Uin(a), Uin(b))),
        6 => group().prop_map(|group| ConversationId::of_group(GroupId(group))),
    ]
}

fn bytes_of(conversation: ConversationId) -> Bytes {
    Bytes::copy_from_slice(&conversation.0)
}

fn social() -> impl Strategy<Value = Act> {
    prop_oneof![
        name().prop_map(|nick| Act::ProfileSet(v2::ProfileSetRequest { nick, ..Default::default() })),
        people().prop_map(|uins| Act::Profiles(v2::ProfilesRequest { uins })),
        person().prop_map(|uin| Act::FriendRequest(v2::FriendRequestRequest { uin, ..Default::default() })),
        (person(), any::<bool>())
            .prop_map(|(uin, accept)| Act::FriendAnswer(v2::FriendAnswerRequest { uin, accept })),
        (person(), prop::option::of(name()), prop::option::weighted(0.3, any::<bool>())).prop_map(
            |(uin, remark, blocked)| {
                Act::FriendUpdate(v2::FriendUpdateRequest { uin, remark, blocked, extra: None })
            }
        ),
        person().prop_map(|uin| Act::FriendDelete(v2::FriendDeleteRequest { uin })),
        Just(Act::Friends(v2::FriendsRequest { after: 0, limit: 2 })),
        (0..3_i32, 0..6_u64)
            .prop_map(|(status, version)| Act::PresenceSet(v2::PresenceSetRequest { status, version })),
        people().prop_map(|add| {
            Act::PresenceSubscribe(v2::PresenceSubscribeRequest { add, ..Default::default() })
        }),
        Just(Act::AdminStats(v2::AdminStatsRequest {})),
        (person(), 0..PEOPLE).prop_map(|(uin, n)| {
            let device_id = Bytes::copy_from_slice(&device_of(n + 20).0);
            Act::AdminRevoke(v2::AdminRevokeRequest { uin, device_id })
        }),
    ]
}

fn grouping() -> impl Strategy<Value = Act> {
    let one = || group().prop_map(|group| v2::GroupRequest { group });
    prop_oneof![
        2 => (name(), people(), 0..2_i32, 0..3_u8).prop_map(|(name, members, join, request)| {
            let request = Bytes::from(vec![request; 16]);
            Act::GroupCreate(v2::GroupCreateRequest { name, members, join, extra: String::new(), request })
        }),
        2 => (group(), prop::option::of(name()), prop::option::of(0..2_i32), prop::option::of(any::<u32>()), prop::option::of(name()))
            .prop_map(|(group, name, join, permissions, nick)| {
                Act::GroupUpdate(v2::GroupUpdateRequest { group, name, join, permissions, nick, ..Default::default() })
            }),
        4 => (group(), people()).prop_map(|(group, uins)| Act::GroupInvite(v2::GroupInviteRequest { group, uins })),
        3 => one().prop_map(Act::GroupJoin),
        2 => one().prop_map(Act::GroupLeave),
        3 => (group(), person()).prop_map(|(group, uin)| Act::GroupRemove(v2::GroupRemoveRequest { group, uin })),
        1 => one().prop_map(Act::GroupDissolve),
        3 => (group(), person(), 0..4_i32)
            .prop_map(|(group, uin, role)| Act::GroupRole(v2::GroupRoleRequest { group, uin, role })),
        2 => (group(), person(), 0..3_u64).prop_map(|(group, uin, hours)| {
            let until_ms = START + hours * 1_000;
            Act::GroupMute(v2::GroupMuteRequest { group, uin, until_ms })
        }),
        1 => (group(), 0..3_u32, 0..4_u32)
            .prop_map(|(group, page, size)| Act::GroupMembers(v2::GroupMembersRequest { group, page, size })),
        1 => (group(), 0..30_u64)
            .prop_map(|(group, since)| Act::GroupChanges(v2::GroupChangesRequest { group, since, limit: 5 })),
        1 => prop::collection::vec(group(), 0..3).prop_map(|groups| Act::GroupGet(v2::GroupGetRequest { groups })),
        1 => Just(Act::Groups(v2::GroupsRequest { after: 0, limit: 2 })),
    ]
}

fn reading() -> impl Strategy<Value = Act> {
    prop_oneof![
        (conversation(), 0..9_u64, 0..9_u64, 0..4_u32).prop_map(|(talk, before_seq, after_seq, limit)| {
            let conversation = bytes_of(talk);
            Act::History(v2::HistoryRequest {
                conversation,
                before_seq,
                after_seq,
                limit,
                ..Default::default()
            })
        }),
        Just(Act::Snapshot(v2::SnapshotRequest { after: Bytes::new(), limit: 3 })),
        conversation().prop_map(|talk| {
            Act::Marks(v2::MarksRequest { conversation: bytes_of(talk), after: 0, limit: 3 })
        }),
    ]
}

/// One step: who, and what. Times are filled in.
#[derive(Clone, Debug)]
enum Step {
    Act(Act),
    Send(ConversationId, u8, u8, Change),
    Marks(Vec<Watermark>),
    Sync { cursor: u64, place: bool },
    Presence(bool, bool),
    Rules(Rules),
    Revoke,
    Restored,
}

/// Mostly groups are large with three members, and two messages are what a member pulls.
fn rules() -> impl Strategy<Value = Rules> {
    prop_oneof![
        3 => Just(Rules { fanout: 2, pull_group: 2, ..Rules::default() }),
        1 => Just(Rules::default()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let target = || {
        prop_oneof![
            3 => (0..8_u64).prop_map(Target::Seq),
            1 => (0..24_u8).prop_map(|id| Target::Sent(ClientMsgId([id; 16]))),
        ]
    };
    let change = prop_oneof![
        6 => Just(Change::Message),
        2 => target().prop_map(Change::Edit),
        1 => target().prop_map(Change::Recall),
    ];
    let mark = (conversation(), 0..9_u64, 0..9_u64).prop_map(|(conversation, delivered, read)| Watermark {
        conversation,
        delivered,
        read,
    });
    prop_oneof![
        40 => grouping().prop_map(Step::Act),
        30 => social().prop_map(Step::Act),
        8 => reading().prop_map(Step::Act),
        60 => (conversation(), 0..24_u8, 0..3_u8, change)
            .prop_map(|(talk, id, body, change)| Step::Send(talk, id, body, change)),
        15 => prop::collection::vec(mark, 0..3).prop_map(Step::Marks),
        10 => (0..9_u64, any::<bool>()).prop_map(|(cursor, place)| Step::Sync { cursor, place }),
        5 => (any::<bool>(), any::<bool>()).prop_map(|(renew, left)| Step::Presence(renew, left)),
        1 => (any::<bool>(), rules()).prop_map(|(friends_only, rules)| Step::Rules(Rules { friends_only, ..rules })),
        1 => Just(Step::Revoke),
        1 => Just(Step::Restored),
    ]
}

fn txn(step: &Step, n: u64, now: UnixMillis) -> Txn {
    let (uin, device) = (Uin(FIRST + n), device_of(n));
    // Mostly conversations of one's own: of two others, only that of the next two people.
    let own = |talk: ConversationId| match talk.members() {
        Some((a, b)) if a != uin && b != uin && a.0 + 1 != b.0 => ConversationId::direct(uin, a),
        _ => talk,
    };
    match step {
        Step::Act(act) => Txn::Act { by: Actor { uin, device, now }, act: act.clone() },
        Step::Send(conversation, id, body, action) => Txn::Append(Append {
            trace: None,
            sender: uin,
            device,
            conversation: own(*conversation),
            client_msg_id: ClientMsgId([*id; 16]),
            after: None,
            action: *action,
            body_hash: [*body; 32],
            body: if matches!(action, Change::Recall(_)) { Bytes::new() } else { vec![*body; 5].into() },
            now,
            resolve_only: false,
        }),
        Step::Marks(watermarks) => {
            let own = |mark: &Watermark| Watermark { conversation: own(mark.conversation), ..*mark };
            Txn::Delivered { uin, watermarks: watermarks.iter().map(own).collect() }
        }
        Step::Sync { cursor, place } => sync(uin, *cursor, *place),
        Step::Presence(renew, left) => Txn::Presence {
            renew: renew.then_some((uin, device)).into_iter().collect(),
            left: left.then_some((uin, device)).into_iter().collect(),
            expire: vec![Uin(FIRST)],
            now,
        },
        Step::Rules(rules) => Txn::SetRules(*rules),
        Step::Revoke => {
            Txn::RevokeDevice { uin: Uin(FIRST + PEOPLE - 1), device_id: device_of(PEOPLE - 1), now }
        }
        Step::Restored => Txn::Restored { wall: UnixMillis(START) },
    }
}

fn sync(uin: Uin, cursor: u64, place: bool) -> Txn {
    let epoch = Some([9; 16]);
    Txn::SyncPage { uin, epoch, cursor, limit: 50, max_bytes: 1 << 20, max_lag: u64::MAX, place }
}

fn is_stale(outcome: &Outcome, txn: &Txn) -> bool {
    match (outcome, txn) {
        (Outcome::Acted(acted), Txn::Act { act: Act::PresenceSet(_), .. }) => {
            v2::PresenceSetResponse::decode(acted.answer.clone()).unwrap().stale
        }
        _ => false,
    }
}

/// Runs steps, each a second after the one before it.
fn play(tables: &mut Tables, steps: &[(Step, u64)], verify_each: bool) -> Result<(), TestCaseError> {
    for (at, (step, n)) in steps.iter().enumerate() {
        let txn = txn(step, *n, UnixMillis(START + 1_000 * at as u64));
        let before = tables.clone();
        match execute(&txn, tables) {
            Ok(outcome) => {
                let trace = !txn.is_read() && !is_stale(&outcome, &txn);
                prop_assert!(trace || *tables == before, "{:?} only reads", txn);
            }
            Err(error) => {
                prop_assert!(error.is_refusal() && error != StoreError::Corrupt, "{txn:?}: {error:?}");
                prop_assert!(*tables == before, "{:?} left a trace", txn);
            }
        }
        if verify_each {
            whole(tables, &txn)?;
        }
    }
    Ok(())
}

fn whole(tables: &Tables, after: &Txn) -> Result<(), TestCaseError> {
    let verified = verify(tables, &mut |_| true).unwrap();
    prop_assert_eq!(verified.faults, vec![], "after {:?}", after);
    Ok(())
}

/// What an account finds in its inbox: messages in order of position, and what gaps name.
type Found = BTreeMap<ConversationId, (Vec<u64>, Vec<(u64, u64)>)>;

fn inbox(tables: &mut Tables, uin: Uin) -> Result<Found, TestCaseError> {
    let mut found = Found::new();
    let (mut cursor, mut last) = (0, 0);
    loop {
        let page = execute(&sync(uin, cursor, true), tables).unwrap();
        let Outcome::Page { deltas, next, has_more, .. } = page else { panic!("{page:?}") };
        for delta in deltas {
            prop_assert!(delta.position > last);
            last = delta.position;
            let packet = delta.packet.unwrap();
            match EventType::from_wire(packet.event_type).unwrap() {
                EventType::Message | EventType::Edit | EventType::Recall => {
                    let message = v2::StoredMessage::decode(packet.payload).unwrap();
                    let talk = ConversationId::from_slice(&message.conversation).unwrap();
                    found.entry(talk).or_default().0.push(message.conv_seq);
                }
                EventType::Gap => {
                    let gap = v2::Gap::decode(packet.payload).unwrap();
                    let talk = ConversationId::from_slice(&gap.conversation).unwrap();
                    found.entry(talk).or_default().1.push((gap.from_seq, gap.to_seq));
                }
                _ => {}
            }
        }
        cursor = next;
        if !has_more {
            return Ok(found);
        }
    }
}

/// The whole log of a conversation, as a member reads it.
fn history(tables: &mut Tables, n: u64, talk: ConversationId) -> Option<Vec<u64>> {
    let mut seqs = Vec::new();
    let mut before_seq = 0;
    loop {
        let request =
            v2::HistoryRequest { conversation: bytes_of(talk), before_seq, limit: 7, ..Default::default() };
        let by = Actor { uin: Uin(FIRST + n), device: device_of(n), now: UnixMillis(START) };
        let Ok(Outcome::Acted(acted)) = execute(&Txn::Act { by, act: Act::History(request) }, tables) else {
            return None;
        };
        let page = v2::HistoryResponse::decode(acted.answer).unwrap();
        seqs.extend(page.messages.iter().map(|message| message.conv_seq));
        before_seq = seqs.last().copied().unwrap_or(0);
        if !page.has_more {
            seqs.reverse();
            return Some(seqs);
        }
    }
}

/// Everybody's inbox has every message that its owner may read, once and in order.
fn nobody_misses_anything(tables: &mut Tables) -> Result<(), TestCaseError> {
    for n in 0..PEOPLE {
        let found = inbox(tables, Uin(FIRST + n))?;
        let direct =
            (0..PEOPLE).filter(|m| *m != n).map(|m| ConversationId::direct(Uin(FIRST + n), Uin(FIRST + m)));
        let groups = (1..4).map(|group| ConversationId::of_group(GroupId(group)));
        for talk in direct.chain(groups) {
            let (seqs, gaps) = found.get(&talk).cloned().unwrap_or_default();
            prop_assert!(seqs.is_sorted_by(|a, b| a < b), "{:?} in the inbox of {}", seqs, n);
            let Some(log) = history(tables, n, talk) else { continue };
            let seqs: BTreeSet<u64> = seqs.into_iter().collect();
            for seq in log {
                let told = gaps.iter().any(|(from, to)| (*from..=*to).contains(&seq));
                prop_assert!(told || seqs.contains(&seq), "{} never heard of {} in {}", n, seq, talk);
            }
        }
    }
    Ok(())
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(Step, u64)>> {
    prop::collection::vec((step(), 0..PEOPLE), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_fit_each_other_whatever_people_do(steps in steps(120), rules in rules()) {
        let mut tables = store(PEOPLE);
        // Two groups to start with: most of what is drawn is about groups.
        let group = |request: u8, members: &[u64], join| {
            let name = "together".to_owned();
            let (members, request) = (members.to_vec(), Bytes::from(vec![request; 16]));
            Step::Act(Act::GroupCreate(v2::GroupCreateRequest { name, members, join, request, ..Default::default() }))
        };
        let open = group(50, &[FIRST + 1, FIRST + 2], 1);
        let closed = group(51, &[FIRST, FIRST + 3], 0);
        play(&mut tables, &[(open, 0), (closed, 1), (Step::Rules(rules), 0)], true)?;
        play(&mut tables, &steps, true)?;
        nobody_misses_anything(&mut tables)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_misses_anything_in_a_large_group(before in steps(20), after in steps(120)) {
        let crowd = u64::from(FANOUT) + 1;
        let mut tables = store(crowd);
        let create = v2::GroupCreateRequest {
            name: "many".into(),
            members: (FIRST + 2..FIRST + crowd).collect(),
            join: 1,
            request: Bytes::from_static(&[99; 16]),
            ..Default::default()
        };
        let create = Step::Act(Act::GroupCreate(create));
        play(&mut tables, &[(create, 0)], true)?;
        play(&mut tables, &before, false)?;
        // By this one it becomes large, unless that happened before, or some have left.
        let join = Step::Act(Act::GroupJoin(v2::GroupRequest { group: 1 }));
        play(&mut tables, &[(join, 1)], true)?;
        play(&mut tables, &after, false)?;
        whole(&tables, &sync(Uin(FIRST), 0, true))?;
        nobody_misses_anything(&mut tables)?;
        whole(&tables, &sync(Uin(FIRST), 0, true))?;
    }
}
