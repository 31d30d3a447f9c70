//! One file a command: its flags, its help, and what it does.

pub(crate) mod completions;
pub(crate) mod inspect;
