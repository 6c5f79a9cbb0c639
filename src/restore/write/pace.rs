//! How much a transaction may hold: as much as the cluster takes in a fraction of the transaction timeout.
//!
//! A cluster may be slow, and a quota may limit a client to a few kilobytes per second. A transaction that holds more than the cluster takes
//! within the transaction timeout is aborted, and would be again. So the first transactions are small, and the next ones hold what the
//! rate of the last one allows.

use std::time::Duration;

/// Bytes of keys, values and headers, and of batches that are written as they are, in the first transaction.
const FIRST_BYTES: usize = 128 << 10;
/// The largest transaction. A commit takes several round trips and a disk flush, during which nothing is sent.
const MOST_BYTES: usize = 64 << 20;
/// How much larger a transaction may be than the one before.
const GROWTH: usize = 8;
/// How much smaller a transaction is than one that was aborted.
const SHRINKAGE: usize = 4;
/// The fraction of the transaction timeout that a transaction should take, so that a cluster that becomes slower does not abort it.
const FRACTION_OF_TIMEOUT: u32 = 6;
/// The longest time that a transaction should take: how long `read_committed` consumers of the target wait for its records.
const LONGEST: Duration = Duration::from_secs(10);

/// The bounds of one writer's transactions.
#[derive(Debug)]
pub(crate) struct Pace {
    most_bytes: usize,
    longest: Duration,
}

impl Pace {
    /// Starts with a small transaction, for producers with this transaction timeout.
    pub(crate) fn new(transaction_timeout: Duration) -> Pace {
        Pace {
            most_bytes: FIRST_BYTES,
            longest: LONGEST.min(transaction_timeout / FRACTION_OF_TIMEOUT),
        }
    }

    /// The bytes at which a transaction is committed. It holds at least one record, whatever its size.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// The time after which a transaction is committed.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Notes that a transaction of `bytes` took this long, from its first record to its commit.
    pub(crate) fn committed(&mut self, bytes: usize, took: Duration) {
        let per_second = bytes as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
        // A conversion from a float saturates.
        let allowed = (per_second * self.longest.as_secs_f64()) as usize;
        // A small transaction, such as the last of a partition, says little about a larger one.
        let most = self.most_bytes.saturating_mul(GROWTH).min(MOST_BYTES);
        let least = match took < self.longest {
            true => self.most_bytes.min(most),
            false => 1,
        };
        self.most_bytes = allowed.clamp(least, most);
    }

    /// Notes that a transaction was aborted.
    pub(crate) fn aborted(&mut self) {
        self.most_bytes = (self.most_bytes / SHRINKAGE).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Commits transactions to a cluster of this speed, until their size has settled.
    fn settled(bytes_per_second: f64) -> Pace {
        let mut pace = Pace::new(TIMEOUT);
        for _ in 0..20 {
            let seconds = pace.most_bytes() as f64 / bytes_per_second;
            if seconds > TIMEOUT.as_secs_f64() {
                pace.aborted();
            } else {
                pace.committed(pace.most_bytes(), Duration::from_secs_f64(seconds));
            }
        }
        pace
    }

    #[test]
    fn transactions_take_a_fraction_of_their_timeout_at_any_rate() {
        for bytes_per_second in [100.0, 20_000.0, 3e6] {
            let seconds = settled(bytes_per_second).most_bytes() as f64 / bytes_per_second;
            assert!(
                (5.0..=10.1).contains(&seconds),
                "{bytes_per_second}: {seconds}"
            );
        }
    }

    #[test]
    fn a_fast_cluster_gets_the_largest_transactions_after_a_few() {
        assert_eq!(settled(100e6).most_bytes(), MOST_BYTES);
        let mut pace = Pace::new(TIMEOUT);
        for _ in 0..3 {
            pace.committed(pace.most_bytes(), Duration::from_millis(20));
        }
        assert_eq!(pace.most_bytes(), MOST_BYTES);
    }

    #[test]
    fn a_small_transaction_that_was_quick_shrinks_nothing() {
        let mut pace = settled(100e6);
        pace.committed(100, Duration::from_millis(20));
        assert_eq!(pace.most_bytes(), MOST_BYTES);
    }

    #[test]
    fn a_transaction_holds_at_least_one_byte() {
        let mut pace = Pace::new(TIMEOUT);
        for _ in 0..50 {
            pace.aborted();
        }
        assert_eq!(pace.most_bytes(), 1);
        pace.committed(1_000_000, Duration::from_secs(50));
        assert!(pace.most_bytes() <= GROWTH);
    }

    #[test]
    fn a_short_transaction_timeout_makes_short_transactions() {
        assert_eq!(Pace::new(TIMEOUT).longest(), LONGEST);
        assert_eq!(
            Pace::new(Duration::from_secs(6)).longest(),
            Duration::from_secs(1)
        );
        assert_eq!(Pace::new(Duration::MAX).longest(), LONGEST);
    }
}
