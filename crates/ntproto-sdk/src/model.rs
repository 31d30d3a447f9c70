//! What a messenger is about: people, groups, and what may be done in them.
//!
//! The records are the schema's own. Names and permissions are judged by the same functions that the server uses.

pub use ntproto_core::model::lifecycle::{Incoming, IncomingStep, Outgoing, OutgoingStep};
pub use ntproto_core::model::members::{Change, Fault, Snapshot, apply, diff};
pub use ntproto_core::model::permission::{Action, Denied, Permissions, Policy, Role, Standing, allowed};
pub use ntproto_core::model::text::{BadName, Field};
pub use ntproto_proto::v2::{
    AdminAccount, AdminBackupResponse, AdminStatsResponse, AdminVerifyResponse, AuditEntry, Device, Friend,
    FriendState, Group, GroupDelta, GroupState, JoinPolicy, Member, PresenceRecord, User,
};
