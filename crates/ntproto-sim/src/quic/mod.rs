//! Real QUIC and real TLS: devices run the SDK's driver, the server runs its node, and between them lies
//! a network that keeps nothing in order and promises nothing.
//!
//! | module | is |
//! | --- | --- |
//! | `tls` | TLS from a seed |
//! | `link` | datagrams on their way |
//! | `device` | a driver and its host |
//! | `server` | a node and its host |

mod device;
mod link;
mod server;
mod tls;

pub(crate) use device::DriverHost;
pub(crate) use link::Link;
pub(crate) use server::NodeHost;
pub(crate) use tls::{Sessions, Tls};
