//! What the callbacks of a client have reported: failures, answers, quotas and statistics, for messages and for whoever waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::cause::Cause;
use super::error::Code;
use super::fetch_size::Received;
use super::outage;

/// After how long a cluster all of whose addresses fail counts as unreachable.
pub(super) const SURELY_DOWN: Duration = Duration::from_secs(3);

/// What a client's callbacks have reported, from any thread.
#[derive(Default)]
pub(super) struct Events {
    /// The last failure of a connection or a request.
    last_failure: Mutex<Option<ReportedFailure>>,
    /// Since when no broker has been connected.
    down_since: Mutex<Option<Instant>>,
    /// Whether a broker has answered: the error that `connect` returns reports earlier failures, so they are not logged as well.
    connected: AtomicBool,
    /// Whether this client takes part in the outage that [`outage`] has reported.
    in_outage: AtomicBool,
    /// The latest statistics, until they are taken.
    received: Mutex<Option<Received>>,
    /// How many fetched message sets did not hold a whole message, over all brokers.
    partial_sets: AtomicU64,
    /// The last answer with which a broker asked the client to wait.
    throttled: Mutex<Option<Throttled>>,
}

/// A broker has asked the client to wait, since a quota is exceeded. Until then it sends nothing, and is not away.
struct Throttled {
    broker: String,
    wait: Duration,
    at: Instant,
}

/// A failure that librdkafka has reported.
struct ReportedFailure {
    code: Code,
    cause: Cause,
    at: Instant,
}

impl ReportedFailure {
    /// How long librdkafka does not repeat a failure that persists (`rd_kafka_broker_set_error`).
    const NOT_REPEATED: Duration = Duration::from_secs(30);

    /// Whether it is over, if something has been answered at this time. An answer may be of another broker than the one that failed.
    fn is_over(&self, answered: Instant) -> bool {
        answered.saturating_duration_since(self.at) > Self::NOT_REPEATED
    }
}

impl Throttled {
    /// How long the next answer may take after the wait.
    const LATE: Duration = Duration::from_secs(30);
}

impl Events {
    pub(super) fn failed(&self, code: Code, reason: &str) {
        if code == Code::ALL_BROKERS_DOWN {
            lock(&self.down_since).get_or_insert_with(Instant::now);
        } else {
            let cause = Cause::of(reason);
            if self.is_connected() {
                outage::mention(&format!("{}; the client tries again", cause.text));
            }
            self.keep(code, cause);
        }
    }

    fn keep(&self, code: Code, cause: Cause) {
        *lock(&self.last_failure) = Some(ReportedFailure {
            code,
            cause,
            at: Instant::now(),
        });
    }

    /// Keeps why a producer has no id yet, for the error should it never get one.
    pub(super) fn without_producer_id(&self, line: &str) {
        self.keep(Code::COORDINATOR_NOT_AVAILABLE, Cause::of(line));
    }

    /// Keeps what a broker did not answer in time, as librdkafka logs it.
    pub(super) fn unanswered(&self, line: &str) {
        self.keep(Code::TIMED_OUT, Cause::of(line));
    }

    /// Notes that something arrived from a broker, which makes earlier failures obsolete.
    pub(super) fn answered(&self) {
        self.answered_at(Instant::now());
    }

    fn answered_at(&self, now: Instant) {
        self.connected.store(true, Ordering::Relaxed);
        *lock(&self.down_since) = None;
        lock(&self.last_failure).take_if(|failure| failure.is_over(now));
        if self.leaves_outage() {
            outage::ended();
        }
    }

    /// Notes that a quota makes the client wait.
    pub(super) fn throttled(&self, broker: &str, wait: Duration) {
        tracing::debug!(
            "{broker} has asked the client to wait for {wait:.1?}, since a quota is exceeded"
        );
        // None says that the broker no longer asks for it.
        *lock(&self.throttled) = (!wait.is_zero()).then(|| Throttled {
            broker: broker.to_owned(),
            wait,
            at: Instant::now(),
        });
    }

    /// Until when a quota makes the client wait, by what a broker has said last.
    pub(super) fn throttled_until(&self) -> Option<Instant> {
        let throttled = lock(&self.throttled);
        throttled.as_ref().map(|it| it.at + it.wait)
    }

