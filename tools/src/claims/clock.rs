//! The clock of the protocol: monotonic, and another one in tests.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A wait.
pub(super) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells and waits.
pub(super) trait Clock: Debug + Send + Sync {
    /// Returns the time since a moment that does not change.
    fn now(&self) -> Duration;
    /// Waits this long.
    fn sleep(&self, wait: Duration) -> Wait;
}

/// The clock of the system. It counts while the process is suspended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn sleep(&self, wait: Duration) -> Wait {
        Box::pin(tokio::time::sleep(wait))
    }
}
