//! Who may do what in a group: one pure function, [`allowed`], asked by clients before they ask and by the server whatever they found.
//!
//! Roles give permissions, a policy gives plain members some more, and rank comes on top: nobody acts on somebody of equal or
//! higher rank, themselves included.

use core::fmt;
use core::ops::{BitAnd, BitOr, Sub};
use core::time::Duration;

use crate::code::ErrorCode;
use crate::time::UnixMillis;

/// What somebody is in a group. Their order is their rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// A plain member.
    #[default]
    Member = 0,
    /// Keeps order.
    Admin = 1,
    /// There is exactly one.
    Owner = 2,
}

impl Role {
    /// Every role, by rank.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The role with this number.
    #[must_use]
    pub const fn from_wire(n: u32) -> Option<Self> {
        match n {
            0 => Some(Self::Member),
            1 => Some(Self::Admin),
            2 => Some(Self::Owner),
            _ => None,
        }
    }

    /// What the role brings, before any policy.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        match self {
            Self::Member => Permissions::NONE,
            Self::Admin => Permissions(Permissions::ALL.0 & !Permissions::OWNERS.0),
            Self::Owner => Permissions::ALL,
        }
    }
}

/// A set of permissions, as a bit mask.
///
/// ```
/// use ntproto_core::model::permission::Permissions;
///
/// let both = Permissions::SEND | Permissions::INVITE;
/// assert!(both.contains(Permissions::SEND) && !both.contains(Permissions::MUTE));
/// assert_eq!(Permissions::from_wire(both.to_wire() | 1 << 31), both); // what is not known yet is not granted
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions(u32);

impl Permissions {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// To send messages, to edit one's own, to be seen typing.
    pub const SEND: Self = Self(1);
    /// To bring somebody in.
    pub const INVITE: Self = Self(1 << 1);
    /// To call everybody. Bodies are not the server's to read, so that it is the readers' clients that ask.
    pub const MENTION_ALL: Self = Self(1 << 2);
    /// To change the name and the notice of the group.
    pub const EDIT_PROFILE: Self = Self(1 << 3);
    /// To put somebody out.
    pub const REMOVE_MEMBER: Self = Self(1 << 4);
    /// To keep somebody from sending for a while.
    pub const MUTE: Self = Self(1 << 5);
    /// To recall what somebody else sent.
    pub const RECALL_OTHERS: Self = Self(1 << 6);
    /// To make admins, to make them members again, to hand the group over.
    pub const SET_ROLE: Self = Self(1 << 7);
    /// To end the group.
    pub const DISSOLVE: Self = Self(1 << 8);
    /// To change the policy: what plain members may, whether they are muted, how one joins.
    pub const EDIT_POLICY: Self = Self(1 << 9);

    /// Every permission with its name.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::SEND, "SEND"),
        (Self::INVITE, "INVITE"),
        (Self::MENTION_ALL, "MENTION_ALL"),
        (Self::EDIT_PROFILE, "EDIT_PROFILE"),
        (Self::REMOVE_MEMBER, "REMOVE_MEMBER"),
        (Self::MUTE, "MUTE"),
        (Self::RECALL_OTHERS, "RECALL_OTHERS"),
        (Self::SET_ROLE, "SET_ROLE"),
        (Self::DISSOLVE, "DISSOLVE"),
        (Self::EDIT_POLICY, "EDIT_POLICY"),
    ];
    /// All of them.
    pub const ALL: Self = Self((1 << 10) - 1);
    /// What only the owner has.
    pub const OWNERS: Self = Self(Self::SET_ROLE.0 | Self::DISSOLVE.0);
    /// What a policy can give to plain members. Nothing that is done to others is among it, so that no policy makes
    /// everybody everybody's judge.
    pub const GRANTABLE: Self =
        Self(Self::SEND.0 | Self::INVITE.0 | Self::EDIT_PROFILE.0 | Self::MENTION_ALL.0);

    /// From the wire. Bits that are not known are dropped: what this side does not know it can't grant.
    #[must_use]
    pub const fn from_wire(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// As the wire carries it.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Permissions {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitAnd for Permissions {
    type Output = Self;
    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl Sub for Permissions {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0 & !rhs.0)
    }
}

