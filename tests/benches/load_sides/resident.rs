//! Memory of idle authenticated sessions, as the resident set of a server process, beside plain quinn's with one
//! stream a connection (Linux).

use std::time::Duration;

use super::sessions::{Plan, Sessions};
use super::{ServerProcess, quinn_idle};

const CONNECTIONS: usize = 2_000;
/// Long enough for acknowledgements and buffers of the handshakes to go.
const REST: Duration = Duration::from_secs(5);

fn ours(connections: usize) -> f64 {
    let temp = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(temp.path());
    let connect = server.connect.clone();
    // The first few make what all share: the store's cache, the tables, the allocator's arenas.
    let mut marks = Vec::new();
    Sessions::run(&connect, 50, Plan::Rest(Duration::from_secs(1)), || marks.push(server.resident()));
    let before = *marks.last().unwrap();
    marks.clear();
    Sessions::run(&connect, connections, Plan::Rest(REST), || marks.push(server.resident()));
    (marks.last().unwrap() - before) as f64 / connections as f64
}

/// Measures both and prints them.
pub fn run() {
    let theirs = quinn_idle::run(CONNECTIONS, REST);
    let ours = ours(CONNECTIONS);
    println!("resident bytes an idle connection, {CONNECTIONS} of them");
    println!("quinn, one stream          {theirs:>10.0}");
    println!("ntproto, authenticated     {ours:>10.0}");
    println!("ratio                      {:>10.2}   the bar is 1.1", ours / theirs);
}