    /// Explains that a quota makes the client wait now, if one does.
    pub(super) fn quota(&self, now: Instant) -> Option<Cause> {
        let throttled = lock(&self.throttled);
        let throttled = throttled.as_ref()?;
        let since = now.saturating_duration_since(throttled.at);
        (since <= throttled.wait + Throttled::LATE).then(|| {
            let Throttled { broker, wait, .. } = throttled;
            Cause::quota(format!(
                "a quota of the cluster slows this client down ({broker} has asked it to wait for {wait:.1?})"
            ))
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Reports that the cluster does not answer, and returns whether it did: once per outage, and nothing where `connect` will fail
    /// with the cause. `waited` is how long the client has waited so far.
    pub(super) fn waits(&self, waited: Duration, what: impl FnOnce() -> String) -> bool {
        let is_new = self.is_connected() && !self.in_outage.swap(true, Ordering::Relaxed);
        if is_new {
            outage::began(&what(), waited);
        }
        is_new
    }

    fn leaves_outage(&self) -> bool {
        // Read first: this runs for every batch of records.
        self.in_outage.load(Ordering::Relaxed) && self.in_outage.swap(false, Ordering::Relaxed)
    }

    /// Whether all brokers have failed for longer than a client needs to reconnect, and why. A broker that has closed idle
    /// connections reports no failure.
    pub(super) fn has_lost_all_brokers(&self) -> Option<Cause> {
        self.down_for().filter(|down| *down >= SURELY_DOWN)?;
        let failure = lock(&self.last_failure);
        let failure = failure
            .as_ref()
            .filter(|failure| !failure.is_over(Instant::now()));
        failure.map(|failure| failure.cause.clone())
    }

    /// Notes that what the client waited for has succeeded, so that no failure before it can be the cause of a later one.
    pub(super) fn recovered(&self) {
        self.answered();
        *lock(&self.last_failure) = None;
    }

    /// How long all brokers have been unreachable.
    pub(super) fn down_for(&self) -> Option<Duration> {
        lock(&self.down_since).map(|since| since.elapsed())
    }

    pub(super) fn measured(&self, statistics: &Statistics) {
        *lock(&self.received) = Some(Received {
            rx_bytes: statistics.rx_bytes,
            rxmsgs: statistics.rxmsgs,
            rxmsg_bytes: statistics.rxmsg_bytes,
        });
        let partial = statistics.brokers.values().map(|broker| broker.rxpartial);
        self.partial_sets.store(partial.sum(), Ordering::Relaxed);
    }

    /// Takes the totals received so far, if new statistics arrived since the last call.
    pub(super) fn received(&self) -> Option<Received> {
        lock(&self.received).take()
    }

    /// How many fetched message sets did not hold one whole message. Brokers send whole messages first, so a number that keeps
    /// growing while nothing arrives means that the messages cannot be decoded.
    pub(super) fn partial_sets(&self) -> u64 {
        self.partial_sets.load(Ordering::Relaxed)
    }

    pub(super) fn credentials_rejected(&self) -> bool {
        lock(&self.last_failure)
            .as_ref()
            .is_some_and(|failure| failure.code.is_authentication())
    }

    /// Explains the last failure. librdkafka reports none for a connection that is closed before the first answer.
    pub(super) fn cause(&self) -> Cause {
        if let Some(quota) = self
            .quota(Instant::now())
            .filter(|_| self.down_for().is_none())
        {
            return quota;
        }
        let silent = match self.down_for() {
            Some(_) => {
                "connections are closed without an answer, as happens where `security.protocol` differs from the listener's"
            }
            None => "no answer",
        };
        self.last_failure()
            .unwrap_or_else(|| Cause::unreported(silent))
    }

    /// Explains the last failure of a connection, if there was one.
    pub(super) fn last_failure(&self) -> Option<Cause> {
        let failure = lock(&self.last_failure);
        failure.as_ref().map(|failure| failure.cause.clone())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.leaves_outage() {
            outage::abandoned();
        }
    }
}

/// Locks a mutex, poisoned or not: a callback that panicked leaves plain values behind, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of librdkafka's statistics that is used (STATISTICS.md).
#[derive(Deserialize)]
pub(super) struct Statistics {
    rx_bytes: u64,
    rxmsgs: u64,
    rxmsg_bytes: u64,
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    /// Message sets without one whole message.
    #[serde(default)]
    rxpartial: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_no_longer_repeated_is_not_the_cause_of_a_later_one() {
        let events = Events::default();
        events.failed(Code::TRANSPORT, "broker 2: Connection refused");
        let failed = Instant::now();
        // Another broker may have answered.
        events.answered_at(failed);
        assert_eq!(events.cause().text, "broker 2: Connection refused");
        events.answered_at(failed + 2 * ReportedFailure::NOT_REPEATED);
        assert_eq!(events.cause().text, "no answer");
        events.without_producer_id("[thrd:main]: Failed to acquire transactional PID: retrying");
        assert_eq!(
            events.cause().text,
            "Failed to acquire transactional PID: retrying"
        );
        events.recovered();
        assert_eq!(events.cause().text, "no answer");
    }

    #[test]
    fn a_client_that_a_quota_slows_down_has_not_lost_the_cluster() {
        let events = Events::default();
        events.throttled("broker 1", Duration::from_secs(20));
        let cause = events.cause().text;
        assert!(cause.contains("a quota of the cluster"), "{cause}");
        let later = Instant::now() + Duration::from_secs(60);
        assert!(events.quota(later).is_none());
        events.failed(Code::ALL_BROKERS_DOWN, "2/2 brokers are down");
        let cause = events.cause().text;
        assert!(!cause.contains("quota"), "{cause}");
    }
}
