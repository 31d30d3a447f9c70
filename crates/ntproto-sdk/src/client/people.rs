//! Profiles and friends.

use ntproto_core::client::StoreError;
use ntproto_core::ids::Uin;
use ntproto_core::model::text::Field;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::{Client, QueryError, RequestError};
use crate::store::Fetched;

/// Profiles in one request.
const MAX_PROFILES: usize = 100;
/// Records in one page.
const PAGE: u32 = 200;

/// What a profile says. Whoever sets one says all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewProfile {
    /// What the account is called.
    pub nick: String,
    /// What names its picture; the application gives it a meaning.
    pub avatar: String,
    /// What it says of itself.
    pub bio: String,
    /// JSON of the application's, kept byte for byte.
    pub extra: String,
}

impl From<v2::User> for NewProfile {
    /// To change a part of it.
    fn from(user: v2::User) -> Self {
        Self { nick: user.nick, avatar: user.avatar, bio: user.bio, extra: user.extra }
    }
}

impl Client {
    // ── profiles ────────────────────────────────────────────────────────────────────────────────

    /// This account's profile, from the local disk; of a new device, from the server.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn profile(&self) -> Result<v2::User, RequestError> {
        let me = self.identity().ok_or(RequestError::NotEnrolled)?.uin;
        match self.known_profile(me).await {
            Ok(Some(profile)) => Ok(profile),
            _ => self.profiles(&[me]).await?.pop().ok_or(RequestError::BadAnswer),
        }
    }

    /// Replaces this account's profile.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, NewProfile, RequestError};
    ///
    /// async fn rename(client: &Client, nick: &str) -> Result<(), RequestError> {
    ///     let now = NewProfile::from(client.profile().await?);
    ///     client.set_profile(NewProfile { nick: nick.into(), ..now }).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`RequestError::BadName`] for a text that may not be shown as it is; nothing was asked then. Else see
    /// [`RequestError`].
    pub async fn set_profile(&self, profile: NewProfile) -> Result<v2::User, RequestError> {
        Field::Nick.clean(&profile.nick)?;
        Field::Bio.clean(&profile.bio)?;
        let NewProfile { nick, avatar, bio, extra } = profile;
        let request = v2::ProfileSetRequest { nick, avatar, bio, extra, ..Default::default() };
        let answer: v2::ProfileSetResponse = self.request_typed(PacketId::PROFILE_SET, &request).await?;
        let user = answer.user.ok_or(RequestError::BadAnswer)?;
        self.keep(Fetched { profiles: vec![user.clone()], ..Fetched::default() }).await?;
        Ok(user)
    }

    /// The profiles of accounts, from the server; who does not exist is left out. They are kept on the local disk.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn profiles(&self, uins: &[Uin]) -> Result<Vec<v2::User>, RequestError> {
        let mut all = Vec::with_capacity(uins.len());
        for uins in uins.chunks(MAX_PROFILES) {
            let request = v2::ProfilesRequest { uins: uins.iter().map(|uin| uin.0).collect() };
            let answer: v2::ProfilesResponse = self.request_typed(PacketId::PROFILES, &request).await?;
            all.extend(answer.users);
        }
        self.keep(Fetched { profiles: all.clone(), ..Fetched::default() }).await?;
        Ok(all)
    }

    /// The profile of an account as the local disk knows it. Needs no connection.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn known_profile(&self, uin: Uin) -> Result<Option<v2::User>, QueryError> {
        self.query(move |store| store.profile(uin)).await
    }

    /// Friends, and those who would like to be.
    #[must_use]
    pub fn friends(&self) -> Friends {
        Friends(self.clone())
    }

    /// Keeps what a request brought.
    pub(super) async fn keep(&self, fetched: Fetched) -> Result<(), RequestError> {
        self.query(move |store| store.keep(&fetched)).await.map_err(|error| match error {
            QueryError::Store(error) => RequestError::Store(error),
            QueryError::Unavailable => RequestError::Store(StoreError::Failed),
        })
    }
}

/// Friends, and those who would like to be: see [`Client::friends`].
///
/// ```no_run
/// use ntproto_sdk::{Client, RequestError, model::FriendState};
///
/// /// Says yes to everybody.
/// async fn welcome(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
///     let friends = client.friends();
///     for asker in friends.asking().await? {
///         let friend = friends.accept(ntproto_sdk::Uin(asker.uin)).await?;
///         assert_eq!(friend.state(), FriendState::Friend);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Friends(Client);

