//! What client and server agree on about people and groups: pure functions over plain values, called by both, so that neither
//! has an opinion of its own. The server calls them whatever a client says it found.

pub mod content;
#[cfg(feature = "json")]
pub mod json;
pub mod lifecycle;
pub mod members;
pub mod people;
pub mod permission;
pub mod text;
