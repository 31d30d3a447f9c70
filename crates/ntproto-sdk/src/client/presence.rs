//! Who is there.

use bytes::Bytes;
use ntproto_core::client as core;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::presence::State;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message as _;

use super::calls::{Reply, Want};
use super::{Client, RequestError, request_error};

impl Client {
    /// Who is there, and how this device appears.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence(self.clone())
    }
}

/// Who is there: see [`Client::presence`].
///
/// [`Event::Presence`](crate::Event::Presence) tells what changes. A subscription ends with the connection: whoever wants
/// it to go on subscribes at every [`Event::Online`](crate::Event::Online).
///
/// ```no_run
/// use ntproto_sdk::{Client, PresenceState, RequestError, Uin};
///
/// async fn look(client: &Client) -> Result<(), RequestError> {
///     let presence = client.presence();
///     for friend in presence.subscribe(&[Uin(10002)]).await? {
///         println!("{} is {:?}", friend.uin, friend.state);
///     }
///     // Another device of this account may have won: then it is as it is.
///     let mine = presence.set(PresenceState::Online).await?;
///     println!("this device is {:?}", mine.state);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Presence(Client);

/// How an account appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// The account.
    pub uin: Uin,
    /// Its devices together.
    pub state: State,
}

impl From<v2::Presence> for Appearance {
    /// A state that this version does not know is shown as the one that says least.
    fn from(presence: v2::Presence) -> Self {
        Self { uin: Uin(presence.uin), state: state(presence.status) }
    }
}

/// How this device appears.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnPresence {
    /// This device.
    pub state: State,
    /// Whether that is what was asked for: another device was faster, each time it was tried, if not.
    pub as_asked: bool,
    /// All devices of the account.
    pub devices: Vec<(DeviceId, State)>,
}

fn state(status: i32) -> State {
    u32::try_from(status).ok().and_then(State::from_wire).unwrap_or_default()
}

impl Presence {
    /// Makes this device appear so. When another device changed the record meanwhile it is tried again, three times;
    /// after that it stays as it is, which the answer tells. Online, it is so on every connection to come.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn set(&self, wanted: State) -> Result<OwnPresence, RequestError> {
        let answer = match self.0.call(core::Command::SetPresence(wanted), Want::Answer).await {
            Reply::Answer(body) => {
                v2::PresenceSetResponse::decode(body).map_err(|_| RequestError::BadAnswer)?
            }
            other => return Err(request_error(other)),
        };
        let me = self.0.identity().ok_or(RequestError::NotEnrolled)?.device;
        let devices: Vec<_> = answer
            .record
            .unwrap_or_default()
            .devices
            .iter()
            .filter_map(|device| Some((DeviceId::from_slice(&device.device_id)?, state(device.status))))
            .collect();
        let mine =
            devices.iter().find(|(device, _)| *device == me).map_or(State::Offline, |(_, state)| *state);
        Ok(OwnPresence { state: mine, as_asked: !answer.stale, devices })
    }

    /// Hears of these friends, from now to the end of the connection. Answers how they appear now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn subscribe(&self, uins: &[Uin]) -> Result<Vec<Appearance>, RequestError> {
        let add = uins.iter().map(|uin| uin.0).collect();
        self.change(v2::PresenceSubscribeRequest { add, remove: Vec::new() }).await
    }

    /// Hears of these no more.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn unsubscribe(&self, uins: &[Uin]) -> Result<(), RequestError> {
        let remove = uins.iter().map(|uin| uin.0).collect();
        self.change(v2::PresenceSubscribeRequest { add: Vec::new(), remove }).await.map(drop)
    }

    async fn change(&self, request: v2::PresenceSubscribeRequest) -> Result<Vec<Appearance>, RequestError> {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.0.request(PacketId::PRESENCE_SUBSCRIBE, body).await?;
        let answer = v2::PresenceSubscribeResponse::decode(answer).map_err(|_| RequestError::BadAnswer)?;
        Ok(answer.states.into_iter().map(Appearance::from).collect())
    }
}