/// What a group has settled for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What plain members may. Of what is not [grantable](Permissions::GRANTABLE) nothing is given.
    pub members: Permissions,
    /// Whether plain members are kept from sending, all of them.
    pub all_muted: bool,
    /// Whether anyone who knows the group may join, or only who is invited.
    pub open: bool,
}

impl Default for Policy {
    /// Members send and invite; one joins by invitation.
    fn default() -> Self {
        Self { members: Permissions::SEND | Permissions::INVITE, all_muted: false, open: false }
    }
}

impl Policy {
    /// What a role may in this group.
    #[must_use]
    pub fn permissions(&self, role: Role) -> Permissions {
        role.permissions() | (self.members & Permissions::GRANTABLE)
    }
}

/// What a member is in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Their role.
    pub role: Role,
    /// Until when they are muted; zero, or any time that has passed, when they are not.
    pub muted_until: UnixMillis,
}

impl Standing {
    /// A member of this role whom nobody muted.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { role, muted_until: UnixMillis(0) }
    }

    /// Whether they are muted now.
    #[must_use]
    pub fn is_muted(&self, now: UnixMillis) -> bool {
        now < self.muted_until
    }
}

/// The longest mute. It has an end, so that nobody is silent for years because an admin forgot; who should be, can be removed.
pub const MAX_MUTE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read: history, members, the group itself.
    Read,
    /// Send a message, or be seen typing.
    Send,
    /// Send one that calls everybody.
    MentionAll,
    /// Edit what one sent.
    EditOwn,
    /// Recall what one sent.
    RecallOwn,
    /// Recall what the target sent. The target may have left.
    RecallOther,
    /// Come in without an invitation.
    Join,
    /// Go.
    Leave,
    /// Bring somebody in.
    Invite,
    /// Put the target out.
    Remove,
    /// Mute the target until then; a time that has passed ends the mute.
    Mute(UnixMillis),
    /// Make the target this. Making it the owner hands the group over.
    SetRole(Role),
    /// Change one's own name in the group.
    EditCard,
    /// Change the group's name or notice.
    EditProfile,
    /// Change the policy.
    EditPolicy,
    /// End the group.
    Dissolve,
}

impl Action {
    /// What it takes.
    const fn needs(self) -> Permissions {
        match self {
            Self::Read | Self::RecallOwn | Self::Join | Self::Leave | Self::EditCard => Permissions::NONE,
            Self::Send | Self::EditOwn => Permissions::SEND,
            Self::MentionAll => Permissions(Permissions::SEND.0 | Permissions::MENTION_ALL.0),
            Self::RecallOther => Permissions::RECALL_OTHERS,
            Self::Invite => Permissions::INVITE,
            Self::Remove => Permissions::REMOVE_MEMBER,
            Self::Mute(_) => Permissions::MUTE,
            Self::SetRole(_) => Permissions::SET_ROLE,
            Self::EditProfile => Permissions::EDIT_PROFILE,
            Self::EditPolicy => Permissions::EDIT_POLICY,
            Self::Dissolve => Permissions::DISSOLVE,
        }
    }

    /// Whether the others would read it: names and notices are ways to speak too.
    const fn speaks(self) -> bool {
        matches!(self, Self::Send | Self::EditOwn | Self::MentionAll | Self::EditCard | Self::EditProfile)
    }

    /// Whether it is done to a member.
    const fn is_to_somebody(self) -> bool {
        matches!(self, Self::RecallOther | Self::Remove | Self::Mute(_) | Self::SetRole(_))
    }
}

