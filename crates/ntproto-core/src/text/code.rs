//! The codes people hand to each other: an invitation for a new account, a link for a further device.

use core::fmt;
use core::str::FromStr;

use crate::client::Credential;
use crate::crypto::identity::Link;
use ntproto_proto::v2::DeviceLink;
use prost::Message as _;

use super::base64;

const INVITATION: &str = "invite.";
const LINK: &str = "link.";
/// The longest link accepted; ours has about 130 bytes.
const MAX_LINK: usize = 512;

/// What lets a new device in, as text to paste.
///
/// ```
/// use ntproto_core::text::EnrolCode;
///
/// let code = EnrolCode::Invitation([7; 16]);
/// assert_eq!(code.to_string(), "invite.BwcHBwcHBwcHBwcHBwcHBw");
/// assert_eq!(code.to_string().parse(), Ok(code));
/// ```
#[derive(Clone, PartialEq)]
pub enum EnrolCode {
    /// An invitation: makes an account.
    Invitation([u8; 16]),
    /// A link that a device of the account signed: adds a device to it.
    Link(DeviceLink),
}

impl fmt::Debug for EnrolCode {
    /// Which kind it is: whoever has the code may come in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invitation(_) => "Invitation(..)",
            Self::Link(_) => "Link(..)",
        })
    }
}

impl fmt::Display for EnrolCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invitation(code) => write!(f, "{INVITATION}{}", base64::encode(code)),
            Self::Link(link) => write!(f, "{LINK}{}", base64::encode(&link.encode_to_vec())),
        }
    }
}

impl FromStr for EnrolCode {
    type Err = EnrolCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(code) = text.strip_prefix(INVITATION) {
            return base64::decode_array(code).map(Self::Invitation).ok_or(EnrolCodeError::Invitation);
        }
        let link = text.strip_prefix(LINK).ok_or(EnrolCodeError::Kind)?;
        if link.len() > MAX_LINK * 4 / 3 {
            return Err(EnrolCodeError::Link);
        }
        base64::decode(link)
            .and_then(|bytes| DeviceLink::decode(&bytes[..]).ok())
            .filter(|link| link.signature.len() == 64 && Link::peek(link).is_ok())
            .map(Self::Link)
            .ok_or(EnrolCodeError::Link)
    }
}

impl From<EnrolCode> for Credential {
    fn from(code: EnrolCode) -> Self {
        match code {
            EnrolCode::Invitation(code) => Self::Invitation(code),
            EnrolCode::Link(link) => Self::Link(link),
        }
    }
}

/// Why a text is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolCodeError {
    /// It begins with neither `invite.` nor `link.`.
    Kind,
    /// The invitation is not 16 bytes of base64url.
    Invitation,
    /// The link can't be read.
    Link,
}

impl fmt::Display for EnrolCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "a code begins with invite. or link.",
            Self::Invitation => "the invitation can't be read: was all of it copied?",
            Self::Link => "the device link can't be read: was all of it copied?",
        })
    }
}

impl core::error::Error for EnrolCodeError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::identity::DeviceKeys;
    use crate::crypto::rustcrypto::RUSTCRYPTO;
    use crate::ids::{DeviceId, Uin};
    use crate::rng::Rng;
    use crate::time::UnixMillis;
    use alloc::format;
    use alloc::string::ToString as _;

    #[test]
    fn a_link_survives_the_clipboard() {
        let keys = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
        let link =
            Link { uin: Uin(10001), device_id: DeviceId([2; 16]), nonce: [3; 16], expires: UnixMillis(4) };
        let code = EnrolCode::Link(link.sign(&RUSTCRYPTO, &keys));
        assert_eq!(format!("  {code}\n").parse(), Ok(code.clone()));
        let text = code.to_string();
        assert_eq!(text[..text.len() - 3].parse::<EnrolCode>(), Err(EnrolCodeError::Link));
    }

    #[test]
    fn errors_say_which_code_it_was() {
        assert_eq!("hello".parse::<EnrolCode>(), Err(EnrolCodeError::Kind));
        assert_eq!("invite.abc".parse::<EnrolCode>(), Err(EnrolCodeError::Invitation));
        assert_eq!("link.".parse::<EnrolCode>(), Err(EnrolCodeError::Link));
    }
}
