//! What people paste: lines of text, none of which is on the wire.
//!
//! | text | is |
//! | --- | --- |
//! | [`ConnectString`] | where a server is and how to know that it is the right one |
//! | [`EnrolCode`] | what lets a new device in |

pub(crate) mod base64;
mod code;
mod connect_string;

pub use code::{EnrolCode, EnrolCodeError};
pub use connect_string::{ConnectString, ConnectStringError};
pub(crate) use connect_string::{MAX_CERTIFICATE, is_host};
