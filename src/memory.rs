//! Returns freed memory to the system.

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
