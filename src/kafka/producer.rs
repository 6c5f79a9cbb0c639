//! Writes records to partitions: idempotent, in order, byte for byte, and reported once all replicas have them.

#![expect(
    unsafe_code,
    reason = "produces through librdkafka and receives its delivery reports"
)]

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use kbk_format::counted;
use kbk_format::record::{Headers, Record};
use rdkafka_sys as sys;
use sys::rd_kafka_vtype_t as Kind;
use sys::rd_kafka_vu_s__bindgen_ty_1 as Value;

use super::client::{Client, Failure, delivery_state, length, millis};
use super::delivered::Delivered;
use super::error::{Code, KafkaError};
use super::headers::HeaderList;
use super::options::SinkOptions;
use super::partition::TopicPartition;
use super::settings::ClientSettings;
use super::topic::{PartitionLookup, Topics};

/// How long the report of a failure may come after those of the records that were purged because of it.
const CAUSE_PATIENCE: Duration = Duration::from_secs(2);
const CAUSE_PAUSE: Duration = Duration::from_millis(10);

/// Writes records, each to the target that the caller names.
///
/// Records of one target arrive in the order of the calls, each exactly once as long as the process lives. The first
/// failure is kept and returned by every later call.
///
/// Timestamps are written unchanged. Two values are special: -1 (*none*) passes and is read back as -1; librdkafka would replace
/// 0 by the present time, so such a record is rejected before it is sent.
pub struct Producer {
    // Dropped by hand, in the order that `drop` states, or not at all.
    topics: ManuallyDrop<Topics>,
    pub(super) client: ManuallyDrop<Client>,
    pub(super) deliveries: ManuallyDrop<Box<RefCell<Deliveries>>>,
    /// A call into the client was abandoned: it has not returned, and may do so at any time.
    pub(super) is_abandoned: bool,
    /// A commit or an abort has not ended in time: its outcome is unknown, and nothing more can be done with this producer.
    pub(super) is_stuck: bool,
    /// Since when the cluster owes an answer; `None` while it owes none.
    pub(super) waiting_since: Option<Instant>,
    /// How long it may owe one.
    pub(super) timeout: Duration,
    targets: Vec<TopicPartition>,
    pub(super) options: SinkOptions,
    unpolled: u32,
}

// SAFETY: librdkafka's handles are not bound to a thread, and the deliveries are touched only within calls on
// `&self` or `&mut self` of this type, which is not Sync.
unsafe impl Send for Producer {}

impl Producer {
    /// Connects, within ten seconds.
    pub fn open(
        settings: &ClientSettings,
        mut options: SinkOptions,
    ) -> Result<Producer, KafkaError> {
        if settings.batch_codec().is_some() {
            options.codecs.clear();
        }
        let deliveries = Box::new(RefCell::new(Deliveries::default()));
        let config = settings.producer(&options);
        // SAFETY: the box keeps its address and is dropped after the client, and the callback expects its type.
        let client =
            unsafe { Client::producer(&config, on_delivery, NonNull::from(&*deliveries).cast()) }?;
        client.connect(Client::PATIENCE)?;
        Ok(Producer {
            topics: ManuallyDrop::new(Topics::default()),
            client: ManuallyDrop::new(client),
            deliveries: ManuallyDrop::new(deliveries),
            is_abandoned: false,
            is_stuck: false,
            waiting_since: None,
            timeout: settings.timeout(),
            targets: Vec::new(),
            options,
            unpolled: 0,
        })
    }

