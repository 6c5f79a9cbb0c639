//! The request sizes and parallelism that suit a store: a local disk and a bucket differ, and
//! readers and writers ask [`Store::profile`](super::store::Store::profile) instead of where the bytes are.

use super::upload::UploadBuffers;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How to read and write a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreProfile {
    /// Stored bytes of one read in a sequential pass, unless one block is larger.
    pub range_bytes: u64,
    /// Requests for small objects (pages, footers) in flight at a time.
    pub parallel_requests: usize,
    /// Partitions whose pages are read at a time, each with its own `parallel_requests`.
    pub parallel_partitions: usize,
    /// The memory of one upload.
    pub upload: UploadBuffers,
}

impl StoreProfile {
    /// The profile of a local disk, where requests are cheap and memory is the limit: a backup writes and a restore
    /// reads many partitions at a time, with two ranges or one part per partition in memory. Larger ranges would also fall out
    /// of the processor's cache between read and check.
    #[must_use]
    pub const fn local() -> Self {
        StoreProfile {
            range_bytes: MIB as u64,
            parallel_requests: 16,
            parallel_partitions: 8,
            upload: UploadBuffers {
                part_bytes: 512 * KIB,
                parts_in_flight: 1,
            },
        }
    }

    /// The profile of any other store: each request must be worth its round trip, and a part of an upload must have
    /// the 5 MiB that S3 requires.
    #[must_use]
    pub const fn remote() -> Self {
        StoreProfile {
            range_bytes: 4 * MIB as u64,
            parallel_requests: 16,
            parallel_partitions: 8,
            upload: UploadBuffers {
                part_bytes: 8 * MIB,
                parts_in_flight: 2,
            },
        }
    }
}
