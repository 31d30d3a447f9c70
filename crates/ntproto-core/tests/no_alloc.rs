//! Sealing and opening take no memory: they run for every frame; and a length a peer only announces
//! takes none either. Its own binary, because the counting allocator is a program's only one. It counts a
//! thread's own allocations: the test harness has threads too.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_types, reason = "a count for each thread is what this test is about")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ntproto_core::channel::{Opener, Sealer};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Decoded, Flags, FrameError, FrameType, Header, MAX_PAYLOAD};

thread_local! {
    // Const, so that looking at it allocates nothing.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn allocations() -> usize {
    ALLOCATIONS.get()
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from System, by `alloc` above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn seal_and_open(provider: &dyn CryptoProvider) {
    let key = provider.aes256gcm(&Secret::new([1; 32]));
    for len in [0, 16, 100, 1000, 65536] {
        let mut data = vec![7; len];
        let before = allocations();
        let tag = key.seal_in_place(&[2; 12], b"aad", &mut data);
        let opened = key.open_in_place(&[2; 12], b"aad", &mut data, &tag);
        let refused = key.open_in_place(&[3; 12], b"aad", &mut data, &tag);
        let after = allocations();
        assert!(opened.is_ok() && refused.is_err());
        assert_eq!(after, before, "{len} bytes");
    }
}

fn channel(provider: &'static dyn CryptoProvider) {
    let keys = || (Secret::new([7; 32]), [9; 12]);
    let mut sealer = Sealer::new(provider, Channel::Message, keys(), 0, Instant::ORIGIN);
    let mut opener = Opener::new(provider, Channel::Message, keys(), 0);
    let mut out = Vec::with_capacity(4096);
    let mut payload = Vec::with_capacity(4096);
    let before = allocations();
    for _ in 0..1000 {
        out.clear();
        let start = Sealer::begin(&mut out);
        out.extend_from_slice(&[5; 1024]);
        sealer.finish(Instant::ORIGIN, FrameType::MsgEncryptedV2, Flags(0), &mut out, start).unwrap();
        let Ok(Decoded::Frame { header, payload: sealed, .. }) = frame::decode(&out, MAX_PAYLOAD) else {
            panic!("a whole frame")
        };
        payload.clear();
        payload.extend_from_slice(sealed);
        assert_eq!(opener.open(&header, &mut payload).unwrap().len(), 1024);
    }
    assert_eq!(allocations(), before, "1,000 messages sealed and opened");
}

fn announced_lengths() {
    let header = Header { kind: 16, flags: Flags(0), channel: Channel::Message, len: u32::MAX, seq: 1 };
    let before = allocations();
    assert_eq!(frame::decode(&header.encode(), MAX_PAYLOAD), Err(FrameError::TooLarge(u32::MAX)));
    let allowed = Header { len: MAX_PAYLOAD as u32, ..header };
    assert!(matches!(frame::decode(&allowed.encode(), MAX_PAYLOAD), Ok(Decoded::NeedMore(_))));
    assert_eq!(allocations(), before);
}

//= proof: frames-1
#[test]
fn sealing_and_opening_take_no_memory() {
    announced_lengths();
    seal_and_open(&ntproto_core::crypto::rustcrypto::RUSTCRYPTO);
    channel(&ntproto_core::crypto::rustcrypto::RUSTCRYPTO);
    #[cfg(feature = "aws-lc-rs")]
    {
        seal_and_open(&ntproto_core::crypto::aws_lc::AWS_LC);
        channel(&ntproto_core::crypto::aws_lc::AWS_LC);
    }
}
