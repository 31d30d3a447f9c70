//! One file a command: its flags, its help, and what it does.

pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod inspect;
pub(crate) mod invite;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod recv;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod send;
pub(crate) mod serve;
