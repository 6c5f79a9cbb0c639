//! Consumed messages: dequeued many at a time, read in place from the fetch buffers, and freed one by one.

#![expect(unsafe_code, reason = "reads librdkafka's messages in place")]

use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use kbk_format::record::{Headers, Record, TimestampType};
use rdkafka_sys as sys;

use super::client::{Client, millis, owned_text};
use super::error::Code;
use super::headers::HeaderScratch;

/// The queue that all partitions of a consumer are fetched into. It must be dropped before the client.
pub(super) struct Queue(NonNull<sys::rd_kafka_queue_t>);

impl Queue {
    pub(super) fn new(client: &Client) -> Queue {
        // SAFETY: the client is live.
        let queue = unsafe { sys::rd_kafka_queue_new(client.as_ptr()) };
        Queue(NonNull::new(queue).expect("rd_kafka_queue_new never returns null"))
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    /// Dequeues what is available, or waits up to `wait` for one message. Returns how many there are.
    pub(super) fn take(&self, batch: &mut MessageBatch, wait: Duration) -> Result<usize, Code> {
        // A call with a timeout waits until the array is *full*, so the waiting call offers room for one message.
        match self.take_up_to(batch, MessageBatch::CAPACITY, Duration::ZERO)? {
            0 => self.take_up_to(batch, 1, wait),
            count => Ok(count),
        }
    }

    fn take_up_to(
        &self,
        batch: &mut MessageBatch,
        most: usize,
        wait: Duration,
    ) -> Result<usize, Code> {
        batch.clear();
        let most = most.min(batch.messages.len());
        // SAFETY: the queue is live, and the array has room for `most` pointers.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.as_ptr(),
                millis(wait),
                batch.messages.as_mut_ptr(),
                most,
            )
        };
        batch.next = 0;
        // -1 stands for an error: taken for an empty queue, it would look like a partition that has no records.
        batch.count = usize::try_from(count).map_err(|_| Code::last())?;
        Ok(batch.count)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// A reused array of messages. Dropping it frees those that were not taken out.
pub(super) struct MessageBatch {
    messages: Box<[*mut sys::rd_kafka_message_t]>,
    next: usize,
    count: usize,
}

impl MessageBatch {
    /// Large enough that the cost of the call per record is negligible; the queue bounds the bytes that the batch holds.
    const CAPACITY: usize = 1024;

    pub(super) fn new() -> MessageBatch {
        MessageBatch {
            messages: vec![ptr::null_mut(); MessageBatch::CAPACITY].into(),
            next: 0,
            count: 0,
        }
    }

    /// Returns the next message, which the caller then owns.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Message> {
        let message = *self.messages[..self.count].get(self.next)?;
        self.next += 1;
        NonNull::new(message).map(Message)
    }

    fn clear(&mut self) {
        while self.next().is_some() {}
        // An error of the next dequeue leaves the array as it is: its pointers must not be handed out a second time.
        self.count = 0;
    }
}

impl Drop for MessageBatch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A consumed record, or an error or end of partition delivered in place of one. Dropping it releases its share of the
/// fetch buffer.
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

impl Message {
    #[inline]
    fn raw(&self) -> *mut sys::rd_kafka_message_t {
        self.0.as_ptr()
    }

    #[inline]
    pub(super) fn code(&self) -> Code {
        // SAFETY: the message is live; the code is read as a number, since a newer broker may send any.
        Code(unsafe { (&raw const (*self.raw()).err).cast::<i32>().read() })
    }

    #[inline]
    pub(super) fn topic(&self) -> *const sys::rd_kafka_topic_t {
        // SAFETY: the message is live.
        unsafe { (&raw const (*self.raw()).rkt).read() }
    }

    #[inline]
    pub(super) fn partition(&self) -> i32 {
        // SAFETY: the message is live.
        unsafe { (&raw const (*self.raw()).partition).read() }
    }

    #[inline]
    pub(super) fn offset(&self) -> i64 {
        // SAFETY: the message is live.
        unsafe { (&raw const (*self.raw()).offset).read() }
    }

    /// Returns the leader epoch of the batch; `None` for messages of formats v0 and v1, which have none.
    pub(super) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is live and belongs to a consumer.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.raw()) };
        (epoch >= 0).then_some(epoch)
    }

    /// Returns librdkafka's description of the error that this message carries.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is live and has an error, so its payload is a C string or null.
        unsafe {
            owned_text(
                (&raw const (*self.raw()).payload)
                    .read()
                    .cast_const()
                    .cast(),
            )
        }
    }

    /// Borrows the record in place, with its headers listed in `scratch`.
    #[inline]
    pub(super) fn record<'m>(
        &'m self,
        scratch: &'m mut HeaderScratch,
    ) -> Result<(TimestampType, Record<'m>), Code> {
        // SAFETY: the message is live as long as the record, which borrows it.
        let headers = unsafe { scratch.read(self.0)? };
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live. It carries no error, so its code is a value of the enum and the whole struct may be read.
        let (timestamp, message) = unsafe {
            (
                sys::rd_kafka_message_timestamp(self.raw(), &mut kind),
                self.0.as_ref(),
            )
        };
        let kind = match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                TimestampType::LogAppendTime
            }
            _ => TimestampType::CreateTime,
        };
        // SAFETY: each pointer is null or points to `len` bytes of the fetch buffer, which the message keeps alive.
        let (key, value) = unsafe {
            (
                bytes(message.key, message.key_len),
                bytes(message.payload, message.len),
            )
        };
        let record = Record {
            offset: message.offset,
            timestamp,
            control: false,
            key,
            value,
            headers: Headers::Slice(headers),
        };
        Ok((kind, record))
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the message is ours.
        unsafe { sys::rd_kafka_message_destroy(self.raw()) };
    }
}

/// Borrows bytes across the C boundary; null is `None`, which is not the same as empty.
///
/// # Safety
/// `start` is null, or points to `length` bytes that live for 'm.
#[inline]
pub(super) unsafe fn bytes<'m>(start: *const std::ffi::c_void, length: usize) -> Option<&'m [u8]> {
    // SAFETY: by contract.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}