    /// Sets the targets, once. Their topics must exist: librdkafka caches for a while that one does not.
    pub fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        let mut deliveries = self.deliveries.borrow_mut();
        for (number, target) in targets.iter().enumerate() {
            let topic = match self.options.codecs.get(&target.topic) {
                Some(codec) => self
                    .topics
                    .open_compressed(&self.client, &target.topic, *codec)?,
                None => self.topics.open(&self.client, &target.topic)?,
            };
            deliveries.numbers.insert(topic, target.partition, number);
        }
        deliveries.delivered = vec![Vec::new(); targets.len()];
        deliveries.targets.clone_from(&targets);
        drop(deliveries);
        self.targets = targets;
        Ok(())
    }

    /// Enqueues a copy of the record for `targets[target]`; blocks while the queue is full.
    pub fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        const POLL_EVERY: u32 = 256;
        // Once a record has failed, writing a later one of its partition would leave a gap.
        self.check()?;
        self.reject_unfaithful(target, record)?;
        let headers =
            (Headers::count(&record.headers) > 0).then(|| HeaderList::new(record.headers.clone()));
        while let Some(failure) = self.produce(target, record, headers.as_ref())? {
            if failure.code != Code::QUEUE_FULL {
                return Err(self.not_accepted(target, record, &failure));
            }
            self.wait_for_room()?;
        }
        if let Some(headers) = headers {
            headers.release();
        }
        self.unpolled += 1;
        if self.unpolled >= POLL_EVERY {
            self.poll(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Waits until every record sent is acknowledged. Fails once the cluster has acknowledged nothing for the timeout of the settings.
    pub fn flush(&mut self) -> Result<(), KafkaError> {
        const SLICE: Duration = Duration::from_millis(100);
        loop {
            // SAFETY: the client is live. The call serves delivery reports.
            let code =
                Code(unsafe { sys::rd_kafka_flush(self.client.as_ptr(), millis(SLICE)) } as i32);
            self.after_poll()?;
            if code == Code::NONE {
                return Ok(());
            }
            self.check_wait()?;
        }
    }

    /// Returns what was acknowledged for `targets[target]` since the last call, in the order of sending.
    #[must_use]
    pub fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        std::mem::take(&mut self.deliveries.borrow_mut().delivered[target])
    }

    /// Number of records sent and not yet reported on.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        // SAFETY: the client is live.
        length(
            unsafe { sys::rd_kafka_outq_len(self.client.as_ptr()) },
            "queued messages",
        )
    }

    /// Returns the first failure again.
    fn check(&self) -> Result<(), KafkaError> {
        self.wait_for_cause();
        let is_vague = self.deliveries.borrow().is_vague();
        if is_vague && let Some(failure) = self.transaction_failure() {
            self.deliveries.borrow_mut().specify(failure.code);
        }
        self.deliveries.borrow().check()
    }

    /// Waits for the report of the failure for which other records were purged: once a record of a transaction has failed, librdkafka
    /// discards what waits for brokers, and may report that first.
    fn wait_for_cause(&self) {
        let deadline = Instant::now() + CAUSE_PATIENCE;
        while self.deliveries.borrow().is_consequence() && Instant::now() < deadline {
            self.client.poll(CAUSE_PAUSE);
        }
    }

    /// Why the open transaction can only be aborted: the error of the request that a broker rejected, if one was.
    ///
    /// Beginning a transaction within another is never valid, so the call changes nothing, and its error says why.
    fn transaction_failure(&self) -> Option<Failure> {
        self.options.transactional_id.as_ref()?;
        // SAFETY: the client is live; the error is ours.
        let failure = unsafe { Failure::of(sys::rd_kafka_begin_transaction(self.client.as_ptr())) };
        failure.filter(|failure| failure.code != Code::STATE)
    }

    /// Rejects records that would be written differently, or not at all.
    fn reject_unfaithful(&self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        let TopicPartition { topic, partition } = &self.targets[target];
        let (topic, partition, source_offset) = (topic, *partition, record.offset);
        if record.timestamp == 0 {
            return Err(KafkaError::TimestampZero {
                topic: topic.clone(),
                partition,
                source_offset,
            });
        }
        if record.control {
            return Err(KafkaError::Delivery {
                topic: topic.clone(),
                partition,
                source_offset,
                cause: "it is a transaction marker, which only brokers can write".to_owned(),
            });
        }
        let size_bytes = size(record);
        if size_bytes > self.options.queue_bytes {
            let cause = format!(
                "the producer's queue holds {} bytes",
                self.options.queue_bytes
            );
            return Err(KafkaError::RecordTooLarge {
                topic: topic.clone(),
                partition,
                source_offset,
                size_bytes,
                cause,
            });
        }
        Ok(())
    }

    /// Hands librdkafka a copy; on success it owns `headers`.
    fn produce(
        &mut self,
        target: usize,
        record: &Record<'_>,
        headers: Option<&HeaderList>,
    ) -> Result<Option<Failure>, KafkaError> {
        let TopicPartition { topic, partition } = &self.targets[target];
        let topic = self.topics.open(&self.client, topic)?;
        let arguments = [
            argument(
                Kind::RD_KAFKA_VTYPE_RKT,
                Value {
                    rkt: topic.as_ptr(),
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_PARTITION,
                Value {
                    i32_: partition.get(),
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_MSGFLAGS,
                Value {
                    i: sys::RD_KAFKA_MSG_F_COPY,
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_TIMESTAMP,
                Value {
                    i64_: record.timestamp,
                },
            ),
            argument(Kind::RD_KAFKA_VTYPE_KEY, memory(record.key)),
            argument(Kind::RD_KAFKA_VTYPE_VALUE, memory(record.value)),
            argument(
                Kind::RD_KAFKA_VTYPE_OPAQUE,
                Value {
                    ptr: to_opaque(record.offset),
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_HEADERS,
                Value {
                    headers: headers.map_or(std::ptr::null_mut(), HeaderList::as_ptr),
                },
            ),
        ];
        let count = if headers.is_some() {
            arguments.len()
        } else {
            arguments.len() - 1
        };
        // SAFETY: each argument's value is of the kind that it declares, and everything pointed to lives for the call, which
        // copies it.
        Ok(unsafe {
            Failure::of(sys::rd_kafka_produceva(
                self.client.as_ptr(),
                arguments.as_ptr(),
                count,
            ))
        })
    }

    /// Waits for acknowledgements while the queue is full.
    fn wait_for_room(&mut self) -> Result<(), KafkaError> {
        const SLICE: Duration = Duration::from_millis(50);
        self.poll(SLICE)?;
        self.check_wait()
    }

    /// Fails if the cluster has acknowledged nothing for too long.
    fn check_wait(&mut self) -> Result<(), KafkaError> {
        if !self.has_waited_enough() {
            return Ok(());
        }
        Err(self.no_answer(&format!(
            "acknowledge {}",
            counted(self.outstanding(), "record")
        )))
    }

    /// Whether the cluster has owed an answer for too long. The first call after an answer starts the wait.
    pub(super) fn has_waited_enough(&mut self) -> bool {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        // The time in which a quota makes the client wait is no silence.
        let throttled = self.client.events().throttled_until();
        let throttled = throttled.filter(|_| !self.options.stop.is_set());
        let since = throttled.map_or(since, |until| until.max(since));
        since.elapsed() >= self.options.stop.shorten(self.timeout)
    }

    /// How long the cluster has owed an answer.
    pub(super) fn waited(&self) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The error that the cluster does not answer.
    pub(super) fn no_answer(&self, doing: &str) -> KafkaError {
        KafkaError::Timeout {
            doing: doing.to_owned(),
            waited: self.waited(),
            cause: self.client.silence(),
        }
    }

    /// Notes that the cluster has answered.
    pub(super) fn answered(&mut self) {
        self.waiting_since = None;
        self.client.events().answered();
    }

    /// The error for a record that librdkafka did not accept.
    ///
    /// Once a broker has rejected a record of a transaction, librdkafka accepts no more and only says so. The broker's reason, which is
    /// the error to report, arrives with the delivery reports.
    fn not_accepted(
        &mut self,
        target: usize,
        record: &Record<'_>,
        failure: &Failure,
    ) -> KafkaError {
        const SLICE: Duration = Duration::from_millis(50);
        const PATIENCE: Duration = Duration::from_secs(5);
        let started = Instant::now();
        while self.outstanding() > 0 && started.elapsed() < PATIENCE {
            if let Err(error) = self.poll(SLICE) {
                return error;
            }
        }
        let broker = self.transaction_failure();
        let failure = broker.as_ref().unwrap_or(failure);
        self.deliveries.borrow().undelivered(
            target,
            record.offset,
            size(record),
            failure.code,
            &failure.text,
        )
    }

    pub(super) fn poll(&mut self, wait: Duration) -> Result<(), KafkaError> {
        self.client.poll(wait);
        self.after_poll()
    }

    fn after_poll(&mut self) -> Result<(), KafkaError> {
        self.client.report_outage();
        self.unpolled = 0;
        let heard = std::mem::take(&mut self.deliveries.borrow_mut().heard);
        if heard {
            self.answered();
        }
        self.check()
    }
}

impl Drop for Producer {
    /// Drops topics before their client, and the client before the state of its callbacks. With an abandoned call all of it is
    /// leaked: destroying a client under a running call would be undefined behaviour.
    fn drop(&mut self) {
        if self.is_abandoned {
            return;
        }
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe {
            ManuallyDrop::drop(&mut self.topics);
            ManuallyDrop::drop(&mut self.client);
            ManuallyDrop::drop(&mut self.deliveries);
        }
    }
}

/// The delivery reports so far. They arrive within polls, on the polling thread.
#[derive(Default)]
pub(super) struct Deliveries {
    numbers: PartitionLookup,
    targets: Vec<TopicPartition>,
    /// By target.
    delivered: Vec<Vec<Delivered>>,
    /// The first record that was not written, or the first that a broker rejected; kept until [`forget`](Self::forget).
    failed: Option<Failed>,
    /// Whether any record was acknowledged since the last poll.
    heard: bool,
}

struct Failed {
    target: usize,
    source_offset: i64,
    size_bytes: usize,
    code: Code,
}

impl Deliveries {
    /// Discards what an aborted transaction delivered, and why it failed.
    pub(super) fn forget(&mut self) {
        self.failed = None;
        self.delivered.iter_mut().for_each(Vec::clear);
    }

    /// Whether the broker rejected a record for good: the same records would be rejected again.
    pub(super) fn is_rejection(&self) -> bool {
        self.failed
            .as_ref()
            .is_some_and(|failed| failed.code.rejects_records())
    }

    /// Whether a failure says more than the one that is kept: a record that a broker rejects is why those beside it fail.
    fn is_news(&self, code: Code) -> bool {
        let rank = |code: Code| match code {
            Code::PURGED_IN_QUEUE | Code::PURGED_IN_FLIGHT => 0,
            Code::DIFFERENT_RECORD => 2,
            _ if code.rejects_records() => 3,
            _ => 1,
        };
        let kept = self.failed.as_ref();
        kept.is_none_or(|kept| rank(code) > rank(kept.code))
    }

    /// Whether all that is known is that a record was discarded, since another one had failed.
    fn is_consequence(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|failed| {
            matches!(failed.code, Code::PURGED_IN_QUEUE | Code::PURGED_IN_FLIGHT)
        })
    }

    /// Whether the failure hides the broker's reason. Where a broker rejects several records of a batch, librdkafka reports each as
    /// INVALID_RECORD and those beside them as another record's fault.
    fn is_vague(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|failed| {
            matches!(failed.code, Code::INVALID_RECORD | Code::DIFFERENT_RECORD)
        })
    }

    /// Replaces a vague reason.
    fn specify(&mut self, code: Code) {
        if let Some(failed) = &mut self.failed {
            failed.code = code;
        }
    }

    pub(super) fn check(&self) -> Result<(), KafkaError> {
        match &self.failed {
            None => Ok(()),
            Some(Failed {
                target,
                source_offset,
                size_bytes,
                code,
            }) => Err(self.undelivered(*target, *source_offset, *size_bytes, *code, "")),
        }
    }

    fn acknowledge(&mut self, target: usize, source_offset: i64, target_offset: i64) {
        Delivered::append(&mut self.delivered[target], source_offset, target_offset);
        self.heard = true;
    }

    fn undelivered(
        &self,
        target: usize,
        source_offset: i64,
        size_bytes: usize,
        code: Code,
        text: &str,
    ) -> KafkaError {
        let TopicPartition { topic, partition } = self.targets[target].clone();
        let doing = || format!("write to topic {topic}");
        match code {
            Code::MESSAGE_TOO_LARGE | Code::BATCH_TOO_LARGE => KafkaError::RecordTooLarge {
                topic,
                partition,
                source_offset,
                size_bytes,
                cause: code.to_string(),
            },
            Code::FATAL
            | Code::TOPIC_DENIED
            | Code::CLUSTER_DENIED
            | Code::UNKNOWN_TOPIC
            | Code::LOCAL_UNKNOWN_TOPIC
            | Code::UNKNOWN_TOPIC_ID => KafkaError::of(code, &doing(), Some(&topic), text),
            Code::INVALID_RECORD | Code::DIFFERENT_RECORD => KafkaError::Delivery {
                cause: format!(
                    "{}; it, or one in the same batch, violates a setting of the topic, such as \
                     `message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`, or a `cleanup.policy` that requires keys",
                    code.explain(text)
                ),
                topic,
                partition,
                source_offset,
            },
            Code::INVALID_TIMESTAMP => KafkaError::Delivery {
                cause: format!(
                    "{}; its timestamp, or one in the same batch, is outside what `message.timestamp.before.max.ms` and \
                     `message.timestamp.after.max.ms` of the topic allow",
                    code.explain(text)
                ),
                topic,
                partition,
                source_offset,
            },
            _ => KafkaError::Delivery {
                cause: code.explain(text),
                topic,
                partition,
                source_offset,
            },
        }
    }
}

/// Receives the delivery report of one record.
///
/// # Safety
/// Called by librdkafka, within a poll, with a live message and the opaque pointer of [`Client::producer`].
unsafe extern "C" fn on_delivery(
    _client: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the state is the one that `Producer::open` passed. The message is live; its code is read as a number.
    let (deliveries, code, topic, partition, offset, source_offset) = unsafe {
        (
            delivery_state::<RefCell<Deliveries>>(opaque),
            Code((&raw const (*message).err).cast::<i32>().read()),
            (&raw const (*message).rkt).read(),
            (&raw const (*message).partition).read(),
            (&raw const (*message).offset).read(),
            from_opaque((&raw const (*message)._private).read()),
        )
    };
    // Reports arrive only within polls, where nothing else borrows the state; a panic here would unwind into C.
    let Some(mut deliveries) = deliveries.and_then(|cell| cell.try_borrow_mut().ok()) else {
        return;
    };
    let Some(target) = deliveries.numbers.get(topic, partition) else {
        return;
    };
    if code == Code::NONE {
        deliveries.acknowledge(target, source_offset, offset);
    } else if deliveries.is_news(code) {
        // SAFETY: as above. The broker's own words are not read: librdkafka 2.12.1 has freed them by now
        // (`rd_kafka_message_produce_errstr` returns a pointer into the response, which its thread has destroyed).
        let size_bytes =
            unsafe { (&raw const (*message).len).read() + (&raw const (*message).key_len).read() };
        deliveries.failed = Some(Failed {
            target,
            source_offset,
            size_bytes,
            code,
        });
    }
}

fn argument(vtype: Kind, u: Value) -> sys::rd_kafka_vu_t {
    sys::rd_kafka_vu_t { vtype, u }
}

/// Bytes, or null. The pointer of an empty slice is not null, so empty and null stay distinct.
fn memory(bytes: Option<&[u8]>) -> Value {
    let (ptr, size) = bytes.map_or((std::ptr::null_mut(), 0), |bytes| {
        (bytes.as_ptr().cast_mut().cast(), bytes.len())
    });
    Value {
        mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size },
    }
}

