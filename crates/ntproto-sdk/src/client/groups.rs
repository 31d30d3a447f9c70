//! Groups.

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::{Action, Permissions, Policy, Role, Standing, allowed};
use ntproto_core::model::text::Field;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::{Client, QueryError, RequestError};
use crate::store::Fetched;

/// Groups in one page.
const PAGE: u32 = 200;
/// Groups in one request by id.
const MAX_GROUPS: usize = 100;
/// Accounts brought in by one request.
const MAX_INVITED: usize = 100;
/// When a mute ends is the server's to judge, by its own clock.
const NO_TIME: UnixMillis = UnixMillis(u64::MAX);

/// A group to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Who is in it from the start, beside this account.
    pub members: Vec<Uin>,
    /// Whether anybody may join who knows its id.
    pub open: bool,
    /// JSON of the application's, kept byte for byte.
    pub extra: String,
}

/// What to change of a group: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Its name.
    pub name: Option<String>,
    /// What its members are to read.
    pub notice: Option<String>,
    /// Whether anybody may join who knows its id.
    pub open: Option<bool>,
    /// Whether plain members are kept from sending.
    pub muted: Option<bool>,
    /// What plain members may do.
    pub permissions: Option<Permissions>,
    /// JSON of the application's.
    pub extra: Option<String>,
    /// What this account is called in it: everybody's own.
    pub nick: Option<String>,
}

impl Client {
    /// The groups this account is in, and what can be done with them.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups(self.clone())
    }

    /// One group: its members, and what changes about them.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Group {
        Group { client: self.clone(), id: group }
    }
}

/// The groups this account is in: see [`Client::groups`].
///
/// What the local disk knows is checked before the server is asked: [`RequestError::Denied`] says that it would refuse.
/// The server checks everything again.
///
/// ```no_run
/// use ntproto_sdk::{Client, NewGroup, RequestError, Uin};
///
/// async fn team(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
///     let groups = client.groups();
///     let members = vec![Uin(10002), Uin(10003)];
///     let team = groups.create(NewGroup { name: "Team".into(), members, ..NewGroup::default() }).await?;
///     client.send(client.group(team).conversation(), "Welcome!").await?;
///     if let Err(RequestError::Denied(why)) = groups.leave(team).await {
///         println!("{why}"); // the owner hands the group over, or dissolves it
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Groups(Client);

