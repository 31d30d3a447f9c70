//! Requests that are asked until they are answered: the server may be down for a moment.

use std::time::Duration;

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::{Client, ErrorCode, RequestError};
use prost::Message;
use tokio::time::{Instant, sleep};

use crate::exit::Failure;

/// How long an answer is waited for before it is asked again.
const ANSWER: Duration = Duration::from_secs(5);
/// How long before it is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long it is asked.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entries on a page of a list.
const PAGE: u32 = 200;

/// Asks until the server says yes or no. A request that was carried out although no answer came is asked again: all that
/// are asked here may be.
pub(crate) async fn ask<Q: Message, A: Message + Default>(
    client: &Client,
    packet: PacketId,
    request: &Q,
) -> Result<A, RequestError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = client.request_typed_within(packet, request, ANSWER).await;
        let again = match &answer {
            Ok(_) | Err(RequestError::Ended(_) | RequestError::BadAnswer) => false,
            Err(RequestError::Refused(code, _)) => {
                matches!(code, Some(ErrorCode::RetryAfter | ErrorCode::Unavailable | ErrorCode::Internal))
            }
            Err(_) => true,
        };
        if !again || Instant::now() >= until {
            return answer;
        }
        sleep(AGAIN).await;
    }
}

/// The same where a no is a failure of the demo.
pub(crate) async fn must<Q: Message, A: Message + Default>(
    client: &Client,
    packet: PacketId,
    request: &Q,
) -> Result<A, Failure> {
    let answer = ask(client, packet, request).await;
    answer.map_err(|e| Failure::failed(format!("{}: {e}", packet.name().unwrap_or("a request"))))
}

/// The records of one's friends.
pub(crate) async fn friends(client: &Client) -> Result<Vec<v2::Friend>, Failure> {
    let mut all: Vec<v2::Friend> = Vec::new();
    loop {
        let after = all.last().map_or(0, |friend| friend.uin);
        let request = v2::FriendsRequest { after, limit: PAGE };
        let page: v2::FriendsResponse = must(client, PacketId::FRIENDS, &request).await?;
        let more = page.has_more && !page.friends.is_empty();
        all.extend(page.friends);
        if !more {
            return Ok(all);
        }
    }
}

/// One's groups.
pub(crate) async fn groups(client: &Client) -> Result<Vec<v2::GroupState>, Failure> {
    let mut all: Vec<v2::GroupState> = Vec::new();
    loop {
        let after = all.last().and_then(|state| state.group.as_ref()).map_or(0, |group| group.group);
        let request = v2::GroupsRequest { after, limit: PAGE };
        let page: v2::GroupsResponse = must(client, PacketId::GROUPS, &request).await?;
        let more = page.has_more && !page.groups.is_empty();
        all.extend(page.groups);
        if !more {
            return Ok(all);
        }
    }
}

/// The members of a group; all of one version, if nothing changes meanwhile.
pub(crate) async fn members(client: &Client, group: u64) -> Result<Vec<v2::Member>, Failure> {
    let mut all = Vec::new();
    for page in 0.. {
        let request = v2::GroupMembersRequest { group, page, size: PAGE };
        let answer: v2::GroupMembersResponse = must(client, PacketId::GROUP_MEMBERS, &request).await?;
        let more = !answer.members.is_empty();
        all.extend(answer.members);
        if !more || all.len() as u64 >= u64::from(answer.count) {
            break;
        }
    }
    Ok(all)
}

/// How far the members of a conversation have it, as the server knows.
pub(crate) async fn marks(client: &Client, conversation: &[u8]) -> Result<Vec<v2::Receipt>, Failure> {
    let mut all: Vec<v2::Receipt> = Vec::new();
    loop {
        let after = all.last().map_or(0, |mark| mark.member);
        let conversation = bytes::Bytes::copy_from_slice(conversation);
        let request = v2::MarksRequest { conversation, after, limit: PAGE };
        let page: v2::MarksResponse = must(client, PacketId::MARKS, &request).await?;
        let more = page.has_more && !page.marks.is_empty();
        all.extend(page.marks);
        if !more {
            return Ok(all);
        }
    }
}
