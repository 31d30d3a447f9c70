//! The ntproto client core for JavaScript: in a browser's engine, in Node, wherever WebAssembly runs.
//!
//! Bytes, the time and a seed come in; bytes, a deadline and events go out. The module imports nothing but what
//! `wasm-bindgen` needs to make objects and throw errors: no clock, no randomness, no socket, no disk. A host in JavaScript
//! has them: `node/host.mjs` is one over TCP, `web/host.mjs` one over WebTransport.
//!
//! | module | is |
//! | --- | --- |
//! | [`bridge`] | the client behind one stream of bytes, without JavaScript |
//! | [`state`] | what is kept between two runs, as records to be appended to a file |
//! | [`js`] | the classes and types that JavaScript sees |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bridge;
pub mod js;
pub mod state;
