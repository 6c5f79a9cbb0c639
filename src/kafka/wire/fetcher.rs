//! Reads partitions of a whole cluster: from their leaders, wherever these are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::client::{ATTEMPT, WireClient};
use super::deadline::Deadline;
use super::error::WireError;
use super::fetched::FetchedBatches;
use super::leaders::Leader;
use super::offsets::UNKNOWN_TOPIC_PATIENCE;
use super::pool::FramePool;
use super::protocol::{ErrorCode, Isolation};
use super::reader::{ReadStep, Reader, Reading};
use crate::kafka::partition::TopicPartition;

/// How records are fetched.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Which records are read.
    pub isolation: Isolation,
    /// Bytes per response, of which there is one per broker at a time; a batch may exceed it.
    pub response_bytes: usize,
    /// Bytes per partition and response; a batch may exceed it.
    pub partition_bytes: usize,
    /// How long a broker may wait for records before it answers that there are none.
    pub max_wait: Duration,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            isolation: Isolation::ReadCommitted,
            response_bytes: 16 << 20,
            partition_bytes: 8 << 20,
            max_wait: Duration::from_millis(500),
        }
    }
}

/// What to read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRange {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset to read.
    pub start: i64,
    /// The offset to stop at, itself excluded; `None` to follow the partition.
    pub end: Option<i64>,
    /// The leader epoch of the record before `start`, where it is known: a log that was truncated before `start` is then an error.
    pub last_epoch: Option<i32>,
}

/// What a [`Fetcher`] has to report.
#[derive(Debug)]
pub enum FetchEvent {
    /// Batches of one partition: offsets ascend from event to event.
    Batches(FetchedBatches),
    /// A partition has been read up to its end, and is read no more.
    Finished(TopicPartition),
    /// A partition cannot be read, and is read no more.
    Failed(TopicPartition, WireError),
}

impl FetchEvent {
    pub(super) fn partition(&self) -> &TopicPartition {
        match self {
            FetchEvent::Batches(fetched) => &fetched.partition,
            FetchEvent::Finished(partition) | FetchEvent::Failed(partition, _) => partition,
        }
    }
}

/// Reads partitions until they end. Leaders that change, brokers that restart and connections that end are followed; a partition fails
/// for good where its broker's answer is final, or where nothing but failures has come for the time of a stall.
///
/// Memory: one response per broker at a time, and those whose batches the caller still holds.
pub struct Fetcher {
    client: WireClient,
    options: FetchOptions,
    pool: FramePool,
    /// What is under way: one step per broker, and look-ups of leaders.
    steps: FuturesUnordered<Pin<Box<dyn Future<Output = Step> + Send>>>,
    /// Brokers with a step under way.
    busy: BTreeSet<i32>,
    /// Partitions to read from a broker as soon as its step is done.
    joining: BTreeMap<i32, Vec<Reading>>,
    /// Partitions whose leader is to be looked up, and when.
    homeless: Vec<(Instant, Reading)>,
    /// Partitions that the caller wants no more of.
    removed: BTreeSet<TopicPartition>,
    /// When the caller last asked again after a while: its own pauses are no stall of a leader's.
    resumed: Instant,
    /// When the caller was last given an event.
    returned: Instant,
    events: VecDeque<FetchEvent>,
    /// Why each of these partitions is being read again.
    troubles: BTreeMap<TopicPartition, String>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once per response, and a box would be allocated as often"
)]
enum Step {
    Read(ReadStep),
    Located(Vec<(Reading, Result<Leader, WireError>)>),
}

/// How long a caller may take with one event before its time counts as away.
const PAUSE: Duration = Duration::from_secs(1);

/// Idle buffers that a fetcher keeps: two per broker of a small cluster.
const IDLE_BUFFERS: usize = 8;

impl WireClient {
    /// Begins to read. Nothing is sent before [`Fetcher::next`] is called.
    #[must_use]
    pub fn fetcher(&self, options: FetchOptions, ranges: Vec<FetchRange>) -> Fetcher {
        let most_bytes = options.response_bytes.saturating_mul(2);
        let mut fetcher = Fetcher {
            client: self.clone(),
            pool: FramePool::new(IDLE_BUFFERS, most_bytes),
            options,
            steps: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            joining: BTreeMap::new(),
            homeless: Vec::new(),
            removed: BTreeSet::new(),
            resumed: Instant::now(),
            returned: Instant::now(),
            events: VecDeque::new(),
            troubles: BTreeMap::new(),
        };
        for range in ranges {
            fetcher.add(range);
        }
        fetcher
    }
}

