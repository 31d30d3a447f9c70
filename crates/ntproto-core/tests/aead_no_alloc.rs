//! Sealing and opening take no memory: they run for every frame. Its own binary, because the counting
//! allocator sees every thread.
#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::secret::Secret;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let tag = key.seal_in_place(&[2; 12], b"aad", &mut data);
        let opened = key.open_in_place(&[2; 12], b"aad", &mut data, &tag);
        let refused = key.open_in_place(&[3; 12], b"aad", &mut data, &tag);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(opened.is_ok() && refused.is_err());
        assert_eq!(after, before, "{len} bytes");
    }
}

#[test]
fn sealing_and_opening_take_no_memory() {
    seal_and_open(&ntproto_core::crypto::rustcrypto::RUSTCRYPTO);
    #[cfg(feature = "aws-lc-rs")]
    seal_and_open(&ntproto_core::crypto::aws_lc::AWS_LC);
}
