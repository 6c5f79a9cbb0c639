//! How long brokers may take, while a quota may make the client wait and the caller may want to stop.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::client::WireClient;
use super::outage_watch::OutageWatch;
use crate::kafka::options::StopRequest;

/// How often a wait looks whether it may continue.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long something may take that brokers have to answer.
pub(super) struct Patience<'a> {
    pub(super) client: &'a WireClient,
    pub(super) outage: &'a OutageWatch,
    pub(super) stop: &'a StopRequest,
    pub(super) limit: Duration,
}

impl Patience<'_> {
    /// Waits for `done`; `None` where it takes too long. The time in which a quota makes the client wait does not count, until the caller wants
    /// to stop.
    pub(super) async fn wait_for<T>(&self, done: impl Future<Output = T>) -> Option<T> {
        // What has a deadline of its own says more than that nothing came.
        const LONGER: Duration = Duration::from_secs(1);
        let began = Instant::now();
        let mut done = std::pin::pin!(done);
        loop {
            match timeout(TICK, &mut done).await {
                Ok(done) => return Some(done),
                Err(_) => {
                    let waited = waited(self.client, self.stop, began);
                    self.outage.look(waited);
                    if waited >= self.stop.shorten(self.limit).saturating_add(LONGER) {
                        return None;
                    }
                }
            }
        }
    }
}

/// For how long brokers have not answered since then. The time in which a quota makes the client wait does not count, until the caller wants to
/// stop.
pub(super) fn waited(client: &WireClient, stop: &StopRequest, since: Instant) -> Duration {
    match stop.is_set() {
        true => since.elapsed(),
        false => client.silence_since(since),
    }
}
