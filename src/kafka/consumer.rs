//! Reads ranges of partitions: each record once, in order, from librdkafka's buffers into a [`RecordHandler`].
//!
//! One [`Consumer`] is one librdkafka client with its broker threads. To use more cores, run several, each with its share of the
//! partitions and of the memory. It fetches partitions by assignment (`rd_kafka_consume_start_queue`) instead of through a
//! consumer group: no coordinator is involved, no permission on a group is needed, and neither rebalances nor poll intervals exist.

#![expect(unsafe_code, reason = "starts and stops librdkafka's fetchers")]

use std::ffi::CString;
use std::time::{Duration, Instant};

use kbk_format::PartitionNumber;
use kbk_format::record::Record;
use rdkafka_sys as sys;

use super::client::{Client, millis};
use super::error::{Code, KafkaError};
use super::fetch_size::FetchSize;
use super::handler::{RecordHandler, SourceError};
use super::headers::HeaderScratch;
use super::message::{Message, MessageBatch, Queue};
use super::options::SourceOptions;
use super::partition::PartitionRange;
use super::permission::{AclOperation, Permission};
use super::settings::ClientSettings;
use super::topic::{PartitionLookup, Topics};

/// Reads ranges of partitions to their ends.
pub struct Consumer {
    // Dropped in this order: messages before their queue, and everything before the client.
    batch: MessageBatch,
    scratch: HeaderScratch,
    queue: Queue,
    topics: Topics,
    client: Client,
    numbers: PartitionLookup,
    slots: Vec<Slot>,
    unfinished: usize,
    settings: ClientSettings,
    options: SourceOptions,
    fetch_size: FetchSize,
}

// SAFETY: librdkafka's handles are not bound to a thread, and `&mut self` keeps two threads from using one consumer.
unsafe impl Send for Consumer {}

/// One range and how far it has been read.
struct Slot {
    range: PartitionRange,
    /// The next offset to read; everything before it was delivered, reported lost, or does not exist.
    position: i64,
    state: State,
    /// How often the broker rejected the position since the last record.
    rejections: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Reading,
    Finished,
}

impl Consumer {
    /// Connects, within ten seconds, and prepares to read `ranges`, no two of which may belong to one partition.
    pub fn open(
        settings: &ClientSettings,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<Consumer, KafkaError> {
        let fetch_size = FetchSize::new(options.memory_bytes);
        let client = connect(settings, options, &fetch_size)?;
        let slots: Vec<Slot> = ranges
            .into_iter()
            .map(|range| Slot {
                position: range.start,
                range,
                state: State::Waiting,
                rejections: 0,
            })
            .collect();
        let mut consumer = Consumer {
            batch: MessageBatch::new(),
            scratch: HeaderScratch::new(),
            queue: Queue::new(&client),
            topics: Topics::default(),
            client,
            numbers: PartitionLookup::default(),
            unfinished: slots.len(),
            slots,
            settings: settings.clone(),
            options: options.clone(),
            fetch_size,
        };
        consumer.number_slots()?;
        Ok(consumer)
    }

    fn number_slots(&mut self) -> Result<(), KafkaError> {
        for (number, slot) in self.slots.iter().enumerate() {
            let topic = self.topics.open(&self.client, &slot.range.topic)?;
            self.numbers.insert(topic, slot.range.partition, number);
        }
        Ok(())
    }

    /// Reads until every range is finished. After an error the consumer can only be dropped.
    pub fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        const WAIT: Duration = Duration::from_millis(100);
        self.start_all(handler)?;
        let mut stall = StallTimer::start();
        while self.unfinished > 0 {
            let taken = self.queue.take(&mut self.batch, WAIT).map_err(|code| {
                KafkaError::of(code, "take records from the fetch queue", None, "")
            })?;
            if taken > 0 {
                self.client.events().answered();
                while let Some(message) = self.batch.next() {
                    self.handle(&message, handler)?;
                }
                stall = StallTimer::start();
            } else {
                self.check_stall(&mut stall, handler)?;
            }
            self.client.poll(Duration::ZERO);
            self.adapt_fetch_size()?;
            handler.idle().map_err(SourceError::Handler)?;
        }
        Ok(())
    }

