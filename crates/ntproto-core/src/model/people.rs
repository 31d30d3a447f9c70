//! Fields of people that are phased out: marked `deprecated` in the schema, read where the new one is empty, written no more.

use ntproto_proto::v2::{ProfileSetRequest, User};

/// What somebody is called: `nick`, or what an older program wrote instead.
///
/// ```
/// use ntproto_core::model::people::nick;
/// use ntproto_proto::v2::User;
///
/// #[allow(deprecated)]
/// let old = User { nickname: "Ada".into(), ..Default::default() };
/// assert_eq!(nick(&old), "Ada");
/// ```
#[must_use]
#[allow(deprecated)]
pub fn nick(user: &User) -> &str {
    if user.nick.is_empty() { &user.nickname } else { &user.nick }
}

/// What somebody wants to be called: as [`nick`], of a request.
#[must_use]
#[allow(deprecated)]
pub fn wanted_nick(request: &ProfileSetRequest) -> &str {
    if request.nick.is_empty() { &request.nickname } else { &request.nick }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::String;
    use prost::Message;

    /// The schema as a program knows it that was built before `nick`.
    #[derive(Clone, PartialEq, Message)]
    struct OldUser {
        #[prost(uint64, tag = "1")]
        uin: u64,
        #[prost(string, tag = "2")]
        nickname: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct OldProfileSet {
        #[prost(string, tag = "1")]
        nickname: String,
    }

    /// An old client sets its name and reads profiles, a new one does the same, and one server serves both.
    #[test]
    fn an_old_client_and_a_new_one_talk() {
        // The old one says what it is called in its own words; the server, which is new, understands, and stores it in the new field.
        let request = OldProfileSet { nickname: "Ada".into() }.encode_to_vec();
        let request = ProfileSetRequest::decode(&request[..]).unwrap();
        let stored =
            User { uin: 10001, nick: wanted_nick(&request).into(), version: 1, ..Default::default() };

        // A new client reads it, ...
        let answer = stored.encode_to_vec();
        assert_eq!(nick(&User::decode(&answer[..]).unwrap()), "Ada");
        // ... the old one too: whose it is, and nothing in the field that is written no more. It shows the number.
        let read = OldUser::decode(&answer[..]).unwrap();
        assert_eq!((read.uin, &*read.nickname), (10001, ""));

        // What an old client has on its disk, or passes on, a new one understands.
        let old = OldUser { uin: 10002, nickname: "Bob".into() }.encode_to_vec();
        let old = User::decode(&old[..]).unwrap();
        assert_eq!(nick(&old), "Bob");

        // The new client says both when it must be understood by what is older than its server: the new word counts.
        #[allow(deprecated)]
        let both = ProfileSetRequest { nickname: "Old".into(), nick: "New".into(), ..Default::default() };
        assert_eq!(wanted_nick(&both), "New");
        let both = OldProfileSet::decode(&both.encode_to_vec()[..]).unwrap();
        assert_eq!(both.nickname, "Old");
    }

    /// The same in JSON.
    #[cfg(feature = "json")]
    #[test]
    fn and_so_do_their_exports() {
        use crate::model::json::Entity as _;
        let old = User::from_json(r#"{"uin":10002,"nickname":"Bob"}"#).unwrap();
        assert_eq!((nick(&old), &*old.to_json().unwrap()), ("Bob", r#"{"uin":"10002","nick":"Bob"}"#));
    }
}
