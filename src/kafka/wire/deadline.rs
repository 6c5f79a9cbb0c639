//! When a request counts as unanswered.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time, with how long it was away at first, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    began: Instant,
    at: Instant,
}

impl Deadline {
    pub(super) fn after(duration: Duration) -> Deadline {
        Deadline::from(Instant::now(), duration)
    }

    /// Returns the deadline of what begins at that time, now or later.
    pub(super) fn from(began: Instant, duration: Duration) -> Deadline {
        Deadline {
            began,
            at: began + duration,
        }
    }

    /// Returns the deadline of a part, which is not after that of the whole.
    pub(super) fn part(self, duration: Duration) -> Deadline {
        let part = Deadline::after(duration);
        Deadline {
            at: part.at.min(self.at),
            ..part
        }
    }

    pub(super) fn at(self) -> Instant {
        self.at
    }

    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(super) fn waited(self) -> Duration {
        self.began.elapsed()
    }
}
