//! Waits until brokers know the topics that a restore has created.
//!
//! The controller answers once a topic is part of the cluster's metadata. Brokers learn of it afterwards, one change after the other, and create
//! the logs of one before they look at the next: thousands of partitions take a minute or more.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::KafkaError;
use crate::restore::plan::restore_plan::RestorePlan;
use crate::run::Cancel;

/// How long a topic may be unknown that was there when the restore was planned: a broker that has just started knows none.
const OTHERS_PATIENCE: Duration = Duration::from_secs(30);
/// How long it is waited for once a stop was requested.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// When to report what is being waited for.
const REPORT_AFTER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// The topics that a restore creates, and how long brokers may take to learn of the next one.
pub(crate) struct Known<'a> {
    created: BTreeSet<&'a str>,
    patience: Duration,
    cancel: &'a Cancel,
}

impl<'a> Known<'a> {
    pub(crate) fn new(plan: &'a RestorePlan, patience: Duration, cancel: &'a Cancel) -> Known<'a> {
        let created = plan.topics().filter(|topic| topic.create().is_some());
        Known {
            created: created.map(|topic| topic.target()).collect(),
            patience,
            cancel,
        }
    }

    /// Calls until each topic is known to the broker that answers. The time begins anew with each topic that is, so a cluster may have any
    /// number of them.
    pub(crate) fn once<T>(
        &self,
        mut call: impl FnMut() -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let mut missing = BTreeSet::new();
        let mut since = Instant::now();
        let mut reported = false;
        loop {
            let topic = match call() {
                Err(KafkaError::UnknownTopic { topic, doing }) => {
                    let is_created = self.created.contains(topic.as_str());
                    // One that was missing before, and is again, is no progress: different brokers may answer.
                    if missing.insert(topic.clone()) {
                        since = Instant::now();
                    }
                    let waited = since.elapsed();
                    if waited >= self.patience(is_created) {
                        return Err(match is_created {
                            true => late(&topic, waited),
                            false => KafkaError::UnknownTopic { topic, doing },
                        });
                    }
                    topic
                }
                answer => return answer,
            };
            if since.elapsed() >= REPORT_AFTER && !std::mem::replace(&mut reported, true) {
                tracing::info!("waiting until all brokers know topic {topic}, which was created");
            }
            thread::sleep(PAUSE);
        }
    }

    fn patience(&self, is_created: bool) -> Duration {
        let patience = match is_created {
            true => self.patience,
            false => OTHERS_PATIENCE.min(self.patience),
        };
        match self.cancel.is_set() {
            true => patience.min(SHORT_PATIENCE),
            false => patience,
        }
    }
}

fn late(topic: &str, waited: Duration) -> KafkaError {
    KafkaError::Timeout {
        doing: format!("learn of topic {topic}"),
        waited,
        cause: "the topic was created, and a broker still does not know it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn unknown(topic: &str) -> KafkaError {
        KafkaError::UnknownTopic {
            topic: topic.to_owned(),
            doing: "describe it".to_owned(),
        }
    }

    fn known<'a>(created: &[&'a str], patience: Duration, cancel: &'a Cancel) -> Known<'a> {
        Known {
            created: created.iter().copied().collect(),
            patience,
            cancel,
        }
    }

    #[test]
    fn the_time_begins_anew_with_each_topic_that_is_known() {
        let cancel = Cancel::default();
        let names = ["a", "b", "c", "d", "e"];
        let known = known(&names, PAUSE * 3, &cancel);
        let calls = Cell::new(0_usize);
        let answer = known.once(|| {
            let call = calls.replace(calls.get() + 1);
            // Each topic takes two calls, all of them more than the patience.
            names
                .get(call / 2)
                .map_or(Ok(call), |name| Err(unknown(name)))
        });
        assert_eq!(answer.unwrap(), 2 * names.len());
    }

    #[test]
    fn a_topic_that_stays_unknown_ends_the_wait() {
        let cancel = Cancel::default();
        let known = known(&["a", "b"], PAUSE, &cancel);
        let calls = Cell::new(0_u32);
        let error = known.once(|| {
            calls.set(calls.get() + 1);
            // By turns, as where two brokers answer that know neither.
            Err::<(), _>(unknown(["a", "b"][calls.get() as usize % 2]))
        });
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("the cluster did not learn of topic"),
            "{text}"
        );
        assert!(calls.get() < 6, "{calls:?}");
        let error = known.once(|| Err::<(), _>(unknown("other"))).unwrap_err();
        assert!(matches!(error, KafkaError::UnknownTopic { .. }), "{error}");
    }
}
