//! One request for each of many groups, sent to the group's coordinator, a bounded number at a time.
//!
//! librdkafka takes one group a call. A cluster has thousands, so that calls one after the other would take minutes.

#![expect(
    unsafe_code,
    reason = "requests are made through librdkafka's C interface"
)]

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::Admin;
use super::owned::{Event, Options};
use super::request::Refusal;
use crate::kafka::batch::Queue;
use crate::kafka::client::{Client, millis};
use crate::kafka::error::{Code, KafkaError};

/// So many groups are asked about at a time.
const IN_FLIGHT: usize = 32;

/// What is asked of each group, and which permissions that takes.
pub(super) struct GroupCall {
    pub(super) op: sys::rd_kafka_admin_op_t,
    /// As in "cannot *read the committed offsets of* group g".
    pub(super) doing: &'static str,
    /// The operation on the group.
    pub(super) on_group: &'static str,
    /// The operation on each topic.
    pub(super) on_topic: &'static str,
}

/// Sends the request of the item at an index.
pub(super) type Submit<'a> = dyn Fn(usize, *mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t)
    + 'a;

/// Reads an answer.
pub(super) type Read<'a, T> = dyn Fn(*mut sys::rd_kafka_event_t) -> Result<T, Refusal> + 'a;

impl Admin {
    /// Asks the coordinator of each of `groups`. `None` stands for a group that does not exist (any more).
    ///
    /// Every request has its own deadline. The first that fails for good ends all.
    pub(super) fn ask_coordinators<T>(
        &self,
        call: &GroupCall,
        groups: &[&str],
        submit: &Submit<'_>,
        read: &Read<'_, T>,
    ) -> Result<Vec<Option<T>>, KafkaError> {
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
    /// Never sent yet.
    fresh: Range<usize>,
    /// Not answered yet.
    sent: HashMap<usize, Attempts>,
    /// To be sent again when it is time. They keep their places among [`IN_FLIGHT`], so that groups whose coordinator is
    /// away do not all wait in turn: the first of them ends the call at its deadline.
    later: Vec<(Instant, usize, Attempts)>,
    /// Of each request, with all its attempts.
    deadline: Duration,
}

/// The attempts at one request.
#[derive(Clone, Copy)]
struct Attempts {
    first: Instant,
    pause: Duration,
}

impl Round<'_> {
    fn run<T>(mut self, read: &Read<'_, T>) -> Result<Vec<Option<T>>, KafkaError> {
        let mut answers: Vec<Option<T>> = Vec::new();
        answers.resize_with(self.groups.len(), || None);
        loop {
            self.send()?;
            if self.sent.is_empty() && self.later.is_empty() {
                return Ok(answers);
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
                Ok(answer) => answers[index] = Some(answer),
                Err(refusal) => self.refused(index, attempts, &refusal)?,
            }
        }
    }

    /// Sends again what is due, then what is new, as far as there are places.
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
            .map_err(|refusal| self.error(index, &refusal))?;
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

    /// The next answer; `None` when it is time to send something again.
    fn next_event(&self) -> Result<Option<Event>, KafkaError> {
        // librdkafka answers by the deadline in the options at the latest; the second is for its own way back.
        const SURELY: Duration = Admin::ATTEMPT.saturating_add(Duration::from_secs(1));
        let due = self.later.iter().map(|(due, ..)| *due).min();
        let wait = due.map_or(SURELY, |due| due.saturating_duration_since(Instant::now()));
        // SAFETY: the queue is live. A millisecond more, since the wait is cut to whole ones.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), millis(wait) + 1) };
        self.client.poll(Duration::ZERO);
        match (NonNull::new(event), self.sent.keys().next()) {
            (None, Some(&index)) if due.is_none() => Err(KafkaError::Timeout {
                doing: self.doing(index),
                waited: SURELY,
                cause: Code::TIMED_OUT.to_string(),
            }),
            (event, _) => Ok(event.map(Event)),
        }
    }

    /// Puts a request aside for another attempt, unless it has failed for good.
    fn refused(
        &mut self,
        index: usize,
        attempts: Attempts,
        refusal: &Refusal,
    ) -> Result<(), KafkaError> {
        if refusal.code == Code::GROUP_NOT_FOUND {
            tracing::debug!("group {:?} is gone", self.groups[index]);
            return Ok(());
        }
        if !refusal.code.is_transient() {
            return Err(self.error(index, refusal));
        }
        let Attempts { first, pause } = attempts;
        if first.elapsed() + pause + Admin::SHORTEST_ATTEMPT >= self.deadline {
            return Err(KafkaError::Timeout {
                doing: self.doing(index),
                waited: first.elapsed(),
                cause: refusal.code.explain(&refusal.text),
            });
        }
        let next = Attempts {
            first,
            pause: (pause * 2).min(Admin::LONGEST_PAUSE),
        };
        self.later.push((Instant::now() + pause, index, next));
        Ok(())
    }

    fn error(&self, index: usize, refusal: &Refusal) -> KafkaError {
        let permission = if refusal.topic.is_empty() {
            format!("{} on GROUP {}", self.call.on_group, self.groups[index])
        } else {
            format!("{} on TOPIC {}", self.call.on_topic, refusal.topic)
        };
        refusal.error(&self.doing(index)).needing(&permission)
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
    fn passing_refusals_are_tried_again() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[
            Resp::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        ]);
        let names: Vec<String> = (0..100).map(|n| format!("group-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let offsets = admin.committed_offsets(&names).unwrap();
        assert_eq!(offsets, vec![Some(Vec::new()); 100]);
    }

    #[test]
    fn a_group_that_is_gone_is_none_and_the_others_stay() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND]);
        let offsets = admin.committed_offsets(&["a", "b", "c"]).unwrap();
        assert_eq!(offsets.iter().flatten().count(), 2);
        assert_eq!(admin.committed_offsets(&[]).unwrap(), []);
    }

    #[test]
    fn one_refusal_for_good_is_an_error_that_names_the_group_and_the_permission() {
        let (cluster, admin) = cluster();
        cluster.fail_offset_fetches(&[Resp::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
        let error = admin.committed_offsets(&["billing"]).unwrap_err();
        assert!(error.is_denied());
        let error = error.to_string();
        assert!(
            error.starts_with("not allowed to read the committed offsets of group billing (")
                && error.contains("it takes DESCRIBE on GROUP billing"),
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

    /// It asks for ever: the deadline ends it, and not once for each group in turn.
    #[test]
    fn a_coordinator_that_stays_away_ends_the_call() {
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
    fn a_cluster_that_cannot_list_groups_says_so() {
        let (_cluster, admin) = cluster();
        let error = admin.list_groups().unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
}
