//! Creating topics, each exactly once, whatever becomes of the answers.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use kbk_format::repo::CreatedTopic;
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::owned::NewTopic;
use super::request::{BrokerError, Request, Responder, set_validate_only};
use super::{Admin, ConfigSource, invalid};
use crate::kafka::error::{Code, KafkaError};

/// A topic as it was asked for.
struct Wanted<'w> {
    name: &'w str,
    topic: &'w CreatedTopic,
}

/// How a request to create a topic ended.
enum Created {
    Now,
    /// The topic exists, and an earlier request of this call, which was not answered, may have created it.
    MaybeBefore,
}

impl Admin {
    /// Creates a topic.
    ///
    /// A request whose answer is lost is repeated, and finds the topic that the first one has created: that is no error where the topic
    /// is exactly as it was asked for.
    pub fn create_topic(&self, name: &str, topic: &CreatedTopic) -> Result<(), KafkaError> {
        let wanted = Wanted { name, topic };
        match self.create(&wanted, false)? {
            Created::Now => Ok(()),
            Created::MaybeBefore => self.check_created(&wanted),
        }
    }

    /// Checks whether the topic could be created, without creating it.
    pub fn try_create_topic(&self, name: &str, topic: &CreatedTopic) -> Result<(), KafkaError> {
        self.create(&Wanted { name, topic }, true).map(drop)
    }

    fn create(&self, wanted: &Wanted<'_>, validate_only: bool) -> Result<Created, KafkaError> {
        let Wanted { name, topic } = *wanted;
        let doing = wanted.doing();
        let CreatedTopic {
            partitions,
            replication_factor,
            config,
        } = topic;
        let new = NewTopic::new(name, *partitions, *replication_factor, config);
        let new = new.map_err(|cause| invalid(&doing, cause))?;
        let (is_open, is_lost) = (Cell::new(false), Cell::new(false));
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_CREATETOPICS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                is_lost.set(is_lost.get() || is_open.replace(true));
                let mut topics = [new.0.as_ptr()];
                // SAFETY: all handles are live; the options are not shared with another request, and this operation has the
                // option. The array is read during the call.
                unsafe {
                    set_validate_only(options, validate_only);
                    sys::rd_kafka_CreateTopics(client, topics.as_mut_ptr(), 1, options, queue)
                };
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_CreateTopics_result(event);
                    let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
                    for &topic in items(topics, count) {
                        let code = Code(sys::rd_kafka_topic_result_error(topic) as i32);
                        // The controller may complete later what it gave up waiting for.
                        is_open.set(code == Code::REQUEST_TIMED_OUT);
                        if code == Code::TOPIC_EXISTS && is_lost.get() && !validate_only {
                            return Ok(Created::MaybeBefore);
                        }
                        let text = sys::rd_kafka_topic_result_error_string(topic);
                        BrokerError::check(code, name, text)?;
                    }
                }
                Ok(Created::Now)
            },
        )
    }

    /// Fails unless the topic is what an earlier request has asked for. Brokers learn of it a moment after the controller.
    fn check_created(&self, wanted: &Wanted<'_>) -> Result<(), KafkaError> {
        let names = [wanted.name.to_owned()];
        let started = Instant::now();
        let found = loop {
            match self.describe_topics(Some(&names)) {
                Err(KafkaError::UnknownTopic { .. }) if started.elapsed() < self.deadline => {
                    thread::sleep(Admin::FIRST_PAUSE);
                }
                found => break found?,
            }
        };
        let [found] = &found[..] else {
            return Err(wanted.is_another("the cluster describes another one"));
        };
        let partitions = i32::try_from(found.partitions.len()).unwrap_or(i32::MAX);
        if partitions != wanted.topic.partitions {
            let differs = format!(
                "expected {} partitions, found {partitions}",
                wanted.topic.partitions
            );
            return Err(wanted.is_another(&differs));
        }
        let replicas = i32::try_from(found.replication_factor).unwrap_or(i32::MAX);
        if let Some(expected) = wanted.topic.replication_factor.filter(|it| *it != replicas) {
            let differs = format!("expected {expected} replicas, found {replicas}");
            return Err(wanted.is_another(&differs));
        }
        let mut configs = self.topic_configs(&names)?;
        let entries = configs.remove(wanted.name).unwrap_or_default();
        let own = entries.into_iter().filter(|(_, entry)| {
            // Brokers that do not report it report values that are not the default's.
            entry.source == ConfigSource::Topic
                || entry.source == ConfigSource::Unknown && !entry.is_default
        });
        let own: BTreeMap<String, Option<String>> =
            own.map(|(key, entry)| (key, entry.value)).collect();
        let config = &wanted.topic.config;
        let is_same = |key: &String| config.get(key) == own.get(key).and_then(Option::as_ref);
        let mut keys = config.keys().chain(own.keys());
        match keys.find(|key| !is_same(key)) {
            Some(key) => Err(wanted.is_another(&format!("`{key}` differs"))),
            None => {
                tracing::debug!(
                    "topic {} was created by a request whose answer was lost",
                    wanted.name
                );
                Ok(())
            }
        }
    }
}

impl Wanted<'_> {
    fn doing(&self) -> String {
        format!("create topic {}", self.name)
    }

    fn is_another(&self, differs: &str) -> KafkaError {
        let cause = format!(
            "the cluster did not answer at first, and now there is a topic of that name that is not as it was asked for ({differs}); \
             check who else creates topics, then try again"
        );
        KafkaError::Other {
            doing: self.doing(),
            cause,
        }
    }
}
