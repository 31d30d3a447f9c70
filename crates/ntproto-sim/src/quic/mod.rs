//! Both transports: real QUIC and real TLS over a network that keeps nothing in order and promises nothing, and TCP
//! connections that break, hang and fall silent. Devices run the SDK's driver, the server runs its node.
//!
//! | module | is |
//! | --- | --- |
//! | `tls` | TLS from a seed |
//! | `link` | datagrams on their way |
//! | `wire` | TCP connections: what is in the network, what each end believes |
//! | `tcp` | what happens to them |
//! | `device` | a driver and its host |
//! | `server` | a node and its host |

mod device;
mod link;
mod server;
mod tcp;
mod tls;
mod wire;

pub(crate) use device::DriverHost;
pub(crate) use link::Link;
pub(crate) use server::NodeHost;
pub(crate) use tls::{Sessions, Tls};
pub(crate) use wire::{Dialler, Stir, Wires};
