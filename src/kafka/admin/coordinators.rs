//! Sends one request per group to the group's coordinator, with a bounded number in flight.
//!
//! librdkafka takes one group per call. Clusters have thousands of groups, so sequential calls would take minutes.

#![expect(
    unsafe_code,
    reason = "requests are made through librdkafka's C interface"
)]

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::Admin;
use super::owned::{Event, Options};
use super::request::BrokerError;
use crate::kafka::client::{Client, millis};
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::message::Queue;
use crate::kafka::permission::{AclOperation, Permission};

/// Requests in flight at a time.
const IN_FLIGHT: usize = 32;

/// The request to send for each group, and the permissions that it needs.
pub(super) struct GroupCall {
    pub(super) op: sys::rd_kafka_admin_op_t,
    /// As in "cannot *read the committed offsets of* group g".
    pub(super) doing: &'static str,
    /// The ACL operation that it needs on the group.
    pub(super) on_group: AclOperation,
    /// The ACL operation that it needs on each topic.
    pub(super) on_topic: AclOperation,
}

/// Submits the request at an index.
pub(super) type Submit<'a> = dyn Fn(usize, *mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t)
    + 'a;

/// A group, and the answer about it: `None` if it does not exist, or the error if a permission is missing.
pub(super) type GroupAnswer<T> = (String, Result<Option<T>, KafkaError>);

/// Reads the answer of one group.
pub(super) type Read<'a, T> = dyn Fn(*mut sys::rd_kafka_event_t) -> Result<T, BrokerError> + 'a;

impl Admin {
    /// Sends a request to the coordinator of each of `groups` and returns the answers with their groups, in the order of `groups`.
    /// `None` stands for a group that does not exist, or no longer does.
    ///
    /// Every request has its own deadline. The first permanent failure ends the call.
    pub(super) fn ask_coordinators<T>(
        &self,
        call: &GroupCall,
        groups: &[&str],
        submit: &Submit<'_>,
        read: &Read<'_, T>,
    ) -> Result<Vec<(String, Option<T>)>, KafkaError> {
        let answers = self.ask_each(call, groups, false, submit, read)?;
        let answers = answers.into_iter();
        answers
            .map(|(group, answer)| Ok((group, answer?)))
            .collect()
    }

    /// As [`Admin::ask_coordinators`]; with `answer_denied`, that a permission is missing is the answer about a group, and the others are
    /// asked for all the same.
    pub(super) fn ask_each<T>(
        &self,
        call: &GroupCall,
        groups: &[&str],
        answer_denied: bool,
        submit: &Submit<'_>,
        read: &Read<'_, T>,
    ) -> Result<Vec<GroupAnswer<T>>, KafkaError> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let client = Client::consumer(&self.settings.coordinators())?;
        client.connect(Client::PATIENCE)?;
        let round = Round {
            call,
            groups,
            submit,
            queue: Queue::new(&client),
            client: &client,
            answer_denied,
            fresh: 0..groups.len(),
            sent: HashMap::new(),
            later: Vec::new(),
            deadline: self.deadline,
        };
        round.run(read)
    }
}

/// The requests of one call.
struct Round<'a> {
    call: &'a GroupCall,
    groups: &'a [&'a str],
    submit: &'a Submit<'a>,
    queue: Queue,
    client: &'a Client,
    /// Whether a missing permission is an answer; otherwise it ends the call.
    answer_denied: bool,
    /// Not sent yet.
    fresh: Range<usize>,
    /// Sent and not answered yet.
    sent: HashMap<usize, Attempts>,
    /// To be retried when due. They count towards [`IN_FLIGHT`]: otherwise the groups of an unreachable coordinator would run
    /// into their deadlines one after the other instead of ending the call at the first.
    later: Vec<(Instant, usize, Attempts)>,
    /// How long each request may take, its retries included.
    deadline: Duration,
}

/// The attempts at one request so far.
#[derive(Clone, Copy)]
struct Attempts {
    first: Instant,
    pause: Duration,
}

