//! The plan `files`: uploads and downloads over an unkind network, a server and clients whose power fails, disks that
//! are full, slow, or fail their fsync.
//!
//! The real machine of the HTTP surface and the real machines of transfers run here, over exchanges that carry heads
//! and bodies as HTTP would. Checked: what a server says it has is on its disk, and is the source's; that number never
//! falls; what is whole is the source, and downloads are; a break costs no more than a chunk; strangers get nothing;
//! within some minutes after the faults every transfer is over; nothing is left behind; nothing panics.
//!
//! | module | is |
//! | --- | --- |
//! | `world` | what happens, in its order |
//! | `serving`, `using`, `strikes` | on the server's side, on the clients', and what goes wrong |
//! | `server` | the machine of the HTTP surface, its store and its disk |
//! | `client` | a transfer on a device |
//! | `wire` | exchanges on their way |
//! | `dialect` | what clients ask, as HTTP says it: from the chapters, not from the client
//! | `disk` | the server's disk of files |

mod client;
mod dialect;
mod disk;
mod server;
mod serving;
mod strikes;
mod using;
mod wire;
mod world;

pub(crate) use world::World;
