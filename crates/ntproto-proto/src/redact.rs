//! `Debug` of what carries credentials or what people wrote: names and sizes, so that no log and no failed
//! assertion gives them away.

use core::fmt;

use crate::store::{self, LogEntry};
use crate::v2::auth_request::Credential;
use crate::v2::{
    Attachment, AuthRequest, BootstrapTicketBody, Content, DeviceLink, DeviceLinkBody, Friend,
    FriendRequestRequest, InviteResponse, Reaction, Reply, SendRequest, StoredMessage, SyncPacket, Ticket,
};

/// Bytes that `Debug` shows the number of, and nothing else.
///
/// ```
/// assert_eq!(format!("{:?}", ntproto_proto::Hidden(b"secret")), "(6 bytes)");
/// ```
#[derive(Clone, Copy)]
pub struct Hidden<'a>(pub &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// A `Debug` that shows the fields before the bar, and the sizes of those behind it.
macro_rules! redacted {
    ($($name:ident { $($shown:ident)* | $($hidden:ident)* })*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($hidden), &Hidden(&self.$hidden)))*
                    .finish()
            }
        }
    )*};
}

redacted! {
    AuthRequest {
        credential signing_key fingerprint_hash timestamp_ms versions transports app_id device_name
        | signature bootstrap
    }
    BootstrapTicketBody { app_id version issued_ms expires_ms | id cookie }
    Ticket { issued_ms expires_ms | sealed }
    DeviceLink { | body signature }
    DeviceLinkBody { uin device_id expires_ms | nonce }
    InviteResponse { expires_ms | code }
    SendRequest { conversation client_msg_id resolve_only action target_seq target_id | body }
    StoredMessage {
        conversation conv_seq sender sender_device client_msg_id stored_ms action target_seq edited_seq recalled_seq
        trace | body
    }
    SyncPacket { event_type | payload }
    LogEntry {
        sender sender_device client_msg_id stored_ms action target_seq edited_seq recalled_seq edits trace
        | body
    }
}

/// As [`redacted`], of texts.
macro_rules! unwritten {
    ($($name:path { $($shown:ident)* | $($hidden:ident)* })*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($hidden), &Hidden(self.$hidden.as_bytes())))*
                    .finish()
            }
        }
    )*};
}

unwritten! {
    Content { mentions reply reaction attachments | text }
    Reply { conv_seq sender | excerpt }
    Reaction { conv_seq remove | text }
    Friend { uin state blocked since_ms version | remark message extra }
    FriendRequestRequest { uin | message }
    store::Friend { state blocked since_ms version | remark message extra }
}

impl fmt::Debug for Attachment {
    /// Without its key, and what it is called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("file", &self.file)
            .field("key", &Hidden(&self.key))
            .field("size", &self.size)
            .field("name", &Hidden(self.name.as_bytes()))
            .field("mime", &self.mime)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for store::UploadJob {
    /// Without the key, and what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadJob")
            .field("upload", &self.upload)
            .field("key", &Hidden(&self.key))
            .field("len", &self.len)
            .field("text", &Hidden(self.text.as_bytes()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(sealed) => f.debug_tuple("Ticket").field(&Hidden(sealed)).finish(),
            Self::Invitation(code) => f.debug_tuple("Invitation").field(&Hidden(code)).finish(),
            Self::Link(link) => f.debug_tuple("Link").field(link).finish(),
            Self::KnownDevice(_) => f.write_str("KnownDevice"),
            Self::OpenRegistration(_) => f.write_str("OpenRegistration"),
        }
    }
}