impl Friends {
    /// Asks somebody to be a friend, with a few words. If they have asked already, both are friends now.
    ///
    /// # Errors
    /// See [`RequestError`]. Somebody who has blocked this account is refused like somebody who does not exist.
    pub async fn request(&self, uin: Uin, message: &str) -> Result<v2::Friend, RequestError> {
        let message = Field::Greeting.clean(message)?.to_owned();
        let request = v2::FriendRequestRequest { uin: uin.0, message };
        self.act(PacketId::FRIEND_REQUEST, &request).await
    }

    /// Says yes to somebody who asked.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn accept(&self, uin: Uin) -> Result<v2::Friend, RequestError> {
        self.act(PacketId::FRIEND_ANSWER, &v2::FriendAnswerRequest { uin: uin.0, accept: true }).await
    }

    /// Says no to somebody who asked.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn decline(&self, uin: Uin) -> Result<v2::Friend, RequestError> {
        self.act(PacketId::FRIEND_ANSWER, &v2::FriendAnswerRequest { uin: uin.0, accept: false }).await
    }

    /// Gives somebody a name that nobody else sees.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn set_remark(&self, uin: Uin, remark: &str) -> Result<v2::Friend, RequestError> {
        let remark = Some(Field::Remark.clean(remark)?.to_owned());
        self.update(v2::FriendUpdateRequest { uin: uin.0, remark, ..Default::default() }).await
    }

    /// Keeps JSON of the application's beside somebody's record.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn set_extra(&self, uin: Uin, extra: impl Into<String>) -> Result<v2::Friend, RequestError> {
        let extra = Some(extra.into());
        self.update(v2::FriendUpdateRequest { uin: uin.0, extra, ..Default::default() }).await
    }

    /// Hears nothing of somebody any more. They are not told.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn block(&self, uin: Uin) -> Result<v2::Friend, RequestError> {
        self.update(v2::FriendUpdateRequest { uin: uin.0, blocked: Some(true), ..Default::default() }).await
    }

    /// Hears of them again.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn unblock(&self, uin: Uin) -> Result<v2::Friend, RequestError> {
        self.update(v2::FriendUpdateRequest { uin: uin.0, blocked: Some(false), ..Default::default() }).await
    }

    /// Ends a friendship, or takes a request back. Remark and block stay.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn delete(&self, uin: Uin) -> Result<v2::Friend, RequestError> {
        self.act(PacketId::FRIEND_DELETE, &v2::FriendDeleteRequest { uin: uin.0 }).await
    }

    /// The friends, by uin, from the local disk. Needs no connection.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn list(&self) -> Result<Vec<v2::Friend>, QueryError> {
        self.in_state(v2::FriendState::Friend).await
    }

    /// Those who ask to be friends, from the local disk.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn asking(&self) -> Result<Vec<v2::Friend>, QueryError> {
        self.in_state(v2::FriendState::Wanted).await
    }

    /// Every record, from the local disk: of those who were asked, and of strangers who are blocked, too.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn records(&self) -> Result<Vec<v2::Friend>, QueryError> {
        self.0.query(|store| store.friends()).await
    }

    /// Reads every record from the server. The inbox tells of changes by itself: this is for whoever doubts it.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn refresh(&self) -> Result<Vec<v2::Friend>, RequestError> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let request = v2::FriendsRequest { after, limit: PAGE };
            let page: v2::FriendsResponse = self.0.request_typed(PacketId::FRIENDS, &request).await?;
            let last = page.friends.last().map_or(0, |friend| friend.uin);
            if page.has_more && last <= after {
                return Err(RequestError::BadAnswer);
            }
            after = last;
            all.extend(page.friends);
            if !page.has_more {
                break;
            }
        }
        self.0.keep(Fetched { friends: all.clone(), ..Fetched::default() }).await?;
        Ok(all)
    }

    async fn in_state(&self, state: v2::FriendState) -> Result<Vec<v2::Friend>, QueryError> {
        let mut all = self.records().await?;
        all.retain(|friend| friend.state() == state);
        Ok(all)
    }

    async fn update(&self, request: v2::FriendUpdateRequest) -> Result<v2::Friend, RequestError> {
        self.act(PacketId::FRIEND_UPDATE, &request).await
    }

    async fn act(&self, packet: PacketId, request: &impl prost::Message) -> Result<v2::Friend, RequestError> {
        let answer: v2::FriendResponse = self.0.request_typed(packet, request).await?;
        let friend = answer.friend.ok_or(RequestError::BadAnswer)?;
        self.0.keep(Fetched { friends: vec![friend.clone()], ..Fetched::default() }).await?;
        Ok(friend)
    }
}
