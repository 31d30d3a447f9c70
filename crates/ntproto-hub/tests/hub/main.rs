//! The hub against real client endpoints and a store in memory, without sockets or clocks.
#![allow(clippy::unwrap_used)]

mod asks;
mod auth;
mod bench;
mod early;
mod hostile;
mod journal;
mod limits;
mod messages;
mod rates;
mod shape;
mod states;
