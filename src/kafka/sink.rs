//! Writing records to partitions: idempotent, in order, byte for byte, and reported when all replicas have them.

#![expect(
    unsafe_code,
    reason = "produces through librdkafka and receives its delivery reports"
)]

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use kbk_format::record::{Headers, Record};
use rdkafka_sys as sys;
use sys::rd_kafka_vtype_t as Kind;
use sys::rd_kafka_vu_s__bindgen_ty_1 as Value;

use super::client::{Client, Failure, delivery_state, millis, owned_text};
use super::error::{Code, KafkaError};
use super::headers::HeaderList;
use super::settings::ClientSettings;
use super::topic::{PartitionNumbers, Topics};
use super::transaction::TRANSACTION_TIMEOUT;

/// A partition to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The topic, which exists.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// Bounds of a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// For records that are not yet acknowledged; at least the largest record.
    pub queue_bytes: usize,
    /// At most the smallest `max.message.bytes` of the targets. librdkafka does not split a batch that a broker refuses
    /// as too large, even if each of its records is small.
    pub batch_bytes: usize,
    /// How long all brokers may be away before writing gives up.
    pub patience: Duration,
    /// How long the answer of a group's coordinator may take. Longer than any transaction lasts: what comes later comes in vain.
    pub coordinator_patience: Duration,
    /// Records are written in transactions under this id; see [`Producer::init_transactions`].
    pub transactional_id: Option<String>,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            queue_bytes: 32 << 20,
            batch_bytes: 1_000_000,
            patience: Duration::from_secs(60),
            coordinator_patience: TRANSACTION_TIMEOUT + Duration::from_secs(15),
            transactional_id: None,
        }
    }
}

/// Records that all replicas have: consecutive ones, at consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Offset of the first record where it came from.
    pub source_offset: i64,
    /// The offset that it got.
    pub target_offset: i64,
    /// Number of records.
    pub records: u64,
}

impl Delivered {
    /// Takes the record in if it follows.
    fn extend(&mut self, source_offset: i64, target_offset: i64) -> bool {
        let records = self.records.cast_signed();
        let follows = self.source_offset.checked_add(records) == Some(source_offset)
            && self.target_offset.checked_add(records) == Some(target_offset);
        self.records += u64::from(follows);
        follows
    }
}

/// Writes records, each to the target it is said.
///
/// Records of one target arrive in the order of the calls, each exactly once as long as the process lives. The first
/// failure is kept and returned by every call from then on.
///
/// Timestamps are written as they are. Two of them are special to Kafka: -1, *none*, passes and is read back as -1; 0 would
/// be taken by librdkafka for *now*, so such a record is refused before it is sent.
pub struct Producer {
    // Dropped by hand, or not at all.
    topics: ManuallyDrop<Topics>,
    pub(super) client: ManuallyDrop<Client>,
    pub(super) deliveries: ManuallyDrop<Box<RefCell<Deliveries>>>,
    /// A call into the client has not returned, and may do so at any time.
    pub(super) is_lost: bool,
    targets: Vec<Target>,
    pub(super) options: ProducerOptions,
    unpolled: u32,
}

// SAFETY: librdkafka's handles are not bound to a thread, and the deliveries are touched only within calls on
// `&self` or `&mut self` of this type, which is not Sync.
unsafe impl Send for Producer {}

