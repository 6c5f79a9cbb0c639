//! An allocator with a limit in proportion to the input, so that a small file cannot make a reader allocate much memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes for any input: the columns of a block whose records are all alike, within SPEC's limits, in buffers that have
/// grown by doubling, and twice where META is read for fewer streams first.
const BASE_BYTES: usize = 256 << 20;
/// Additional bytes per byte of input: zstd's largest ratio.
const BYTES_PER_INPUT_BYTE: usize = 32 << 10;
/// The limit for the largest inputs: the raw bytes of a block by SPEC section 6 on top of the base.
const MAX_BYTES: usize = BASE_BYTES + (256 << 20);

struct Ceiling;

#[global_allocator]
static ALLOCATOR: Ceiling = Ceiling;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Runs `read` on `data`. If it holds more memory than the input permits, the process aborts and the fuzzer keeps the input.
pub fn with_ceiling(data: &[u8], read: impl FnOnce()) {
    let allowed = data
        .len()
        .saturating_mul(BYTES_PER_INPUT_BYTE)
        .saturating_add(BASE_BYTES)
        .min(MAX_BYTES);
    LIMIT.store(LIVE.load(Relaxed) + allowed, Relaxed);
    read();
    LIMIT.store(usize::MAX, Relaxed);
}

/// Returns whether `size` more bytes are granted, and counts them if so.
fn take(size: usize) -> bool {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    let granted = live <= LIMIT.load(Relaxed);
    if !granted {
        LIVE.fetch_sub(size, Relaxed);
    }
    granted
}

// SAFETY: granted calls are forwarded unchanged; null is what an allocator without memory returns.
unsafe impl GlobalAlloc for Ceiling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller upholds the contract of the forwarded call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller upholds the contract of the forwarded call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of the forwarded call.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of the forwarded call.
        unsafe { System.dealloc(block, layout) }
    }
}
