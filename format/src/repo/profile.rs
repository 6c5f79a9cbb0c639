//! The request sizes and parallelism that suit a store: a local disk and a bucket differ, and
//! readers and writers ask [`Store::profile`](super::store::Store::profile) instead of where the bytes are.

use tokio::sync::Semaphore;

use super::readahead::ReadaheadLimits;
use super::store::{Backend, StoreOptions};
use super::upload::UploadBuffers;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How many requests are ahead for each of those at a time for small objects: their answers are needed in order, and are taken one by one.
const AHEAD: usize = 4;

/// How to read and write a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreProfile {
    /// Stored bytes of one read in a sequential pass, unless one block is larger. Where readers read ahead, a segment of at most this many
    /// bytes that is needed as a whole is read by one request.
    pub range_bytes: u64,
    /// How far readers read ahead.
    pub readahead: ReadaheadLimits,
    /// Requests for small objects (pages, footers) in flight at a time.
    pub parallel_requests: usize,
    /// Partitions whose pages are read at a time, each with its own `parallel_requests`.
    pub parallel_partitions: usize,
    /// The memory of one upload.
    pub upload: UploadBuffers,
    /// Parts and whole segments that are sent at a time, over all uploads.
    pub max_concurrent_uploads: usize,
}

impl StoreProfile {
    /// The profile of a local disk, where requests are cheap and memory is the limit: a backup writes and a restore
    /// reads many partitions at a time, with two ranges or one part per partition in memory. Larger ranges would also fall out
    /// of the processor's cache between read and check. The operating system reads ahead.
    #[must_use]
    pub const fn local() -> Self {
        StoreProfile {
            range_bytes: MIB as u64,
            readahead: ReadaheadLimits::NONE,
            parallel_requests: 16,
            parallel_partitions: 8,
            upload: UploadBuffers {
                whole_below: 0,
                part_bytes: 512 * KIB,
                parts_in_flight: 1,
                any_part_size: true,
            },
            max_concurrent_uploads: Semaphore::MAX_PERMITS,
        }
    }

    /// The profile of any other store: each request must be worth its round trip, and a part of an upload must have
    /// the 5 MiB that S3 requires. A backup fills one part of every partition that it reads at the moment, and has
    /// `max_concurrent_uploads` parts on their way: that is its memory. A restore decodes one range of every partition that it reads at the
    /// moment, has the next one, and shares `readahead` among them.
    #[must_use]
    pub const fn remote() -> Self {
        StoreProfile {
            range_bytes: 2 * MIB as u64,
            readahead: ReadaheadLimits {
                first_bytes: MIB as u64,
                shared_bytes: 32 * MIB as u64,
                shared_requests: AHEAD * 16,
                gap_bytes: 256 * KIB as u64,
            },
            parallel_requests: 16,
            parallel_partitions: 8,
            upload: UploadBuffers {
                whole_below: 5 * MIB,
                part_bytes: 5 * MIB,
                parts_in_flight: 4,
                any_part_size: false,
            },
            max_concurrent_uploads: 8,
        }
    }

    /// The profile of a bucket. The services differ less from each other than from a disk; Azure limits neither the size of parts nor,
    /// within an account, the rate of one prefix.
    #[must_use]
    pub const fn of(backend: Backend) -> Self {
        let remote = Self::remote();
        match backend {
            Backend::S3 | Backend::Gcs => remote,
            Backend::Azure => remote.with_requests(32),
        }
    }

    /// Returns the profile with this many requests at a time.
    #[must_use]
    const fn with_requests(self, requests: usize) -> Self {
        let readahead = ReadaheadLimits {
            shared_requests: AHEAD.saturating_mul(requests),
            ..self.readahead
        };
        StoreProfile {
            parallel_requests: requests,
            readahead,
            ..self
        }
    }

    /// Returns the profile with what the options say.
    #[must_use]
    pub(super) fn with_options(self, options: &StoreOptions) -> Self {
        let UploadBuffers {
            whole_below,
            part_bytes,
            parts_in_flight,
            any_part_size,
        } = self.upload;
        let requests = options.parallel_requests.unwrap_or(self.parallel_requests);
        let profile = self.with_requests(requests.max(1));
        StoreProfile {
            max_concurrent_uploads: options
                .max_concurrent_uploads
                .unwrap_or(self.max_concurrent_uploads)
                .clamp(1, Semaphore::MAX_PERMITS),
            upload: UploadBuffers {
                whole_below: options.multipart_threshold.unwrap_or(whole_below),
                part_bytes: options.multipart_part_size.unwrap_or(part_bytes).max(1),
                parts_in_flight,
                any_part_size,
            },
            ..profile
        }
    }
}