impl Producer {
    /// Connects, within ten seconds.
    pub fn open(
        settings: &ClientSettings,
        options: ProducerOptions,
    ) -> Result<Producer, KafkaError> {
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
            is_lost: false,
            targets: Vec::new(),
            options,
            unpolled: 0,
        })
    }

    /// Says where records go, once. The topics exist: librdkafka remembers for a while that one did not.
    pub fn set_targets(&mut self, targets: Vec<Target>) -> Result<(), KafkaError> {
        let mut deliveries = self.deliveries.borrow_mut();
        for (number, target) in targets.iter().enumerate() {
            let topic = self.topics.open(&self.client, &target.topic)?;
            deliveries.numbers.insert(topic, target.partition, number);
        }
        deliveries.delivered = vec![Vec::new(); targets.len()];
        deliveries.targets.clone_from(&targets);
        drop(deliveries);
        self.targets = targets;
        Ok(())
    }

    /// Takes a copy of the record for writing to `targets[target]`; blocks while the queue is full.
    pub fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        const POLL_EVERY: u32 = 256;
        self.check()?;
        self.refuse_what_would_change(target, record)?;
        let headers =
            (Headers::count(&record.headers) > 0).then(|| HeaderList::new(record.headers.clone()));
        let mut waiting = None;
        while let Some(failure) = self.produce(target, record, headers.as_ref())? {
            if failure.code != Code::QUEUE_FULL {
                let size_bytes = size(record);
                return Err(self.deliveries.borrow().undelivered(
                    target,
                    record.offset,
                    size_bytes,
                    failure.code,
                    &failure.text,
                ));
            }
            self.wait_for_room(waiting.get_or_insert_with(Instant::now))?;
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

    /// Waits until every record sent is acknowledged, at most until `wait` is over.
    pub fn flush(&mut self, wait: Duration) -> Result<(), KafkaError> {
        const SLICE: Duration = Duration::from_millis(100);
        let started = Instant::now();
        loop {
            // SAFETY: the client is live. It serves the delivery reports itself.
            let code =
                Code(
                    unsafe { sys::rd_kafka_flush(self.client.as_ptr(), millis(SLICE.min(wait))) }
                        as i32,
                );
            self.after_poll()?;
            if code == Code::NONE {
                return Ok(());
            }
            if started.elapsed() >= wait {
                return Err(KafkaError::Timeout {
                    doing: format!("acknowledge the last {} records", self.outstanding()),
                    waited: started.elapsed(),
                    cause: self.client.events().cause(),
                });
            }
        }
    }

    /// Takes what has been acknowledged of a target since this was last asked, by its index; in the order of sending.
    #[must_use]
    pub fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        std::mem::take(&mut self.deliveries.borrow_mut().delivered[target])
    }

    /// Records sent and not yet reported on.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        // SAFETY: the client is live.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.client.as_ptr()) }).unwrap_or(0)
    }

    /// The first failure, again.
    fn check(&self) -> Result<(), KafkaError> {
        self.deliveries.borrow().check()
    }

    fn refuse_what_would_change(
        &self,
        target: usize,
        record: &Record<'_>,
    ) -> Result<(), KafkaError> {
        let Target { topic, partition } = &self.targets[target];
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
                cause: "it is a transaction marker, which only brokers write".to_owned(),
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

    /// Hands a copy to librdkafka; on success `headers` are librdkafka's.
    fn produce(
        &mut self,
        target: usize,
        record: &Record<'_>,
        headers: Option<&HeaderList>,
    ) -> Result<Option<Failure>, KafkaError> {
        let Target { topic, partition } = &self.targets[target];
        let topic = self.topics.open(&self.client, topic)?;
        let arguments = [
            argument(
                Kind::RD_KAFKA_VTYPE_RKT,
                Value {
                    rkt: topic.as_ptr(),
                },
            ),
            argument(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: *partition }),
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
        // SAFETY: each argument's value is of the kind it says, and all that is pointed to lives for the call, which
        // copies it.
        Ok(unsafe {
            Failure::of(sys::rd_kafka_produceva(
                self.client.as_ptr(),
                arguments.as_ptr(),
                count,
            ))
        })
    }

    /// The queue is full: waits for acknowledgements. Ends, since records that are not delivered in time fail.
    fn wait_for_room(&mut self, since: &mut Instant) -> Result<(), KafkaError> {
        const SLICE: Duration = Duration::from_millis(50);
        let before = self.outstanding();
        self.poll(SLICE)?;
        if self.outstanding() < before {
            *since = Instant::now();
        }
        let down = self
            .client
            .events()
            .down_for()
            .is_some_and(|down| down >= self.options.patience);
        if down && since.elapsed() >= self.options.patience {
            return Err(self.client.unreachable());
        }
        Ok(())
    }

    pub(super) fn poll(&mut self, wait: Duration) -> Result<(), KafkaError> {
        self.client.poll(wait);
        self.after_poll()
    }

    fn after_poll(&mut self) -> Result<(), KafkaError> {
        self.unpolled = 0;
        if std::mem::take(&mut self.deliveries.borrow_mut().heard) {
            self.client.events().answered();
        }
        self.check()
    }
}

