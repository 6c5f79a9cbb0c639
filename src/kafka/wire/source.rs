//! Reads ranges of partitions for the engine: from fetched batches, where the records are lent from, into a [`RecordHandler`].
//!
//! A [`WireSource`] drives its own connections on the thread that calls it. To use more cores, run several, each with its share of the
//! partitions and of the memory.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use kbk_format::FormatError;
use kbk_format::batch::{BatchDecoder, BatchHeader, CheckedBatch};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::client::{ATTEMPT, WireClient, runtime};
use super::error::WireError;
use super::fetched::{BatchKind, FetchedBatches};
use super::fetcher::{FetchEvent, FetchOptions, FetchRange, Fetcher};
use super::leaders::ClusterMetadata;
use super::offsets::OffsetQuery;
use super::protocol::{ErrorCode, Isolation};
use super::settings::WireSettings;
use crate::kafka::error::KafkaError;
use crate::kafka::handler::{RecordHandler, SourceError};
use crate::kafka::options::SourceOptions;
use crate::kafka::outage;
use crate::kafka::partition::{PartitionRange, TopicPartition};
use crate::kafka::permission::{AclOperation, Permission};
use crate::kafka::settings::ClientSettings;

/// Reads ranges of partitions to their ends.
pub struct WireSource {
    // Dropped in this order: connections before the runtime that they are registered with.
    fetcher: Fetcher,
    client: WireClient,
    runtime: Runtime,
    decoder: BatchDecoder,
    numbers: HashMap<TopicPartition, usize>,
    slots: Vec<Slot>,
    unfinished: usize,
    addresses: String,
    /// How long nothing may arrive.
    patience: Duration,
    is_in_outage: bool,
}

/// One range and how far it has been read.
struct Slot {
    range: PartitionRange,
    partition: TopicPartition,
    /// The next offset to read; everything before it was delivered, reported hidden or lost, or does not exist.
    position: i64,
    is_finished: bool,
    /// How often the broker rejected the position since the last record.
    rejections: u32,
}

/// The first offset of a log, and its visible end.
#[derive(Clone, Copy)]
struct Bounds {
    start: i64,
    end: i64,
}

/// How often a handler hears of a source that waits.
const TICK: Duration = Duration::from_millis(100);
/// Bytes that a broker is asked for, however many there are.
const FEWEST_BYTES: usize = 1 << 20;

