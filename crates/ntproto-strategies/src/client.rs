//! What the core's client is told, is asked for, wants and tells.
//!
//! [`input`] and [`command`] drive a [`Client`](ntproto_core::client::Client) and whatever is built around one.
//! [`txn`] and [`event`] are what comes out of one: they test a store, or an application, without any client.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{
    Apply, ClientEvent, ClientTxn, Command, Down, Failure, Inbound, Input, OpId, OutboxEntry, Owed,
    RequestId, SendAction, SendOutcome, Settled, StoreError, Target,
};
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::Closed;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::presence::State;
use ntproto_core::trace::{SpanId, TraceContext, TraceId};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::TRACE_LEN;
use ntproto_proto::v2;
use proptest::prelude::*;

use crate::{frames, ids, packets};

/// An [`Input`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedInput {
    /// [`Input::Connected`], over QUIC.
    Connected([u8; 32]),
    /// [`Input::Connected`], over QUIC that takes early data.
    Early,
    /// [`Input::Bound`].
    Bound([u8; 32]),
    /// [`Input::Bytes`].
    Bytes(Channel, Vec<u8>),
    /// [`Input::Writable`].
    Writable(Vec<Channel>),
    /// [`Input::Moved`], to TCP.
    MovedToTcp,
    /// [`Input::Disconnected`].
    Disconnected,
    /// [`Input::StoreDone`].
    StoreDone(u64, Option<StoreError>),
    /// [`Input::NetworkChanged`].
    NetworkChanged,
    /// [`Input::Timeout`].
    Timeout,
}

impl OwnedInput {
    /// The input a client takes.
    #[must_use]
    pub fn borrow(&self) -> Input<'_> {
        match self {
            Self::Connected(exporter) => {
                Input::Connected(Binding { transport: TransportId::Quic, exporter: *exporter })
            }
            Self::Early => Input::Connected(Binding::EARLY),
            Self::Bound(exporter) => {
                Input::Bound(Binding { transport: TransportId::Quic, exporter: *exporter })
            }
            Self::Bytes(channel, data) => Input::Bytes { channel: *channel, data },
            Self::Writable(channels) => {
                Input::Writable(channels.iter().copied().fold(ChannelSet::NONE, ChannelSet::with))
            }
            Self::MovedToTcp => Input::Moved(Binding::TCP),
            Self::Disconnected => Input::Disconnected,
            Self::StoreDone(op, error) => Input::StoreDone(OpId(*op), error.map_or(Ok(()), Err)),
            Self::NetworkChanged => Input::NetworkChanged,
            Self::Timeout => Input::Timeout,
        }
    }
}

/// Anything a host might say, sensible or not: a client takes it all and never panics.
///
/// ```
/// use ntproto_core::client::{Client, ClientConfig, Output, Saved};
/// use ntproto_core::crypto::{identity::DeviceKeys, rustcrypto::RUSTCRYPTO};
/// use ntproto_core::{rng::Rng, time::{Instant, Now, UnixMillis}};
/// use ntproto_strategies::client::{command, input};
/// use proptest::prelude::*;
///
/// let keys = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
/// let ops = prop::collection::vec(prop_oneof![input().prop_map(Ok), command().prop_map(Err)], 0..40);
/// proptest!(ProptestConfig::with_cases(16), |(ops in ops)| {
///     let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1) };
///     let config = ClientConfig::new(&RUSTCRYPTO, [9; 32], keys.duplicate());
///     let mut client = Client::new(config, Saved::default(), [2; 32], now);
///     for op in &ops {
///         match op {
///             Ok(input) => client.handle(now, input.borrow()),
///             Err(command) => drop(client.call(now, command.command())),
///         }
///         while !matches!(client.poll_output(now, None), Output::Wait { .. }) {}
///     }
/// });
/// ```
pub fn input() -> impl Strategy<Value = OwnedInput> {
    let failures = [StoreError::Full, StoreError::Failed, StoreError::Damaged].map(Some);
    let failure = prop::sample::select([&[None; 4][..], &failures].concat());
    let bytes = prop_oneof![
        frames::frame().prop_map(|frame| frame.bytes),
        frames::damaged().prop_map(|frame| frame.bytes),
        prop::collection::vec(any::<u8>(), 0..100),
    ];
    prop_oneof![
        any::<[u8; 32]>().prop_map(OwnedInput::Connected),
        Just(OwnedInput::Early),
        any::<[u8; 32]>().prop_map(OwnedInput::Bound),
        (frames::channel(), bytes).prop_map(|(channel, bytes)| OwnedInput::Bytes(channel, bytes)),
        prop::sample::subsequence(&Channel::STREAMS[..], 0..=Channel::STREAMS.len())
            .prop_map(OwnedInput::Writable),
        Just(OwnedInput::MovedToTcp),
        Just(OwnedInput::Disconnected),
        (1..20u64, failure).prop_map(|(op, failure)| OwnedInput::StoreDone(op, failure)),
        Just(OwnedInput::NetworkChanged),
        Just(OwnedInput::Timeout),
    ]
}

