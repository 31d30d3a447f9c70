//! Becoming and staying authenticated.
//!
//! | module | is |
//! | --- | --- |
//! | [`handshake`] | AUTH_REQ and AUTH_RESP on either side |
//! | [`records`] | the same messages as they travel on TCP |
//! | [`ticket`] | tickets the server seals for itself |
//! | [`bearer`] | what HTTP requests show to act for a session |
//!
//! Handshake A; the one in which the server speaks first stands in [`handshake`]:
//!
//! ```text
//! client  Initiator::start ── AUTH_REQ ──▶ Responder::receive   server
//!              │                                 │ claims: may this device in?
//!              │                                 ▼
//!         finish ◀────────── AUTH_RESP ──── Reply::answer
//!              └── grant, k1 k2 h                └── k1 k2 h
//! ```

pub mod bearer;
pub mod handshake;
pub mod records;
pub mod ticket;