impl WireSource {
    /// Connects, and prepares to read `ranges`, no two of which may belong to one partition.
    ///
    /// # Errors
    ///
    /// Where no broker answers, or a property cannot be honoured.
    pub fn open(
        settings: &ClientSettings,
        options: &SourceOptions,
        ranges: Vec<PartitionRange>,
    ) -> Result<WireSource, KafkaError> {
        let addresses = settings.bootstrap_servers().to_owned();
        let doing = "describe its topics";
        let wire = WireSettings::new(settings)
            .map_err(|error| error.into_kafka(&addresses, doing, None))?;
        let runtime = runtime()?;
        let client = WireClient::new(wire);
        let topics: BTreeSet<&str> = ranges.iter().map(|range| range.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let metadata = runtime
            .block_on(client.metadata(Some(&topics)))
            .map_err(|error| error.into_kafka(&addresses, doing, None))?;
        let slots: Vec<Slot> = ranges.into_iter().map(Slot::new).collect();
        let bytes = (options.memory_bytes / leaders(&metadata, &slots)).max(FEWEST_BYTES);
        let options = FetchOptions {
            response_bytes: bytes,
            partition_bytes: bytes,
            ..FetchOptions::default()
        };
        let fetched = slots.iter().map(Slot::rest).collect();
        let fetcher = client.fetcher(options, fetched);
        let numbered = slots.iter().enumerate();
        Ok(WireSource {
            fetcher,
            client,
            runtime,
            decoder: BatchDecoder::new(),
            numbers: numbered
                .map(|(number, slot)| (slot.partition.clone(), number))
                .collect(),
            unfinished: slots.len(),
            slots,
            addresses,
            patience: settings.timeout(),
            is_in_outage: false,
        })
    }

    /// Reads until every range is finished. After an error the source can only be dropped.
    ///
    /// # Errors
    ///
    /// Those of the cluster as a whole, and of the handler.
    pub fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>> {
        let mut silence = Silence::start();
        while self.unfinished > 0 {
            match self.wait() {
                Some(event) => {
                    if !matches!(event, FetchEvent::Failed(..)) {
                        self.answered();
                    }
                    self.handle(event, handler)?;
                    silence = Silence::start();
                }
                // A quota makes it wait.
                None if self.client.silence_since(silence.since.into()).is_zero() => {
                    silence = Silence::start();
                }
                None if silence.is_due(self.patience) => {
                    self.look_into(silence.since.elapsed(), handler)?;
                }
                None => {}
            }
            handler.idle().map_err(SourceError::Handler)?;
        }
        Ok(())
    }

    /// Waits for the next event, for a while.
    fn wait(&mut self) -> Option<FetchEvent> {
        let fetcher = &mut self.fetcher;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                Some(event) = fetcher.next() => Some(event),
                () = sleep(TICK) => None,
            }
        })
    }

    /// Asks the cluster something, while the handler may stop the read.
    fn ask<T, H: RecordHandler>(
        &self,
        question: impl Future<Output = T>,
        handler: &mut H,
    ) -> Result<T, SourceError<H::Error>> {
        let mut question = Box::pin(question);
        loop {
            let asked = self
                .runtime
                .block_on(async { timeout(TICK, &mut question).await });
            if let Ok(answer) = asked {
                return Ok(answer);
            }
            handler.idle().map_err(SourceError::Handler)?;
        }
    }

    fn handle<H: RecordHandler>(
        &mut self,
        event: FetchEvent,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let number = self.numbers.get(event.partition()).copied();
        let Some(number) = number.filter(|&number| !self.slots[number].is_finished) else {
            return Ok(());
        };
        match event {
            FetchEvent::Batches(fetched) => self.batches(number, &fetched, handler),
            FetchEvent::Finished(_) => self.finish(number, handler),
            FetchEvent::Failed(_, error) => self.failed(number, error, handler),
        }
    }

    fn batches<H: RecordHandler>(
        &mut self,
        number: usize,
        fetched: &FetchedBatches,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        self.slots[number].rejections = 0;
        for batch in fetched.batches() {
            let (slot, decoder) = (&mut self.slots[number], &mut self.decoder);
            let read = match batch {
                Ok((batch, kind)) => slot
                    .read(number, &batch, kind, decoder, handler)
                    .map_err(SourceError::Handler)?,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                let error = self.slots[number].damaged(&error);
                return self.give_up(number, error, handler);
            }
            handler.idle().map_err(SourceError::Handler)?;
        }
        Ok(())
    }

    fn finish<H: RecordHandler>(
        &mut self,
        number: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let slot = &mut self.slots[number];
        if slot.position < slot.range.end {
            // Never seen; what was not read must not pass for what does not exist.
            let error = KafkaError::Other {
                doing: format!("read {} at offset {}", slot.partition, slot.position),
                cause: format!("it ended before offset {}", slot.range.end),
            };
            return self.give_up(number, error, handler);
        }
        slot.is_finished = true;
        self.unfinished -= 1;
        handler.finished(number).map_err(SourceError::Handler)
    }

    /// Stops reading a partition for a reason that concerns no other one.
    fn give_up<H: RecordHandler>(
        &mut self,
        number: usize,
        error: KafkaError,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let slot = &mut self.slots[number];
        slot.is_finished = true;
        self.unfinished -= 1;
        self.fetcher.remove(&slot.partition);
        handler.unreadable(number, error)
    }

    /// Handles a partition that the fetcher reads no more.
    fn failed<H: RecordHandler>(
        &mut self,
        number: usize,
        error: WireError,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) {
            return self.rejected(number, handler);
        }
        if let WireError::Truncated { end_offset, .. } = error {
            let bounds = self.bounds(&[number], handler)?.pop();
            let start = bounds.and_then(|(_, bounds)| bounds.ok());
            let bounds = Bounds {
                start: start.map_or(0, |bounds| bounds.start).min(end_offset),
                end: end_offset,
            };
            let error = self.slots[number].truncated(bounds);
            return self.give_up(number, error, handler);
        }
        // Whether the cluster can be reached at all is not a matter of this partition.
        if error.is_of_broker()
            && let Err(all) = self.ask(answers(self.client.clone()), handler)?
        {
            return Err(self.unreachable(all).into());
        }
        let error = self.of_slot(number, error);
        self.give_up(number, error, handler)
    }

    /// Handles a position that the broker rejects as out of range: resumes at the log start if that has moved past it.
    fn rejected<H: RecordHandler>(
        &mut self,
        number: usize,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        const TOO_OFTEN: u32 = 10;
        let bounds = match self.bounds(&[number], handler)?.pop() {
            Some((_, Ok(bounds))) => bounds,
            Some((_, Err(error))) => return self.give_up(number, error, handler),
            None => return Ok(()),
        };
        let slot = &mut self.slots[number];
        slot.rejections += 1;
        let position = slot.position;
        if position > bounds.end || slot.rejections > TOO_OFTEN {
            let error = slot.truncated(bounds);
            return self.give_up(number, error, handler);
        }
        if position < bounds.start {
            let to = bounds.start.min(slot.range.end);
            slot.position = to;
            handler
                .lost(number, position, to)
                .map_err(SourceError::Handler)?;
        }
        // Otherwise the leader was not up to date yet, and the same position is worth another attempt.
        let rest = self.slots[number].rest();
        self.fetcher.add(rest);
        Ok(())
    }

    /// Asks for the present bounds of some logs.
    #[expect(clippy::type_complexity, reason = "each of them has its own result")]
    fn bounds<H: RecordHandler>(
        &self,
        numbers: &[usize],
        handler: &mut H,
    ) -> Result<Vec<(usize, Result<Bounds, KafkaError>)>, SourceError<H::Error>> {
        let partitions = numbers
            .iter()
            .map(|&number| self.slots[number].partition.clone());
        let partitions: Vec<_> = partitions.collect();
        let client = self.client.clone();
        let asked = async {
            let isolation = Isolation::ReadCommitted;
            let first = client.list_offsets(&partitions, OffsetQuery::Earliest, isolation);
            let last = client.list_offsets(&partitions, OffsetQuery::Latest, isolation);
            let both = async { (first.await, last.await) };
            timeout(ATTEMPT, both).await.unwrap_or_default()
        };
        let (mut first, mut last) = self.ask(asked, handler)?;
        let bounds = numbers.iter().map(|&number| {
            let partition = &self.slots[number].partition;
            let doing = format!("ask for the offsets of {partition}");
            let offset = |found: Option<Result<_, WireError>>| match found {
                Some(Ok(super::FoundOffset {
                    offset: Some(offset),
                    ..
                })) => Ok(offset),
                Some(Err(error)) => {
                    Err(error.into_kafka(&self.addresses, &doing, Some(&partition.topic)))
                }
                Some(Ok(_)) | None => Err(KafkaError::Timeout {
                    doing: doing.clone(),
                    waited: ATTEMPT,
                    cause: match self.client.leader_name(partition) {
                        Some(leader) => format!("{leader} does not answer ListOffsets"),
                        None => "it has no leader".to_owned(),
                    },
                }),
            };
            let start = offset(first.remove(partition));
            let end = offset(last.remove(partition));
            let bounds = start.and_then(|start| Ok(Bounds { start, end: end? }));
            (number, bounds)
        });
        Ok(bounds.collect())
    }

    /// Says why nothing of a partition arrives whose leader answers other requests.
    fn silence(&self, number: usize) -> String {
        let partition = &self.slots[number].partition;
        if let Some(trouble) = self.fetcher.trouble(partition) {
            return trouble.to_owned();
        }
        match self.client.leader_name(partition) {
            Some(leader) => format!("{leader} sends nothing of it in answer to Fetch"),
            None => "it has no leader".to_owned(),
        }
    }

    /// Called while nothing arrives: asks the cluster why from time to time, and gives partitions up when that takes too long.
    fn look_into<H: RecordHandler>(
        &mut self,
        waited: Duration,
        handler: &mut H,
    ) -> Result<(), SourceError<H::Error>> {
        let reading: Vec<usize> = (0..self.slots.len())
            .filter(|&number| !self.slots[number].is_finished)
            .collect();
        let is_late = waited >= self.patience;
        let mut causes = Vec::new();
        for (number, bounds) in self.bounds(&reading, handler)? {
            let cause = match bounds {
                // The log reached the end of the range when the range was planned.
                Ok(bounds) if bounds.end < self.slots[number].range.end => {
                    let error = self.slots[number].truncated(bounds);
                    self.give_up(number, error, handler)?;
                    continue;
                }
                Ok(_) => self.silence(number),
                Err(
                    error @ (KafkaError::UnknownTopic { .. } | KafkaError::Authorization { .. }),
                ) => {
                    self.give_up(number, error, handler)?;
                    continue;
                }
                Err(error) => error.to_string(),
            };
            causes.push((number, cause));
        }
        if is_late
            && !causes.is_empty()
            && let Err(all) = self.ask(answers(self.client.clone()), handler)?
        {
            return Err(self.unreachable(all).into());
        }
        for (number, cause) in causes {
            let slot = &self.slots[number];
            let (partition, position) = (&slot.partition, slot.position);
            if is_late {
                let error = KafkaError::Timeout {
                    doing: format!("send {partition} from offset {position}"),
                    waited,
                    cause,
                };
                self.give_up(number, error, handler)?;
                continue;
            }
            let what = format!(
                "nothing of {partition} has arrived for {waited:.0?}: {cause}; waiting from offset {position} on"
            );
            if waited < Silence::LONG || self.is_in_outage {
                tracing::debug!("{what}");
            } else {
                self.is_in_outage = true;
                outage::began(&what, waited);
            }
        }
        Ok(())
    }

    fn answered(&mut self) {
        if std::mem::take(&mut self.is_in_outage) {
            outage::ended();
        }
    }

    fn unreachable(&self, error: WireError) -> KafkaError {
        let cause = match &error {
            WireError::Connect { .. }
            | WireError::Tls { .. }
            | WireError::Authentication { .. } => {
                return error.into_kafka(&self.addresses, "read", None);
            }
            other => other.to_string(),
        };
        KafkaError::Unreachable {
            addresses: self.addresses.clone(),
            cause,
            next: crate::kafka::cause::Cause::NEXT,
        }
    }

    /// Describes a failure of a partition, and the permission that is missing where one is.
    fn of_slot(&self, number: usize, error: WireError) -> KafkaError {
        let Slot {
            range, position, ..
        } = &self.slots[number];
        let (topic, partition) = (&range.topic, range.partition);
        let is_about_topic = error.code().is_some_and(|code| {
            code.is_unknown_topic() || code == ErrorCode::TOPIC_AUTHORIZATION_FAILED
        });
        let doing = match error {
            _ if is_about_topic => format!("read topic {topic}"),
            // "The cluster did not ..."
            WireError::Timeout { .. } => format!("send {topic}/{partition} from offset {position}"),
            _ => format!("read {topic}/{partition} at offset {position}"),
        };
        error
            .into_kafka(&self.addresses, &doing, Some(topic))
            .needing(Permission::topic(AclOperation::Read, topic))
    }
}