/// A [`Command`] that can be cloned and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedCommand {
    /// [`Command::Start`].
    Start,
    /// [`Command::Send`].
    Send(ConversationId, Option<ClientMsgId>, Vec<u8>, Option<Duration>, SendAction, Option<TraceContext>),
    /// [`Command::Read`].
    Read(ConversationId, u64),
    /// [`Command::Request`].
    Request(u16, Vec<u8>, Option<Duration>, Option<TraceContext>),
    /// [`Command::SetPresence`].
    SetPresence(State),
    /// [`Command::Cancel`].
    Cancel([u8; 16]),
    /// [`Command::Confirm`].
    Confirm(u64),
    /// [`Command::RefreshTicket`].
    RefreshTicket,
    /// [`Command::UpdateKeys`].
    UpdateKeys,
    /// [`Command::Close`].
    Close,
}

impl OwnedCommand {
    /// The command a client takes.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Start => Command::Start,
            Self::Send(conversation, client_msg_id, body, deadline, action, trace) => Command::Send {
                trace: *trace,
                conversation: *conversation,
                client_msg_id: *client_msg_id,
                body: Bytes::copy_from_slice(body),
                deadline: *deadline,
                action: *action,
            },
            Self::Read(conversation, seq) => Command::Read { conversation: *conversation, seq: *seq },
            Self::Request(packet, body, deadline, trace) => Command::Request {
                trace: *trace,
                packet: ntproto_core::wire::packet::PacketId(*packet),
                body: Bytes::copy_from_slice(body),
                deadline: *deadline,
            },
            Self::SetPresence(state) => Command::SetPresence(*state),
            Self::Cancel(id) => Command::Cancel(ClientMsgId(*id)),
            Self::Confirm(position) => Command::Confirm(*position),
            Self::RefreshTicket => Command::RefreshTicket,
            Self::UpdateKeys => Command::UpdateKeys,
            Self::Close => Command::Close,
        }
    }
}

/// Anything an application might ask for. [`Command::Start`] is frequent, [`Command::Close`] rare: after it there is
/// not much to see.
pub fn command() -> impl Strategy<Value = OwnedCommand> {
    let body = || prop::collection::vec(any::<u8>(), 0..200);
    let deadline = || prop::option::of((0..10_000u64).prop_map(Duration::from_millis));
    prop_oneof![
        6 => Just(OwnedCommand::Start),
        6 => (ids::conversation(), prop::option::of(ids::client_msg_id()), body(), deadline(), send_action(), trace())
            .prop_map(|(to, id, body, deadline, action, trace)| OwnedCommand::Send(to, id, body, deadline, action, trace)),
        2 => (ids::conversation(), 0..60u64).prop_map(|(conversation, seq)| OwnedCommand::Read(conversation, seq)),
        3 => (packets::id(), body(), deadline(), trace())
            .prop_map(|(id, body, deadline, trace)| OwnedCommand::Request(id.0, body, deadline, trace)),
        2 => ids::client_msg_id().prop_map(|id| OwnedCommand::Cancel(id.0)),
        2 => (0..60u64).prop_map(OwnedCommand::Confirm),
        1 => prop::sample::select(&State::ALL[..]).prop_map(OwnedCommand::SetPresence),
        1 => Just(OwnedCommand::RefreshTicket),
        1 => Just(OwnedCommand::UpdateKeys),
        1 => Just(OwnedCommand::Close),
    ]
}

