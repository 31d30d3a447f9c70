//! QPACK (RFC 9204) without a dynamic table: 0 is announced, and nothing is ever inserted on either side. So a
//! section stands for itself, and no stream waits for another.
//!
//! | module | is |
//! | --- | --- |
//! | [`section`] | field sections: read and written |
//! | [`streams`] | the encoder's and the decoder's stream of a peer |
//! | [`table`] | the static table |
//! | [`huffman`] | the code of strings |

pub mod huffman;
mod int;
pub mod section;
pub mod streams;
pub mod table;

pub use int::SectionError;
pub use section::{Budget, Field};
