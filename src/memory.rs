//! How the allocator keeps memory, and returns it to the system.

/// Buffers of this size or more are returned to the system when they are freed: smaller ones are mostly reused.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 128 << 10;

/// Gives the allocator one arena per core, for the rest of the process. To be called before other threads are started.
///
/// By default, glibc has eight per core. Each thread of librdkafka, of the runtime and of kbk's own then frees into an arena of its own, where
/// the others cannot use it: `restore --verify` took 142 MB on two cores, and 112 MB with two arenas.
pub(crate) fn one_arena_per_core() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // At least two: on a single core, a thread would wait for whoever was stopped inside the allocator.
        let arenas = libc::c_int::try_from(cores)
            .unwrap_or(libc::c_int::MAX)
            .max(2);
        #[expect(unsafe_code, reason = "calls the C library")]
        // SAFETY: takes no pointers, and may be called at any time from any thread (mallopt(3)). If it fails, nothing has changed.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}

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