/// A trace that is kept, one that is not, or none.
pub fn trace() -> impl Strategy<Value = Option<TraceContext>> {
    prop::option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<bool>())).prop_map(|ids| {
        let (trace, span, sampled) = ids?;
        Some(TraceContext::new(TraceId::from_random(trace), SpanId::from_random(span), sampled))
    })
}

/// What an entry of a conversation does.
pub fn send_action() -> impl Strategy<Value = SendAction> {
    let target = || {
        prop_oneof![
            (0..60u64).prop_map(Target::Number),
            (0..20u8).prop_map(|n| Target::Id(ClientMsgId([n; 16]))),
        ]
    };
    prop_oneof![
        4 => Just(SendAction::Message),
        1 => target().prop_map(SendAction::Edit),
        1 => target().prop_map(SendAction::Recall),
    ]
}

fn talk(n: u64) -> ConversationId {
    ConversationId::direct(Uin(1), Uin(2 + n % 3))
}

/// A message of the inbox of account 1, which talks to three others.
pub fn inbound() -> impl Strategy<Value = Inbound> {
    (1..60u64, 0..3u64, 1..40u64, 1..4u64).prop_map(|(position, n, conv_seq, sender)| {
        let conversation = talk(n);
        // A number is one thing for ever: some are edits, some recalls.
        let action = match conv_seq % 5 {
            3 => v2::Action::Edit,
            4 => v2::Action::Recall,
            _ => v2::Action::Message,
        };
        let message = v2::StoredMessage {
            conversation: Bytes::copy_from_slice(&conversation.0),
            conv_seq,
            sender,
            action: action.into(),
            target_seq: if action == v2::Action::Message { 0 } else { conv_seq / 2 },
            ..Default::default()
        };
        Inbound { position, conversation, message }
    })
}

/// A message on its way out, of the device of account 1.
#[must_use]
pub fn outbox_entry(order: u64, len: usize) -> OutboxEntry {
    OutboxEntry {
        trace: TraceContext::from_bytes(&[order as u8; TRACE_LEN]),
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        conversation: talk(0),
        body: Bytes::from(vec![1; len]),
        expires: None,
        action: SendAction::Message,
    }
}

/// A transaction for the disk of account 1's device: for stores, held against each other or against a model. Positions
/// and orders meet again, as they do after a crash.
///
/// ```
/// use ntproto_core::client::ClientTxn;
/// use ntproto_strategies::client::txn;
/// use proptest::prelude::*;
///
/// proptest!(|(txns in prop::collection::vec(txn(), 0..30))| {
///     // A store that keeps nothing but how far the application is.
///     let mut confirmed = 0;
///     for txn in txns {
///         if let ClientTxn::Confirm(position) = txn {
///             confirmed = confirmed.max(position);
///         }
///     }
///     prop_assert!(confirmed < 60);
/// });
/// ```
pub fn txn() -> impl Strategy<Value = ClientTxn> {
    let settled = (1..20u64, 1..40u64).prop_map(|(order, conv_seq)| Settled {
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        outcome: SendOutcome::Stored { conversation: talk(0), conv_seq, stored_ms: 5 },
    });
    let apply = (
        prop::option::weighted(0.1, any::<u8>().prop_map(|e| [e; 16])),
        prop::option::of(1..60u64),
        prop::collection::vec(inbound(), 0..6),
        prop::collection::vec(settled, 0..3),
        prop::collection::vec((0..3u64, 1..40u64, 0..9u64), 0..2),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
    );
    let owed = || (0..3u64, 0..40u64, 0..40u64);
    prop_oneof![
        (1..20u64, 0..300usize).prop_map(|(order, len)| ClientTxn::Enqueue(outbox_entry(order, len))),
        apply.prop_map(|(epoch, cursor, messages, settled, gaps, (skipped, snapshot))| {
            let gap = |(n, from_seq, len)| v2::Gap {
                conversation: Bytes::copy_from_slice(&talk(n).0),
                from_seq,
                to_seq: from_seq + len,
            };
            let gaps = gaps.into_iter().map(gap).collect();
            ClientTxn::Apply(Apply {
                epoch,
                cursor,
                messages,
                settled,
                gaps,
                skipped,
                snapshot,
                ..Apply::default()
            })
        }),
        (0..60u64).prop_map(ClientTxn::Confirm),
        owed().prop_map(|(n, delivered, read)| ClientTxn::ReceiptsSent(vec![(
            talk(n),
            Owed { delivered, read }
        )])),
        (0..3u64, 1..40u64).prop_map(|(n, seq)| ClientTxn::Read(vec![(talk(n), seq)])),
        Just(ClientTxn::SaveIdentity(Uin(1), DeviceId([4; 16]))),
        Just(ClientTxn::SaveTicket(None)),
    ]
}

