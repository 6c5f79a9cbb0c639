//! Reading ranges of partitions: records straight from librdkafka's buffers into a [`RecordSink`], once, in order.
//!
//! One source is one librdkafka consumer with its broker threads; run several, each with its share of the partitions and
//! of the memory, to use more cores. It reads partitions by themselves (`rd_kafka_consume_start_queue`) instead of through
//! a consumer group: nothing is asked of a coordinator, no permission on a group is needed, and no rebalance or poll
//! interval exists.

#![expect(unsafe_code, reason = "starts and stops librdkafka's fetchers")]

use std::ffi::CString;
use std::time::{Duration, Instant};

use kbk_format::record::{Record, TimestampType};
use rdkafka_sys as sys;

use super::batch::{Batch, Message, Queue};
use super::client::{Client, millis};
use super::error::{Code, KafkaError};
use super::fetch_size::FetchSize;
use super::headers::HeaderScratch;
use super::settings::ClientSettings;
use super::topic::{PartitionNumbers, Topics};

/// Offsets `[start, end)` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset wanted.
    pub start: i64,
    /// The offset to stop in front of: the log's end as it was when the range was decided.
    pub end: i64,
}

/// Receives what a [`Source`] reads, in offset order per partition.
///
/// `slot` is the index into the ranges given to [`Source::open`]. An error from any method ends [`Source::run`]. A method
/// that blocks holds the source back: librdkafka's queue fills up to its bound and fetching stops.
pub trait RecordSink {
    /// Why the sink cannot go on.
    type Error;

    /// The next record. Its bytes are librdkafka's, for the duration of the call.
    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Self::Error>;

    /// Offsets `[from, to)` can be read no more: retention, or somebody's deletion, was faster.
    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), Self::Error>;

    /// The position reached the range's end; nothing more comes for this slot.
    fn finished(&mut self, slot: usize) -> Result<(), Self::Error>;

    /// Called between batches, at least every tenth of a second: the place to flush and to look for cancellation.
    fn idle(&mut self) -> Result<(), Self::Error>;
}

/// Why [`Source::run`] ended early.
#[derive(Debug, thiserror::Error)]
pub enum SourceError<E> {
    /// The Kafka side failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The sink failed, or was cancelled.
    #[error(transparent)]
    Sink(E),
}

/// Bounds of a [`Source`].
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// For records fetched and not yet handled, about.
    pub memory_bytes: usize,
    /// How long all brokers may be away before the source gives up; a cluster that is there but silent gets five times
    /// as long.
    pub patience: Duration,
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions {
            memory_bytes: 32 << 20,
            patience: Duration::from_secs(60),
        }
    }
}

/// Reads ranges of partitions to their ends.
pub struct Source {
    // Dropped in this order: messages before their queue, and all before the client.
    batch: Batch,
    scratch: HeaderScratch,
    queue: Queue,
    topics: Topics,
    client: Client,
    numbers: PartitionNumbers,
    slots: Vec<Slot>,
    unfinished: usize,
    settings: ClientSettings,
    options: SourceOptions,
    fetch_size: FetchSize,
}

// SAFETY: librdkafka's handles are not bound to a thread, and `&mut self` keeps two threads from using one source.
unsafe impl Send for Source {}

/// One range on its way.
struct Slot {
    range: PartitionRange,
    /// The next offset wanted; everything before was delivered, reported lost, or does not exist.
    position: i64,
    state: State,
    /// How often the position was refused since the last record.
    refusals: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Reading,
    Finished,
}

