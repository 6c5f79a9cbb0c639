//! Reads the partitions of one broker over one connection, of which the next request always leaves before the last response is used.

use bytes::Bytes;
use kbk_format::batch::CheckedBatches;
use kbk_format::{ErrorClass, FormatError};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::client::WireClient;
use super::connection::{Connection, Frame, Limits};
use super::deadline::Deadline;
use super::error::WireError;
use super::fetched::{FetchedBatches, walk};
use super::fetcher::FetchOptions;
use super::pool::FramePool;
use super::protocol::{
    Api, ErrorCode, FetchPartition, FetchRequest, FetchTopic, FetchedPartition, Response, TopicId,
};
use crate::kafka::partition::TopicPartition;

/// A partition that is being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) partition: TopicPartition,
    /// By which a topic that was created again is known.
    pub(super) topic_id: Option<TopicId>,
    /// The epoch of the leader that is read from; -1 before the first.
    pub(super) current_epoch: i32,
    /// Where it began. It may be within a batch; every other position is one past a batch.
    start: i64,
    /// The next offset.
    pub(super) position: i64,
    /// The epoch of the last record before it, by which a truncation is known.
    pub(super) last_epoch: Option<i32>,
    /// Where to stop.
    pub(super) end: Option<i64>,
    /// A batch that is larger than what is usually asked for.
    needed_bytes: Option<usize>,
    /// About how many bytes an offset takes, by the last response.
    offset_bytes: u64,
    /// Whether the last response had records of it.
    had_records: bool,
    /// When its leader last answered; at first, when it was added.
    pub(super) heard: Instant,
    /// Since when its topic is said not to exist.
    pub(super) unknown_since: Option<Instant>,
    /// The position at which a response was damaged: what is damaged there once more is damaged in the log.
    pub(super) damaged_at: Option<i64>,
    pub(super) backoff: Backoff,
}

