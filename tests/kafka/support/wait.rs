//! Waits for a condition, with a timeout and a message.

use std::time::{Duration, Instant};

/// Long enough for any operation of a healthy broker, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Probes until a value is returned.
///
/// # Panics
///
/// Panics when [`PATIENCE`] is over, naming what it waited for.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "timed out after {PATIENCE:?} waiting for: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
