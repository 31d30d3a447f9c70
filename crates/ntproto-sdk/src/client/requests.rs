//! Requests, and those about this account and its devices.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::{self as core, DEFAULT_DEADLINE};
use ntproto_core::crypto::identity::Link;
use ntproto_core::ids::DeviceId;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::calls::{Reply, Want};
use super::{Client, Identity, RequestError, request_error};
use crate::EnrolCode;
use crate::trace::packet_name;

impl Client {
    /// Asks the server something and waits for the answer, at most 5 seconds.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, packet: PacketId, body: impl Into<Bytes>) -> Result<Bytes, RequestError> {
        self.request_within(packet, body, DEFAULT_DEADLINE).await
    }

    /// [`request`](Self::request) with a deadline of one's own.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request_within(
        &self,
        packet: PacketId,
        body: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        let span = self.shared().sending(None, packet_name(packet), None);
        let trace = span.context(None);
        let call = core::Command::Request { packet, body: body.into(), deadline: Some(deadline), trace };
        let reply = self.call(call, Want::Answer).await;
        span.end(&reply);
        match reply {
            Reply::Answer(body) => Ok(body),
            other => Err(request_error(other)),
        }
    }

    /// [`request`](Self::request) with messages on both sides: a `Req` is asked, a `Resp` answers.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, RequestError, dispatch::PacketId};
    ///
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Ping {}
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Pong {
    ///     #[prost(uint64, tag = "1")]
    ///     count: u64,
    /// }
    ///
    /// async fn ping(client: &Client) -> Result<u64, RequestError> {
    ///     let pong = client.request_typed::<Ping, Pong>(PacketId(0x8001), &Ping {}).await?;
    ///     Ok(pong.count)
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request_typed<Req: prost::Message, Resp: prost::Message + Default>(
        &self,
        packet: PacketId,
        request: &Req,
    ) -> Result<Resp, RequestError> {
        self.request_typed_within(packet, request, DEFAULT_DEADLINE).await
    }

    /// [`request_typed`](Self::request_typed) with a deadline of one's own.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request_typed_within<Req: prost::Message, Resp: prost::Message + Default>(
        &self,
        packet: PacketId,
        request: &Req,
        deadline: Duration,
    ) -> Result<Resp, RequestError> {
        let answer = self.request_within(packet, request.encode_to_vec(), deadline).await?;
        Resp::decode(answer).map_err(|_| RequestError::BadAnswer)
    }

    /// The devices of this account.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn devices(&self) -> Result<Vec<v2::Device>, RequestError> {
        let answer: v2::DevicesResponse =
            self.request_typed(PacketId::DEVICES, &v2::DevicesRequest {}).await?;
        Ok(answer.devices)
    }

    /// Ends a device of this account, at once and for good.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), RequestError> {
        let request = v2::RevokeDeviceRequest { device_id: Bytes::copy_from_slice(&device.0) };
        let _: v2::RevokeDeviceResponse = self.request_typed(PacketId::REVOKE_DEVICE, &request).await?;
        Ok(())
    }

    /// Makes an invitation for so many new accounts, if this account may. Returns the code and when it ends.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn invite(
        &self,
        uses: u32,
        lifetime: Duration,
        may_invite: bool,
    ) -> Result<(EnrolCode, UnixMillis), RequestError> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let request = v2::InviteRequest { uses, lifetime_ms, may_invite };
        let answer: v2::InviteResponse = self.request_typed(PacketId::INVITE, &request).await?;
        let code = answer.code[..].try_into().map_err(|_| RequestError::BadAnswer)?;
        Ok((EnrolCode::Invitation(code), UnixMillis(answer.expires_ms)))
    }

    /// Signs a code that lets one further device into this account until `expires`. `nonce` is 16 random bytes:
    /// a code works once. Needs no connection.
    ///
    /// # Errors
    /// [`RequestError::NotEnrolled`].
    pub fn link_device(&self, expires: UnixMillis, nonce: [u8; 16]) -> Result<EnrolCode, RequestError> {
        let Identity { uin, device } = self.identity().ok_or(RequestError::NotEnrolled)?;
        let link = Link { uin, device_id: device, nonce, expires };
        Ok(EnrolCode::Link(link.sign(self.shared().provider, &self.shared().keys)))
    }

    /// Renews the session's ticket now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn refresh_ticket(&self) -> Result<(), RequestError> {
        self.order(core::Command::RefreshTicket).await
    }

    /// Moves the session's keys on now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn update_keys(&self) -> Result<(), RequestError> {
        self.order(core::Command::UpdateKeys).await
    }

    pub(super) async fn order(&self, call: core::Command) -> Result<(), RequestError> {
        match self.call(call, Want::Taken).await {
            Reply::Taken => Ok(()),
            other => Err(request_error(other)),
        }
    }
}
