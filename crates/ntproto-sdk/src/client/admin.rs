//! What only devices of administrators may do.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::{Client, RequestError};
use crate::EnrolCode;

/// Records in one page.
const PAGE: u32 = 200;
/// Making or reading a whole store takes its time.
const LONG: Duration = Duration::from_secs(600);

/// What an administrator's invitation is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminInvitation {
    /// For so many devices.
    pub uses: u32,
    /// So long.
    pub lifetime: Duration,
    /// The accounts it makes may invite others.
    pub may_invite: bool,
    /// The devices it makes are administrators'.
    pub admin: bool,
    /// It adds a device to this account, whose keys are lost; `None`: it makes accounts.
    pub account: Option<Uin>,
}

impl Default for AdminInvitation {
    /// One account, within a day.
    fn default() -> Self {
        let lifetime = Duration::from_secs(24 * 60 * 60);
        Self { uses: 1, lifetime, may_invite: false, admin: false, account: None }
    }
}

impl Client {
    /// What only devices of administrators may do: others are refused with
    /// [`Forbidden`](crate::ErrorCode::Forbidden). All of it is written to the server's audit log.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin(self.clone())
    }
}

/// Administration: see [`Client::admin`].
///
/// ```no_run
/// use ntproto_sdk::{Client, RequestError};
///
/// async fn report(client: &Client) -> Result<(), RequestError> {
///     let stats = client.admin().stats().await?;
///     println!("{} accounts, {} connections", stats.accounts, stats.connections);
///     let backup = client.admin().backup("before-the-upgrade").await?;
///     println!("{}: {} bytes", backup.file, backup.bytes);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Admin(Client);

impl Admin {
    /// A page of the accounts, in order of uin, after `after`; whether more follow.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn accounts(&self, after: Option<Uin>) -> Result<(Vec<v2::AdminAccount>, bool), RequestError> {
        let request = v2::AdminAccountsRequest { after: after.map_or(0, |uin| uin.0), limit: PAGE };
        let page: v2::AdminAccountsResponse =
            self.0.request_typed(PacketId::ADMIN_ACCOUNTS, &request).await?;
        Ok((page.accounts, page.has_more))
    }

    /// The devices of an account.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn devices(&self, uin: Uin) -> Result<Vec<v2::Device>, RequestError> {
        let request = v2::AdminDevicesRequest { uin: uin.0 };
        let answer: v2::DevicesResponse = self.0.request_typed(PacketId::ADMIN_DEVICES, &request).await?;
        Ok(answer.devices)
    }

    /// Makes an invitation. Returns the code and when it ends.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn invite(&self, invitation: AdminInvitation) -> Result<(EnrolCode, UnixMillis), RequestError> {
        let AdminInvitation { uses, lifetime, may_invite, admin, account } = invitation;
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let uin = account.map_or(0, |uin| uin.0);
        let request = v2::AdminInviteRequest { uses, lifetime_ms, may_invite, admin, uin };
        let answer: v2::InviteResponse = self.0.request_typed(PacketId::ADMIN_INVITE, &request).await?;
        let code = answer.code[..].try_into().map_err(|_| RequestError::BadAnswer)?;
        Ok((EnrolCode::Invitation(code), UnixMillis(answer.expires_ms)))
    }

    /// Ends any device, at once and for good.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn revoke(&self, uin: Uin, device: DeviceId) -> Result<(), RequestError> {
        let request = v2::AdminRevokeRequest { uin: uin.0, device_id: Bytes::copy_from_slice(&device.0) };
        let _: v2::RevokeDeviceResponse = self.0.request_typed(PacketId::ADMIN_REVOKE, &request).await?;
        Ok(())
    }

    /// A page of the groups, in order of id, after `after`; whether more follow.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn groups(
        &self,
        after: Option<crate::GroupId>,
    ) -> Result<(Vec<v2::Group>, bool), RequestError> {
        let request = v2::AdminGroupsRequest { after: after.map_or(0, |group| group.0), limit: PAGE };
        let page: v2::AdminGroupsResponse = self.0.request_typed(PacketId::ADMIN_GROUPS, &request).await?;
        Ok((page.groups, page.has_more))
    }

    /// How much of everything there is.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn stats(&self) -> Result<v2::AdminStatsResponse, RequestError> {
        self.0.request_typed(PacketId::ADMIN_STATS, &v2::AdminStatsRequest {}).await
    }

    /// Writes a whole copy of the store on the server's disk, while it goes on. The name is letters, digits, `-` and
    /// `_`.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn backup(&self, name: impl Into<String>) -> Result<v2::AdminBackupResponse, RequestError> {
        let request = v2::AdminBackupRequest { name: name.into() };
        self.0.request_typed_within(PacketId::ADMIN_BACKUP, &request, LONG).await
    }

    /// Reads every record of the store and compares what they say of each other.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn verify(&self) -> Result<v2::AdminVerifyResponse, RequestError> {
        self.0.request_typed_within(PacketId::ADMIN_VERIFY, &v2::AdminVerifyRequest {}, LONG).await
    }

    /// A page of the audit log, newest first, before `before`; whether more follow.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn audit(&self, before: Option<u64>) -> Result<(Vec<v2::AuditEntry>, bool), RequestError> {
        let request = v2::AdminAuditRequest { before: before.unwrap_or(0), limit: PAGE };
        let page: v2::AdminAuditResponse = self.0.request_typed(PacketId::ADMIN_AUDIT, &request).await?;
        Ok((page.entries, page.has_more))
    }
}
