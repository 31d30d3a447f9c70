//! What a peer of tiny pieces makes the server hold, counted by the allocator. Alone in its process, so that nobody
//! else's memory is counted.
#![allow(clippy::unwrap_used)]

#[path = "../web/world.rs"]
#[allow(dead_code, reason = "of the other tests")]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::Request;
use ntproto_core::wire::channel::Channel;
use ntproto_h3::{Dir, Event as H3};
use ntproto_net::web::SESSION_PATH;
use ntproto_net::{Event, WebConfig};
use world::{NAME, World};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "there is no other way to count")]
// SAFETY: all is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Each comes in a packet of its own, and nobody reads them.
#[test]
fn single_bytes_of_a_session_are_held_as_bytes() {
    const PIECES: usize = 20_000;
    let mut w = World::connected(WebConfig::default());
    let request = Request::builder().uri(format!("https://{NAME}:7424{SESSION_PATH}")).body(()).unwrap();
    let id = w.client.machine().connect_session(&request).unwrap();
    w.run(50);
    assert!(matches!(w.at_client.pop_front(), Some(H3::SessionUp { .. })));
    let Some(Event::Connected { conn, .. }) = w.at_server.pop_front() else { panic!() };
    let stream = w.client.machine().open(id, Dir::Bi).unwrap();
    let mut before = 0;
    for n in 0..PIECES {
        // The first is the channel's name.
        let data = Bytes::from_static(&[1]);
        assert_eq!(w.client.machine().send(stream, data, false), Ok(1));
        w.run(1);
        w.at_server.clear();
        if n == 100 {
            w.run(100);
            before = HELD.load(Relaxed);
        }
    }
    w.run(100);
    w.at_server.clear();
    let held = HELD.load(Relaxed).saturating_sub(before);
    assert!(held < 256 * 1024, "{held} bytes for {PIECES}");
    let (now, mut read, mut chunks) = (w.now(), 0, 0);
    w.server.with(now, conn, |c| {
        c.read_chunks(Channel::Message, usize::MAX, |chunk| {
            (read, chunks) = (read + chunk.len(), chunks + 1);
            true
        })
    });
    assert_eq!(read, PIECES - 1);
    assert!(chunks < 100, "{chunks} chunks");
}
