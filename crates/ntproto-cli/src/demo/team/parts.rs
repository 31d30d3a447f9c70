//! What a device does beside talking: meeting people, making groups, reading, saying whether one is there, and trying
//! what is not allowed.

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::{Client, RequestError, SendError, SendOptions};
use prost::Message;

use super::asks::{ask, must};
use super::device::{Answer, Live};
use super::plan::{Group, Plan, Presence};
use crate::exit::Failure;
use crate::session;

/// How often a change of one's presence that was overtaken is tried again.
const TRIES: usize = 8;
/// Steps from here on are no part of a script: they are tried, and must not come to anything.
const INTRUSION: u64 = 1 << 32;

/// Asks others to be friends, blocks, makes groups: the user's first device does it.
pub(super) async fn meet(live: &mut Live) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let (plan, user, client) = (live.part.plan, live.part.user, live.client()?);
    if live.part.index != 0 {
        return Ok(answer);
    }
    let profile = v2::ProfileSetRequest { nick: format!("user {user}"), ..v2::ProfileSetRequest::default() };
    let _: v2::ProfileSetResponse = must(&client, PacketId::PROFILE_SET, &profile).await?;
    for (_, friend) in plan.friends().into_iter().filter(|(asker, _)| *asker == user) {
        let request = v2::FriendRequestRequest { uin: live.names.uins[friend], message: "hello".into() };
        let _: v2::FriendResponse = must(&client, PacketId::FRIEND_REQUEST, &request).await?;
    }
    if let Some((_, whom)) = plan.block().filter(|(by, _)| *by == user) {
        let uin = live.names.uins[whom];
        let request =
            v2::FriendUpdateRequest { uin, blocked: Some(true), ..v2::FriendUpdateRequest::default() };
        let _: v2::FriendResponse = must(&client, PacketId::FRIEND_UPDATE, &request).await?;
    }
    for (n, group) in plan.groups().into_iter().enumerate().filter(|(_, group)| group.owner == user) {
        let others = group.members.iter().chain(&group.leaver).filter(|member| **member != user);
        let mut request = [0x7e; 16];
        request[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let request = v2::GroupCreateRequest {
            name: format!("team {n}"),
            members: others.map(|member| live.names.uins[*member]).collect(),
            request: Bytes::copy_from_slice(&request),
            ..v2::GroupCreateRequest::default()
        };
        let made: v2::GroupResponse = must(&client, PacketId::GROUP_CREATE, &request).await?;
        let id = made.state.and_then(|state| state.group).map(|group| group.group);
        answer.groups.push((n, id.ok_or_else(|| Failure::failed("a new group has no id"))?));
    }
    Ok(answer)
}

/// Accepts who asked, and makes admins. Every device begins to hear of its friends.
pub(super) async fn settle(live: &mut Live) -> Result<Answer, Failure> {
    let (plan, user, client) = (live.part.plan, live.part.user, live.client()?);
    if live.part.index == 0 {
        for (asker, _) in plan.friends().into_iter().filter(|(_, other)| *other == user) {
            let request = v2::FriendAnswerRequest { uin: live.names.uins[asker], accept: true };
            // An answer that was lost and is given again finds a friend.
            let _: Result<v2::FriendResponse, _> = ask(&client, PacketId::FRIEND_ANSWER, &request).await;
        }
        for (n, group) in plan.groups().into_iter().enumerate().filter(|(_, group)| group.owner == user) {
            let (group, uin) = (live.names.groups[n], live.names.uins[group.admin]);
            let request = v2::GroupRoleRequest { group, uin, role: v2::Role::Admin.into() };
            let _: v2::GroupResponse = must(&client, PacketId::GROUP_ROLE, &request).await?;
        }
    }
    Ok(Answer::default())
}

/// Halfway: who leaves a group leaves, and who comes late is brought in.
pub(super) async fn come_and_go(live: &mut Live) -> Result<(), Failure> {
    let (user, client) = (live.part.user, live.client()?);
    for (n, group) in live.part.plan.groups().into_iter().enumerate() {
        let id = live.names.groups[n];
        if group.leaver == Some(user) {
            let begun = session::now_us();
            let left: Result<v2::GroupResponse, RequestError> =
                ask(&client, PacketId::GROUP_LEAVE, &v2::GroupRequest { group: id }).await;
            // When the answer to the first was lost, the second finds no member.
            if let Err(e) = left
                && !matches!(e, RequestError::Refused(..))
            {
                return Err(e.into());
            }
            live.seen.left.insert(n, (begun, session::now_us()));
        }
        if let Some(joiner) = group.joiner.filter(|_| group.owner == user) {
            let begun = session::now_us();
            let request = v2::GroupInviteRequest { group: id, uins: vec![live.names.uins[joiner]] };
            let _: v2::GroupResponse = must(&client, PacketId::GROUP_INVITE, &request).await?;
            live.seen.brought.insert(n, (begun, session::now_us()));
        }
    }
    Ok(())
}

/// Everything up to this number was read.
pub(super) async fn read(client: &Client, conversation: ConversationId, seq: u64) -> Result<(), Failure> {
    client.mark_read(conversation, seq).await.map_err(Failure::from)
}

