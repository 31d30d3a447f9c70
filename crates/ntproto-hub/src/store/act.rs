//! What accounts ask of each other: people, groups, presence, history, administration.
//!
//! All of it has one shape: who asks, a request as it was decoded, and back come the answer as it travels and what
//! stands in inboxes now. So a new packet is a line here, its meaning in `execute`, and nothing else in the hub.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message;

use super::txn::InboxPlace;

/// Who asks, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account.
    pub uin: Uin,
    /// Its device.
    pub device: DeviceId,
    /// Server time.
    pub now: UnixMillis,
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident($request:ident) = $packet:ident, $kind:ident;)*) => {
        /// A request whose meaning is the store's.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Act {
            $($(#[$doc])* $name(v2::$request),)*
        }

        impl Act {
            /// The packets that are such requests.
            pub const PACKETS: &'static [PacketId] = &[$(PacketId::$packet,)*];

            /// Decodes the request of a packet. `None`: that packet is none of these.
            #[must_use]
            pub fn decode(packet: PacketId, body: Bytes) -> Option<Result<Self, prost::DecodeError>> {
                match packet {
                    $(PacketId::$packet => Some(v2::$request::decode(body).map(Self::$name)),)*
                    _ => None,
                }
            }

            /// The packet that asks for it.
            #[must_use]
            pub const fn packet(&self) -> PacketId {
                match self {
                    $(Self::$name(_) => PacketId::$packet,)*
                }
            }

            /// Whether it only reads.
            #[must_use]
            pub const fn is_read(&self) -> bool {
                match self {
                    $(Self::$name(_) => matches!(Kind::$kind, Kind::Read),)*
                }
            }

            /// The request, encoded.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(request) => request.encode_to_vec(),)*
                }
            }

            /// Bytes of the request.
            #[must_use]
            pub fn weight(&self) -> usize {
                match self {
                    $(Self::$name(request) => request.encoded_len(),)*
                }
            }
        }
    };
}

/// Whether a request changes anything.
enum Kind {
    Read,
    Write,
}

acts! {
    /// Replaces one's own profile.
    ProfileSet(ProfileSetRequest) = PROFILE_SET, Write;
    /// Reads profiles.
    Profiles(ProfilesRequest) = PROFILES, Read;
    /// Asks for friendship.
    FriendRequest(FriendRequestRequest) = FRIEND_REQUEST, Write;
    /// Accepts or declines.
    FriendAnswer(FriendAnswerRequest) = FRIEND_ANSWER, Write;
    /// Remark, block, extra.
    FriendUpdate(FriendUpdateRequest) = FRIEND_UPDATE, Write;
    /// Ends a friendship or a request.
    FriendDelete(FriendDeleteRequest) = FRIEND_DELETE, Write;
    /// Reads one's own friend records.
    Friends(FriendsRequest) = FRIENDS, Read;
    /// Makes a group.
    GroupCreate(GroupCreateRequest) = GROUP_CREATE, Write;
    /// Reads groups.
    GroupGet(GroupGetRequest) = GROUP_GET, Read;
    /// Changes a group's profile or policy, or one's own name in it.
    GroupUpdate(GroupUpdateRequest) = GROUP_UPDATE, Write;
    /// Brings accounts in.
    GroupInvite(GroupInviteRequest) = GROUP_INVITE, Write;
    /// Joins an open group.
    GroupJoin(GroupRequest) = GROUP_JOIN, Write;
    /// Leaves.
    GroupLeave(GroupRequest) = GROUP_LEAVE, Write;
    /// Takes somebody out.
    GroupRemove(GroupRemoveRequest) = GROUP_REMOVE, Write;
    /// Ends a group for all.
    GroupDissolve(GroupRequest) = GROUP_DISSOLVE, Write;
    /// Makes and unmakes admins, or hands the group over.
    GroupRole(GroupRoleRequest) = GROUP_ROLE, Write;
    /// Mutes a member for a time.
    GroupMute(GroupMuteRequest) = GROUP_MUTE, Write;
    /// Reads a page of members.
    GroupMembers(GroupMembersRequest) = GROUP_MEMBERS, Read;
    /// Reads what changed.
    GroupChanges(GroupChangesRequest) = GROUP_CHANGES, Read;
    /// Reads one's own groups.
    Groups(GroupsRequest) = GROUPS, Read;
    /// Reads a conversation backwards.
    History(HistoryRequest) = HISTORY, Read;
    /// Reads one's own conversations.
    Snapshot(SnapshotRequest) = SNAPSHOT, Read;
    /// Reads members' watermarks.
    Marks(MarksRequest) = MARKS, Read;
    /// Compare-and-swap of one's own presence.
    PresenceSet(PresenceSetRequest) = PRESENCE_SET, Write;
    /// Reads the presence of friends; whom it names under `remove` is nothing to the store.
    PresenceSubscribe(PresenceSubscribeRequest) = PRESENCE_SUBSCRIBE, Read;
    /// Lists accounts.
    AdminAccounts(AdminAccountsRequest) = ADMIN_ACCOUNTS, Write;
    /// Lists the devices of an account.
    AdminDevices(AdminDevicesRequest) = ADMIN_DEVICES, Write;
    /// Ends a device.
    AdminRevoke(AdminRevokeRequest) = ADMIN_REVOKE, Write;
    /// Lists groups.
    AdminGroups(AdminGroupsRequest) = ADMIN_GROUPS, Write;
    /// Counts; the hub adds what only it knows.
    AdminStats(AdminStatsRequest) = ADMIN_STATS, Write;
    /// Authorises and notes a backup, which the host then makes.
    AdminBackup(AdminBackupRequest) = ADMIN_BACKUP, Write;
    /// Authorises and notes a verification, which the host then makes.
    AdminVerify(AdminVerifyRequest) = ADMIN_VERIFY, Write;
    /// Reads the audit log.
    AdminAudit(AdminAuditRequest) = ADMIN_AUDIT, Read;
}

impl Act {
    /// The group whose members may all have to be told; group 0 is the one that is made.
    #[must_use]
    pub const fn tells_members(&self) -> Option<GroupId> {
        Some(GroupId(match self {
            Self::GroupCreate(_) => 0,
            Self::GroupUpdate(request) => request.group,
            Self::GroupInvite(request) => request.group,
            Self::GroupRole(request) => request.group,
            Self::GroupDissolve(request) => request.group,
            _ => return None,
        }))
    }
}

/// What an act led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acted {
    /// The response, encoded.
    pub answer: Bytes,
    /// What stands in inboxes now.
    pub places: Vec<Placed>,
    /// A group that changed, for its members that are connected.
    pub delta: Option<v2::GroupDelta>,
    /// Accounts that appear otherwise to their subscribers now.
    pub presence: Vec<v2::Presence>,
    /// A device whose sessions must end.
    pub revoked: Option<(Uin, DeviceId)>,
    /// A large group that changed for all its members: they find out when they sync.
    pub dirty: Option<GroupId>,
    /// The presence of the first is none of the second's business any more.
    pub hidden: Vec<(Uin, Uin)>,
}

/// A change, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Where.
    pub place: InboxPlace,
    /// What.
    pub packet: v2::SyncPacket,
}
