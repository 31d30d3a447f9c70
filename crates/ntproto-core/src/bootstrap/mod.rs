//! The bootstrap (specification, "Bootstrap"): one GET over HTTPS tells a client all it needs to sign in.
//!
//! | module | is |
//! | --- | --- |
//! | `version` | versions as numbers, and which one is spoken |
//! | `query` | what the client asks with: [`Query`], and why it may be refused: [`Refused`] |
//! | `ticket` | the bootstrap ticket, which the server makes for itself: [`BootstrapKeys`] |
//! | `answer` | what it is told: [`Answer`]; as JSON with the feature `json` |
//! | `learn` | what of an answer a client believes: [`Trust`], [`Learned`] |
//!
//! ```text
//! client  Query::target ── GET /v2/handshake?… ──▶ Query::parse, choose ──▶ BootstrapKeys::issue   server
//!                                                                              │
//!         read_answer ◀──────────────── JSON ─────────────────────────── Answer::to_json
//!              │
//!         Answer::learn(Trust) ──▶ Learned { connect string, ticket, clock } ──▶ AUTH_REQ ──▶ BootstrapKeys::check
//! ```

mod answer;
#[cfg(feature = "json")]
mod json;
mod learn;
mod query;
mod ticket;
mod version;

pub use answer::{Address, Answer, AnswerError, Endpoints, MAX_ANSWER, MAX_HASHES};
#[cfg(feature = "json")]
pub use json::{Problem, read_answer};
pub use learn::{Bootstrap, LearnError, Learned, Trust};
pub use query::{MAX_QUERY, PATH, Query, Refused};
pub use ticket::{BootstrapError, BootstrapKeys, BootstrapTicket, Given, MAX_BOOTSTRAP};
pub use version::{Version, choose};

/// How long a bootstrap ticket is good for: a client signs in right away, but a person may look for an invitation
/// first.
pub const LIFETIME: core::time::Duration = core::time::Duration::from_secs(600);