/// Stores a source offset in the pointer that librdkafka carries with each message; it is never dereferenced.
fn to_opaque(offset: i64) -> *mut c_void {
    const { assert!(size_of::<*mut c_void>() == size_of::<i64>()) };
    std::ptr::without_provenance_mut(offset as usize)
}

fn from_opaque(opaque: *mut c_void) -> i64 {
    opaque.addr() as i64
}

/// Bytes of key, value and headers, without Kafka's encoding overhead.
fn size(record: &Record<'_>) -> usize {
    let payload = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    let header = |header: kbk_format::record::Header<'_>| {
        header.name.len() + header.value.map_or(0, <[u8]>::len)
    };
    payload + record.headers.clone().map(header).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_purged_is_not_why_others_fail() {
        let mut deliveries = Deliveries::default();
        for (code, is_news, is_consequence) in [
            (Code::PURGED_IN_QUEUE, true, true),
            (Code::PURGED_IN_FLIGHT, false, true),
            (Code::TIMED_OUT, true, false),
            (Code::PURGED_IN_QUEUE, false, false),
            (Code::DIFFERENT_RECORD, true, false),
            (Code::INVALID_TIMESTAMP, true, false),
            (Code::DIFFERENT_RECORD, false, false),
        ] {
            assert_eq!(deliveries.is_news(code), is_news, "{code:?}");
            if is_news {
                deliveries.failed = Some(Failed {
                    target: 0,
                    source_offset: 0,
                    size_bytes: 0,
                    code,
                });
            }
            assert_eq!(deliveries.is_consequence(), is_consequence, "{code:?}");
        }
    }
}
