//! `ntp chat`: model, update and view kept apart, so that all of it but the terminal is tested.
//!
//! ```text
//! keys, what clients tell ──▶ Msg ──▶ update(model) ──▶ effects (send, ask, load history, quit …)
//!                                          │
//!                                          ▼
//!                              view(model) ──▶ frame
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`said`] | what a body says, harmless |
//! | [`log`] | the messages of one conversation, in order |
//! | [`people`] | who others are, and what each is called |
//! | [`account`] | one's people, conversations and connection |
//! | [`editor`] | the input line |
//! | [`model`], [`mod@update`], [`news`] | the state, and what changes it |
//! | [`command`], [`act`] | lines with a slash, and what is done with a line |
//! | [`layout`] | messages as rows of a width |
//! | [`mod@view`], [`pane`], [`overlay`] | rows and state on the screen |
//! | [`terminal`] | the screen taken over and always given back |

mod account;
mod act;
mod command;
mod editor;
mod layout;
mod log;
mod model;
mod news;
mod overlay;
mod pane;
mod people;
mod said;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
mod update;
mod view;
mod wrap;

pub(crate) use account::{Account, Link, Target};
pub(crate) use log::{Change, Entry};
pub(crate) use model::{Hit, Model};
pub(crate) use news::News;
pub(crate) use said::Said;
#[cfg(test)]
pub(crate) use said::{Draft, Quote, Reaction};
pub(crate) use update::{Ask, Deed, Effect, Msg, update};
pub(crate) use view::view;
