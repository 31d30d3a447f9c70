//! The hub against real client endpoints and a store in memory, without sockets or clocks.
#![allow(clippy::unwrap_used)]

mod admin;
mod asks;
mod auth;
mod bearer;
mod bench;
mod early;
mod groups;
mod history;
mod hostile;
mod journal;
mod large;
mod limits;
mod messages;
mod people;
mod presence;
mod rates;
mod shape;
mod states;
mod traces;
mod typing;
