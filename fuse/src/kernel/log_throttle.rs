//! One log line for one trouble, however often programs run into it.
//!
//! A reader that meets a damaged block asks for it again and again, with every program that is tried on the file. So the same
//! line is written once in [`SILENCE`], and of different ones no more than [`AT_ONCE`] in that time; what was left out is counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a line is not repeated.
const SILENCE: Duration = Duration::from_mins(1);
/// How many different lines may be written in that time.
const AT_ONCE: usize = 20;

/// What was complained about lately.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    written: HashMap<String, Instant>,
    left_out: u64,
}

impl LogThrottle {
    /// Logs the trouble unless it was lately.
    pub(super) fn warn(&self, trouble: String) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left_out) = lately.admit(trouble.clone(), Instant::now()) {
            drop(lately);
            if left_out > 0 {
                tracing::warn!("{left_out} more like the last ones were not logged");
            }
            tracing::warn!("{trouble}");
        }
    }
}

impl Lately {
    /// How many were left out before this one, where it is to be written.
    fn admit(&mut self, trouble: String, now: Instant) -> Option<u64> {
        self.written
            .retain(|_, written| now.duration_since(*written) < SILENCE);
        if self.written.contains_key(&trouble) || self.written.len() >= AT_ONCE {
            self.left_out += 1;
            return None;
        }
        self.written.insert(trouble, now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_a_minute_and_floods_are_counted() {
        let mut lately = Lately::default();
        let start = Instant::now();
        assert_eq!(lately.admit("a".into(), start), Some(0));
        for _ in 0..353 {
            assert_eq!(lately.admit("a".into(), start), None);
        }
        for other in 1..AT_ONCE {
            assert!(lately.admit(other.to_string(), start).is_some());
        }
        assert_eq!(lately.admit("b".into(), start), None);
        let later = start + SILENCE;
        assert_eq!(lately.admit("b".into(), later), Some(1));
        assert_eq!(lately.admit("a".into(), later), Some(0));
    }
}
