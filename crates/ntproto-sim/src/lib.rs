//! A deterministic simulator: real clients and the real server in one thread, under a virtual clock,
//! over hostile networks and disks, all of it from one seed.
//!
//! ```text
//!  scenario ─▶ strikes ─┐
//!                       ▼
//!  device ◀─▶ net ◀─▶ world (one heap of events) ◀─▶ server
//!  client, disk, app                                 hub, store, disk
//!       └──────────▶ ledger: what really happened ◀──────┘
//! ```
//!
//! A run has two phases. In the first, faults of the classes that the seed switched on strike. Then
//! they end, and within 90 seconds of virtual time everything must be at rest: nothing waits in an
//! outbox, every device has every message. What must hold is checked at every event (`run.rs` says
//! what).
//!
//! | module | is |
//! | --- | --- |
//! | `world`, `heal` | the loop, and the end of a run |
//! | `scenario`, `fault`, `strike` | what a seed decides, what can go wrong, when it does |
//! | `net` | byte streams over an unkind network |
//! | `quic` | the same over datagrams: real QUIC and TLS, the SDK's driver, the server's node |
//! | `server`, `device`, `raw` | the processes: the server, devices, strangers |
//! | `disk`, `app` | what stands below and above a client |
//! | `machine`, `counted` | what runs on a device; that each connection ends once |
//! | `ledger`, `rest` | what really happened, and what follows from it |
//! | `truth` | the rules of the specification once more: what must come of each transaction |
//! | `acts`, `hostile`, `sending`, `answers`, `deed` | what users do, what they are answered, how often |
//! | `watch`, `view` | what their devices know |
//! | `files` | a world of its own: uploads and downloads |
//! | `crypto` | fast primitives, and the watch over keys and nonces |
//! | `plant` | (feature `planted`) bugs that the simulator must find |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod acts;
mod answers;
mod app;
mod counted;
mod crypto;
mod deed;
mod device;
mod disk;
mod draw;
mod fault;
mod files;
mod heal;
mod hostile;
mod ledger;
mod machine;
mod net;
#[cfg(feature = "planted")]
pub mod plant;
#[cfg(feature = "planted")]
mod plant_people;
mod quic;
mod raw;
mod rest;
mod run;
mod scenario;
mod schedule;
mod sending;
mod serve;
mod server;
mod stats;
mod strike;
mod trace;
mod truth;
mod view;
mod watch;
mod world;

pub use crypto::Stub;
pub use deed::{Deed, Deeds};
pub use fault::{Fault, FaultSet, Plan};
pub use run::{Options, Run, Simulator, Violation};
pub use stats::{Stats, Table};
