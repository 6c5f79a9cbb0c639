//! Pauses between attempts: longer each time, and not the same for everyone.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double up to a limit, each shortened or lengthened by up to a fifth, as Kafka's own clients do.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Backoff {
        let first = first.min(longest);
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    /// Returns the next pause.
    pub(super) fn pause(&mut self) -> Duration {
        self.pause_by(random())
    }

    /// Begins again with short pauses, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    fn pause_by(&mut self, random: u64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        // From 80 % to 120 %.
        let percent = u32::try_from(80 + random % 41).unwrap_or(100);
        pause * percent / 100
    }
}

/// A number that differs from process to process and from call to call. Nothing depends on it but the spread of pauses.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_spread() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(100), millis(350));
        assert_eq!(backoff.pause_by(0), millis(80));
        assert_eq!(backoff.pause_by(40), millis(240));
        assert_eq!(backoff.pause_by(20), millis(350));
        assert_eq!(backoff.pause_by(20), millis(350));
        backoff.reset();
        assert_eq!(backoff.pause_by(20), millis(100));
    }

    #[test]
    fn the_first_pause_is_within_the_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(9), Duration::from_secs(1));
        assert!(backoff.pause() <= Duration::from_millis(1200));
    }
}
