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
use crate::kafka::client::{Failure, Reason, millis, owned_text};
use crate::kafka::error::{Code, KafkaError};

/// What a request is about.
pub(super) struct Request {
    pub(super) doing: String,
    pub(super) op: sys::rd_kafka_admin_op_t,
    /// Set for requests that go to the leaders of partitions.
    pub(super) isolation: Option<sys::rd_kafka_IsolationLevel_t>,
}

/// An answer that is none.
pub(super) struct Refusal {
    pub(super) code: Code,
    /// The topic it is about, or empty.
    topic: String,
    text: String,
}

impl Refusal {
    pub(super) fn of(code: Code) -> Refusal {
        Refusal {
            code,
            topic: String::new(),
            text: String::new(),
        }
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
            let options = self.options(request, left.min(Admin::ATTEMPT))?;
            let queue = Queue::new(&self.client);
            submit(self.client.as_ptr(), options.0.as_ptr(), queue.as_ptr());
            // librdkafka answers by the deadline in the options at the latest; the second is for its own way back.
            let wait = Admin::ATTEMPT + Duration::from_secs(1);
            // SAFETY: the queue is live.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis(wait)) };
            let event = Event(NonNull::new(event).ok_or_else(|| Refusal::of(Code::TIMED_OUT))?);
            // SAFETY: the event is live.
            let (code, text) = unsafe {
                (
                    Code(sys::rd_kafka_event_error(event.0.as_ptr()) as i32),
                    sys::rd_kafka_event_error_string(event.0.as_ptr()),
                )
            };
            Refusal::check(code, "", text)?;
            read(event.0.as_ptr())
        })
    }

    fn options(&self, request: &Request, wait: Duration) -> Result<Options, Refusal> {
        let mut reason = Reason::new();
        // SAFETY: client and options are live; the constructor returns null for an unknown operation only.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client.as_ptr(), request.op);
            let options =
                NonNull::new(options).ok_or_else(|| Refusal::of(Code::UNSUPPORTED_FEATURE))?;
            let (options, raw) = (Options(options), options.as_ptr());
            let size = Reason::SIZE;
            let code = sys::rd_kafka_AdminOptions_set_request_timeout(
                raw,
                millis(wait),
                reason.as_mut_ptr(),
                size,
            );
            Refusal::check(Code(code as i32), "", reason.as_mut_ptr())?;
            if let Some(isolation) = request.isolation {
                // Set for requests that go to the leaders of partitions.
                let error = sys::rd_kafka_AdminOptions_set_isolation_level(raw, isolation);
                if let Some(Failure { code, text }) = Failure::of(error) {
                    return Err(Refusal {
                        code,
                        topic: String::new(),
                        text,
                    });
                }
            } else if let Some(broker) = self.stand_in {
                let code =
                    sys::rd_kafka_AdminOptions_set_broker(raw, broker, reason.as_mut_ptr(), size);
                Refusal::check(Code(code as i32), "", reason.as_mut_ptr())?;
            }
            Ok(options)
        }
    }

    /// How long one attempt may take, of [`Admin::DEADLINE`] for all.
    const ATTEMPT: Duration = Duration::from_secs(10);
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Repeats what fails for passing reasons, a little later each time, until the deadline.
    pub(super) fn repeatedly<T>(
        &self,
        doing: &str,
        mut attempt: impl FnMut(Duration) -> Result<T, Refusal>,
    ) -> Result<T, KafkaError> {
        const FIRST_PAUSE: Duration = Duration::from_millis(50);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = Admin::DEADLINE.saturating_sub(started.elapsed());
            let refusal = match attempt(left) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            self.client.poll(Duration::ZERO);
            if !refusal.code.is_transient() {
                let topic = (!refusal.topic.is_empty()).then_some(refusal.topic.as_str());
                return Err(KafkaError::of(refusal.code, doing, topic, &refusal.text));
            }
            if started.elapsed() + pause + SHORTEST_ATTEMPT >= Admin::DEADLINE {
                return Err(KafkaError::Timeout {
                    doing: doing.to_owned(),
                    waited: started.elapsed(),
                    cause: refusal.code.explain(&refusal.text),
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
