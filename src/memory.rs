//! Memory that is free and still counts.

/// Gives what has been freed back to the system. Between two phases of a command, each of which fills queues and buffers: the
/// allocator keeps what the first one freed in pieces that do not suit the second, and the process would be as large as both.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call of the C library")]
        // SAFETY: takes no pointers, and may be called at any time from any thread (malloc_trim(3)).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