impl Round<'_> {
    fn run<T>(mut self, read: &Read<'_, T>) -> Result<Vec<GroupAnswer<T>>, KafkaError> {
        let mut answers: BTreeMap<usize, Result<Option<T>, KafkaError>> = BTreeMap::new();
        loop {
            self.send()?;
            if self.sent.is_empty() && self.later.is_empty() {
                return self.with_groups(answers);
            }
            let Some(event) = self.next_event()? else {
                continue;
            };
            // SAFETY: the event is live; its opaque value is the index that it was sent with.
            let index = unsafe { sys::rd_kafka_event_opaque(event.0.as_ptr()) }.addr();
            let Some(attempts) = self.sent.remove(&index) else {
                continue;
            };
            match event.check().and_then(|()| read(event.0.as_ptr())) {
                Ok(answer) => drop(answers.insert(index, Ok(Some(answer)))),
                Err(error) if error.code == Code::GROUP_NOT_FOUND => {
                    tracing::debug!("group {:?} is gone", self.groups[index]);
                    answers.insert(index, Ok(None));
                }
                Err(error) if self.answer_denied && error.code.is_denied_group() => {
                    answers.insert(index, Err(self.error(index, error)));
                }
                Err(error) => self.retry_later(index, attempts, error)?,
            }
        }
    }

    /// Pairs the answers with their groups. A group that was never answered must not pass for one that does not exist.
    fn with_groups<T>(
        &self,
        mut answers: BTreeMap<usize, Result<Option<T>, KafkaError>>,
    ) -> Result<Vec<GroupAnswer<T>>, KafkaError> {
        let groups = self.groups.iter().enumerate();
        groups
            .map(|(index, group)| match answers.remove(&index) {
                Some(answer) => Ok(((*group).to_owned(), answer)),
                None => Err(KafkaError::Other {
                    doing: self.doing(index),
                    cause: "the coordinator did not answer".to_owned(),
                }),
            })
            .collect()
    }

    /// Sends due retries, then new requests as long as fewer than [`IN_FLIGHT`] are pending.
    fn send(&mut self) -> Result<(), KafkaError> {
        let now = Instant::now();
        let due: Vec<_> = self.later.extract_if(.., |(due, ..)| *due <= now).collect();
        for (_, index, attempts) in due {
            self.send_one(index, attempts)?;
        }
        while self.sent.len() + self.later.len() < IN_FLIGHT {
            let Some(index) = self.fresh.next() else {
                break;
            };
            let attempts = Attempts {
                first: now,
                pause: Admin::FIRST_PAUSE,
            };
            self.send_one(index, attempts)?;
        }
        Ok(())
    }

    fn send_one(&mut self, index: usize, attempts: Attempts) -> Result<(), KafkaError> {
        let left = self.deadline.saturating_sub(attempts.first.elapsed());
        let wait = left.clamp(Admin::SHORTEST_ATTEMPT, Admin::ATTEMPT);
        let options = Options::new(self.client, self.call.op, wait)
            .map_err(|error| self.error(index, error))?;
        // SAFETY: the options are live; the opaque value is a number, never followed.
        unsafe {
            sys::rd_kafka_AdminOptions_set_opaque(
                options.0.as_ptr(),
                ptr::without_provenance_mut(index),
            );
        }
        (self.submit)(
            index,
            self.client.as_ptr(),
            options.0.as_ptr(),
            self.queue.as_ptr(),
        );
        self.sent.insert(index, attempts);
        Ok(())
    }

    /// Waits for the next answer; `None` when a retry is due.
    fn next_event(&self) -> Result<Option<Event>, KafkaError> {
        // librdkafka answers by the timeout in the options at the latest; the extra second is for its own queues.
        const ANSWER_LIMIT: Duration = Admin::ATTEMPT.saturating_add(Duration::from_secs(1));
        let due = self.later.iter().map(|(due, ..)| *due).min();
        let wait = due.map_or(ANSWER_LIMIT, |due| {
            due.saturating_duration_since(Instant::now())
        });
        // SAFETY: the queue is live. One millisecond is added because the wait is truncated to whole milliseconds.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), millis(wait) + 1) };
        self.client.poll(Duration::ZERO);
        match (NonNull::new(event), self.sent.keys().next()) {
            (None, Some(&index)) if due.is_none() => Err(KafkaError::Timeout {
                doing: self.doing(index),
                waited: ANSWER_LIMIT,
                cause: Code::TIMED_OUT.to_string(),
            }),
            (event, _) => Ok(event.map(Event)),
        }
    }

    /// Schedules another attempt, or fails where the error is permanent or the deadline has passed.
    fn retry_later(
        &mut self,
        index: usize,
        attempts: Attempts,
        error: BrokerError,
    ) -> Result<(), KafkaError> {
        if !error.code.is_transient() {
            return Err(self.error(index, error));
        }
        let Attempts { first, pause } = attempts;
        if first.elapsed() + pause + Admin::SHORTEST_ATTEMPT >= self.deadline {
            return Err(KafkaError::Timeout {
                doing: self.doing(index),
                waited: first.elapsed(),
                cause: error.code.explain(&error.text),
            });
        }
        let next = Attempts {
            first,
            pause: (pause * 2).min(Admin::LONGEST_PAUSE),
        };
        self.later.push((Instant::now() + pause, index, next));
        Ok(())
    }

    fn error(&self, index: usize, error: BrokerError) -> KafkaError {
        let permission = if error.topic.is_empty() {
            Permission::group(self.call.on_group, self.groups[index])
        } else {
            Permission::topic(self.call.on_topic, &error.topic)
        };
        error
            .into_kafka_error(&self.doing(index))
            .needing(permission)
    }

    fn doing(&self, index: usize) -> String {
        format!("{} group {}", self.call.doing, self.groups[index])
    }
}

