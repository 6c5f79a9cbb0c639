//! Limits how often the same problem is logged.
//!
//! A program that reads a damaged block asks for it again and again, and so does the next program. So the same message is logged
//! once per [`INTERVAL`], and at most [`MAX_MESSAGES`] different ones in that time. Suppressed messages are counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kbk_format::counted;

/// How long a message is not repeated.
const INTERVAL: Duration = Duration::from_mins(1);
/// The number of different messages in that time.
const MAX_MESSAGES: usize = 20;

/// The messages of the last interval.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    written: HashMap<String, Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Logs a warning unless it is suppressed.
    pub(super) fn warn(&self, message: String) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = recent.admit(message.clone(), Instant::now()) {
            drop(recent);
            if suppressed > 0 {
                let messages = counted(suppressed, "similar message");
                tracing::warn!("{messages} left out");
            }
            tracing::warn!("{message}");
        }
    }
}

impl Recent {
    /// The number of messages suppressed before this one, if this one is to be logged.
    fn admit(&mut self, message: String, now: Instant) -> Option<u64> {
        self.written
            .retain(|_, written| now.duration_since(*written) < INTERVAL);
        if self.written.contains_key(&message) || self.written.len() >= MAX_MESSAGES {
            self.suppressed += 1;
            return None;
        }
        self.written.insert(message, now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_logged_once_per_interval_and_the_rest_is_counted() {
        let mut recent = Recent::default();
        let start = Instant::now();
        assert_eq!(recent.admit("a".into(), start), Some(0));
        for _ in 0..353 {
            assert_eq!(recent.admit("a".into(), start), None);
        }
        for other in 1..MAX_MESSAGES {
            assert!(recent.admit(other.to_string(), start).is_some());
        }
        assert_eq!(recent.admit("b".into(), start), None);
        let later = start + INTERVAL;
        assert_eq!(recent.admit("b".into(), later), Some(1));
        assert_eq!(recent.admit("a".into(), later), Some(0));
    }
}