impl Drop for Producer {
    /// Topics before their client, and that before what its callbacks use. A lost client stays, with all of it: destroying it
    /// under a call that still runs would be undefined.
    fn drop(&mut self) {
        if self.is_lost {
            return;
        }
        // SAFETY: dropped once, here, and not used any more.
        unsafe {
            ManuallyDrop::drop(&mut self.topics);
            ManuallyDrop::drop(&mut self.client);
            ManuallyDrop::drop(&mut self.deliveries);
        }
    }
}

/// What delivery reports have told. They arrive within polls, on the thread that polls.
#[derive(Default)]
pub(super) struct Deliveries {
    numbers: PartitionNumbers,
    targets: Vec<Target>,
    /// By target.
    delivered: Vec<Vec<Delivered>>,
    /// The first record that was not written; kept for good.
    failed: Option<Failed>,
    /// Whether any record was acknowledged since this was last asked.
    heard: bool,
}

struct Failed {
    target: usize,
    source_offset: i64,
    size_bytes: usize,
    code: Code,
    text: String,
}

impl Deliveries {
    /// Forgets what an aborted transaction delivered, and why it failed.
    pub(super) fn forget(&mut self) {
        self.failed = None;
        self.delivered.iter_mut().for_each(Vec::clear);
    }

    /// Whether the same records would be refused again.
    pub(super) fn is_refusal(&self) -> bool {
        self.failed
            .as_ref()
            .is_some_and(|failed| failed.code.refuses_records())
    }

    pub(super) fn check(&self) -> Result<(), KafkaError> {
        match &self.failed {
            None => Ok(()),
            Some(Failed {
                target,
                source_offset,
                size_bytes,
                code,
                text,
            }) => Err(self.undelivered(*target, *source_offset, *size_bytes, *code, text)),
        }
    }

    fn acknowledge(&mut self, target: usize, source_offset: i64, target_offset: i64) {
        let delivered = &mut self.delivered[target];
        let follows = delivered
            .last_mut()
            .is_some_and(|last| last.extend(source_offset, target_offset));
        if !follows {
            delivered.push(Delivered {
                source_offset,
                target_offset,
                records: 1,
            });
        }
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
        let Target { topic, partition } = self.targets[target].clone();
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

/// One record's fate.
///
/// # Safety
/// Called by librdkafka, within a poll, with a live message and the opaque pointer of [`Client::producer`].
unsafe extern "C" fn on_delivery(
    _client: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the state is what `Producer::open` gave. The message is live; its code is read as a number.
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
    let Some(mut deliveries) = deliveries.and_then(|cell| cell.try_borrow_mut().ok()) else {
        return;
    };
    let Some(target) = deliveries.numbers.get(topic, partition) else {
        return;
    };
    if code == Code::NONE {
        deliveries.acknowledge(target, source_offset, offset);
    } else if deliveries.failed.is_none() {
        // SAFETY: as above; the text is null or a C string that lives as long as the message. (The function without
        // `produce` in its name would give the record's value.)
        let (size_bytes, text) = unsafe {
            (
                (&raw const (*message).len).read() + (&raw const (*message).key_len).read(),
                owned_text(sys::rd_kafka_message_produce_errstr(message)),
            )
        };
        deliveries.failed = Some(Failed {
            target,
            source_offset,
            size_bytes,
            code,
            text,
        });
    }
}

fn argument(vtype: Kind, u: Value) -> sys::rd_kafka_vu_t {
    sys::rd_kafka_vu_t { vtype, u }
}

/// Bytes, or null. An empty slice has a pointer that is not null, so empty stays apart from null.
fn memory(bytes: Option<&[u8]>) -> Value {
    let (ptr, size) = bytes.map_or((std::ptr::null_mut(), 0), |bytes| {
        (bytes.as_ptr().cast_mut().cast(), bytes.len())
    });
    Value {
        mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size },
    }
}

/// A source offset in the place of the pointer that librdkafka carries with each message; it is never followed.
fn to_opaque(offset: i64) -> *mut c_void {
    const { assert!(size_of::<*mut c_void>() == size_of::<i64>()) };
    std::ptr::without_provenance_mut(offset as usize)
}

fn from_opaque(opaque: *mut c_void) -> i64 {
    opaque.addr() as i64
}

/// Bytes that a record holds, without the few of Kafka's own encoding.
fn size(record: &Record<'_>) -> usize {
    let payload = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    let header = |header: kbk_format::record::Header<'_>| {
        header.name.len() + header.value.map_or(0, <[u8]>::len)
    };
    payload + record.headers.clone().map(header).sum::<usize>()
}
