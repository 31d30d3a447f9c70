//! One file a command: its flags, its help, and what it does.

pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod files;
pub(crate) mod friends;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod invite;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod presence;
pub(crate) mod recv;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod top;
