//! `ntp chat`: model, update and view kept apart, so that all of it but the terminal is tested.
//!
//! ```text
//! keys, client events ──▶ Msg ──▶ update(model) ──▶ effects (send, load history, quit …)
//!                                      │
//!                                      ▼
//!                          view(model) ──▶ frame
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`log`] | the messages of one conversation, in order |
//! | [`editor`] | the input line |
//! | [`model`], [`mod@update`] | the state, and what changes it |
//! | [`layout`] | messages as rows of a width |
//! | [`mod@view`] | rows and state on the screen |
//! | [`terminal`] | the screen taken over and always given back |

mod editor;
mod layout;
mod log;
mod model;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
mod update;
mod view;
mod wrap;

pub(crate) use log::Entry;
pub(crate) use model::{Link, Model};
pub(crate) use update::{Effect, Msg, update};
pub(crate) use view::view;