    /// Continues with a new client where fetches turn out to have the wrong size: librdkafka takes the size at start only.
    fn adapt_fetch_size(&mut self) -> Result<(), KafkaError> {
        let Some(received) = self.client.events().received() else {
            return Ok(());
        };
        let mut fetch_size = self.fetch_size.clone();
        let changed = fetch_size.adapt(received);
        if self.settings.fixes_fetch_size() || !changed {
            self.fetch_size = fetch_size;
            return Ok(());
        }
        let client = match connect(&self.settings, &self.options, &fetch_size) {
            Ok(client) => client,
            // The present client waits longer for a cluster that is briefly unreachable.
            Err(error) => {
                tracing::debug!("cannot change the fetch size: {error}");
                return Ok(());
            }
        };
        tracing::debug!(bytes = fetch_size.bytes(), "changed the fetch size");
        self.fetch_size = fetch_size;
        let reading: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].state == State::Reading)
            .collect();
        // Queued messages are dropped with their client. Positions record what was handled, so the rest is fetched again.
        for &slot in &reading {
            self.stop(slot);
        }
        self.batch = MessageBatch::new();
        self.queue = Queue::new(&client);
        self.topics = Topics::default();
        self.numbers = PartitionLookup::default();
        self.client = client;
        self.number_slots()?;
        reading.into_iter().try_for_each(|slot| self.start(slot))
    }

    fn start_all<H: RecordHandler>(
        &mut self,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        for slot in 0..self.slots.len() {
            if self.slots[slot].state != State::Waiting {
                continue;
            }
            if self.slots[slot].reached_end() {
                self.finish(slot, handler)?;
            } else {
                self.start(slot)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn handle<H: RecordHandler>(
        &mut self,
        message: &Message,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let Some(slot) = self.numbers.get(message.topic(), message.partition()) else {
            let cause = message.code().explain(&message.error_text());
            return Err(KafkaError::Other {
                doing: "read".to_owned(),
                cause,
            }
            .into());
        };
        // The batch was dequeued before the partition was stopped.
        if self.slots[slot].state == State::Finished {
            return Ok(());
        }
        match message.code() {
            Code::NONE => self.record(slot, message, handler),
            Code::PARTITION_EOF => {
                let position = &mut self.slots[slot].position;
                *position = message.offset().max(*position);
                self.finish_at_end(slot, handler)?;
                self.check_early_end(slot, handler)
            }
            Code::OFFSET_RESET => self.rejected(slot, handler),
            code => match self.failed(slot, code, message) {
                Ok(()) => Ok(()),
                Err(error) => self.give_up(slot, error, handler),
            },
        }
    }

    /// Stops reading a partition for a reason that concerns no other one.
    fn give_up<H: RecordHandler>(
        &mut self,
        slot: usize,
        error: KafkaError,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        self.stop(slot);
        self.slots[slot].state = State::Finished;
        self.unfinished -= 1;
        handler.unreadable(slot, error)
    }

    /// Gives a partition up whose log ends below the end of its range: the log was truncated, or the topic created again.
    fn check_early_end<H: RecordHandler>(
        &mut self,
        index: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        if self.slots[index].state != State::Reading {
            return Ok(());
        }
        // A new leader reports no end until it has caught up (KIP-207): that is an error here, and leaves the decision to the
        // next check.
        match self.log_bounds(index) {
            Ok((start, end)) if end < self.slots[index].range.end => {
                let error = self.slots[index].truncated(start, end);
                self.give_up(index, error, handler)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn record<H: RecordHandler>(
        &mut self,
        index: usize,
        message: &Message,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let slot = &mut self.slots[index];
        let offset = message.offset();
        // Positions never go back: no record is handed over twice, whatever a restart fetches again.
        if offset < slot.position {
            return Ok(());
        }
        slot.rejections = 0;
        if offset >= slot.range.end {
            // Offsets have gaps: the record at `end - 1` may not exist, and a later record is then how the end shows.
            slot.position = offset;
        } else {
            slot.position = offset + 1;
            match message.record(&mut self.scratch) {
                Ok((_, record)) if is_of_old_format(message, &record) => {
                    let error = slot.old_format(offset, "it arrives without key and value");
                    return self.give_up(index, error, handler);
                }
                Ok((timestamp_type, record)) => {
                    handler
                        .record(index, timestamp_type, &record)
                        .map_err(SourceError::Handler)?;
                }
                Err(code) => {
                    let error = slot.unreadable(offset, &code.to_string());
                    return self.give_up(index, error, handler);
                }
            }
        }
        self.finish_at_end(index, handler)
    }

    #[inline]
    fn finish_at_end<H: RecordHandler>(
        &mut self,
        slot: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        if self.slots[slot].reached_end() {
            self.finish(slot, handler)
        } else {
            Ok(())
        }
    }

    fn finish<H: RecordHandler>(
        &mut self,
        slot: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        self.stop(slot);
        self.slots[slot].state = State::Finished;
        self.unfinished -= 1;
        handler.finished(slot).map_err(SourceError::Handler)
    }

    /// Handles a position that the broker rejects as out of range: resumes at the log start if that has moved past it.
    fn rejected<H: RecordHandler>(
        &mut self,
        index: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        const TOO_OFTEN: u32 = 10;
        let (log_start_offset, log_end_offset) = match self.log_bounds(index) {
            Ok(bounds) => bounds,
            Err(error) => return self.give_up(index, error, handler),
        };
        self.stop(index);
        let slot = &mut self.slots[index];
        slot.rejections += 1;
        let position = slot.position;
        if position > log_end_offset || slot.rejections > TOO_OFTEN {
            let error = slot.truncated(log_start_offset, log_end_offset);
            return self.give_up(index, error, handler);
        }
        if position < log_start_offset {
            let to = log_start_offset.min(slot.range.end);
            slot.position = to;
            handler
                .lost(index, position, to)
                .map_err(SourceError::Handler)?;
        }
        // Otherwise the leader was not up to date yet, and the same position is worth another attempt.
        if self.slots[index].reached_end() {
            return self.finish(index, handler);
        }
        Ok(self.start(index)?)
    }

    /// Handles an error delivered in place of a record: transient ones are waited out, others end the read.
    fn failed(&self, index: usize, code: Code, message: &Message) -> Result<(), KafkaError> {
        let slot = &self.slots[index];
        let PartitionRange {
            topic, partition, ..
        } = &slot.range;
        match code {
            Code::LOG_TRUNCATION => {
                let (log_start_offset, log_end_offset) = self.log_bounds(index)?;
                Err(slot.truncated(log_start_offset, log_end_offset))
            }
            Code::UNKNOWN_PARTITION => Err(KafkaError::UnknownTopic {
                topic: topic.clone(),
                doing: format!("read partition {partition}"),
            }),
            code if code.is_transient() => {
                let cause = code.explain(&message.error_text());
                tracing::debug!("cannot read {topic}/{partition}: {cause}; trying again");
                Ok(())
            }
            Code::UNKNOWN_TOPIC
            | Code::UNKNOWN_TOPIC_ID
            | Code::LOCAL_UNKNOWN_TOPIC
            | Code::TOPIC_DENIED => {
                let doing = format!("read topic {topic}");
                let error = KafkaError::of(code, &doing, Some(topic), &message.error_text());
                Err(error.needing(Permission::topic(AclOperation::Read, topic)))
            }
            Code::BAD_COMPRESSION => {
                let cause = code.explain(&message.error_text());
                Err(slot.unreadable(
                    slot.position,
                    &(cause + &self.settings.decompression_limit()),
                ))
            }
            // This includes failed checksums, after which librdkafka would silently resume past the damaged batch.
            code => Err(slot.unreadable(slot.position, &code.explain(&message.error_text()))),
        }
    }

    /// Called while nothing arrives: asks the cluster why from time to time, and gives a partition up when that takes too long.
    fn check_stall<H: RecordHandler>(
        &mut self,
        stall: &mut StallTimer,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let down = self.client.events().down_for();
        if down.is_some_and(|down| down >= self.settings.timeout()) {
            return Err(self.client.unreachable().into());
        }
        let reading = |slot: &Slot| slot.state == State::Reading;
        let Some(index) = self
            .slots
            .iter()
            .position(reading)
            .filter(|_| stall.is_due(self.settings.timeout()))
        else {
            return Ok(());
        };
        if stall.is_undecodable(self.client.events().partial_sets()) {
            return self.give_up_undecodable(handler);
        }
        let waited = stall.since.elapsed();
        let cause = match self.check_readable(index) {
            Err(
                error @ (KafkaError::UnknownTopic { .. }
                | KafkaError::Authorization { .. }
                | KafkaError::OffsetOutOfRange { .. }),
            ) => return self.give_up(index, error, handler),
            Err(error) => error.to_string(),
            Ok(()) => match self.client.events().quota(Instant::now()) {
                Some(quota) => quota.text,
                None => "the partition exists, and its leader sends nothing".to_owned(),
            },
        };
        let Slot {
            range: PartitionRange {
                topic, partition, ..
            },
            position,
            ..
        } = &self.slots[index];
        if waited >= self.settings.timeout() {
            if self.client.events().down_for().is_some() {
                return Err(self.client.unreachable().into());
            }
            let doing = format!("send {topic}/{partition} from offset {position}");
            let error = KafkaError::Timeout {
                doing,
                waited,
                cause,
            };
            return self.give_up(index, error, handler);
        }
        let what = format!(
            "nothing of {topic}/{partition} has arrived for {waited:.0?}: {cause}; waiting from offset {position} on"
        );
        if !self.client.events().waits(waited, || what.clone()) {
            tracing::debug!("{what}");
        }
        Ok(())
    }

    /// Gives up every partition that is being read and that the cluster reports to be readable: their leaders answer, and no answer
    /// can be decoded. librdkafka fetches them again and again without a word.
    fn give_up_undecodable<H: RecordHandler>(
        &mut self,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        for index in 0..self.slots.len() {
            if self.slots[index].state == State::Reading && self.check_readable(index).is_ok() {
                let slot = &self.slots[index];
                let cause = "its leader sends it, and it cannot be decoded";
                let error = slot.old_format(slot.position, cause);
                self.give_up(index, error, handler)?;
            }
        }
        Ok(())
    }

    /// Checks that the partition still exists, may be read, and has the position inside its log. librdkafka 2.12 reports nothing,
    /// for minutes at least, about a topic that is deleted while it is read.
    fn check_readable(&mut self, index: usize) -> Result<(), KafkaError> {
        let PartitionRange {
            topic, partition, ..
        } = &self.slots[index].range;
        let doing = format!("read {topic}/{partition}");
        let asked = self
            .topics
            .open(&self.client, topic)?
            .partitions(&self.client, Client::PATIENCE);
        let asked = asked.and_then(|count| {
            (partition.get() < count)
                .then_some(())
                .ok_or(Code::UNKNOWN_TOPIC)
        });
        asked.map_err(|code| KafkaError::of(code, &doing, Some(topic), ""))?;
        let (log_start_offset, log_end_offset) = self.log_bounds(index)?;
        let slot = &self.slots[index];
        // The log reached the end of the range when the range was planned.
        if log_end_offset < slot.range.end {
            return Err(slot.truncated(log_start_offset, log_end_offset));
        }
        Ok(())
    }

    /// Asks for the present bounds of the partition's log.
    fn log_bounds(&self, slot: usize) -> Result<(i64, i64), KafkaError> {
        let PartitionRange {
            topic, partition, ..
        } = &self.slots[slot].range;
        log_bounds(&self.client, topic, *partition, Client::PATIENCE)
    }

    fn start(&mut self, index: usize) -> Result<(), KafkaError> {
        let slot = &mut self.slots[index];
        let topic = self.topics.open(&self.client, &slot.range.topic)?;
        // SAFETY: topic and queue are live and of this client.
        let result = unsafe {
            sys::rd_kafka_consume_start_queue(
                topic.as_ptr(),
                slot.range.partition.get(),
                slot.position,
                self.queue.as_ptr(),
            )
        };
        if result != 0 {
            return Err(slot.unreadable(slot.position, &Code::last().to_string()));
        }
        slot.state = State::Reading;
        Ok(())
    }

    /// Stops fetching a partition; its queued messages are discarded.
    fn stop(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.state == State::Reading
            && let Ok(topic) = self.topics.open(&self.client, &slot.range.topic)
        {
            // SAFETY: the topic is live and the partition was started. The call waits for librdkafka's own thread only, and
            // fails only for a partition that was not started.
            unsafe { sys::rd_kafka_consume_stop(topic.as_ptr(), slot.range.partition.get()) };
            slot.state = State::Waiting;
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for slot in 0..self.slots.len() {
            self.stop(slot);
        }
    }
}

impl Slot {
    #[inline]
    fn reached_end(&self) -> bool {
        self.position >= self.range.end
    }

    fn truncated(&self, log_start_offset: i64, log_end_offset: i64) -> KafkaError {
        KafkaError::OffsetOutOfRange {
            topic: self.range.topic.clone(),
            partition: self.range.partition,
            position: self.position,
            log_start_offset,
            log_end_offset,
        }
    }

    fn old_format(&self, offset: i64, cause: &'static str) -> KafkaError {
        KafkaError::OldFormat {
            topic: self.range.topic.clone(),
            partition: self.range.partition,
            offset,
            cause,
        }
    }

    fn unreadable(&self, offset: i64, cause: &str) -> KafkaError {
        let PartitionRange {
            topic, partition, ..
        } = &self.range;
        KafkaError::Other {
            doing: format!("read {topic}/{partition} at offset {offset}"),
            cause: cause.to_owned(),
        }
    }
}

/// Reports whether librdkafka has lost the contents of a message of format v0 or v1.
///
/// Since Fetch requests are flexible (version 12), librdkafka 2.5.3 to 2.15 take the four bytes of a key's length for a varint, and
/// the length's leading zero for null: key and value are null whatever the message holds. Batches of format v2 have a leader epoch,
/// which the older formats lack.
fn is_of_old_format(message: &Message, record: &Record<'_>) -> bool {
    record.key.is_none()
        && record.value.is_none()
        && record.headers.clone().next().is_none()
        && message.leader_epoch().is_none()
}

fn connect(
    settings: &ClientSettings,
    options: &SourceOptions,
    fetch_size: &FetchSize,
) -> Result<Client, KafkaError> {
    let client = Client::consumer(&settings.consumer(options.memory_bytes, fetch_size.bytes()))?;
    client.connect(Client::PATIENCE)?;
    Ok(client)
}

/// How long nothing has arrived, and when that was last looked into.
struct StallTimer {
    since: Instant,
    checked: Instant,
    /// [`partial_sets`](super::events::Events::partial_sets) at the last check.
    partial_sets: Option<u64>,
}

impl StallTimer {
    fn start() -> StallTimer {
        let now = Instant::now();
        StallTimer {
            since: now,
            checked: now,
            partial_sets: None,
        }
    }

    /// Whether leaders have answered repeatedly since the last check, while nothing could be decoded.
    fn is_undecodable(&mut self, partial_sets: u64) -> bool {
        const REPEATEDLY: u64 = 3;
        let before = self.partial_sets.replace(partial_sets);
        before.is_some_and(|before| partial_sets.saturating_sub(before) >= REPEATEDLY)
    }

    /// Whether another check is due, within `timeout` in any case; if so, restarts the interval.
    fn is_due(&mut self, timeout: Duration) -> bool {
        const EVERY: Duration = Duration::from_secs(10);
        let due = self.checked.elapsed() >= EVERY.min(timeout);
        if due {
            self.checked = Instant::now();
        }
        due
    }
}

/// Asks for the log start and end offset of one partition; the end is the one that the client's isolation level shows.
pub(super) fn log_bounds(
    client: &Client,
    topic: &str,
    partition: PartitionNumber,
    wait: Duration,
) -> Result<(i64, i64), KafkaError> {
    let doing = format!("ask for the offsets of {topic}/{partition}");
    let name = CString::new(topic).map_err(|error| KafkaError::Other {
        doing: doing.clone(),
        cause: error.to_string(),
    })?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client is live, the name a C string, the out parameters valid.
    let code = Code(unsafe {
        sys::rd_kafka_query_watermark_offsets(
            client.as_ptr(),
            name.as_ptr(),
            partition.get(),
            &mut low,
            &mut high,
            millis(wait),
        )
    } as i32);
    match code {
        Code::NONE => Ok((low, high)),
        code => Err(KafkaError::of(code, &doing, Some(topic), "")),
    }
}
