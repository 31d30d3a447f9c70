//! HTTP/3 (RFC 9114) and WebTransport without I/O: bytes of QUIC streams in, bytes of QUIC streams out.
//!
//! A connection is one machine, of either side. It knows streams by their numbers and nothing of who carries them.
//!
//! ```text
//!   bytes, resets, datagrams ──▶ handle ──┐                      ┌──▶ Open, Write, Reset, Stop, Datagram, Close
//!   request, respond, send,  ──▶ calls  ──┤  frames · QPACK ·    ├──▶ Event   Request, Response, Data, Session, …
//!   accept, …                             │  rules · sessions    └──▶ Wait    until this deadline
//! ```
//!
//! The calls of a connection:
//!
//! ```text
//! Connection::server(Config), ::client(Config)          handle(Instant, Input)      poll_output(Instant) -> Output
//! room(StreamId) -> usize                               how many bytes of a stream may be handed in now
//! request(&Request<()>, end) -> StreamId                respond(StreamId, &Response<()>, end)
//! send(StreamId, Bytes, end) -> usize                   bytes taken; the end only with all of them; else Writable follows
//! consume(StreamId, usize)   reset, stop, cancel(StreamId, Code)                    goaway()
//! connect_session(&Request<()>) -> SessionId            accept(SessionId, &Response<()>), refuse(SessionId, &Response<()>)
//! open(SessionId, Dir) -> StreamId                      send_datagram(SessionId, Bytes)
//! close_session(SessionId, u32, &str)                   drain_session(SessionId)
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`conn`] | the machine |
//! | [`frame`], [`capsule`], [`settings`] | what streams are made of |
//! | [`head`], [`qpack`] | heads of requests and responses, and how they are written |
//! | [`table`] | every number on the wire, those of WebTransport's drafts among them |
//! | [`config`] | limits, each with its reason |
//! | [`event`] | what goes in and comes out |
//! | [`code`] | error codes, and those of WebTransport's applications among them |
//! | [`origin`] | which web pages may open a session |
//! | [`varint`] | QUIC's integers |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod capsule;
pub mod code;
pub mod config;
pub mod conn;
pub mod event;
pub mod frame;
pub mod head;
pub mod origin;
pub mod qpack;
pub mod settings;
pub mod table;
pub mod varint;

pub use code::Code;
pub use config::{Config, Limits};
pub use conn::Connection;
pub use event::{Dir, Event, Input, Misuse, Output, Role, SessionEnd, SessionId, StreamId};
