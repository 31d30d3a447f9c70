//! `ntp top`: a server looked at again and again.
//!
//! | module | is |
//! | --- | --- |
//! | [`sample`] | one look: the series of `/metrics`, or what an administrator is told |
//! | [`scrape`] | how `/metrics` is asked for |
//! | [`board`] | what two looks say together: rates, quantiles, a line of history |
//! | [`mod@view`] | the board on a screen |

pub(crate) mod board;
pub(crate) mod sample;
pub(crate) mod scrape;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use board::Board;
pub(crate) use sample::Sample;
pub(crate) use view::view;
