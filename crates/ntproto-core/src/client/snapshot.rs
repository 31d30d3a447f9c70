//! What makes up for a part of the inbox that was skipped: conversations, friends and groups as they stand, in pages
//! (specification, "Messages and sync").

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use crate::ids::ConversationId;
use crate::wire::packet::PacketId;

/// Records in one page.
const PAGE: u32 = 200;

/// What is asked for next.
#[derive(Clone, Copy)]
enum Stage {
    /// Conversations after this one.
    Conversations(Option<ConversationId>),
    /// Friends after this uin.
    Friends(u64),
    /// Groups after this one.
    Groups(u64),
}

/// What a page brought.
#[derive(Default)]
pub(super) struct Page {
    pub(super) conversations: Vec<(ConversationId, v2::ConversationState)>,
    pub(super) friends: Vec<v2::Friend>,
    pub(super) groups: Vec<v2::GroupState>,
    /// It was the last one.
    pub(super) last: bool,
}

/// A snapshot that is owed, or none.
pub(super) struct Snapshot {
    owed: Option<Stage>,
    asking: bool,
}

impl Snapshot {
    pub(super) const fn new(owed: bool) -> Self {
        Self { owed: if owed { Some(Stage::Conversations(None)) } else { None }, asking: false }
    }

    pub(super) const fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// The next page to ask for.
    pub(super) fn next(&mut self) -> Option<(PacketId, Bytes)> {
        let stage = self.owed.filter(|_| !self.asking)?;
        self.asking = true;
        Some(match stage {
            Stage::Conversations(after) => {
                let after = after.map_or(Bytes::new(), |id| Bytes::copy_from_slice(&id.0));
                let request = v2::SnapshotRequest { after, limit: PAGE };
                (PacketId::SNAPSHOT, request.encode_to_vec().into())
            }
            Stage::Friends(after) => {
                (PacketId::FRIENDS, v2::FriendsRequest { after, limit: PAGE }.encode_to_vec().into())
            }
            Stage::Groups(after) => {
                (PacketId::GROUPS, v2::GroupsRequest { after, limit: PAGE }.encode_to_vec().into())
            }
        })
    }

    /// The page could not be had; it is asked for again.
    pub(super) const fn failed(&mut self) {
        self.asking = false;
    }

    /// The server will never answer that: what it would have listed is left out. Returns whether that was the last.
    pub(super) fn refused(&mut self) -> bool {
        self.asking = false;
        self.owed = match self.owed {
            Some(Stage::Conversations(_)) => Some(Stage::Friends(0)),
            Some(Stage::Friends(_)) => Some(Stage::Groups(0)),
            Some(Stage::Groups(_)) | None => None,
        };
        self.owed.is_none()
    }

    /// A page. `None` when it makes no sense: one that does not lead on, or not forward.
    pub(super) fn page(&mut self, body: Bytes) -> Option<Page> {
        self.asking = false;
        let mut taken = Page::default();
        let next = match self.owed? {
            Stage::Conversations(mut after) => {
                let page = v2::SnapshotResponse::decode(body).ok()?;
                let more = page.has_more;
                for state in page.conversations {
                    let conversation = ConversationId::from_slice(&state.conversation)?;
                    if after.is_some_and(|after| conversation <= after) {
                        return None;
                    }
                    after = Some(conversation);
                    taken.conversations.push((conversation, state));
                }
                if more && taken.conversations.is_empty() {
                    return None;
                }
                Some(if more { Stage::Conversations(after) } else { Stage::Friends(0) })
            }
            Stage::Friends(after) => {
                let page = v2::FriendsResponse::decode(body).ok()?;
                let last = forward(after, page.friends.iter().map(|friend| friend.uin), page.has_more)?;
                taken.friends = page.friends;
                Some(if page.has_more { Stage::Friends(last) } else { Stage::Groups(0) })
            }
            Stage::Groups(after) => {
                let page = v2::GroupsResponse::decode(body).ok()?;
                let ids = page.groups.iter().map(|state| state.group.as_ref().map_or(0, |group| group.group));
                let last = forward(after, ids, page.has_more)?;
                taken.groups = page.groups;
                page.has_more.then_some(Stage::Groups(last))
            }
        };
        taken.last = next.is_none();
        self.owed = next;
        Some(taken)
    }
}

/// The last of these numbers, which rise from `after`; there is one if more follow.
fn forward(after: u64, numbers: impl Iterator<Item = u64>, more: bool) -> Option<u64> {
    let mut last = after;
    for number in numbers {
        if number <= last {
            return None;
        }
        last = number;
    }
    (last > after || !more).then_some(last)
}
