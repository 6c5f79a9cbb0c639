//! Returns freed memory to the system.

/// Buffers of this size or more are returned to the system when they are freed: smaller ones are mostly reused.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 128 << 10;

/// Makes the allocator return every large buffer to the system as soon as it is freed, for the rest of the process.
///
/// By default, glibc raises its limit to the largest buffer that was ever freed, up to 32 MiB, and then keeps freed buffers for each
/// thread: a process that may cache 64 MiB was seen to hold 400.
pub(crate) fn keep_no_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "calls the C library")]
        // SAFETY: takes no pointers, and may be called at any time from any thread (mallopt(3)). If it fails, nothing has changed.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        }
    }
}

/// Returns freed memory to the system, between two phases that each fill queues and buffers. Otherwise the allocator keeps what the
/// first phase freed in pieces that the second cannot use, and the process takes the memory of both.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "calls the C library")]
        // SAFETY: takes no pointers, and may be called at any time from any thread (malloc_trim(3)).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
