//! A large group, who of it is connected, and a chat beside it.

mod crowd;
pub mod large;
