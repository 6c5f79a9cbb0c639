//! One request of the admin interface: its deadline, its retries, and the error that ends it.

#![expect(
    unsafe_code,
    reason = "requests are made through librdkafka's C interface"
)]

use std::ffi::c_char;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::PartitionNumber;
use rdkafka_sys as sys;

use super::Admin;
use super::owned::{Event, Options};
use crate::kafka::client::{Client, Failure, Reason, millis, owned_text};
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::message::Queue;

/// A request to send.
pub(super) struct Request {
    /// As in "cannot *create topic orders*".
    pub(super) doing: String,
    pub(super) op: sys::rd_kafka_admin_op_t,
    pub(super) responder: Responder,
}

/// The broker that has to answer a request.
#[derive(Clone, Copy)]
pub(super) enum Responder {
    /// The controller.
    Controller,
    /// The leaders of the partitions in the request.
    Leaders(sys::rd_kafka_IsolationLevel_t),
    /// Every broker, or a group's coordinator: librdkafka derives it from the request.
    ByRequest,
}

/// An error that a broker, or librdkafka in its place, returned instead of an answer.
pub(super) struct BrokerError {
    pub(super) code: Code,
    /// The topic that it concerns; empty for none.
    pub(super) topic: String,
    pub(super) text: String,
}

/// Sets whether a request changes nothing, and is only checked.
///
/// # Safety
/// The options are live, of no other request, and for an operation that has this option.
pub(super) unsafe fn set_validate_only(options: *const sys::rd_kafka_AdminOptions_t, yes: bool) {
    let mut reason = Reason::new();
    // SAFETY: as the caller guarantees; the size is that of the buffer.
    unsafe {
        sys::rd_kafka_AdminOptions_set_validate_only(
            options.cast_mut(),
            yes.into(),
            reason.as_mut_ptr(),
            Reason::SIZE,
        );
    }
}

impl BrokerError {
    pub(super) fn of(code: Code) -> BrokerError {
        BrokerError {
            code,
            topic: String::new(),
            text: String::new(),
        }
    }

    /// Checks the number of a partition in an answer about `topic`.
    pub(super) fn partition_number(topic: &str, raw: i32) -> Result<PartitionNumber, BrokerError> {
        PartitionNumber::try_from(raw).map_err(|error| BrokerError {
            code: Code::BAD_MESSAGE,
            topic: topic.to_owned(),
            text: error.to_string(),
        })
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.code.is_transient() || self.has_no_leader()
    }

    /// Whether leaders are changing, or were not known when librdkafka last asked.
    fn has_no_leader(&self) -> bool {
        matches!(
            self.code,
            Code::FENCED_LEADER_EPOCH | Code::LEADER_NOT_AVAILABLE | Code::NO_LEADERS
        )
    }

    /// Fails unless `error` is null or has no error code.
    ///
    /// # Safety
    /// `error` is null or part of a live answer.
    pub(super) unsafe fn check_error(
        error: *const sys::rd_kafka_error_t,
        topic: &str,
    ) -> Result<(), BrokerError> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: by contract.
        let (code, text) = unsafe {
            (
                Code(sys::rd_kafka_error_code(error) as i32),
                sys::rd_kafka_error_string(error),
            )
        };
        BrokerError::check(code, topic, text)
    }

    /// Converts it into the error to report, once there is no further retry.
    pub(super) fn into_kafka_error(self, doing: &str) -> KafkaError {
        let topic = (!self.topic.is_empty()).then_some(self.topic.as_str());
        KafkaError::of(self.code, doing, topic, &self.text)
    }

    /// Fails unless `code` is `NONE`. `text` is null or a live C string of librdkafka.
    pub(super) fn check(code: Code, topic: &str, text: *const c_char) -> Result<(), BrokerError> {
        if code == Code::NONE {
            return Ok(());
        }
        // SAFETY: all callers pass null, or a string that belongs to an answer that they hold.
        let text = unsafe { owned_text(text) };
        Err(BrokerError {
            code,
            topic: topic.to_owned(),
            text,
        })
    }
}

/// Returns the answers about each of several things, or the first failure that is transient, so that the request is retried.
pub(super) fn permanent<T>(
    answers: impl Iterator<Item = Result<T, BrokerError>>,
) -> Result<Vec<Result<T, BrokerError>>, BrokerError> {
    let retried = |answer: Result<T, BrokerError>| match answer {
        Err(error) if error.code.is_transient() => Err(error),
        answer => Ok(answer),
    };
    answers.map(retried).collect()
}

