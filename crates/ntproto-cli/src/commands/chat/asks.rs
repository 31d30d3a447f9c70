//! What a command asks the server for.

use std::error::Error;

use ntproto_core::ids::GroupId;
use ntproto_core::model::permission::Role;
use ntproto_core::presence::State as Status;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;
use ntproto_sdk::store::{Gap, Stored};
use ntproto_sdk::{ConversationId, GroupUpdate, NewGroup, NewProfile, State, Uin};

use super::host::Voice;
use crate::chat::{Ask, News};
use crate::commands::files;

/// Accounts that are watched with one request.
const WATCH: usize = 100;
/// Messages of a page from the server.
const PAGE: u32 = 200;
/// Pages of a gap that are fetched by themselves; further up is what nobody looks at.
const MAX_PAGES: usize = 5;

/// Asks, and tells what came of it. What changes comes by the inbox as well.
pub(super) async fn ask(voice: &Voice, ask: Ask) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = &voice.client;
    let (friends, groups) = (client.friends(), client.groups());
    let news = match ask {
        Ask::Befriend(uin, message) => friend(friends.request(uin, &message).await?),
        Ask::Answer(uin, true) => {
            let record = friends.accept(uin).await?;
            watch(voice, &[uin]).await;
            friend(record)
        }
        Ask::Answer(uin, false) => friend(friends.decline(uin).await?),
        Ask::Unfriend(uin) => friend(friends.delete(uin).await?),
        Ask::Block(uin, true) => friend(friends.block(uin).await?),
        Ask::Block(uin, false) => friend(friends.unblock(uin).await?),
        Ask::Remark(uin, remark) => friend(friends.set_remark(uin, &remark).await?),
        Ask::Nick(nick) => {
            let profile = NewProfile { nick, ..client.profile().await?.into() };
            let user = client.set_profile(profile).await?;
            News::Told(format!("others see you as {}", user.nick))
        }
        Ask::Presence(status) => {
            let wanted = match status {
                v2::OnlineStatus::Online => Status::Online,
                v2::OnlineStatus::Away => Status::Away,
                v2::OnlineStatus::Offline => Status::Offline,
            };
            match client.presence().set(wanted).await?.as_asked {
                true => return Ok(()),
                false => News::Told("another device of yours was faster; try again".into()),
            }
        }
        Ask::NewGroup(name, members) => {
            let id = groups.create(NewGroup { name, members, ..NewGroup::default() }).await?;
            for state in groups.get(&[id]).await? {
                voice.say(News::Group(state)).await;
            }
            News::Open(ConversationId::of_group(id))
        }
        Ask::Download(conversation, seq) => {
            let fetched = files::download::here(client, &voice.connect, conversation, seq).await;
            News::Told(format!("fetched {}", fetched.map_err(|e| e.to_string())?))
        }
        Ask::Join(id) => {
            voice.say(News::Group(groups.join(id).await?)).await;
            News::Open(ConversationId::of_group(id))
        }
        Ask::Leave(id) => News::Group(groups.leave(id).await?),
        Ask::Dissolve(id) => News::Group(groups.dissolve(id).await?),
        Ask::Members(id, shown) => return members_of(voice, id, shown).await,
        Ask::Invite(id, who) => changed(voice, id, groups.invite(id, &who).await?).await,
        Ask::Remove(id, who) => changed(voice, id, groups.remove(id, who).await?).await,
        Ask::Role(id, who, role) => {
            let role = match role {
                v2::Role::Member => Role::Member,
                v2::Role::Admin => Role::Admin,
                v2::Role::Owner => Role::Owner,
            };
            changed(voice, id, groups.set_role(id, who, role).await?).await
        }
        Ask::Mute(id, who, until) => changed(voice, id, groups.mute(id, who, UnixMillis(until)).await?).await,
        Ask::Rename(id, name) => {
            let update = GroupUpdate { name: Some(name), ..GroupUpdate::default() };
            News::Group(groups.update(id, update).await?)
        }
        Ask::Notice(id, notice) => {
            let update = GroupUpdate { notice: Some(notice), ..GroupUpdate::default() };
            News::Group(groups.update(id, update).await?)
        }
    };
    voice.say(news).await;
    Ok(())
}

fn friend(record: v2::Friend) -> News {
    News::Friend(record)
}

/// The members are others, or other.
async fn changed(voice: &Voice, id: GroupId, state: v2::GroupState) -> News {
    // It is shown when it is looked at again if this fails.
    let _ = members_of(voice, id, false).await;
    News::Group(state)
}

/// Hears of people from now on, as long as the connection lasts.
pub(super) async fn watch(voice: &Voice, who: &[Uin]) {
    for some in who.chunks(WATCH) {
        if let Ok(states) = voice.client.presence().subscribe(some).await {
            let states = states.into_iter().map(|state| v2::Presence {
                uin: state.uin.0,
                status: status(state.state).into(),
                ..v2::Presence::default()
            });
            voice.say(News::Presence(states.collect())).await;
        }
    }
}

const fn status(state: Status) -> v2::OnlineStatus {
    match state {
        Status::Offline => v2::OnlineStatus::Offline,
        Status::Online => v2::OnlineStatus::Online,
        Status::Away => v2::OnlineStatus::Away,
    }
}

/// The members of a group changed, or are to be shown.
pub(super) async fn members(voice: &Voice, group: u64, shown: bool) {
    // They are asked for again when they are looked at.
    let _ = members_of(voice, GroupId(group), shown).await;
}

async fn members_of(voice: &Voice, id: GroupId, shown: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
    let members = voice.client.group(id).members().await?.members;
    let unknown: Vec<Uin> =
        members.iter().map(|member| Uin(member.uin)).filter(|uin| *uin != voice.me).collect();
    voice.say(News::Members(id, members, shown)).await;
    let users = voice.client.profiles(&unknown).await?;
    voice.say(News::Profiles(users)).await;
    Ok(())
}

/// Fetches what is missing of a conversation, newest first, and shows it.
pub(super) async fn fill(voice: &Voice, conversation: ConversationId) {
    for _ in 0..MAX_PAGES {
        if !fetch_newest(voice, conversation, None, 0).await {
            break;
        }
    }
    voice.load(conversation, None).await;
    voice.count(conversation).await;
}

/// Somebody looks at a page of the local disk: what is missing in it, or right above it, is fetched. Answers whether
/// there is more on the disk now.
pub(super) async fn fetch_missing(
    voice: &Voice,
    conversation: ConversationId,
    before: Option<u64>,
    page: &[Stored],
) -> bool {
    let State::Online { .. } = voice.client.state() else { return false };
    let oldest = page.iter().map(|stored| stored.conv_seq).min().unwrap_or(1);
    fetch_newest(voice, conversation, before, oldest - 1).await
}

/// Fetches a page of the newest gap that begins below `before` and does not end below `least`.
async fn fetch_newest(voice: &Voice, conversation: ConversationId, before: Option<u64>, least: u64) -> bool {
    let Ok(gaps) = voice.client.gaps(conversation).await else { return false };
    let below = |gap: &&Gap| before.is_none_or(|before| gap.from < before);
    let Some(gap) = gaps.iter().rev().find(below).filter(|gap| gap.to >= least) else { return false };
    let end = before.map_or(gap.to + 1, |before| before.min(gap.to + 1));
    voice.client.history_from_server(conversation, Some(end), PAGE).await.is_ok()
}