impl Drop for WireSource {
    fn drop(&mut self) {
        if self.is_in_outage {
            outage::abandoned();
        }
    }
}

impl Slot {
    fn new(range: PartitionRange) -> Slot {
        Slot {
            partition: TopicPartition::new(&range.topic, range.partition),
            position: range.start,
            range,
            is_finished: false,
            rejections: 0,
        }
    }

    /// Returns what is left to read.
    fn rest(&self) -> FetchRange {
        FetchRange {
            partition: self.partition.clone(),
            start: self.position,
            end: Some(self.range.end),
            last_epoch: None,
        }
    }

    /// Hands over the records of a batch that are within the range, or that they are hidden.
    fn read<H: RecordHandler>(
        &mut self,
        number: usize,
        batch: &CheckedBatch<'_>,
        kind: BatchKind,
        decoder: &mut BatchDecoder,
        handler: &mut H,
    ) -> Result<Result<(), FormatError>, H::Error> {
        let header = batch.header();
        let after = header.last_offset.saturating_add(1);
        if after <= self.position {
            return Ok(Ok(()));
        }
        if kind != BatchKind::Data {
            let from = header.base_offset.max(self.position);
            let to = after.min(self.range.end);
            if from < to {
                handler.hidden(number, from, to)?;
            }
        } else if !(self.has_all(header) && handler.batch(number, batch)?) {
            let records = match decoder.decode(batch) {
                Ok(records) => records,
                Err(error) => return Ok(Err(error)),
            };
            let timestamp_type = header.attributes.timestamp_type();
            // Brokers return the batch that has an offset, whatever else it has.
            let wanted = self.position..self.range.end;
            for record in records.filter(|record| wanted.contains(&record.offset)) {
                handler.record(number, timestamp_type, &record)?;
            }
        }
        self.position = after;
        Ok(Ok(()))
    }