impl Fetcher {
    /// Reads one more partition, or one that had failed, from where the caller says.
    pub fn add(&mut self, range: FetchRange) {
        let FetchRange {
            partition,
            start,
            end,
            last_epoch,
        } = range;
        let reading = Reading::new(partition, start, last_epoch, end, self.client.backoff());
        if reading.is_finished() {
            let finished = FetchEvent::Finished(reading.partition);
            self.events.push_back(finished);
        } else {
            self.homeless.push((Instant::now(), reading));
        }
    }

    /// Reads a partition no further, and reports nothing more of it. It cannot be added again.
    pub fn remove(&mut self, partition: &TopicPartition) {
        self.events.retain(|event| event.partition() != partition);
        self.homeless
            .retain(|(_, reading)| reading.partition != *partition);
        // What is under way is passed over when it arrives.
        self.removed.insert(partition.clone());
    }

    /// Returns why a partition is being read again; `None` where its last request was answered, or is the first.
    pub(super) fn trouble(&self, partition: &TopicPartition) -> Option<&str> {
        self.troubles.get(partition).map(String::as_str)
    }

    /// Returns the next event; `None` once no partition is left. It may be cancelled, and nothing is lost.
    pub async fn next(&mut self) -> Option<FetchEvent> {
        if self.returned.elapsed() >= PAUSE {
            self.resumed = Instant::now();
        }
        let event = self.next_event().await;
        self.returned = Instant::now();
        event
    }

    async fn next_event(&mut self) -> Option<FetchEvent> {
        loop {
            // As long as it waits, it was not away; a call that is cancelled has waited, too.
            self.returned = Instant::now();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.locate_due();
            let next_due = self.homeless.iter().map(|(due, _)| *due).min();
            let step = match (self.steps.is_empty(), next_due) {
                (true, None) => return None,
                (true, Some(due)) => {
                    sleep_until(due).await;
                    continue;
                }
                (false, None) => self.steps.next().await,
                (false, Some(due)) => tokio::select! {
                    step = self.steps.next() => step,
                    () = sleep_until(due) => continue,
                },
            };
            match step {
                Some(Step::Read(step)) => self.take_read(step),
                Some(Step::Located(located)) => self.take_located(located),
                None => {}
            }
        }
    }

    /// Looks the leaders up of all partitions that are due, in one step.
    fn locate_due(&mut self) {
        let now = Instant::now();
        let all = self.homeless.drain(..);
        let (due, later): (Vec<_>, Vec<_>) = all.partition(|(due, _)| *due <= now);
        self.homeless = later;
        if !due.is_empty() {
            let due = due.into_iter().map(|(_, reading)| reading).collect();
            let located = locate(self.client.clone(), due);
            self.steps
                .push(Box::pin(async { Step::Located(located.await) }));
        }
    }

    fn take_located(&mut self, located: Vec<(Reading, Result<Leader, WireError>)>) {
        let mut brokers = BTreeSet::new();
        for (mut reading, leader) in located {
            if self.removed.contains(&reading.partition) {
                continue;
            }
            match leader {
                Ok(leader) => {
                    reading.current_epoch = leader.epoch;
                    reading.topic_id = leader.topic_id;
                    self.joining.entry(leader.broker).or_default().push(reading);
                    brokers.insert(leader.broker);
                }
                Err(error) => self.lose(reading, error),
            }
        }
        for broker in brokers {
            if self.busy.contains(&broker) {
                // They join when its present step is done.
                continue;
            }
            let options = self.options.clone();
            let reader = Reader::new(self.client.clone(), options, self.pool.clone(), broker);
            self.read_on(reader);
        }
    }

    fn take_read(&mut self, step: ReadStep) {
        let ReadStep {
            reader,
            fetched,
            finished,
            lost,
        } = step;
        self.busy.remove(&reader.broker);
        for batches in &fetched {
            self.troubles.remove(&batches.partition);
        }
        let fetched = fetched.into_iter().map(FetchEvent::Batches);
        let finished = finished.into_iter().map(FetchEvent::Finished);
        let events = fetched.chain(finished);
        let is_read = |event: &FetchEvent| !self.removed.contains(event.partition());
        self.events.extend(events.filter(is_read));
        let is_new = |(reading, error): &&(Reading, WireError)| {
            error.is_damage() && reading.damaged_at != Some(reading.position)
        };
        if let Some((_, error)) = lost.iter().find(is_new) {
            tracing::warn!("{error}; it is fetched once more, on another connection");
        }
        for (reading, error) in lost {
            if !self.removed.contains(&reading.partition) {
                self.lose(reading, error);
            }
        }
        self.read_on(reader);
    }

