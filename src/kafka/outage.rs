//! Reports an outage of the cluster once and its end once, however many clients of the process notice it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::KafkaError;
use super::options::StopRequest;

/// How long a failure that is repeated in the same words is not mentioned again.
const NOT_MENTIONED_AGAIN: Duration = Duration::from_secs(60);

/// The outage of the one cluster that a process works with. A restore has a producer per thread and a backup a consumer, each of
/// which notices an outage on its own.
static OUTAGE: Mutex<Outage> = Mutex::new(Outage {
    began: None,
    clients: 0,
    count: 0,
    mentioned: Vec::new(),
});

/// What became of the cluster since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outages {
    /// How often no broker has answered.
    pub count: u64,
    /// Whether none answers now.
    pub ongoing: bool,
}

/// Returns the outages that clients of this process have noticed.
pub fn outages() -> Outages {
    let outage = Outage::locked();
    Outages {
        count: outage.count,
        ongoing: outage.began.is_some(),
    }
}

struct Outage {
    began: Option<Instant>,
    /// The clients that wait for the cluster.
    clients: usize,
    /// How often one began.
    count: u64,
    /// Failures of single brokers that were mentioned, and when.
    mentioned: Vec<(String, Instant)>,
}

impl Outage {
    fn locked() -> MutexGuard<'static, Outage> {
        OUTAGE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether this is the first client that notices.
    fn enter(&mut self, now: Instant) -> bool {
        self.clients += 1;
        let is_first = self.began.is_none();
        self.count += u64::from(is_first);
        self.began.get_or_insert(now);
        is_first
    }

    /// Returns how long the outage took if this was the last client that waited.
    fn leave(&mut self, now: Instant) -> Option<Duration> {
        self.clients = self.clients.saturating_sub(1);
        let began = self.began.take_if(|_| self.clients == 0)?;
        Some(now.saturating_duration_since(began))
    }

    /// Returns whether this failure was not mentioned for a while.
    fn is_new(&mut self, failure: &str, now: Instant) -> bool {
        self.mentioned
            .retain(|(_, at)| now.saturating_duration_since(*at) < NOT_MENTIONED_AGAIN);
        let is_new = self.mentioned.iter().all(|(known, _)| known != failure);
        if is_new {
            self.mentioned.push((failure.to_owned(), now));
        }
        is_new
    }
}

/// Repeats an attempt that fails because no broker can be reached, until one can: for `limit`, and not once the caller wants to stop. `in_kafka`
/// returns the cluster's part of an error, if it has one.
///
/// # Errors
///
/// That of the last attempt, or any other error at once.
pub fn outlast<T, E>(
    limit: Duration,
    stop: &StopRequest,
    in_kafka: impl Fn(&E) -> Option<&KafkaError>,
    attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    outlast_telling((limit, stop), in_kafka, attempt, |noticed| match noticed {
        Noticed::Began { what, waited } => began(&what, waited),
        Noticed::Ended => ended(),
        Noticed::Abandoned => abandoned(),
    })
}

/// What a client has noticed of an outage.
#[derive(Debug, PartialEq, Eq)]
enum Noticed {
    Began { what: String, waited: Duration },
    Ended,
    Abandoned,
}

fn outlast_telling<T, E>(
    (limit, stop): (Duration, &StopRequest),
    in_kafka: impl Fn(&E) -> Option<&KafkaError>,
    mut attempt: impl FnMut() -> Result<T, E>,
    mut tell: impl FnMut(Noticed),
) -> Result<T, E> {
    const PAUSE: Duration = Duration::from_secs(1);
    let since = Instant::now();
    let mut is_reported = false;
    loop {
        let tried = attempt();
        let outage = tried.as_ref().err().and_then(&in_kafka);
        let outage = outage.and_then(KafkaError::outage);
        let Some(outage) = outage.filter(|_| !stop.is_set() && since.elapsed() < limit) else {
            match (is_reported, &tried) {
                (false, _) => {}
                (true, Ok(_)) => tell(Noticed::Ended),
                (true, Err(_)) => tell(Noticed::Abandoned),
            }
            return tried;
        };
        if !is_reported {
            is_reported = true;
            tell(Noticed::Began {
                what: format!("{outage}; waiting until one can"),
                waited: since.elapsed(),
            });
        }
        thread::sleep(PAUSE);
    }
}

/// A client waits for the cluster, and has waited this long.
pub(super) fn began(what: &str, waited: Duration) {
    let now = Instant::now();
    if Outage::locked().enter(now.checked_sub(waited).unwrap_or(now)) {
        tracing::warn!("{what}");
    } else {
        tracing::debug!("{what}");
    }
}