/// Reads what is there, but for what is left unread on purpose, and says whether the user is there.
pub(super) async fn end(live: &mut Live) -> Result<Answer, Failure> {
    let (user, client) = (live.part.user, live.client()?);
    live.subscribe()?;
    if live.part.index == 0 {
        let conversations = client.conversations().await;
        let conversations = conversations.map_err(|e| Failure::failed(format!("a device's disk: {e}")))?;
        for (conversation, newest) in conversations {
            if !Plan::leaves_unread(user, &conversation.0) {
                read(&client, conversation, newest).await?;
            }
        }
    }
    let statuses: &[v2::OnlineStatus] = match (Plan::presence(user), live.part.index) {
        (Presence::Online, 0) => &[v2::OnlineStatus::Online],
        // From nowhere to away there is no way but over online, which makes the others of the user away, too.
        (Presence::Away, 0) => &[v2::OnlineStatus::Online, v2::OnlineStatus::Away],
        (Presence::Offline, _) => &[v2::OnlineStatus::Offline],
        _ => &[],
    };
    for status in statuses {
        for record in set_status(&client, *status).await? {
            live.record(&record);
        }
    }
    Ok(Answer::default())
}

/// Changes how this device appears, against whatever the others of the user do: every record that was seen meanwhile.
pub(super) async fn set_status(
    client: &Client,
    status: v2::OnlineStatus,
) -> Result<Vec<v2::PresenceRecord>, Failure> {
    let mut records: Vec<v2::PresenceRecord> = Vec::new();
    for _ in 0..TRIES {
        let version = records.last().map_or(0, |record| record.version);
        let request = v2::PresenceSetRequest { status: status.into(), version };
        let answer: Result<v2::PresenceSetResponse, _> = ask(client, PacketId::PRESENCE_SET, &request).await;
        let answer = match answer {
            Ok(answer) => answer,
            // Nobody goes away who is not there.
            Err(RequestError::Refused(..)) => return Ok(records),
            Err(e) => return Err(e.into()),
        };
        records.extend(answer.record);
        if !answer.stale {
            return Ok(records);
        }
    }
    Ok(records)
}

/// Tries what is not allowed, as who is no member, who has left, who is blocked, who has no right.
pub(super) async fn intrude(live: &mut Live) -> Result<Answer, Failure> {
    let mut tries = Tries { client: live.client()?, tried: 0, refused: 0 };
    if live.part.index == 0 {
        let plan = live.part.plan;
        for (n, group) in plan.groups().into_iter().enumerate() {
            tries.group(live, n, &group).await?;
        }
        if let Some((by, _)) = plan.block().filter(|(_, whom)| *whom == live.part.user) {
            let to = ConversationId::direct(live.me(), Uin(live.names.uins[by]));
            tries.send(live, to, 0).await?;
            let request = v2::FriendRequestRequest { uin: live.names.uins[by], message: String::new() };
            tries.request::<_, v2::FriendResponse>(PacketId::FRIEND_REQUEST, &request).await?;
        }
    }
    Ok(Answer { tried: (tries.tried, tries.refused), ..Answer::default() })
}

struct Tries {
    client: Client,
    tried: u64,
    refused: u64,
}

impl Tries {
    async fn group(&mut self, live: &Live, n: usize, group: &Group) -> Result<(), Failure> {
        let (user, id) = (live.part.user, live.names.groups[n]);
        let conversation = ConversationId::of_group(GroupId(id));
        let stays = group.members.contains(&user);
        if !stays && group.joiner != Some(user) {
            // Whoever has left is outside like all others.
            self.send(live, conversation, n as u64 + 1).await?;
            let conversation = Bytes::copy_from_slice(&conversation.0);
            let request = v2::HistoryRequest { conversation, limit: 10, ..v2::HistoryRequest::default() };
            self.request::<_, v2::HistoryResponse>(PacketId::HISTORY, &request).await?;
            let request = v2::GroupMembersRequest { group: id, page: 0, size: 10 };
            self.request::<_, v2::GroupMembersResponse>(PacketId::GROUP_MEMBERS, &request).await?;
        }
        if user == group.owner {
            let request = v2::GroupRequest { group: id };
            self.request::<_, v2::GroupResponse>(PacketId::GROUP_LEAVE, &request).await?;
        }
        if stays && user != group.owner && user != group.admin {
            let request = v2::GroupRoleRequest { group: id, uin: live.me().0, role: v2::Role::Admin.into() };
            self.request::<_, v2::GroupResponse>(PacketId::GROUP_ROLE, &request).await?;
            let request = v2::GroupRemoveRequest { group: id, uin: live.names.uins[group.owner] };
            self.request::<_, v2::GroupResponse>(PacketId::GROUP_REMOVE, &request).await?;
        }
        Ok(())
    }

    async fn send(&mut self, live: &Live, to: ConversationId, n: u64) -> Result<(), Failure> {
        let id = Plan::id(live.part.user, live.part.index, INTRUSION + n);
        let options = SendOptions { client_msg_id: Some(id), ..SendOptions::default() };
        self.tried += 1;
        match self.client.send_with(to, "let me in", options).await {
            Err(SendError::Refused(Some(code), _)) if is_right(code) => self.refused += 1,
            Err(SendError::Refused(..)) => {}
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    async fn request<Q: Message, A: Message + Default>(
        &mut self,
        packet: PacketId,
        request: &Q,
    ) -> Result<(), Failure> {
        self.tried += 1;
        match ask::<Q, A>(&self.client, packet, request).await {
            Err(RequestError::Refused(Some(code), _)) if is_right(code) => self.refused += 1,
            Err(RequestError::Refused(..)) => {}
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

/// Whether that is why such a thing is refused, and not that the server could not.
const fn is_right(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Forbidden | ErrorCode::LastOwner | ErrorCode::NotFound)
}