/// What an application is told: for one that is tested without a client. In no order that a client would keep.
pub fn event() -> impl Strategy<Value = ClientEvent> {
    let id = || (0..9u64).prop_map(RequestId);
    let failure = prop_oneof![
        Just(Failure::DeadlineExceeded),
        Just(Failure::Cancelled),
        Just(Failure::Disconnected),
        prop::sample::select(ErrorCode::ALL).prop_map(|code| Failure::Refused(Some(code), String::new())),
    ];
    let down = prop_oneof![Just(Down::Unreachable), Just(Down::Closed(Closed::Transport))];
    prop_oneof![
        (ids::session_id(), ids::uin(), ids::device_id(), any::<bool>()).prop_map(
            |(session, uin, device, tcp)| {
                let transport = if tcp { TransportId::Tcp } else { TransportId::Quic };
                ClientEvent::Online { session, uin, device, transport }
            }
        ),
        Just(()).prop_map(|()| ClientEvent::CaughtUp),
        (down, 0..60_000u64)
            .prop_map(|(why, ms)| ClientEvent::Offline { why, retry_in: Duration::from_millis(ms) }),
        (id(), ids::client_msg_id())
            .prop_map(|(request, client_msg_id)| ClientEvent::Queued { request, client_msg_id }),
        (id(), ids::client_msg_id(), ids::conversation(), 1..40u64).prop_map(
            |(request, client_msg_id, conversation, conv_seq)| ClientEvent::Sent {
                request,
                client_msg_id,
                conversation,
                conv_seq,
                stored_ms: 5,
            }
        ),
        (id(), ids::client_msg_id(), failure).prop_map(|(request, client_msg_id, why)| {
            ClientEvent::SendFailed { request, client_msg_id, why }
        }),
        inbound().prop_map(ClientEvent::Message),
        packets::packet().prop_map(ClientEvent::Push),
        pushed(),
    ]
}

/// What comes besides messages: people, groups, what is missing, who is there.
fn pushed() -> impl Strategy<Value = ClientEvent> {
    let conversation = |n: u64| Bytes::copy_from_slice(&talk(n).0);
    prop_oneof![
        (1..9u64, 0..4i32, any::<bool>()).prop_map(|(uin, state, blocked)| {
            ClientEvent::Friend(v2::Friend { uin, state, blocked, ..Default::default() })
        }),
        (1..9u64, 1..9u64, any::<bool>()).prop_map(|(group, version, inside)| {
            let group = v2::Group { group, version, ..Default::default() };
            let me = inside.then(|| v2::Member { uin: 1, ..Default::default() });
            ClientEvent::Group(v2::GroupState { group: Some(group), me })
        }),
        (1..9u64).prop_map(|version| ClientEvent::Profile(v2::User {
            uin: 1,
            version,
            ..Default::default()
        })),
        (0..3u64, 1..40u64, 0..9u64).prop_map(move |(n, from_seq, len)| {
            let to_seq = from_seq + len;
            ClientEvent::Gap(v2::Gap { conversation: conversation(n), from_seq, to_seq })
        }),
        Just(()).prop_map(|()| ClientEvent::Skipped),
        (0..3u64, 1..9u64, any::<bool>()).prop_map(move |(n, uin, active)| {
            ClientEvent::Typing(v2::TypingPush { conversation: conversation(n), uin, active })
        }),
        (1..9u64, 0..3i32).prop_map(|(uin, status)| {
            ClientEvent::Presence(vec![v2::Presence { uin, status, ..Default::default() }])
        }),
        (1..9u64, 1..9u64).prop_map(|(group, version)| {
            ClientEvent::GroupDelta(v2::GroupDelta { group, version, ..Default::default() })
        }),
        (1..9u64).prop_map(|version| {
            ClientEvent::OwnPresence(v2::PresenceRecord { version, ..Default::default() })
        }),
    ]
}
