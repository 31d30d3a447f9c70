//! What can go wrong for an application.

use std::fmt;
use std::sync::Arc;

use ntproto_core::client::{Failure, Misuse, Stopped, StoreError};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ClientMsgId;
use ntproto_core::model::permission::Denied;
use ntproto_core::model::text::BadName;

/// Why a client is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It stopped: closed by the application, refused by the server, or its disk failed.
    Stopped(Stopped),
    /// What drove it failed: the socket, or the runtime went away.
    Host(Arc<str>),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(why) => why.fmt(f),
            Self::Host(why) => write!(f, "the client no longer runs: {why}"),
        }
    }
}

impl std::error::Error for Ended {}

/// Why a message is not known to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The deadline passed; the message was not stored and will not be.
    DeadlineExceeded,
    /// It was given up by [`Client::cancel`](crate::Client::cancel), and was not stored.
    Cancelled,
    /// The message was given up on its way, by its deadline or by [`Client::cancel`](crate::Client::cancel). Whether it was stored is being found out:
    /// [`Event::Sent`](crate::Event::Sent) or [`Event::SendFailed`](crate::Event::SendFailed) will say so, and
    /// [`Client::outcome`](crate::Client::outcome) later.
    Unresolved(ClientMsgId),
    /// The server refused it; `None` is a code this version does not know.
    Refused(Option<ErrorCode>, String),
    /// The local disk failed; the message was not taken.
    Store(StoreError),
    /// The request makes no sense, or there is no room for it; the message was not taken.
    Misuse(Misuse),
    /// An account was named as the recipient before this device has one itself: wait for
    /// [`Client::online`](crate::Client::online) first.
    NotEnrolled,
    /// The client is over. A message that was on the local disk is sent when it is started again.
    Ended(Ended),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlineExceeded => f.write_str("DEADLINE_EXCEEDED: the message was not sent"),
            Self::Cancelled => f.write_str("the message was given up and not sent"),
            Self::Unresolved(id) => {
                write!(f, "the message was given up: whether {id} was sent is being found out")
            }
            Self::Refused(code, detail) => Failure::Refused(*code, detail.clone()).fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Misuse(error) => error.fmt(f),
            Self::NotEnrolled => f.write_str("this device has no account yet"),
            Self::Ended(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The deadline passed.
    DeadlineExceeded,
    /// There is no connection, or it was lost: whether the request was carried out is not known.
    Disconnected,
    /// The server refused; `None` is a code this version does not know.
    Refused(Option<ErrorCode>, String),
    /// The server would refuse, by what this device knows of the group: it was not asked.
    Denied(Denied),
    /// A text that may not be shown as it is: the server was not asked.
    BadName(BadName),
    /// What the server did or answered could not be kept on the local disk.
    Store(StoreError),
    /// The request makes no sense now.
    Misuse(Misuse),
    /// The answer can't be read.
    BadAnswer,
    /// This device has no account yet.
    NotEnrolled,
    /// The client is over.
    Ended(Ended),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlineExceeded => f.write_str("DEADLINE_EXCEEDED"),
            Self::Denied(why) => why.fmt(f),
            Self::BadName(why) => why.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Disconnected => f.write_str("not connected"),
            Self::Refused(code, detail) => Failure::Refused(*code, detail.clone()).fmt(f),
            Self::Misuse(error) => error.fmt(f),
            Self::BadAnswer => f.write_str("the server's answer can't be read"),
            Self::NotEnrolled => f.write_str("this device has no account yet"),
            Self::Ended(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<BadName> for RequestError {
    fn from(why: BadName) -> Self {
        Self::BadName(why)
    }
}

/// Why the store gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// It failed.
    Store(StoreError),
    /// It is closed, or too many questions wait.
    Unavailable,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Unavailable => f.write_str("the local store is closed or too busy"),
        }
    }
}

impl std::error::Error for QueryError {}

/// There is one event stream, and somebody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsTaken;

impl fmt::Display for EventsTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event stream is in use: there is one, and it can be taken again once dropped")
    }
}

impl std::error::Error for EventsTaken {}
