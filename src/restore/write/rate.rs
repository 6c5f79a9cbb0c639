//! Limits the write rate of a restore over all its writers.
//!
//! A token bucket that may be overdrawn: each record, or batch of the backup, takes its tokens at once, whatever its size, and the writer then waits until the
//! bucket is no longer below zero. A record larger than the rate therefore passes, and is paid for afterwards.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kbk_format::repo::RateLimit;

use crate::human;

/// How much unused time, such as that of a commit, may be made up for at once.
const BURST: Duration = Duration::from_millis(250);
/// Shorter waits accumulate: a sleep per record would take longer than asked for.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// Keeps writers within a rate limit.
#[derive(Debug)]
pub(crate) struct Throttle {
    buckets: Mutex<[Option<Bucket>; 2]>,
}

impl Throttle {
    /// Creates a throttle; `None` where there is no limit.
    pub(crate) fn new(limit: RateLimit, now: Instant) -> Option<Throttle> {
        let bucket = |per_second: Option<u64>| Some(Bucket::new(per_second?, now));
        let limited = limit.bytes.is_some() || limit.records.is_some();
        limited.then(|| Throttle {
            buckets: Mutex::new([bucket(limit.bytes), bucket(limit.records)]),
        })
    }

    /// Takes the cost of `records` of `bytes` in total, and returns how long to wait before the next.
    pub(crate) fn take(&self, bytes: u64, records: u64, now: Instant) -> Duration {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let costs = [bytes, records];
        let waits = buckets.iter_mut().zip(costs).filter_map(|(bucket, cost)| {
            let bucket = bucket.as_mut()?;
            Some(bucket.take(cost, now))
        });
        let wait = waits.max().unwrap_or_default();
        if wait < SHORTEST_WAIT {
            Duration::ZERO
        } else {
            wait
        }
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Below zero while overdrawn.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: u64, now: Instant) -> Bucket {
        Bucket {
            per_second: per_second.max(1) as f64,
            tokens: 0.0,
            at: now,
        }
    }

    fn take(&mut self, cost: u64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        let most = self.per_second * BURST.as_secs_f64();
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(most);
        self.at = self.at.max(now);
        self.tokens -= cost as f64;
        Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or_default()
    }
}

/// Formats a limit; empty for none.
pub(crate) fn describe(limit: RateLimit) -> String {
    let bytes = limit.bytes.map(|bytes| human::byte_rate(bytes as f64));
    let records = limit
        .records
        .map(|records| format!("{}/s", human::counted(records, "record")));
    let limits: Vec<String> = bytes.into_iter().chain(records).collect();
    limits.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limit(bytes: Option<u64>, records: Option<u64>) -> RateLimit {
        RateLimit { bytes, records }
    }

    /// Writes `count` records of `bytes` as a writer does, on a clock of its own; gives the time it took.
    fn write(throttle: &Throttle, start: Instant, count: u32, bytes: u64) -> Duration {
        let mut now = start;
        for _ in 0..count {
            now += throttle.take(bytes, 1, now);
        }
        now - start
    }

    #[test]
    fn the_average_is_the_limit_whatever_the_size_of_records() {
        let start = Instant::now();
        for (count, bytes) in [(1_000_000, 10), (10_000, 1_000), (10, 1_000_000)] {
            let throttle = Throttle::new(limit(Some(1_000_000), None), start).unwrap();
            let took = write(&throttle, start, count, bytes).as_secs_f64();
            assert!((took - 10.0).abs() < 0.1, "{count} of {bytes}: {took}");
        }
    }

    #[test]
    fn the_stricter_of_two_limits_counts() {
        let start = Instant::now();
        let throttle = Throttle::new(limit(Some(1_000_000), Some(100)), start).unwrap();
        let took = write(&throttle, start, 1_000, 10).as_secs_f64();
        assert!((took - 10.0).abs() < 0.1, "{took}");
        assert!(Throttle::new(limit(None, None), start).is_none());
    }

    #[test]
    fn a_pause_is_made_up_for_only_in_part() {
        let start = Instant::now();
        let throttle = Throttle::new(limit(None, Some(1_000)), start).unwrap();
        let later = start + Duration::from_secs(60);
        let took = write(&throttle, later, 1_250, 1);
        assert!((took.as_secs_f64() - 1.0).abs() < 0.05, "{took:?}");
    }

    #[test]
    fn two_writers_share_a_limit() {
        let start = Instant::now();
        let throttle = Throttle::new(limit(None, Some(100)), start).unwrap();
        let mut clocks = [start; 2];
        for turn in 0..1_000 {
            // The writer whose clock is behind writes next.
            let writer = usize::from(clocks[1] < clocks[0] || (turn == 1));
            clocks[writer] += throttle.take(1, 1, clocks[writer]);
        }
        let took = clocks[0].max(clocks[1]) - start;
        assert!((took.as_secs_f64() - 10.0).abs() < 0.2, "{took:?}");
    }

    #[test]
    fn limits_are_described_for_people() {
        assert_eq!(describe(limit(None, None)), "");
        let both = describe(limit(Some(1 << 20), Some(500)));
        assert_eq!(both, "1.00 MiB/s and 500 records/s");
    }
}