/// Whether somebody may do something in a group. `actor` and `target` are what they are in it, `None` for who is no member;
/// a target that the action has no use for is not looked at.
///
/// ```
/// use ntproto_core::model::permission::{Action, Denied, Policy, Role, Standing, allowed};
/// use ntproto_core::time::UnixMillis;
///
/// let (policy, now) = (Policy::default(), UnixMillis(1));
/// let [member, admin, owner] = Role::ALL.map(Standing::new);
/// assert_eq!(allowed(&policy, Some(&admin), Action::Remove, Some(&member), now), Ok(()));
/// assert_eq!(allowed(&policy, Some(&admin), Action::Remove, Some(&owner), now), Err(Denied::Rank));
/// assert_eq!(allowed(&policy, Some(&member), Action::Remove, Some(&member), now), Err(Denied::Permission));
/// assert_eq!(allowed(&policy, Some(&owner), Action::Leave, None, now), Err(Denied::LastOwner));
/// ```
///
/// # Errors
/// Why not. Nothing about the target is told to who lacks the permission.
//= spec: groups-2
pub fn allowed(
    policy: &Policy,
    actor: Option<&Standing>,
    action: Action,
    target: Option<&Standing>,
    now: UnixMillis,
) -> Result<(), Denied> {
    let Some(actor) = actor else {
        return match action {
            Action::Join if policy.open => Ok(()),
            Action::Join => Err(Denied::NotInvited),
            _ => Err(Denied::NotMember),
        };
    };
    if action == Action::Join {
        return Err(Denied::Member);
    }
    if !policy.permissions(actor.role).contains(action.needs()) {
        return Err(Denied::Permission);
    }
    if action.speaks() {
        if actor.is_muted(now) {
            return Err(Denied::Muted(Some(actor.muted_until)));
        }
        if policy.all_muted && actor.role == Role::Member {
            return Err(Denied::Muted(None));
        }
    }
    if action.is_to_somebody() {
        match target {
            Some(target) if target.role >= actor.role => return Err(Denied::Rank),
            Some(_) => {}
            // Who has left can't mind.
            None if action == Action::RecallOther => {}
            None => return Err(Denied::NoTarget),
        }
    }
    match action {
        Action::Leave if actor.role == Role::Owner => Err(Denied::LastOwner),
        Action::SetRole(role) if role > actor.role => Err(Denied::Rank),
        Action::Mute(until) if until > now + MAX_MUTE => Err(Denied::MuteTooLong),
        _ => Ok(()),
    }
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// They are no member.
    NotMember,
    /// They are one already.
    Member,
    /// One joins by invitation.
    NotInvited,
    /// Their role does not bring it.
    Permission,
    /// The other's rank is not below theirs.
    Rank,
    /// The other is no member.
    NoTarget,
    /// They are muted until then, or with everybody.
    Muted(Option<UnixMillis>),
    /// More than [`MAX_MUTE`].
    MuteTooLong,
    /// A group has an owner: hand it over or dissolve it.
    LastOwner,
}

impl Denied {
    /// What the server answers.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotMember | Self::NotInvited | Self::Permission | Self::Rank => ErrorCode::Forbidden,
            Self::Member => ErrorCode::Conflict,
            Self::NoTarget => ErrorCode::NotFound,
            Self::Muted(_) => ErrorCode::Muted,
            Self::MuteTooLong => ErrorCode::BadRequest,
            Self::LastOwner => ErrorCode::LastOwner,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMember => "not a member of this group",
            Self::Member => "a member of this group already",
            Self::NotInvited => "this group is joined by invitation",
            Self::Permission => "not allowed in this group",
            Self::Rank => "only somebody of higher rank may do that to them",
            Self::NoTarget => "they are not a member of this group",
            Self::Muted(Some(_)) => "muted for now",
            Self::Muted(None) => "everybody is muted in this group",
            Self::MuteTooLong => "nobody is muted for more than 30 days",
            Self::LastOwner => "the owner hands the group over, or dissolves it",
        })
    }
}

impl core::error::Error for Denied {}

#[cfg(test)]
mod tests;
