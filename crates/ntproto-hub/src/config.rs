//! The hub's settings and limits.

use core::time::Duration;

use ntproto_core::client::MAX_BODY;
use ntproto_core::endpoint::{FRAME_TARGET, QUEUE_LIMIT};
use ntproto_core::liveness::INTERVAL;
use ntproto_core::wire::frame::MAX_PAYLOAD;
use ntproto_proto::v2::Limits;

use crate::limits::Rate;

/// What an operator may set, and the bounds of everything the hub holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// Whether anybody may make an account, without an invitation.
    pub open_registration: bool,
    /// Whether a device that comes over QUIC or the web without a session ticket must show a bootstrap ticket.
    pub require_bootstrap: bool,
    /// How long a ticket is valid.
    pub ticket_lifetime: Duration,
    /// How long tickets may be refreshed before the device must sign in with its keys again.
    pub ticket_cap: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// The largest message body.
    pub max_body: usize,
    /// Changes in one page of an inbox.
    pub sync_page: u32,
    /// Bytes in one page of an inbox: it fits a channel's queue with room to spare.
    pub sync_page_bytes: u32,
    /// A cursor further behind than so many changes is told to start anew, from a snapshot.
    pub max_lag: u64,
    /// Watermarks in one DELIVERED: one transaction writes an entry for each.
    pub max_watermarks: usize,
    /// Accounts one invitation may create.
    pub max_invitation_uses: u32,
    /// How long an invitation may last.
    pub max_invitation_lifetime: Duration,
    /// Connections at once. One costs a few kilobytes here and some more in the transport.
    pub max_connections: usize,
    /// Requests of one connection that may be in the store: twice a client's window of messages.
    /// At half of it the connection is not read any more.
    pub max_requests: usize,
    /// Their bytes.
    pub max_request_bytes: usize,
    /// Transactions in the store, of all connections. At half of it nothing is read any more; what
    /// comes nevertheless is answered RETRY_AFTER.
    pub max_ops: usize,
    /// Their bytes.
    pub max_op_bytes: usize,
    /// Requests of one connection that the application may have to answer; beyond these, RETRY_AFTER. Fewer than the
    /// store's, so that a handler that hangs holds up nothing else of its connection.
    pub max_conn_asks: usize,
    /// Their bytes.
    pub max_conn_ask_bytes: usize,
    /// Requests that the application may have to answer, of all connections. Each is a task of the host.
    pub max_asks: usize,
    /// Their bytes.
    pub max_ask_bytes: usize,
    /// The longest the application is waited for, whatever deadline the asker named.
    pub max_ask_time: Duration,
    /// Bytes that may wait for devices to read them, of all connections. Beyond it a device has [`CROWDED_ROOM`], and
    /// one that does not read that either is sent away to sync afresh.
    pub max_waiting: usize,
    /// AUTH_REQs remembered for the window in which they could be replayed. Beyond it devices are let in all the
    /// same, but not for early data: they wait until their transport is up.
    pub max_remembered: usize,
    /// How long a drain waits for what is in the store.
    pub drain_timeout: Duration,
    /// Connections from one address that may ask to come in; `None`, here and below: no limit. An address is an IPv4
    /// address or a /64 of IPv6.
    pub auth_rate: Option<Rate>,
    /// Messages of one device.
    pub device_messages: Option<Rate>,
    /// Requests of one device other than messages, those to the application included.
    pub device_requests: Option<Rate>,
    /// Messages to one conversation, whoever sends them.
    pub conversation_messages: Option<Rate>,
}

impl HubConfig {
    /// What a session is held to, as its client is told.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Limits {
            max_payload: limit(MAX_PAYLOAD),
            max_body: limit(self.max_body),
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            sync_page: self.sync_page,
        }
    }
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            open_registration: false,
            require_bootstrap: false,
            ticket_lifetime: Duration::from_secs(900),
            ticket_cap: Duration::from_secs(24 * 3_600),
            heartbeat: INTERVAL,
            max_body: MAX_BODY,
            sync_page: 256,
            sync_page_bytes: 128 * 1_024,
            max_lag: 10_000,
            max_watermarks: 256,
            max_invitation_uses: MAX_INVITATION_USES,
            max_invitation_lifetime: MAX_INVITATION_LIFETIME,
            max_connections: 50_000,
            max_requests: 1_024,
            max_request_bytes: 4 << 20,
            max_ops: 16_384,
            max_op_bytes: 64 << 20,
            max_conn_asks: 128,
            max_conn_ask_bytes: 1 << 20,
            max_asks: 4_096,
            max_ask_bytes: 64 << 20,
            max_ask_time: Duration::from_secs(60),
            max_waiting: 512 << 20,
            max_remembered: 65_536,
            drain_timeout: Duration::from_secs(5),
            auth_rate: Some(AUTH_RATE),
            device_messages: Some(DEVICE_MESSAGES),
            device_requests: Some(DEVICE_REQUESTS),
            conversation_messages: Some(CONVERSATION_MESSAGES),
        }
    }
}