impl Admin {
    /// Sends a request and reads its answer, retrying until the deadline.
    pub(super) fn request<T>(
        &self,
        request: &Request,
        submit: impl Fn(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
        read: impl Fn(*mut sys::rd_kafka_event_t) -> Result<T, BrokerError>,
    ) -> Result<T, KafkaError> {
        self.repeatedly(&request.doing, |left| {
            let wait = left.min(Admin::ATTEMPT);
            let options = Options::new(&self.client, request.op, wait)?;
            options.set_responder(request.responder, self.stand_in.get())?;
            let queue = Queue::new(&self.client);
            submit(self.client.as_ptr(), options.0.as_ptr(), queue.as_ptr());
            // librdkafka answers by the timeout in the options at the latest; the extra second is for its own queues.
            let wait = Admin::ATTEMPT + Duration::from_secs(1);
            // SAFETY: the queue is live.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis(wait)) };
            let event = Event(NonNull::new(event).ok_or_else(|| BrokerError::of(Code::TIMED_OUT))?);
            event.check()?;
            read(event.0.as_ptr())
        })
    }

    /// Timeout of one attempt; the deadline covers all of them.
    pub(super) const ATTEMPT: Duration = Duration::from_secs(10);
    /// No attempt is made with less time than this left.
    pub(super) const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
    pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
    pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    /// Retries transient failures with growing pauses until the deadline.
    pub(super) fn repeatedly<T>(
        &self,
        doing: &str,
        mut attempt: impl FnMut(Duration) -> Result<T, BrokerError>,
    ) -> Result<T, KafkaError> {
        let started = Instant::now();
        let mut pause = Admin::FIRST_PAUSE;
        loop {
            let left = self.deadline.saturating_sub(started.elapsed());
            let error = match attempt(left) {
                Ok(answer) => {
                    self.client.events().answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.client.poll(Duration::ZERO);
            if !error.may_pass() {
                return Err(error.into_kafka_error(doing));
            }
            self.follow_cluster(&error, left.min(Admin::ATTEMPT));
            if started.elapsed() + pause + Admin::SHORTEST_ATTEMPT >= self.deadline {
                return Err(KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: started.elapsed(),
                    cause: self.cause_of(&error),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Admin::LONGEST_PAUSE);
        }
    }
}

impl Admin {
    /// Brings the client up to date with the cluster after a transient failure: leaders, brokers and the controller may have changed.
    ///
    /// librdkafka 2.12 would use its cached metadata for minutes: it does not refresh the leader where the same broker leads in a later
    /// epoch, nor where there was no leader when it last asked, and it waits for a broker or a controller that is gone. If any of this
    /// fails, so will the next attempt.
    fn follow_cluster(&self, error: &BrokerError, wait: Duration) {
        let silent = error.code.is_local_timeout();
        let moved = matches!(error.code, Code::NOT_CONTROLLER);
        if silent || moved {
            let _ = self.find_responder(wait);
        } else if error.has_no_leader() {
            let _ = self.ask_metadata(wait);
        }
    }

    /// Explains a failure after the last attempt, with the address that cannot be reached if there is one.
    fn cause_of(&self, error: &BrokerError) -> String {
        let cause = error.code.explain(&error.text);
        match self.client.events().last_failure() {
            Some(failure) if error.code.is_local_timeout() => failure.text,
            _ => cause,
        }
    }
}

impl Options {
    /// Creates the options of a request that must be answered within `wait`.
    pub(super) fn new(
        client: &Client,
        op: sys::rd_kafka_admin_op_t,
        wait: Duration,
    ) -> Result<Options, BrokerError> {
        let mut reason = Reason::new();
        // SAFETY: the client is live; the constructor returns null for an unknown operation only.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(client.as_ptr(), op) };
        let options =
            NonNull::new(options).ok_or_else(|| BrokerError::of(Code::UNSUPPORTED_FEATURE))?;
        let options = Options(options);
        // SAFETY: the options are live and the buffer's size is given.
        let code = unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                millis(wait),
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        BrokerError::check(Code(code as i32), "", reason.as_mut_ptr())?;
        Ok(options)
    }

    /// Sets the broker that has to answer; `stand_in` replaces a controller that cannot be reached.
    fn set_responder(
        &self,
        responder: Responder,
        stand_in: Option<i32>,
    ) -> Result<(), BrokerError> {
        let raw = self.0.as_ptr();
        match (responder, stand_in) {
            (Responder::Leaders(isolation), _) => {
                // SAFETY: the options are live; the error, if any, is ours.
                let failure = unsafe {
                    Failure::of(sys::rd_kafka_AdminOptions_set_isolation_level(
                        raw, isolation,
                    ))
                };
                failure.map_or(Ok(()), |Failure { code, text }| {
                    Err(BrokerError {
                        code,
                        topic: String::new(),
                        text,
                    })
                })
            }
            (Responder::Controller, Some(broker)) => self.set_broker(broker),
            (Responder::Controller, None) | (Responder::ByRequest, _) => Ok(()),
        }
    }
}

impl Options {
    /// Sets the broker that has to answer, by id.
    pub(super) fn set_broker(&self, broker: i32) -> Result<(), BrokerError> {
        let mut reason = Reason::new();
        // SAFETY: the options are live and the buffer's size is given.
        let code = unsafe {
            sys::rd_kafka_AdminOptions_set_broker(
                self.0.as_ptr(),
                broker,
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        BrokerError::check(Code(code as i32), "", reason.as_mut_ptr())
    }
}

impl Event {
    /// Returns the error that was delivered in place of an answer, if it is one.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        // SAFETY: the event is live, and so is its text.
        let (code, text) = unsafe {
            (
                Code(sys::rd_kafka_event_error(self.0.as_ptr()) as i32),
                sys::rd_kafka_event_error_string(self.0.as_ptr()),
            )
        };
        BrokerError::check(code, "", text)
    }
}