impl Reading {
    pub(super) fn new(
        partition: TopicPartition,
        position: i64,
        last_epoch: Option<i32>,
        end: Option<i64>,
        backoff: Backoff,
    ) -> Reading {
        Reading {
            partition,
            topic_id: None,
            current_epoch: -1,
            start: position,
            position,
            last_epoch,
            end,
            needed_bytes: None,
            offset_bytes: OFFSET_BYTES,
            had_records: false,
            heard: Instant::now(),
            unknown_since: None,
            damaged_at: None,
            backoff,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// Returns how much to ask for: what is left of the range, as far as that is known, and no more than `most`.
    fn wanted_bytes(&self, most: usize) -> usize {
        let left = self.end.map(|end| end.abs_diff(self.position));
        let left = left.map(|offsets| offsets.saturating_mul(self.offset_bytes));
        let left = left.and_then(|bytes| usize::try_from(bytes).ok());
        let wanted = left.map_or(most, |bytes| bytes.max(SMALLEST_BYTES).min(most));
        wanted.max(self.needed_bytes.unwrap_or_default())
    }

    /// Notes how many bytes these offsets took.
    fn measure(&mut self, bytes: usize, offsets: u64) {
        let per_offset = (bytes as u64).div_ceil(offsets.max(1));
        // A quarter more, so that the end is seldom missed by a few bytes.
        self.offset_bytes = per_offset.saturating_add(per_offset / 4).max(1);
    }
}

/// What an offset is taken to need before anything was read.
const OFFSET_BYTES: u64 = 1 << 10;
/// The largest batch that is expected beyond what was asked for: five times what brokers accept in a request by default.
const LARGEST_BATCH_BYTES: usize = 512 << 20;
/// What is asked for at least.
const SMALLEST_BYTES: usize = 64 << 10;

/// Reads from one broker.
pub(super) struct Reader {
    client: WireClient,
    options: FetchOptions,
    pool: FramePool,
    connection: Option<Connection>,
    pub(super) broker: i32,
    pub(super) readings: Vec<Reading>,
    /// The room of an earlier list of readings.
    spare: Vec<Reading>,
}

/// What one response has brought.
pub(super) struct ReadStep {
    pub(super) reader: Reader,
    pub(super) fetched: Vec<FetchedBatches>,
    /// Partitions that reached their ends.
    pub(super) finished: Vec<TopicPartition>,
    /// Partitions that are no longer read from this broker.
    pub(super) lost: Vec<(Reading, WireError)>,
}

impl Reader {
    pub(super) fn new(
        client: WireClient,
        options: FetchOptions,
        pool: FramePool,
        broker: i32,
    ) -> Reader {
        Reader {
            client,
            options,
            pool,
            connection: None,
            broker,
            readings: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Receives one response, and sends the next request.
    pub(super) async fn step(mut self) -> ReadStep {
        let mut fetched = Vec::new();
        let mut finished = Vec::new();
        let mut lost: Vec<(Reading, WireError)> = Vec::new();
        let result = self.try_step(&mut fetched, &mut finished, &mut lost).await;
        if lost.iter().any(|(_, error)| error.is_damage()) {
            // The damage may be one of this connection, and what it still brings, too.
            self.connection = None;
        }
        if let Err(error) = result {
            self.connection = None;
            let all = self.readings.drain(..);
            lost.extend(all.map(|reading| (reading, error.clone())));
        }
        ReadStep {
            reader: self,
            fetched,
            finished,
            lost,
        }
    }

    async fn try_step(
        &mut self,
        fetched: &mut Vec<FetchedBatches>,
        finished: &mut Vec<TopicPartition>,
        lost: &mut Vec<(Reading, WireError)>,
    ) -> Result<(), WireError> {
        let attempt = self.client.settings().attempt_timeout;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(Deadline::after(attempt)).await?,
        };
        if !connection.is_waiting() {
            if let Some(until) = connection.paused_until() {
                sleep_until(until).await;
                // That time is no stall.
                let heard = Instant::now();
                let readings = self.readings.iter_mut();
                readings.for_each(|reading| reading.heard = heard);
            }
            self.send(&mut connection, Deadline::after(attempt)).await?;
        }
        let deadline = Deadline::after(self.options.max_wait + attempt);
        let frame = connection.receive(deadline).await?;
        let received = self.read(&mut connection, &frame)?;
        self.client.note_throttle(&connection);
        for (reading, error) in received.lost {
            lost.push((reading, error));
        }
        let is_done = |reading: &mut Reading| reading.is_finished();
        let done: Vec<Reading> = self.readings.extract_if(.., is_done).collect();
        // Those that got nothing come first next time: a broker fills a response in this order.
        self.readings.sort_by_key(|reading| reading.had_records);
        // Before the checksums are computed, and long before the caller has used the records. Where it fails, what has been received is
        // valid all the same: the positions are past it.
        // Where a quota makes it wait, the caller gets them first. A batch far larger than what was asked for is not to be in memory twice.
        let is_large = frame.bytes.len() / 2 > self.options.response_bytes;
        let waits = is_large || connection.paused_until().is_some();
        let sent = match self.readings.is_empty() || waits {
            true => Ok(()),
            false => self.send(&mut connection, Deadline::after(attempt)).await,
        };
        self.readings.extend(done);
        let mut intact = received.fetched;
        intact.retain_mut(|batches| {
            let Some(source) = batches.keep_intact() else {
                return true;
            };
            let (partition, position) = (&batches.partition, batches.next_position);
            // The request under way asks for it as well; that answer is passed over.
            let is_damaged = |reading: &mut Reading| reading.partition == *partition;
            let mut damaged: Vec<Reading> = self.readings.extract_if(.., is_damaged).collect();
            let lost_before = lost.extract_if(.., |(reading, _)| reading.partition == *partition);
            damaged.extend(lost_before.map(|(reading, _)| reading));
            for mut reading in damaged {
                reading.position = position;
                if reading.is_finished() {
                    self.readings.push(reading);
                } else {
                    let error = batch_error(&frame, partition, source.clone());
                    lost.push((reading, error));
                }
            }
            !batches.bytes().is_empty()
        });
        *fetched = intact;
        let done = self
            .readings
            .extract_if(.., |reading| reading.is_finished());
        finished.extend(done.map(|reading| reading.partition));
        sent?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self, deadline: Deadline) -> Result<Connection, WireError> {
        let asked = self.options.response_bytes;
        // A broker returns the first batch whole, however large it is.
        let most = asked.saturating_add(LARGEST_BATCH_BYTES);
        let limits = Limits {
            expected_bytes: asked.saturating_add(64 << 10),
            most_bytes: self.client.settings().most_response_bytes.unwrap_or(most),
        };
        let pool = self.pool.clone();
        self.client
            .connect(self.broker, pool, limits, deadline)
            .await
    }

    async fn send(&self, connection: &mut Connection, deadline: Deadline) -> Result<(), WireError> {
        let topics = self
            .readings
            .chunk_by(|a, b| a.partition.topic == b.partition.topic)
            .filter_map(|chunk| {
                let first = chunk.first()?;
                let partitions = chunk.iter().map(|reading| FetchPartition {
                    partition: reading.partition.partition.get(),
                    current_leader_epoch: reading.current_epoch,
                    offset: reading.position,
                    max_bytes: number(reading.wanted_bytes(self.options.partition_bytes)),
                });
                Some(FetchTopic {
                    name: &first.partition.topic,
                    id: first.topic_id.unwrap_or_default(),
                    partitions: partitions.collect(),
                })
            });
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: number(self.options.response_bytes),
            isolation: self.options.isolation,
            topics: topics.collect(),
        };
        connection.send(&request, deadline).await
    }

    /// Reads a response to what [`send`](Self::send) asked for, and moves the positions.
    fn read(&mut self, connection: &mut Connection, frame: &Frame) -> Result<Received, WireError> {
        let response = connection.decode::<FetchRequest<'_>>(frame)?;
        if response.error != ErrorCode::NONE {
            return Err(WireError::Broker {
                broker: frame.broker.clone(),
                request: Api::Fetch,
                code: response.error,
            });
        }
        // A broker that makes the client wait for a quota leaves all partitions out.
        if response.partitions.is_empty() && !response.throttle().is_zero() {
            let heard = Instant::now();
            let readings = self.readings.iter_mut();
            readings.for_each(|reading| reading.heard = heard);
            return Ok(Received::default());
        }
        let mut received = Received::default();
        let mut kept = std::mem::take(&mut self.spare);
        let readings = std::mem::take(&mut self.readings);
        // Both lists keep their places in memory: they are converted there.
        let mut readings: Vec<Option<Reading>> = readings.into_iter().map(Some).collect();
        // Brokers answer in the order of the request, but nothing says so.
        let mut next = 0;
        for answer in &response.partitions {
            let mut places = (next..readings.len()).chain(0..next);
            let asked = places.find_map(|place| {
                let slot = readings.get_mut(place)?;
                let reading = slot.take_if(|reading| is_about(answer, reading))?;
                next = place + 1;
                Some(reading)
            });
            // One that was not asked for, a second time, or one that was damaged in the response before.
            let Some(mut reading) = asked else {
                continue;
            };
            match self.advance(&mut reading, answer, frame) {
                Ok((batches, damage)) => {
                    received.fetched.extend(batches);
                    match damage {
                        Some(error) if !reading.is_finished() => {
                            received.lost.push((reading, error));
                        }
                        _ => kept.push(reading),
                    }
                }
                Err(error) => received.lost.push((reading, error)),
            }
        }
        let mut missing: Vec<Reading> = readings.into_iter().flatten().collect();
        received.lost.extend(missing.drain(..).map(|reading| {
            let error = WireError::Missing {
                broker: frame.broker.clone(),
                request: Api::Fetch,
                partition: reading.partition.clone(),
            };
            (reading, error)
        }));
        self.spare = missing;
        self.readings = kept;
        Ok(received)
    }

    /// Moves a partition's position by an answer. The batches before one that is damaged are returned together with the damage.
    fn advance(
        &self,
        reading: &mut Reading,
        answer: &FetchedPartition<'_>,
        frame: &Frame,
    ) -> Result<(Option<FetchedBatches>, Option<WireError>), WireError> {
        if answer.error != ErrorCode::NONE {
            return Err(WireError::Partition {
                broker: frame.broker.clone(),
                request: Api::Fetch,
                subject: reading.partition.to_string(),
                code: answer.error,
            });
        }
        let walked = walk(answer.records);
        let damage = walked
            .damage
            .map(|source| batch_error(frame, &reading.partition, source));
        reading.heard = Instant::now();
        reading.unknown_since = None;
        reading.backoff.reset();
        reading.needed_bytes = walked.needed_bytes;
        reading.had_records = walked.last.is_some();
        let Some(last) = walked.last else {
            return damage.map_or(Ok((None, None)), Err);
        };
        let next_position = last.last_offset + 1;
        let class = ErrorClass::Inconsistent;
        if next_position <= reading.position {
            let detail = format!(
                "ends before offset {next_position}, and offset {} was asked for",
                reading.position
            );
            let error = FormatError::new(class, "record batch", 0, detail);
            return Err(batch_error(frame, &reading.partition, error));
        }
        // Offsets are outside of the checksum: a batch whose base offset is damaged would pass for one that was asked for in its middle.
        let base_offset = walked.base_offset.unwrap_or(reading.position);
        if reading.position > reading.start && base_offset < reading.position {
            let detail = format!(
                "begins at offset {base_offset}, and the batch before it ends with offset {}",
                reading.position - 1
            );
            let error = FormatError::new(class, "record batch", 0, detail);
            return Err(batch_error(frame, &reading.partition, error));
        }
        let whole = answer.records.get(..walked.whole_bytes);
        let bytes: Bytes = frame.bytes.slice_ref(whole.unwrap_or_default());
        let position = std::mem::replace(&mut reading.position, next_position);
        reading.measure(bytes.len(), next_position.abs_diff(position));
        if last.leader_epoch >= 0 {
            reading.last_epoch = Some(last.leader_epoch);
        }
        let fetched = FetchedBatches {
            partition: reading.partition.clone(),
            position,
            next_position,
            high_watermark: answer.high_watermark,
            last_stable_offset: Some(answer.last_stable_offset).filter(|offset| *offset >= 0),
            log_start_offset: Some(answer.log_start_offset).filter(|offset| *offset >= 0),
            leader_epoch: reading.last_epoch,
            isolation: self.options.isolation,
            aborted: answer.aborted.clone(),
            unchecked: bytes,
            checked: CheckedBatches::default(),
        };
        Ok((Some(fetched), damage))
    }
}

fn batch_error(frame: &Frame, partition: &TopicPartition, source: FormatError) -> WireError {
    WireError::Batch {
        broker: frame.broker.clone(),
        partition: partition.clone(),
        source,
    }
}

/// What a response has, before checksums.
#[derive(Default)]
struct Received {
    fetched: Vec<FetchedBatches>,
    lost: Vec<(Reading, WireError)>,
}

/// Whether an answer is about this partition. It names the topic or the topic's id.
fn is_about(answer: &FetchedPartition<'_>, reading: &Reading) -> bool {
    let is_topic = match answer.topic {
        "" => reading.topic_id == Some(answer.topic_id),
        name => name == reading.partition.topic,
    };
    is_topic && answer.partition == reading.partition.partition.get()
}

/// A size as requests have it.
fn number(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
