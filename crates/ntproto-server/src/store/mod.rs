//! The store on disk.
//!
//! | module | is |
//! | --- | --- |
//! | [`redb`] | `ntproto_hub::store::Store` on a redb file |
//! | [`beside`] | backups and verifications, while the store is in use |
//! | `backend` | the file under it: opened with clear errors, its failed fsyncs remembered |
//! | [`group`] | the thread that commits together what arrives together |

mod backend;
pub mod beside;
pub mod group;
pub mod redb;

pub use backend::OpenError;
