//! Topic handles of a client, and the lookup from a message to the caller's number for its partition.

#![expect(unsafe_code, reason = "owns librdkafka's topic handles")]

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::time::Duration;

use kbk_format::PartitionNumber;
use kbk_format::batch::BatchCodec;
use rdkafka_sys as sys;

use super::client::{Client, Reason, millis};
use super::error::{Code, KafkaError};

/// A client's handle of a topic. It must be dropped before the client.
pub(super) struct Topic(NonNull<sys::rd_kafka_topic_t>);

impl Topic {
    pub(super) fn new(client: &Client, name: &str) -> Result<Topic, KafkaError> {
        Topic::with_conf(client, name, ptr::null_mut())
    }

    /// Opens the handle of a topic whose batches are compressed with this codec, whatever the client does with those of others.
    ///
    /// A client has one configuration per topic, that of its first handle, so this must be the first.
    pub(super) fn compressed(
        client: &Client,
        name: &str,
        codec: BatchCodec,
    ) -> Result<Topic, KafkaError> {
        let doing = || format!("write to topic {name:?} with {}", codec.name());
        // SAFETY: the client is live. The copy of its defaults is ours until `rd_kafka_topic_new` takes it over.
        let conf = unsafe { sys::rd_kafka_default_topic_conf_dup(client.as_ptr()) };
        let mut reason = Reason::new();
        let value = CString::new(codec.name()).unwrap_or_default();
        // SAFETY: configuration and strings are live; the buffer's size is given.
        let set = unsafe {
            sys::rd_kafka_topic_conf_set(
                conf,
                c"compression.codec".as_ptr(),
                value.as_ptr(),
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            // SAFETY: still ours.
            unsafe { sys::rd_kafka_topic_conf_destroy(conf) };
            return Err(KafkaError::Other {
                doing: doing(),
                cause: reason.to_string(),
            });
        }
        Topic::with_conf(client, name, conf)
    }

    /// Takes over `conf`, which is null for the client's defaults.
    fn with_conf(
        client: &Client,
        name: &str,
        conf: *mut sys::rd_kafka_topic_conf_t,
    ) -> Result<Topic, KafkaError> {
        let invalid = |cause: String| KafkaError::Other {
            doing: format!("use topic {name:?}"),
            cause,
        };
        let name_c = CString::new(name).map_err(|error| {
            if !conf.is_null() {
                // SAFETY: ours, and nothing else has it.
                unsafe { sys::rd_kafka_topic_conf_destroy(conf) };
            }
            invalid(error.to_string())
        })?;
        // SAFETY: the client is live and the name a C string. The call takes the configuration over, even where it fails.
        let topic = unsafe { sys::rd_kafka_topic_new(client.as_ptr(), name_c.as_ptr(), conf) };
        NonNull::new(topic)
            .map(Topic)
            .ok_or_else(|| invalid(Code::last().to_string()))
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.0.as_ptr()
    }

    /// Asks the cluster how many partitions the topic has; the code says what is wrong with it.
    pub(super) fn partitions(&self, client: &Client, wait: Duration) -> Result<i32, Code> {
        let mut metadata = ptr::null();
        // SAFETY: client and topic are live, and the out parameter is valid. On success the metadata is ours and holds one
        // topic, the requested one. Its code is read as a number.
        unsafe {
            let asked = sys::rd_kafka_metadata(
                client.as_ptr(),
                0,
                self.as_ptr(),
                &mut metadata,
                millis(wait),
            );
            Code(asked as i32).ok()?;
            let answer = match (*metadata).topic_cnt {
                0 => Err(Code::UNKNOWN_TOPIC),
                _ => {
                    let topic = (*metadata).topics;
                    Code((&raw const (*topic).err).cast::<i32>().read())
                        .ok()
                        .map(|()| (&raw const (*topic).partition_cnt).read())
                }
            };
            sys::rd_kafka_metadata_destroy(metadata);
            answer
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// The topic handles of a client, each opened once.
#[derive(Default)]
pub(super) struct Topics(HashMap<String, Topic>);

impl Topics {
    /// Opens the handle of a topic whose batches are compressed with this codec; see [`Topic::compressed`].
    pub(super) fn open_compressed(
        &mut self,
        client: &Client,
        name: &str,
        codec: BatchCodec,
    ) -> Result<&Topic, KafkaError> {
        if !self.0.contains_key(name) {
            let topic = Topic::compressed(client, name, codec)?;
            self.0.insert(name.to_owned(), topic);
        }
        Ok(&self.0[name])
    }

    /// Returns the handle of a topic, opening it first if needed.
    pub(super) fn open(&mut self, client: &Client, name: &str) -> Result<&Topic, KafkaError> {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Topic::new(client, name)?);
        }
        Ok(&self.0[name])
    }
}

/// The caller's number of each partition in use, looked up by a message's topic handle and partition.
#[derive(Default)]
pub(super) struct PartitionLookup {
    numbers: HashMap<(usize, i32), usize>,
    /// Records arrive in runs of one partition, so the previous result is nearly always the next one.
    last: Option<((usize, i32), usize)>,
}

impl PartitionLookup {
    pub(super) fn insert(&mut self, topic: &Topic, partition: PartitionNumber, number: usize) {
        self.numbers
            .insert((topic.as_ptr().addr(), partition.get()), number);
        self.last = None;
    }

    #[inline]
    pub(super) fn get(
        &mut self,
        topic: *const sys::rd_kafka_topic_t,
        partition: i32,
    ) -> Option<usize> {
        let key = (topic.addr(), partition);
        match self.last {
            Some((last, number)) if last == key => Some(number),
            _ => {
                let number = *self.numbers.get(&key)?;
                self.last = Some((key, number));
                Some(number)
            }
        }
    }
}
