//! Waiting for a condition, with a limit and a message.

use std::time::{Duration, Instant};

/// Long enough for anything that a healthy broker on a busy machine does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Probes until there is a value.
///
/// # Panics
///
/// When [`PATIENCE`] is over, naming what did not come.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