#[cfg(test)]
mod tests {
    use sys::rd_kafka_resp_err_t as Resp;

    use super::*;
    use crate::kafka::EmbeddedCluster;

    fn cluster() -> (EmbeddedCluster, Admin) {
        let cluster = EmbeddedCluster::start(1).unwrap();
        let admin = Admin::connect(&cluster.settings().unwrap()).unwrap();
        (cluster, admin)
    }

    #[test]
    fn transient_errors_are_retried() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[
            Resp::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        ]);
        let names: Vec<String> = (0..100).map(|n| format!("group-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let offsets = admin.committed_offsets(&names).unwrap();
        assert_eq!(offsets.iter().count(), 100);
        assert!(offsets.iter().all(|(_, found)| *found == Some(Vec::new())));
    }

    #[test]
    fn a_deleted_group_is_none_and_the_others_are_found() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND]);
        let offsets = admin.committed_offsets(&["a", "b", "c"]).unwrap();
        assert_eq!(offsets.iter().count(), 3);
        assert_eq!(
            offsets.iter().filter(|(_, found)| found.is_some()).count(),
            2
        );
        assert!(offsets.get("d").is_err(), "it was not asked about");
        assert_eq!(admin.committed_offsets(&[]).unwrap().iter().count(), 0);
    }

    #[test]
    fn a_group_that_may_not_be_described_is_an_answer_where_each_is_asked_for() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
        let offsets = admin.permitted_offsets(&["a", "b", "c"]).unwrap();
        assert_eq!(offsets.iter().count(), 3);
        let denied: Vec<_> = offsets.iter().filter(|(_, found)| found.is_err()).collect();
        let [(group, Err(error))] = denied.as_slice() else {
            panic!("{denied:?}")
        };
        let needed = format!("DESCRIBE on GROUP {group}");
        assert!(error.to_string().contains(&needed), "{error}");
    }

    #[test]
    fn a_permanent_error_names_the_group_and_the_permission() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
        let error = admin.committed_offsets(&["billing"]).unwrap_err();
        assert!(error.is_denied());
        let error = error.to_string();
        assert!(
            error.starts_with("not allowed to read the committed offsets of group billing (")
                && error.contains("it needs DESCRIBE on GROUP billing"),
            "{error}"
        );
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID]);
        let error = admin
            .committed_offsets(&["billing"])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read the committed offsets of group billing: "),
            "{error}"
        );
        let error = admin.committed_offsets(&["a\0b"]).unwrap_err().to_string();
        assert!(error.contains("NUL"), "{error}");
    }

    /// The deadline ends the call once, not once per group.
    #[test]
    fn an_unavailable_coordinator_ends_the_call_at_the_deadline() {
        let (cluster, mut admin) = cluster();
        admin.deadline = Duration::from_secs(4);
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 10_000]);
        let names: Vec<String> = (0..200).map(|n| format!("group-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = admin.committed_offsets(&names).unwrap_err();
        let KafkaError::Timeout {
            doing,
            waited,
            cause,
        } = &error
        else {
            panic!("{error}")
        };
        assert!(
            doing.starts_with("read the committed offsets of group group-"),
            "{error}"
        );
        assert!(cause.contains("COORDINATOR_NOT_AVAILABLE"), "{error}");
        assert!(*waited <= admin.deadline, "{error}");
    }

    #[test]
    fn listing_groups_is_an_error_where_the_cluster_does_not_support_it() {
        let (_cluster, admin) = cluster();
        let error = admin.list_groups().unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
}
