//! The request to stop a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::sync::Notify;

/// A request to stop, shared by all its clones. Checking it costs one atomic load.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of the first signal; 0 before it arrives.
    signal: AtomicI32,
    notify: Notify,
}

impl Cancel {
    /// Returns whether a stop was requested.
    pub fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    /// Waits until a stop is requested.
    pub async fn cancelled(&self) {
        // Created before the check, so that a request between the two wakes it.
        let notified = self.shared.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }

    /// Returns the signal that requested the stop.
    pub fn signal(&self) -> Option<i32> {
        match self.shared.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Requests a stop on behalf of `signal`. The first request wins.
    pub fn set(&self, signal: i32) {
        let _ = self
            .shared
            .signal
            .compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire);
        self.shared.notify.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;

    #[tokio::test]
    async fn waiting_ends_with_the_request_and_not_before() {
        let cancel = Cancel::default();
        let waiter = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
        tokio::task::yield_now().await;
        assert!(!cancel.is_set() && !waiter.is_finished());
        cancel.set(SIGTERM);
        waiter.await.unwrap();
        assert!(cancel.is_set());
        cancel.cancelled().await;
    }

    #[test]
    fn the_first_signal_is_remembered() {
        let cancel = Cancel::default();
        assert_eq!(cancel.signal(), None);
        cancel.set(SIGTERM);
        cancel.set(SIGINT);
        assert_eq!(cancel.signal(), Some(SIGTERM));
    }
}
