//! How much to ask of a broker at a time, so that what an answer becomes in memory stays within its share.
//!
//! A fetch is bounded in bytes as they are stored, and grows when it is opened: by what the topic was compressed with, and
//! by what librdkafka keeps for each record, which is more than a small record itself. That is a factor of 1.5 for plain
//! records of 1 KB and of hundreds for small ones that compress well. Nobody knows it beforehand, so the first fetches are
//! the smallest, and what came of them decides the next.

use serde::Deserialize;

/// No answer is smaller than one batch of records, and most of those are about as large when they compress well. Where they do
/// not, more is asked for at once.
const SMALLEST: usize = 16 << 10;
/// What librdkafka holds for one record besides its bytes, about: `rd_kafka_op_t` and its allocations.
const RECORD_OVERHEAD_BYTES: u64 = 600;
/// Stored bytes after which what they became is believed.
const ENOUGH_BYTES: u64 = 256 << 10;

/// What a consumer has received since it was made, as librdkafka's statistics say (STATISTICS.md: `rx_bytes`, `rxmsgs`,
/// `rxmsg_bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Received {
    /// Bytes of the brokers' answers.
    pub(super) rx_bytes: u64,
    /// Records.
    pub(super) rxmsgs: u64,
    /// Their keys and values.
    pub(super) rxmsg_bytes: u64,
}

/// The size of the next fetches.
#[derive(Clone, Debug)]
pub(super) struct FetchSize {
    bytes: usize,
    /// What one answer may become.
    share_bytes: usize,
    largest: usize,
    /// Before the fetches that are judged next.
    judged: Received,
}

impl FetchSize {
    /// For a consumer that has `memory_bytes` in all.
    pub(super) fn new(memory_bytes: usize) -> FetchSize {
        FetchSize {
            bytes: SMALLEST,
            share_bytes: memory_bytes / 2,
            largest: (memory_bytes / 8).max(SMALLEST),
            judged: Received::default(),
        }
    }

    /// Stored bytes to ask for at a time.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Looks at what has come so far. True if the size is another one from now on, which takes a new consumer, whose
    /// figures begin at nothing again.
    pub(super) fn adapt(&mut self, received: Received) -> bool {
        let stored = received.rx_bytes.saturating_sub(self.judged.rx_bytes);
        if stored < ENOUGH_BYTES {
            return false;
        }
        let records = received.rxmsgs.saturating_sub(self.judged.rxmsgs);
        if records == 0 {
            // What a large cluster says of itself is no fetch.
            self.judged = received;
            return false;
        }
        let payload = received.rxmsg_bytes.saturating_sub(self.judged.rxmsg_bytes);
        let opened = payload.saturating_add(records.saturating_mul(RECORD_OVERHEAD_BYTES));
        self.judged = received;
        let wanted = (self.share_bytes as u128 * u128::from(stored) / u128::from(opened.max(1)))
            .clamp(SMALLEST as u128, self.largest as u128) as usize;
        // A new consumer costs some round trips: not for less than a factor of two.
        let other = wanted >= self.bytes.saturating_mul(2) || wanted <= self.bytes / 2;
        if other {
            self.bytes = wanted;
            self.judged = Received::default();
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 8 << 20;

    /// What comes of `stored` bytes of records of `record_bytes` that were compressed so many times.
    fn received(stored: u64, ratio: u64, record_bytes: u64) -> Received {
        Received {
            rx_bytes: stored,
            rxmsgs: stored * ratio / record_bytes,
            rxmsg_bytes: stored * ratio,
        }
    }

    #[test]
    fn plain_records_are_fetched_in_the_largest_pieces() {
        let mut size = FetchSize::new(MEMORY);
        assert_eq!(size.bytes(), SMALLEST);
        assert!(
            !size.adapt(received(1000, 1, 1000)),
            "too little to judge by"
        );
        assert!(size.adapt(received(1 << 20, 1, 1000)));
        assert_eq!(size.bytes(), MEMORY / 8);
        assert!(!size.adapt(received(1 << 20, 1, 1000)), "it stays");
    }

    #[test]
    fn what_grows_much_is_fetched_in_small_pieces() {
        for (ratio, record_bytes) in [(18, 1000), (140, 1000), (1, 40), (12, 40)] {
            let mut size = FetchSize::new(MEMORY);
            size.adapt(received(1 << 20, ratio, record_bytes));
            let answer = received(size.bytes() as u64, ratio, record_bytes);
            let opened = answer.rxmsg_bytes + RECORD_OVERHEAD_BYTES * answer.rxmsgs;
            let smallest = size.bytes() == SMALLEST;
            assert!(
                smallest || opened <= MEMORY as u64 / 2,
                "{ratio} {record_bytes}"
            );
        }
    }

    #[test]
    fn what_is_no_record_is_not_judged_by() {
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
    fn it_follows_a_topic_that_changes() {
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
