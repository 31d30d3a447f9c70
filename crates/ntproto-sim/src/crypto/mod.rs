//! The primitives a run uses, and the watch kept over them.
//!
//! | module | is |
//! | --- | --- |
//! | `stub` | a provider that is fast and not secure: most seeds use it |
//! | `watch` | a provider around a provider: no (key, nonce) twice, opened = sealed |

mod stub;
mod watch;

pub(crate) use stub::Absorber;
pub use stub::Stub;
pub(crate) use watch::Watch;
