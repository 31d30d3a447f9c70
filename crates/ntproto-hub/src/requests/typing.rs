//! TYPING: told to those who are connected, and kept nowhere.
//!
//! Whether it may be told is one read in the store: for a group, who is in it; for two, whether the other one blocks.
//! Nobody learns of a block by this: the answer is the same.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::Now;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message;

use super::messages::conversation;
use super::{Asked, Asker, Read, Refused, What, read};
use crate::config::TYPING_FANOUT;
use crate::hub::Hub;
use crate::store::{Act, Actor, Outcome, StoreError, Txn};

/// Who types, and where.
#[derive(Clone, Copy)]
pub(crate) struct Typing {
    uin: Uin,
    pub(super) to: ConversationId,
    active: bool,
}

pub(super) fn read_typing(hub: &mut Hub, asked: Asked) -> Read {
    let request: v2::TypingRequest = read(asked.body)?;
    let to = conversation(&asked.session, &request.conversation)?;
    let uin = asked.session.uin;
    let by = Actor { uin, device: asked.session.device, now: asked.time };
    let (by, act) = match (other(to, uin), to.group()) {
        // The other's record of this one, read as a device of the other's that would be told. Without one, nothing is
        // to be known.
        (Some(other), _) => match hub.online.of(other).first() {
            Some(&(device, _)) => {
                let one = v2::FriendsRequest { after: uin.0.saturating_sub(1), limit: 1 };
                (Actor { uin: other, device, ..by }, Act::Friends(one))
            }
            None => (by, Act::Profiles(v2::ProfilesRequest::default())),
        },
        (None, Some(group)) => (by, Act::GroupGet(v2::GroupGetRequest { groups: [group.0].into() })),
        (None, None) => return Err((ErrorCode::NotFound, "no such conversation")),
    };
    Ok((What::Typing(Typing { uin, to, active: request.active }), Txn::Act { by, act }))
}

fn other(to: ConversationId, uin: Uin) -> Option<Uin> {
    to.members().map(|(low, high)| if low == uin { high } else { low })
}

impl Hub {
    //= spec: messages-25
    pub(super) fn typing(
        &mut self,
        now: Now,
        to: Asker,
        typing: Typing,
        result: &Result<Outcome, StoreError>,
    ) {
        let whom: Vec<Uin> = match (other(typing.to, typing.uin), result) {
            (Some(other), Ok(Outcome::Acted(acted))) if !blocks(&acted.answer, typing.uin) => [other].into(),
            // What the store says of the other one's device is none of the asker's business.
            (Some(_), _) => Vec::new(),
            (None, Ok(Outcome::Acted(acted))) => match tells(&acted.answer) {
                Ok(true) => typing.to.group().map_or_else(Vec::new, |group| self.groups.members(group)),
                Ok(false) => Vec::new(),
                Err(why) => return self.fail(now, to, why),
            },
            (None, Err(error)) => return self.refused_by_store(now, to, *error),
            (None, Ok(_)) => {
                return self.fail(now, to, (ErrorCode::Internal, "the store answered something else"));
            }
        };
        self.answer(now, to, &v2::TypingResponse {});
        let Typing { uin, to, active } = typing;
        let push = v2::TypingPush { conversation: Bytes::copy_from_slice(&to.0), uin: uin.0, active };
        let body = push.encode_to_vec().into();
        let id = PacketId::TYPING;
        let packet = Packet { id, kind: Kind::Push, deadline_ms: None, trace: None, body };
        for uin in whom.into_iter().filter(|other| *other != uin) {
            self.push_to_readers(now, uin, &packet);
        }
    }
}

/// Whether a page of friend records says that one of them is blocked.
//= spec: people-4
fn blocks(page: &Bytes, uin: Uin) -> bool {
    let page = v2::FriendsResponse::decode(page.clone()).unwrap_or_default();
    page.friends.iter().any(|friend| friend.uin == uin.0 && friend.blocked)
}

/// Whether a group, as it stands for a member, is small enough.
fn tells(answer: &Bytes) -> Result<bool, Refused> {
    let mut answer = v2::GroupGetResponse::decode(answer.clone()).unwrap_or_default();
    match answer.groups.pop() {
        Some(v2::GroupState { group: Some(group), .. }) if group.dissolved => {
            Err((ErrorCode::Gone, "the group was dissolved"))
        }
        Some(v2::GroupState { group: Some(group), me: Some(_) }) => Ok(group.members <= TYPING_FANOUT),
        Some(_) => Err((ErrorCode::Forbidden, "not a member of this group")),
        None => Err((ErrorCode::NotFound, "no such group")),
    }
}