impl Groups {
    /// Makes a group, of which this account is the owner.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn create(&self, group: NewGroup) -> Result<GroupId, RequestError> {
        let NewGroup { name, members, open, extra } = group;
        let name = Field::GroupName.clean(&name)?.to_owned();
        let request = v2::GroupCreateRequest {
            name,
            members: members.iter().map(|uin| uin.0).collect(),
            join: join(open).into(),
            extra,
            request: bytes::Bytes::copy_from_slice(&self.0.random()),
        };
        let state = self.act(PacketId::GROUP_CREATE, &request).await?;
        Ok(GroupId(state.group.map_or(0, |group| group.group)))
    }

    /// Groups by id, from the server; unknown ones are left out.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn get(&self, groups: &[GroupId]) -> Result<Vec<v2::GroupState>, RequestError> {
        let mut all = Vec::with_capacity(groups.len());
        for groups in groups.chunks(MAX_GROUPS) {
            let request = v2::GroupGetRequest { groups: groups.iter().map(|group| group.0).collect() };
            let answer: v2::GroupGetResponse = self.0.request_typed(PacketId::GROUP_GET, &request).await?;
            all.extend(answer.groups);
        }
        self.0.keep(Fetched { groups: all.clone(), ..Fetched::default() }).await?;
        Ok(all)
    }

    /// The groups this account is in, by id, from the local disk. Needs no connection.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn list(&self) -> Result<Vec<v2::GroupState>, QueryError> {
        let mut all = self.0.query(|store| store.groups()).await?;
        all.retain(|state| state.me.is_some() && state.group.as_ref().is_some_and(|group| !group.dissolved));
        Ok(all)
    }

    /// Reads the groups this account is in from the server. The inbox tells of changes by itself: this is for whoever
    /// doubts it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn refresh(&self) -> Result<Vec<v2::GroupState>, RequestError> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let request = v2::GroupsRequest { after, limit: PAGE };
            let page: v2::GroupsResponse = self.0.request_typed(PacketId::GROUPS, &request).await?;
            let last = page.groups.last().and_then(|state| state.group.as_ref()).map_or(0, |g| g.group);
            if page.has_more && last <= after {
                return Err(RequestError::BadAnswer);
            }
            after = last;
            all.extend(page.groups);
            if !page.has_more {
                break;
            }
        }
        self.0.keep(Fetched { groups: all.clone(), ..Fetched::default() }).await?;
        Ok(all)
    }

    /// Changes what is set.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn update(&self, group: GroupId, update: GroupUpdate) -> Result<v2::GroupState, RequestError> {
        let GroupUpdate { name, notice, open, muted, permissions, extra, nick } = update;
        let clean = |field: Field, text: Option<String>| match text {
            Some(text) => field.clean(&text).map(|text| Some(text.to_owned())),
            None => Ok(None),
        };
        let (name, notice) = (clean(Field::GroupName, name)?, clean(Field::Notice, notice)?);
        let nick = clean(Field::Remark, nick)?;
        if name.is_some() || notice.is_some() || extra.is_some() {
            self.check(group, Action::EditProfile, false).await?;
        }
        if open.is_some() || muted.is_some() || permissions.is_some() {
            self.check(group, Action::EditPolicy, false).await?;
        }
        if nick.is_some() {
            self.check(group, Action::EditCard, false).await?;
        }
        let request = v2::GroupUpdateRequest {
            group: group.0,
            name,
            notice,
            join: open.map(|open| join(open).into()),
            muted,
            permissions: permissions.map(Permissions::to_wire),
            extra,
            nick,
        };
        self.act(PacketId::GROUP_UPDATE, &request).await
    }

    /// Brings accounts in. Those who are in it already stay as they are.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn invite(&self, group: GroupId, uins: &[Uin]) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::Invite, false).await?;
        let mut state = Err(RequestError::Refused(Some(ErrorCode::BadRequest), "nobody to invite".into()));
        for uins in uins.chunks(MAX_INVITED) {
            let uins = uins.iter().map(|uin| uin.0).collect();
            let request = v2::GroupInviteRequest { group: group.0, uins };
            state = Ok(self.act(PacketId::GROUP_INVITE, &request).await?);
        }
        state
    }

    /// Joins a group that is open.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn join(&self, group: GroupId) -> Result<v2::GroupState, RequestError> {
        // Whether it is open now only the server knows.
        self.act(PacketId::GROUP_JOIN, &v2::GroupRequest { group: group.0 }).await
    }

    /// Leaves a group. Its owner can't.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn leave(&self, group: GroupId) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::Leave, false).await?;
        self.act(PacketId::GROUP_LEAVE, &v2::GroupRequest { group: group.0 }).await
    }

    /// Puts somebody out.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn remove(&self, group: GroupId, uin: Uin) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::Remove, true).await?;
        self.act(PacketId::GROUP_REMOVE, &v2::GroupRemoveRequest { group: group.0, uin: uin.0 }).await
    }

    /// Ends a group for all.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn dissolve(&self, group: GroupId) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::Dissolve, false).await?;
        self.act(PacketId::GROUP_DISSOLVE, &v2::GroupRequest { group: group.0 }).await
    }

    /// Makes somebody an admin, or a plain member again. [`Role::Owner`] hands the group over.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn set_role(
        &self,
        group: GroupId,
        uin: Uin,
        role: Role,
    ) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::SetRole(role), true).await?;
        let request = v2::GroupRoleRequest { group: group.0, uin: uin.0, role: role as i32 };
        self.act(PacketId::GROUP_ROLE, &request).await
    }

    /// Makes somebody the owner. This account is an admin then.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn hand_over(&self, group: GroupId, uin: Uin) -> Result<v2::GroupState, RequestError> {
        self.set_role(group, uin, Role::Owner).await
    }

    /// Keeps somebody from sending until then, by the server's clock; 0 lifts it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn mute(
        &self,
        group: GroupId,
        uin: Uin,
        until: UnixMillis,
    ) -> Result<v2::GroupState, RequestError> {
        self.check(group, Action::Mute(UnixMillis(0)), true).await?;
        let request = v2::GroupMuteRequest { group: group.0, uin: uin.0, until_ms: until.0 };
        self.act(PacketId::GROUP_MUTE, &request).await
    }

    /// Whether this account may do something, as far as the local disk knows. Of the other one it does not know the
    /// rank: that is for the server to judge, as everything is.
    ///
    /// # Errors
    /// [`RequestError::Denied`].
    pub async fn check(&self, group: GroupId, action: Action, to_somebody: bool) -> Result<(), RequestError> {
        let known = self.0.query(move |store| store.group(group)).await;
        // What is not known here is known there.
        let Ok(Some(v2::GroupState { group: Some(state), me })) = known else { return Ok(()) };
        if state.dissolved {
            return Err(RequestError::Refused(Some(ErrorCode::Gone), "the group was dissolved".into()));
        }
        let policy = Policy {
            members: Permissions::from_wire(state.permissions),
            all_muted: state.muted,
            open: state.join() == v2::JoinPolicy::Open,
        };
        let me = me.as_ref().map(|me| Standing::new(role(me)));
        let target = to_somebody.then(|| Standing::new(Role::Member));
        allowed(&policy, me.as_ref(), action, target.as_ref(), NO_TIME).map_err(RequestError::Denied)
    }

    async fn act(
        &self,
        packet: PacketId,
        request: &impl prost::Message,
    ) -> Result<v2::GroupState, RequestError> {
        let answer: v2::GroupResponse = self.0.request_typed(packet, request).await?;
        let state = answer.state.filter(|state| state.group.is_some()).ok_or(RequestError::BadAnswer)?;
        self.0.keep(Fetched { groups: vec![state.clone()], ..Fetched::default() }).await?;
        Ok(state)
    }
}

fn join(open: bool) -> v2::JoinPolicy {
    if open { v2::JoinPolicy::Open } else { v2::JoinPolicy::Invited }
}

/// A role that this version does not know is no more than a member's.
fn role(member: &v2::Member) -> Role {
    u32::try_from(member.role).ok().and_then(Role::from_wire).unwrap_or_default()
}

/// One group: see [`Client::group`].
#[derive(Clone)]
pub struct Group {
    pub(super) client: Client,
    pub(super) id: GroupId,
}

impl Group {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// Where its messages go.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        ConversationId::of_group(self.id)
    }

    /// The group as the local disk knows it. Needs no connection.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn state(&self) -> Result<Option<v2::GroupState>, QueryError> {
        let group = self.id;
        self.client.query(move |store| store.group(group)).await
    }
}