/// A client that waited for the cluster was answered.
pub(super) fn ended() {
    if let Some(took) = Outage::locked().leave(Instant::now()) {
        tracing::info!("the cluster answers again, after {took:.0?}");
    }
}

/// A client that waited for the cluster is no longer used.
pub(super) fn abandoned() {
    Outage::locked().leave(Instant::now());
}

/// A broker asks this client to wait, as a quota makes it. Said once in a while, and not of waits that nobody notices.
pub(super) fn throttled(broker: &str, wait: Duration) {
    const NOTICEABLE: Duration = Duration::from_secs(2);
    let what = format!("a quota of the cluster slows this client down: {broker} asks it to wait");
    if wait >= NOTICEABLE && Outage::locked().is_new(&what, Instant::now()) {
        tracing::info!("{what} for {wait:.0?}");
    }
}

/// A broker has failed, which others may make up for.
pub(super) fn mention(failure: &str) {
    if Outage::locked().is_new(failure, Instant::now()) {
        tracing::debug!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_client_reports_an_outage_and_only_the_last_its_end() {
        let mut outage = Outage {
            began: None,
            clients: 0,
            count: 0,
            mentioned: Vec::new(),
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for first in [0, 100] {
            assert!(outage.enter(after(first)));
            assert!(!outage.enter(after(first + 1)));
            assert_eq!(outage.leave(after(first + 5)), None);
            assert!(!outage.enter(after(first + 6)));
            assert_eq!(outage.leave(after(first + 7)), None);
            let took = outage.leave(after(first + 9));
            assert_eq!(took, Some(Duration::from_secs(9)));
        }
        assert_eq!(outage.count, 2);
    }

    #[test]
    fn only_outages_are_outlasted_within_the_limit_and_until_a_stop() {
        fn same(error: &KafkaError) -> Option<&KafkaError> {
            Some(error)
        }
        let unreachable = || KafkaError::Unreachable {
            addresses: "a:9092".to_owned(),
            cause: "Connection refused".to_owned(),
            next: "check",
        };
        let refused = || KafkaError::Other {
            doing: "ask".to_owned(),
            cause: "refused".to_owned(),
        };
        // Fails as these errors say, in turn, and then succeeds.
        let outlast = |limit, stop: &StopRequest, errors: &[&dyn Fn() -> KafkaError]| {
            let (mut left, mut attempts, mut told) = (errors.iter(), 0, Vec::new());
            let done = outlast_telling(
                (limit, stop),
                same,
                || {
                    attempts += 1;
                    left.next().map_or(Ok(()), |error| Err(error()))
                },
                |noticed| told.push(noticed),
            );
            let first = told.first();
            if let Some(Noticed::Began { what, .. }) = first {
                let expected =
                    "no broker of a:9092 can be reached: Connection refused; waiting until one can";
                assert_eq!(what, expected);
            }
            (attempts, done.is_ok(), told.pop())
        };
        let (long, goes_on) = (Duration::from_secs(60), StopRequest::default());
        let stops = StopRequest::new(|| true);
        let both: [&dyn Fn() -> KafkaError; 2] = [&unreachable, &refused];
        let twice: [&dyn Fn() -> KafkaError; 2] = [&unreachable, &unreachable];
        assert_eq!(outlast(long, &goes_on, &[]), (1, true, None));
        assert_eq!(
            outlast(long, &goes_on, &twice),
            (3, true, Some(Noticed::Ended))
        );
        assert_eq!(
            outlast(long, &goes_on, &both),
            (2, false, Some(Noticed::Abandoned))
        );
        assert_eq!(outlast(long, &goes_on, &[&refused]), (1, false, None));
        assert_eq!(outlast(long, &stops, &twice), (1, false, None));
        assert_eq!(outlast(Duration::ZERO, &goes_on, &twice), (1, false, None));
    }

    #[test]
    fn a_failure_that_is_repeated_is_mentioned_once() {
        let mut outage = Outage {
            began: None,
            clients: 0,
            count: 0,
            mentioned: Vec::new(),
        };
        let start = Instant::now();
        assert!(outage.is_new("a", start));
        assert!(outage.is_new("b", start));
        assert!(!outage.is_new("a", start + NOT_MENTIONED_AGAIN / 2));
        assert!(outage.is_new("a", start + NOT_MENTIONED_AGAIN));
    }
}