impl Source {
    /// Connects, within ten seconds, and prepares to read `ranges`, of which no two may be of one partition.
    pub fn open(
        settings: &ClientSettings,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<Source, KafkaError> {
        let fetch_size = FetchSize::new(options.memory_bytes);
        let client = connect(settings, options, &fetch_size)?;
        let slots: Vec<Slot> = ranges
            .into_iter()
            .map(|range| Slot {
                position: range.start,
                range,
                state: State::Waiting,
                refusals: 0,
            })
            .collect();
        let mut source = Source {
            batch: Batch::new(),
            scratch: HeaderScratch::new(),
            queue: Queue::new(&client),
            topics: Topics::default(),
            client,
            numbers: PartitionNumbers::default(),
            unfinished: slots.len(),
            slots,
            settings: settings.clone(),
            options: options.clone(),
            fetch_size,
        };
        source.number_slots()?;
        Ok(source)
    }

    fn number_slots(&mut self) -> Result<(), KafkaError> {
        for (number, slot) in self.slots.iter().enumerate() {
            let topic = self.topics.open(&self.client, &slot.range.topic)?;
            self.numbers.insert(topic, slot.range.partition, number);
        }
        Ok(())
    }

    /// Reads until every range is finished. After an error the source is good for nothing but to be dropped.
    pub fn run<S: RecordSink>(&mut self, sink: &mut S) -> Result<(), SourceError<S::Error>> {
        const WAIT: Duration = Duration::from_millis(100);
        self.start_all(sink)?;
        let mut quiet = Quiet::begin();
        while self.unfinished > 0 {
            if self.queue.take(&mut self.batch, WAIT) > 0 {
                self.client.events().answered();
                while let Some(message) = self.batch.next() {
                    self.handle(&message, sink)?;
                }
                quiet = Quiet::begin();
            } else {
                self.bear(&mut quiet)?;
            }
            self.client.poll(Duration::ZERO);
            self.adapt_fetch_size()?;
            sink.idle().map_err(SourceError::Sink)?;
        }
        Ok(())
    }

    /// Goes on with a new client where the fetches turn out to be of the wrong size: librdkafka takes that once.
    fn adapt_fetch_size(&mut self) -> Result<(), KafkaError> {
        let Some(received) = self.client.events().received() else {
            return Ok(());
        };
        let mut fetch_size = self.fetch_size.clone();
        let other = fetch_size.adapt(received);
        if self.settings.fixes_fetch_size() || !other {
            self.fetch_size = fetch_size;
            return Ok(());
        }
        let client = match connect(&self.settings, &self.options, &fetch_size) {
            Ok(client) => client,
            // The client at hand waits longer for a cluster that is away for a moment.
            Err(error) => {
                tracing::debug!("no client with another fetch size: {error}");
                return Ok(());
            }
        };
        tracing::debug!(bytes = fetch_size.bytes(), "another fetch size");
        self.fetch_size = fetch_size;
        let reading: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].state == State::Reading)
            .collect();
        // What is queued is dropped with its client: positions say what was handled, and the rest is fetched again.
        for &slot in &reading {
            self.stop(slot);
        }
        self.batch = Batch::new();
        self.queue = Queue::new(&client);
        self.topics = Topics::default();
        self.numbers = PartitionNumbers::default();
        self.client = client;
        self.number_slots()?;
        reading.into_iter().try_for_each(|slot| self.start(slot))
    }

    fn start_all<S: RecordSink>(&mut self, sink: &mut S) -> Result<(), SourceError<S::Error>> {
        for slot in 0..self.slots.len() {
            if self.slots[slot].state != State::Waiting {
                continue;
            }
            if self.slots[slot].reached_end() {
                self.finish(slot, sink)?;
            } else {
                self.start(slot)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn handle<S: RecordSink>(
        &mut self,
        message: &Message,
        sink: &mut S,
    ) -> Result<(), SourceError<S::Error>> {
        let Some(slot) = self.numbers.get(message.topic(), message.partition()) else {
            let cause = message.code().explain(&message.error_text());
            return Err(KafkaError::Other {
                doing: "read".to_owned(),
                cause,
            }
            .into());
        };
        if self.slots[slot].state == State::Finished {
            return Ok(());
        }
        match message.code() {
            Code::NONE => self.record(slot, message, sink),
            Code::PARTITION_EOF => {
                let position = &mut self.slots[slot].position;
                *position = message.offset().max(*position);
                self.finish_at_end(slot, sink)
            }
            Code::OFFSET_RESET => self.refused(slot, sink),
            code => self.failed(slot, code, message).map_err(SourceError::Kafka),
        }
    }

    #[inline]
    fn record<S: RecordSink>(
        &mut self,
        index: usize,
        message: &Message,
        sink: &mut S,
    ) -> Result<(), SourceError<S::Error>> {
        let slot = &mut self.slots[index];
        let offset = message.offset();
        if offset < slot.position {
            return Ok(());
        }
        slot.refusals = 0;
        if offset >= slot.range.end {
            // Offsets have gaps: that a later record exists is how the end of the range shows.
            slot.position = offset;
        } else {
            slot.position = offset + 1;
            match message.record(&mut self.scratch) {
                Ok((timestamp_type, record)) => {
                    sink.record(index, timestamp_type, &record)
                        .map_err(SourceError::Sink)?;
                }
                Err(code) => return Err(slot.unreadable(offset, &code.to_string()).into()),
            }
        }
        self.finish_at_end(index, sink)
    }

    #[inline]
    fn finish_at_end<S: RecordSink>(
        &mut self,
        slot: usize,
        sink: &mut S,
    ) -> Result<(), SourceError<S::Error>> {
        if self.slots[slot].reached_end() {
            self.finish(slot, sink)
        } else {
            Ok(())
        }
    }

    fn finish<S: RecordSink>(
        &mut self,
        slot: usize,
        sink: &mut S,
    ) -> Result<(), SourceError<S::Error>> {
        self.stop(slot);
        self.slots[slot].state = State::Finished;
        self.unfinished -= 1;
        sink.finished(slot).map_err(SourceError::Sink)
    }

    /// The broker has no record at the position: go on where the log starts now, if that is later.
    fn refused<S: RecordSink>(
        &mut self,
        index: usize,
        sink: &mut S,
    ) -> Result<(), SourceError<S::Error>> {
        const TOO_OFTEN: u32 = 10;
        let (log_start_offset, log_end_offset) = self.log_bounds(index)?;
        self.stop(index);
        let slot = &mut self.slots[index];
        slot.refusals += 1;
        let position = slot.position;
        if position > log_end_offset || slot.refusals > TOO_OFTEN {
            return Err(slot.truncated(log_start_offset, log_end_offset).into());
        }
        if position < log_start_offset {
            let to = log_start_offset.min(slot.range.end);
            slot.position = to;
            sink.lost(index, position, to).map_err(SourceError::Sink)?;
        }
        // Otherwise a leader was not yet up to date, and the same position is good for another attempt.
        if self.slots[index].reached_end() {
            return self.finish(index, sink);
        }
        Ok(self.start(index)?)
    }

    /// An error in the place of a record: waited out if it is of the passing kind, else the end.
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
                doing: format!("read its partition {partition}"),
            }),
            code if code.is_transient() => {
                tracing::warn!(topic, partition, "{}; trying again", message.error_text());
                Ok(())
            }
            Code::UNKNOWN_TOPIC
            | Code::UNKNOWN_TOPIC_ID
            | Code::LOCAL_UNKNOWN_TOPIC
            | Code::TOPIC_DENIED => {
                let doing = format!("read topic {topic}");
                Err(KafkaError::of(
                    code,
                    &doing,
                    Some(topic),
                    &message.error_text(),
                ))
            }
            // Among these are failed checksums, after which librdkafka would go on behind the damage.
            code => Err(slot.unreadable(slot.position, &code.explain(&message.error_text()))),
        }
    }

    /// Nothing arrived: asks why from time to time, and at last gives up.
    fn bear(&mut self, quiet: &mut Quiet) -> Result<(), KafkaError> {
        if self
            .client
            .events()
            .down_for()
            .is_some_and(|down| down >= self.options.patience)
        {
            return Err(self.client.unreachable());
        }
        let reading = |slot: &Slot| slot.state == State::Reading;
        let Some(index) = self
            .slots
            .iter()
            .position(reading)
            .filter(|_| quiet.is_due())
        else {
            return Ok(());
        };
        let waited = quiet.since.elapsed();
        let cause = match self.look_for(index) {
            Err(
                error @ (KafkaError::UnknownTopic { .. }
                | KafkaError::Authorization { .. }
                | KafkaError::OffsetOutOfRange { .. }),
            ) => return Err(error),
            Err(error) => error.to_string(),
            Ok(()) => "the partition is there, and its leader sends nothing".to_owned(),
        };
        let Slot {
            range: PartitionRange {
                topic, partition, ..
            },
            position,
            ..
        } = &self.slots[index];
        if waited >= self.options.patience * 5 {
            let doing = format!("send {topic}/{partition} from offset {position}");
            return Err(KafkaError::Timeout {
                doing,
                waited,
                cause,
            });
        }
        tracing::warn!(
            topic,
            partition,
            position,
            "nothing has arrived for {waited:.0?}: {cause}"
        );
        Ok(())
    }

    /// Whether a partition is still there, allowed to be read, and with the position inside its log. librdkafka keeps
    /// silent, for minutes at least, about a topic that is deleted while it is read.
    fn look_for(&mut self, index: usize) -> Result<(), KafkaError> {
        let PartitionRange {
            topic, partition, ..
        } = &self.slots[index].range;
        let doing = format!("read {topic}/{partition}");
        let asked = self
            .topics
            .open(&self.client, topic)?
            .partitions(&self.client, Client::PATIENCE);
        let asked = asked.and_then(|count| {
            (*partition < count)
                .then_some(())
                .ok_or(Code::UNKNOWN_TOPIC)
        });
        asked.map_err(|code| KafkaError::of(code, &doing, Some(topic), ""))?;
        let (log_start_offset, log_end_offset) = self.log_bounds(index)?;
        let slot = &self.slots[index];
        if slot.position > log_end_offset {
            return Err(slot.truncated(log_start_offset, log_end_offset));
        }
        Ok(())
    }

    /// Where the partition's log starts and ends now.
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
                slot.range.partition,
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

    /// Ends fetching; what is queued of the partition is discarded.
    fn stop(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.state == State::Reading
            && let Ok(topic) = self.topics.open(&self.client, &slot.range.topic)
        {
            // SAFETY: the topic is live and the partition was started. It waits for librdkafka's own thread only, and
            // fails only for a partition that is not started.
            unsafe { sys::rd_kafka_consume_stop(topic.as_ptr(), slot.range.partition) };
            slot.state = State::Waiting;
        }
    }
}

impl Drop for Source {
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

fn connect(
    settings: &ClientSettings,
    options: &SourceOptions,
    fetch_size: &FetchSize,
) -> Result<Client, KafkaError> {
    let client = Client::consumer(&settings.consumer(options.memory_bytes, fetch_size.bytes()))?;
    client.connect(Client::PATIENCE)?;
    Ok(client)
}

/// Since when nothing arrives, and when that was last looked into.
struct Quiet {
    since: Instant,
    looked: Instant,
}

impl Quiet {
    fn begin() -> Quiet {
        let now = Instant::now();
        Quiet {
            since: now,
            looked: now,
        }
    }

    /// Whether it is time to look and to say it, which counts as done.
    fn is_due(&mut self) -> bool {
        const EVERY: Duration = Duration::from_secs(10);
        let due = self.looked.elapsed() >= EVERY;
        if due {
            self.looked = Instant::now();
        }
        due
    }
}

/// Log start and end offset of one partition; the end as the client's isolation level shows it.
pub(super) fn log_bounds(
    client: &Client,
    topic: &str,
    partition: i32,
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
            partition,
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
