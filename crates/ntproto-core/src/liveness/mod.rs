//! Is the peer there, and when to try again (specification, "Liveness").

mod backoff;
mod heartbeat;

pub use backoff::{Backoff, Jitter, MAX_BACKOFF};
pub use heartbeat::{
    ANSWER_WITHIN, Heartbeat, INTERVAL, LONGEST_INTERVAL, PATIENCE, Pulse, SHORTEST_INTERVAL,
};