    /// Whether all records of a batch are wanted. That of message sets shows only once they are decoded.
    fn has_all(&self, header: &BatchHeader) -> bool {
        header.magic == 2
            && header.base_offset >= self.position
            && header.last_offset < self.range.end
    }

    fn truncated(&self, bounds: Bounds) -> KafkaError {
        KafkaError::OffsetOutOfRange {
            topic: self.range.topic.clone(),
            partition: self.range.partition,
            position: self.position,
            log_start_offset: bounds.start,
            log_end_offset: bounds.end,
        }
    }

    fn damaged(&self, error: &FormatError) -> KafkaError {
        KafkaError::Other {
            doing: format!("read {} at offset {}", self.partition, self.position),
            cause: error.to_string(),
        }
    }
}

/// Returns how many brokers lead the partitions of these slots, at least one.
fn leaders(metadata: &ClusterMetadata, slots: &[Slot]) -> usize {
    let leader = |slot: &Slot| {
        let topic = metadata.topics.get(&slot.partition.topic)?;
        topic.partitions.get(&slot.partition.partition)?.broker
    };
    let leaders: BTreeSet<i32> = slots.iter().filter_map(leader).collect();
    leaders.len().max(1)
}

/// Finds out whether any broker answers.
async fn answers(client: WireClient) -> Result<(), WireError> {
    client
        .metadata_by(Some(&[]), super::deadline::Deadline::after(ATTEMPT))
        .await
        .map(drop)
}

/// How long nothing has arrived, and when that was last looked into.
struct Silence {
    since: Instant,
    looked: Option<Instant>,
}

impl Silence {
    /// When to look first: brokers answer that there is nothing twice in this time.
    const SHORT: Duration = Duration::from_secs(1);
    /// When to look again, and to say so.
    const LONG: Duration = Duration::from_secs(10);

    fn start() -> Silence {
        Silence {
            since: Instant::now(),
            looked: None,
        }
    }

    /// Whether it is time to look into it, within `patience` in any case; if so, the next time is due later.
    fn is_due(&mut self, patience: Duration) -> bool {
        let due = match self.looked {
            None => self.since.elapsed() >= Silence::SHORT.min(patience),
            Some(looked) => looked.elapsed() >= Silence::LONG.min(patience),
        };
        if due {
            self.looked = Some(Instant::now());
        }
        due
    }
}