    /// Begins the next step of a broker, with the partitions that joined meanwhile.
    fn read_on(&mut self, mut reader: Reader) {
        let joining = self.joining.remove(&reader.broker);
        reader.readings.extend(joining.unwrap_or_default());
        let is_read = |reading: &Reading| !self.removed.contains(&reading.partition);
        reader.readings.retain(is_read);
        if reader.readings.is_empty() {
            return;
        }
        self.busy.insert(reader.broker);
        self.steps
            .push(Box::pin(async { Step::Read(reader.step().await) }));
    }

    /// Looks a partition's leader up again, or reports its failure.
    fn lose(&mut self, mut reading: Reading, error: WireError) {
        let now = Instant::now();
        if error.code().is_some_and(ErrorCode::is_unknown_topic) {
            reading.unknown_since.get_or_insert(now);
        } else {
            reading.unknown_since = None;
        }
        let is_unknown = reading
            .unknown_since
            .is_some_and(|since| now.duration_since(since) >= UNKNOWN_TOPIC_PATIENCE);
        let heard = reading.heard.max(self.resumed);
        let is_stalled = now.duration_since(heard) >= self.client.settings().stall_timeout;
        let position = Some(reading.position);
        let is_first_damage = error.is_damage() && reading.damaged_at != position;
        if !(error.is_transient() || is_first_damage) || is_unknown || is_stalled {
            let failed = FetchEvent::Failed(reading.partition, error);
            self.events.push_back(failed);
            return;
        }
        if is_first_damage {
            reading.damaged_at = position;
        }
        tracing::debug!("reading {} again: {error}", reading.partition);
        self.troubles
            .insert(reading.partition.clone(), error.as_cause());
        self.client.forget_leader(&reading.partition);
        let pause = reading.backoff.pause();
        self.homeless.push((now + pause, reading));
    }
}

/// Finds the leader of each partition, and checks that it has what was read of it before.
async fn locate(
    client: WireClient,
    readings: Vec<Reading>,
) -> Vec<(Reading, Result<Leader, WireError>)> {
    let deadline = Deadline::after(ATTEMPT);
    let partitions = readings.iter().map(|reading| &reading.partition);
    let mut failures = client.find_leaders(partitions, deadline).await;
    let mut located = Vec::with_capacity(readings.len());
    for reading in readings {
        let leader = match failures.remove(&reading.partition) {
            Some(error) => Err(error),
            None => known_leader(&client, &reading),
        };
        located.push((reading, leader));
    }
    // A leader of another epoch may have a shorter log (KIP-320).
    let suspects = located.iter().filter_map(|(reading, leader)| {
        let leader = leader.as_ref().ok()?;
        let epoch = reading.last_epoch?;
        let is_new = leader.epoch != reading.current_epoch && leader.epoch >= 0;
        is_new.then(|| (reading.partition.clone(), epoch))
    });
    let suspects: Vec<_> = suspects.collect();
    if suspects.is_empty() {
        return located;
    }
    let mut ends = client.epoch_ends(&suspects).await;
    for (reading, leader) in &mut located {
        match ends.remove(&reading.partition) {
            Some(Ok(end)) => {
                // Where the leader knows no epochs, the offset itself is all that can be checked, and the next fetch does.
                let end_offset = end.end_offset.filter(|end| *end < reading.position);
                if let Some(end_offset) = end_offset {
                    *leader = Err(WireError::Truncated {
                        partition: reading.partition.clone(),
                        position: reading.position,
                        end_offset,
                    });
                }
            }
            Some(Err(WireError::NoVersion { .. })) | None => {}
            Some(Err(error)) => *leader = Err(error),
        }
    }
    located
}

fn known_leader(client: &WireClient, reading: &Reading) -> Result<Leader, WireError> {
    let no_leader = |code| WireError::NoLeader {
        partition: reading.partition.clone(),
        code,
    };
    let leader = client
        .leader(&reading.partition)
        .unwrap_or(Err(ErrorCode::LEADER_NOT_AVAILABLE))
        .map_err(no_leader)?;
    let is_other = reading.topic_id.is_some() && reading.topic_id != leader.topic_id;
    if is_other {
        return Err(WireError::Recreated {
            topic: reading.partition.topic.clone(),
        });
    }
    Ok(leader)
}
