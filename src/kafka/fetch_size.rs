//! The fetch size, adapted so that a response stays within its share of memory once it is decompressed.
//!
//! A fetch is bounded in stored bytes, and expands in memory: by the compression ratio, and by what librdkafka allocates per record,
//! which exceeds a small record itself. The factor is about 1.5 for uncompressed records of 1 KB, and in the hundreds for small
//! records that compress well. It is not known beforehand, so the first fetches use the smallest size, and their expansion decides
//! the next size.

/// Brokers return at least one whole batch, and producers' default `batch.size` is 16 KiB, so a smaller size would not make
/// responses smaller.
const SMALLEST: usize = 16 << 10;
/// Approximate memory of librdkafka per record besides its bytes: `rd_kafka_op_t` and its allocations.
const RECORD_OVERHEAD_BYTES: u64 = 600;
/// Stored bytes after which their expansion is representative.
const ENOUGH_BYTES: u64 = 256 << 10;

/// Totals of a consumer since its creation, from librdkafka's statistics (STATISTICS.md: `rx_bytes`, `rxmsgs`, `rxmsg_bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes of responses.
    pub(super) rx_bytes: u64,
    /// Number of records.
    pub(super) rxmsgs: u64,
    /// Bytes of their keys and values.
    pub(super) rxmsg_bytes: u64,
}

/// The size of the next fetches.
#[derive(Clone, Debug)]
pub(super) struct FetchSize {
    bytes: usize,
    /// Memory that one response may take.
    share_bytes: usize,
    largest: usize,
    /// The totals at the last adaptation.
    judged: Received,
}

impl FetchSize {
    /// Starts with the smallest size, for a consumer with a budget of `memory_bytes`.
    pub(super) fn new(memory_bytes: usize) -> FetchSize {
        FetchSize {
            bytes: SMALLEST,
            share_bytes: memory_bytes / 2,
            largest: (memory_bytes / 8).max(SMALLEST),
            judged: Received::default(),
        }
    }

    /// Stored bytes per fetch.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adapts the size to the totals so far. True if it changed, which requires a new consumer, whose totals start at zero.
    pub(super) fn adapt(&mut self, received: Received) -> bool {
        let stored = received.rx_bytes.saturating_sub(self.judged.rx_bytes);
        if stored < ENOUGH_BYTES {
            return false;
        }
        let records = received.rxmsgs.saturating_sub(self.judged.rxmsgs);
        if records == 0 {
            // Metadata of a large cluster, not fetches.
            self.judged = received;
            return false;
        }
        let payload = received.rxmsg_bytes.saturating_sub(self.judged.rxmsg_bytes);
        let expanded = payload.saturating_add(records.saturating_mul(RECORD_OVERHEAD_BYTES));
        self.judged = received;
        let wanted = (self.share_bytes as u128 * u128::from(stored) / u128::from(expanded.max(1)))
            .clamp(SMALLEST as u128, self.largest as u128) as usize;
        // A new consumer costs some round trips, so a change must be worth at least a factor of two.
        let changed = wanted >= self.bytes.saturating_mul(2) || wanted <= self.bytes / 2;
        if changed {
            self.bytes = wanted;
            self.judged = Received::default();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 8 << 20;

    /// Totals after `stored` bytes of records of `record_bytes`, compressed by `ratio`.
    fn received(stored: u64, ratio: u64, record_bytes: u64) -> Received {
        Received {
            rx_bytes: stored,
            rxmsgs: stored * ratio / record_bytes,
            rxmsg_bytes: stored * ratio,
        }
    }

    #[test]
    fn uncompressed_records_are_fetched_at_the_largest_size() {
        let mut size = FetchSize::new(MEMORY);
        assert_eq!(size.bytes(), SMALLEST);
        assert!(
            !size.adapt(received(1000, 1, 1000)),
            "too few bytes to adapt to"
        );
        assert!(size.adapt(received(1 << 20, 1, 1000)));
        assert_eq!(size.bytes(), MEMORY / 8);
        assert!(!size.adapt(received(1 << 20, 1, 1000)), "it is stable");
    }

    #[test]
    fn records_that_expand_are_fetched_at_a_small_size() {
        for (ratio, record_bytes) in [(18, 1000), (140, 1000), (1, 40), (12, 40)] {
            let mut size = FetchSize::new(MEMORY);
            size.adapt(received(1 << 20, ratio, record_bytes));
            let response = received(size.bytes() as u64, ratio, record_bytes);
            let expanded = response.rxmsg_bytes + RECORD_OVERHEAD_BYTES * response.rxmsgs;
            let smallest = size.bytes() == SMALLEST;
            assert!(
                smallest || expanded <= MEMORY as u64 / 2,
                "{ratio} {record_bytes}"
            );
        }
    }

    #[test]
    fn metadata_does_not_influence_the_size() {
        let mut size = FetchSize::new(MEMORY);
        let metadata = received(10 << 20, 0, 1000);
        assert!(!size.adapt(metadata));
        let records = received(1 << 20, 50, 1000);
        size.adapt(Received {
            rx_bytes: metadata.rx_bytes + records.rx_bytes,
            ..records
        });
        let mut without = FetchSize::new(MEMORY);
        without.adapt(records);
        assert_eq!(size.bytes(), without.bytes());
    }

    #[test]
    fn the_size_follows_a_change_of_the_topic() {
        let mut size = FetchSize::new(MEMORY);
        assert!(size.adapt(received(1 << 20, 1, 1000)));
        assert!(size.adapt(received(1 << 20, 500, 1000)));
        assert_eq!(size.bytes(), SMALLEST);
        let so_far = received(1 << 20, 500, 1000);
        assert!(!size.adapt(so_far));
        let since = received(1 << 20, 1, 1000);
        assert!(size.adapt(Received {
            rx_bytes: so_far.rx_bytes + since.rx_bytes,
            rxmsgs: so_far.rxmsgs + since.rxmsgs,
            rxmsg_bytes: so_far.rxmsg_bytes + since.rxmsg_bytes,
        }));
    }
}