/// Accounts one invitation may create, unless set otherwise: a large room full of people, and no open door.
pub const MAX_INVITATION_USES: u32 = 1_000;
/// How long an invitation may last, unless set otherwise: one that was forgotten is of no use for long.
pub const MAX_INVITATION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
/// An invitation that names no lifetime lasts this long.
pub const DEFAULT_INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The largest answer of an application: as large as a message. One packet of this size fits any frame.
pub const MAX_ANSWER: usize = MAX_BODY;
/// Bytes that may wait on MESSAGE before pushes are held back: the rest of the queue is for answers.
pub const PUSH_ROOM: usize = QUEUE_LIMIT * 3 / 4;
/// The same when much waits for all together: a device that reads never has more than a frame of packets to read.
pub const CROWDED_ROOM: usize = FRAME_TARGET;
/// A device whose pushes are held back for so long reads nothing: it is sent away to sync afresh.
pub const SLOW_CONSUMER: Duration = Duration::from_secs(30);
/// Sessions of one device that have not sent a sealed frame yet; beyond these the oldest is closed. A device needs
/// one, and another when it tries again at once. The rest is for replays of its AUTH_REQ that are not recognized, so
/// that a few of them can't close the session it is about to use.
pub const MAX_UNCONFIRMED: usize = 4;
/// A connection that ended gets so long to take its last words.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// What a client that asked too much is told to wait.
pub const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Messages wait so long for an earlier one of their conversation after it was to come again: longer than a slow
/// round trip, and not for ever, because the client may have given that one up.
pub const HOLD_ORDER: Duration = Duration::from_secs(5);
/// Messages of a connection whose order is kept, of all conversations. A client has far fewer under way.
pub const MAX_LINE: usize = 1024;
/// Who may ask to come in from one address: a company behind it that comes back after a restart, all at once. Each
/// costs a third of a millisecond, so one address takes less than a tenth of a processor for long.
pub const AUTH_RATE: Rate = Rate::per_second(4_096, 256);
/// Messages of one device: half an outbox that filled up offline at once, the rest in ten seconds. Nobody types so
/// fast, and one device can't take more than some percent of what the store can do.
pub const DEVICE_MESSAGES: Rate = Rate::per_second(5_000, 500);
/// Requests of one device: it acknowledges what it receives and reads histories and members page by page.
pub const DEVICE_REQUESTS: Rate = Rate::per_second(10_000, 1_000);
/// Changes of one group by one account, or groups it makes: each may have to be told to 500 members, which is half a
/// thousand entries and some megabytes.
pub const GROUP_RATE: Rate = Rate::per_second(32, 2);
/// Messages to one conversation: a large group in uproar. Each of them is read by all its members.
pub const CONVERSATION_MESSAGES: Rate = Rate::per_second(10_000, 2_000);
/// TYPING of one device in one conversation: one each 2 s, and the word that it has stopped right after it.
pub const TYPING_RATE: Rate = Rate::one_each(2, Duration::from_secs(2));
/// Buckets of one kind that are held: more than connections, and at about 120 bytes each 8 MB.
pub const MAX_BUCKETS: usize = 65_536;
/// What a client is told to wait when the store fails.
pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// The clock floor is asked for again so long after it could not be moved.
pub const FLOOR_RETRY: Duration = Duration::from_secs(1);
/// A subject's states are told so long after the first that was not: whoever looks away for a moment, or changes
/// networks, is not told of.
pub const PRESENCE_DEBOUNCE: Duration = Duration::from_millis(500);
/// Between two renewals of a lease: one that fails leaves time for another.
pub const PRESENCE_RENEW: Duration = Duration::from_secs(30);
/// Devices of each kind in one transaction: a few milliseconds of the store's time.
pub const PRESENCE_BATCH: usize = 128;
/// Leases are looked at so long after their end: server time may be a little behind.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// Accounts whose leases are looked at: more than are connected.
pub const MAX_LEASE_CHECKS: usize = 65_536;
/// Connected members told to sync in one round, of all groups together; and syncs that place something, in the store,
/// at which the next round waits. A commit that such a few have a part in takes about as long as one without them.
pub const DIRTY_BATCH: usize = 4;
/// Between two rounds, at the least: 800 members a second.
pub const DIRTY_PACE: Duration = Duration::from_millis(5);
/// TYPING is told in groups up to so many members: more would see nothing but dots.
pub const TYPING_FANOUT: u32 = 32;
/// The longest a backup or a verification is waited for. It goes on without somebody who waits.
pub const HOST_TIME: Duration = Duration::from_secs(30 * 60);
