//! Pure codecs: bytes in, values out. They know nothing of keys, time or connections.
//!
//! ```text
//! stream bytes ── frame ──▶ header + payload ── channel opens ──▶ plaintext ── packet ──▶ packets
//! ```

pub mod channel;
mod crc;
pub mod demux;
pub mod event;
pub mod frame;
pub mod nthd;
pub mod packet;
pub mod tlv3;
