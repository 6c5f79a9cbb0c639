//! Waits between attempts.

use std::time::Duration;

/// Waits for this time.
pub(super) async fn pause(time: Duration) {
    // A simulation has a clock of its own, and no runtime: its other actors run between any two requests.
    #[cfg(test)]
    if crate::repo::id::seeded::is_on() {
        return;
    }
    tokio::time::sleep(time).await;
}
