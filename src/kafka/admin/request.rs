//! One request of the admin interface: its deadline, its repetition, and what refuses it.

#![expect(
    unsafe_code,
    reason = "requests are made through librdkafka's C interface"
)]

use std::ffi::c_char;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::Admin;
use super::owned::{Event, Options};
use crate::kafka::batch::Queue;
use crate::kafka::client::{Client, Failure, Reason, millis, owned_text};
use crate::kafka::error::{Code, KafkaError};

/// What a request is about.
pub(super) struct Request {
    pub(super) doing: String,
    pub(super) op: sys::rd_kafka_admin_op_t,
    pub(super) target: Target,
}

/// Who is to answer.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The controller.
    Controller,
    /// The leaders of the partitions that are asked about.
    Leaders(sys::rd_kafka_IsolationLevel_t),
    /// Every broker, or a group's coordinator: librdkafka knows from the request.
    ByRequest,
}

/// An answer that is none.
pub(super) struct Refusal {
    pub(super) code: Code,
    /// The topic it is about, or empty.
    pub(super) topic: String,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn of(code: Code) -> Refusal {
        Refusal {
            code,
            topic: String::new(),
            text: String::new(),
        }
    }

    /// An error unless `error` is null or none.
    ///
    /// # Safety
    /// `error` is null or part of a live answer.
    pub(super) unsafe fn check_error(
        error: *const sys::rd_kafka_error_t,
        topic: &str,
    ) -> Result<(), Refusal> {
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
        Refusal::check(code, topic, text)
    }

    /// The error that it is, once nothing more is tried.
    pub(super) fn error(&self, doing: &str) -> KafkaError {
        let topic = (!self.topic.is_empty()).then_some(self.topic.as_str());
        KafkaError::of(self.code, doing, topic, &self.text)
    }

    /// An error unless `code` is none. `text` is null or a live C string of librdkafka.
    pub(super) fn check(code: Code, topic: &str, text: *const c_char) -> Result<(), Refusal> {
        if code == Code::NONE {
            return Ok(());
        }
        // SAFETY: all callers pass null, or a string out of an answer that they hold.
        let text = unsafe { owned_text(text) };
        Err(Refusal {
            code,
            topic: topic.to_owned(),
            text,
        })
    }
}

impl Admin {
    /// Sends a request of the admin interface and reads its answer.
    pub(super) fn request<T>(
        &self,
        request: &Request,
        submit: impl Fn(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
        read: impl Fn(*mut sys::rd_kafka_event_t) -> Result<T, Refusal>,
    ) -> Result<T, KafkaError> {
        self.repeatedly(&request.doing, |left| {
            let wait = left.min(Admin::ATTEMPT);
            let options = Options::new(&self.client, request.op, wait)?;
            options.set_target(request.target, self.stand_in)?;
            let queue = Queue::new(&self.client);
            submit(self.client.as_ptr(), options.0.as_ptr(), queue.as_ptr());
            // librdkafka answers by the deadline in the options at the latest; the second is for its own way back.
            let wait = Admin::ATTEMPT + Duration::from_secs(1);
            // SAFETY: the queue is live.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis(wait)) };
            let event = Event(NonNull::new(event).ok_or_else(|| Refusal::of(Code::TIMED_OUT))?);
            event.check()?;
            read(event.0.as_ptr())
        })
    }

    /// How long one attempt may take, of the deadline for all.
    pub(super) const ATTEMPT: Duration = Duration::from_secs(10);
    pub(super) const DEADLINE: Duration = Duration::from_secs(30);
    /// An attempt that has no more time than this left is not made.
    pub(super) const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
    pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
    pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    /// Repeats what fails for passing reasons, a little later each time, until the deadline.
    pub(super) fn repeatedly<T>(
        &self,
        doing: &str,
        mut attempt: impl FnMut(Duration) -> Result<T, Refusal>,
    ) -> Result<T, KafkaError> {
        let started = Instant::now();
        let mut pause = Admin::FIRST_PAUSE;
        loop {
            let left = self.deadline.saturating_sub(started.elapsed());
            let refusal = match attempt(left) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            self.client.poll(Duration::ZERO);
            let leaders_changed = matches!(
                refusal.code,
                Code::FENCED_LEADER_EPOCH | Code::LEADER_NOT_AVAILABLE | Code::NO_LEADERS
            );
            if !refusal.code.is_transient() && !leaders_changed {
                return Err(refusal.error(doing));
            }
            if leaders_changed {
                // librdkafka would go on with what it knows for minutes: it does not ask again who leads where the same broker
                // does in a later epoch, nor where none did when it last asked. Where this fails, so does the next attempt.
                let _ = self.ask_metadata(left.min(Admin::ATTEMPT));
            }
            if started.elapsed() + pause + Admin::SHORTEST_ATTEMPT >= self.deadline {
                return Err(KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: started.elapsed(),
                    cause: refusal.code.explain(&refusal.text),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Admin::LONGEST_PAUSE);
        }
    }
}

impl Options {
    /// Options of a request that is to be answered within `wait`.
    pub(super) fn new(
        client: &Client,
        op: sys::rd_kafka_admin_op_t,
        wait: Duration,
    ) -> Result<Options, Refusal> {
        let mut reason = Reason::new();
        // SAFETY: the client is live; the constructor returns null for an unknown operation only.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(client.as_ptr(), op) };
        let options =
            NonNull::new(options).ok_or_else(|| Refusal::of(Code::UNSUPPORTED_FEATURE))?;
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
        Refusal::check(Code(code as i32), "", reason.as_mut_ptr())?;
        Ok(options)
    }

    /// Says who is to answer; `stand_in` does in the place of a controller that is none.
    fn set_target(&self, target: Target, stand_in: Option<i32>) -> Result<(), Refusal> {
        let mut reason = Reason::new();
        let raw = self.0.as_ptr();
        match (target, stand_in) {
            (Target::Leaders(isolation), _) => {
                // SAFETY: the options are live; the error, if any, is ours.
                let failure = unsafe {
                    Failure::of(sys::rd_kafka_AdminOptions_set_isolation_level(
                        raw, isolation,
                    ))
                };
                failure.map_or(Ok(()), |Failure { code, text }| {
                    Err(Refusal {
                        code,
                        topic: String::new(),
                        text,
                    })
                })
            }
            (Target::Controller, Some(broker)) => {
                // SAFETY: the options are live and the buffer's size is given.
                let code = unsafe {
                    sys::rd_kafka_AdminOptions_set_broker(
                        raw,
                        broker,
                        reason.as_mut_ptr(),
                        Reason::SIZE,
                    )
                };
                Refusal::check(Code(code as i32), "", reason.as_mut_ptr())
            }
            (Target::Controller, None) | (Target::ByRequest, _) => Ok(()),
        }
    }
}

impl Event {
    /// The error that stands in the place of an answer.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        // SAFETY: the event is live, and so is its text.
        let (code, text) = unsafe {
            (
                Code(sys::rd_kafka_event_error(self.0.as_ptr()) as i32),
                sys::rd_kafka_event_error_string(self.0.as_ptr()),
            )
        };
        Refusal::check(code, "", text)
    }
}
