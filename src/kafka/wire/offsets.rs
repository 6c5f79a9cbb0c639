//! Questions about offsets, each sent to the leaders of its partitions, again and again where leaders change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use kbk_format::PartitionNumber;

use super::client::WireClient;
use super::deadline::Deadline;
use super::error::WireError;
use super::protocol::{
    EpochPartition, ErrorCode, Isolation, LeaderEpochRequest, LeaderEpochResponse,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, Request,
};
use crate::kafka::partition::TopicPartition;

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first: the log start offset.
    Earliest,
    /// One past the last that is visible: the high watermark, or the last stable offset.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds since 1970.
    AtTime(i64),
    /// The record with the largest timestamp (Kafka 3.0).
    MaxTimestamp,
    /// The first that is on the leader's disk, not only in tiered storage (Kafka 3.4).
    EarliestLocal,
    /// The last that is in tiered storage (Kafka 3.9).
    LastTiered,
}

impl OffsetQuery {
    fn timestamp(self) -> i64 {
        match self {
            OffsetQuery::Latest => -1,
            OffsetQuery::Earliest => -2,
            OffsetQuery::MaxTimestamp => -3,
            OffsetQuery::EarliestLocal => -4,
            OffsetQuery::LastTiered => -5,
            // Before 1970 there is nothing that the first record is not: negative numbers have other meanings.
            OffsetQuery::AtTime(time) => time.max(0),
        }
    }
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; `None` where there is none, such as after a time.
    pub offset: Option<i64>,
    /// The timestamp of the record, where one was looked for and found.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record at the offset, where the broker knows it.
    pub leader_epoch: Option<i32>,
}

/// Where a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundEpochEnd {
    /// The largest epoch up to the one that was asked for; `None` where the leader knows none.
    pub leader_epoch: Option<i32>,
    /// One past its last offset.
    pub end_offset: Option<i64>,
}

/// Answers by partition.
pub type PartitionAnswers<T> = BTreeMap<TopicPartition, Result<T, WireError>>;

/// How long a topic may be unknown: a broker that has just started says so of all topics.
pub(super) const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(3);

impl WireClient {
    /// Looks up an offset of each partition. Each has an answer or a failure of its own.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
        isolation: Isolation,
    ) -> PartitionAnswers<FoundOffset> {
        let queries = partitions
            .iter()
            .map(|partition| (partition.clone(), query));
        let asked = OffsetsOf {
            isolation,
            timeout_ms: i32::try_from(self.settings().attempt_timeout.as_millis())
                .unwrap_or(i32::MAX),
        };
        self.ask_leaders(&asked, queries.collect()).await
    }

    /// Looks up where a leader epoch of each partition ends in the log of its present leader.
    pub async fn epoch_ends(
        &self,
        epochs: &[(TopicPartition, i32)],
    ) -> PartitionAnswers<FoundEpochEnd> {
        self.ask_leaders(&EndsOfEpochs, epochs.iter().cloned().collect())
            .await
    }

    /// Asks the leader of each partition. What fails for a reason that may pass is asked again, of the leader that there is by then. The time
    /// of a request begins anew with each answer: the leaders of thousands of partitions are ready one after the other.
    async fn ask_leaders<Q: LeaderQuery>(
        &self,
        query: &Q,
        mut open: BTreeMap<TopicPartition, Q::Item>,
    ) -> PartitionAnswers<Q::Answer> {
        let mut deadline = Deadline::after(self.settings().request_timeout);
        let mut backoff = self.backoff();
        let mut answers = BTreeMap::new();
        loop {
            let mut failures = self.find_leaders(open.keys(), deadline).await;
            let asked = self.by_leader(&open, &mut failures);
            let asking = asked.iter().map(|(broker, items)| async move {
                let found = self.ask_leader(query, *broker, items, deadline).await;
                (items, found)
            });
            let before = answers.len();
            for (items, found) in join_all(asking).await {
                match found {
                    Ok(found) => {
                        for (partition, answer) in found {
                            match answer {
                                Ok(answer) => {
                                    open.remove(&partition);
                                    answers.insert(partition, Ok(answer));
                                }
                                Err(error) => {
                                    failures.insert(partition, error);
                                }
                            }
                        }
                    }
                    Err(error) => {
                        let failed = items.iter().map(|item| item.partition.clone());
                        failures.extend(failed.map(|partition| (partition, error.clone())));
                    }
                }
            }
            if answers.len() > before {
                deadline = Deadline::after(self.settings().request_timeout);
                backoff.reset();
            }
            let pause = backoff.pause();
            for (partition, error) in failures {
                let is_unknown = error.code().is_some_and(ErrorCode::is_unknown_topic);
                let is_settled = !error.is_transient()
                    || deadline.left() <= pause
                    || (is_unknown && deadline.waited() >= UNKNOWN_TOPIC_PATIENCE);
                if is_settled {
                    open.remove(&partition);
                    answers.insert(partition, Err(error));
                } else {
                    self.forget_leader(&partition);
                }
            }
            if open.is_empty() {
                return answers;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks up the leaders that are not known, and returns why there is none of the others.
    pub(super) async fn find_leaders(
        &self,
        partitions: impl Iterator<Item = &TopicPartition>,
        deadline: Deadline,
    ) -> BTreeMap<TopicPartition, WireError> {
        let unknown: Vec<&TopicPartition> = partitions
            .filter(|partition| !matches!(self.leader(partition), Some(Ok(_))))
            .collect();
        let mut topics: Vec<&str> = unknown.iter().map(|it| it.topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return BTreeMap::new();
        }
        let asked = self.metadata_by(Some(&topics), deadline).await;
        if asked.as_ref().is_ok_and(|metadata| {
            let mut topics = metadata.topics.values();
            topics.any(|topic| topic.error.is_unknown_topic())
        }) {
            self.ask_another();
        }
        let failure = |partition: &TopicPartition| match &asked {
            Err(error) => Some(error.clone()),
            Ok(_) => match self.leader(partition) {
                Some(Ok(_)) => None,
                Some(Err(code)) => Some(WireError::NoLeader {
                    partition: partition.clone(),
                    code,
                }),
                None => Some(WireError::NoLeader {
                    partition: partition.clone(),
                    code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                }),
            },
        };
        unknown
            .into_iter()
            .filter_map(|partition| Some((partition.clone(), failure(partition)?)))
            .collect()
    }

    /// Groups what is open by leader; `failures` have none.
    fn by_leader<I: Copy>(
        &self,
        open: &BTreeMap<TopicPartition, I>,
        failures: &mut BTreeMap<TopicPartition, WireError>,
    ) -> BTreeMap<i32, Vec<LeaderItem<I>>> {
        let mut by_leader: BTreeMap<i32, Vec<LeaderItem<I>>> = BTreeMap::new();
        for (partition, item) in open {
            if failures.contains_key(partition) {
                continue;
            }
            match self.leader(partition) {
                Some(Ok(leader)) => by_leader
                    .entry(leader.broker)
                    .or_default()
                    .push(LeaderItem {
                        partition: partition.clone(),
                        epoch: leader.epoch,
                        item: *item,
                    }),
                // It was forgotten again meanwhile, by another call.
                other => {
                    let code = match other {
                        Some(Err(code)) => code,
                        _ => ErrorCode::LEADER_NOT_AVAILABLE,
                    };
                    let partition = partition.clone();
                    failures.insert(partition.clone(), WireError::NoLeader { partition, code });
                }
            }
        }
        by_leader
    }

    async fn ask_leader<Q: LeaderQuery>(
        &self,
        query: &Q,
        broker: i32,
        items: &[LeaderItem<Q::Item>],
        deadline: Deadline,
    ) -> Result<PartitionAnswers<Q::Answer>, WireError> {
        let request = query.request(items);
        let found = self
            .ask_broker(broker, &request, deadline, |response| Q::answers(response))
            .await?;
        let name = self.broker_name(broker)?;
        let request = <Q::Request<'_> as Request>::API;
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        let answer = |item: &LeaderItem<Q::Item>| {
            let partition = item.partition.clone();
            let answer = match found.remove(&partition) {
                Some(Ok(answer)) => Ok(answer),
                Some(Err(code)) => Err(WireError::Partition {
                    broker: name.clone(),
                    request,
                    subject: partition.to_string(),
                    code,
                }),
                None => Err(WireError::Missing {
                    broker: name.clone(),
                    request,
                    partition: partition.clone(),
                }),
            };
            (partition, answer)
        };
        Ok(items.iter().map(answer).collect())
    }
}

/// A partition to ask its leader about.
#[derive(Clone, Debug)]
struct LeaderItem<I> {
    partition: TopicPartition,
    epoch: i32,
    item: I,
}

/// What a response says about some partitions, some of which may not have been asked about.
type Answered<T> = Vec<(TopicPartition, Result<T, ErrorCode>)>;

/// A question about partitions.
trait LeaderQuery: Sync {
    type Request<'a>: Request;
    type Item: Copy + Send + Sync;
    type Answer: Send;

    fn request<'a>(&self, items: &'a [LeaderItem<Self::Item>]) -> Self::Request<'a>;

    fn answers(response: <Self::Request<'_> as Request>::Response<'_>) -> Answered<Self::Answer>;
}

/// Groups items, which are in order, by topic.
fn by_topic<I, P>(
    items: &[LeaderItem<I>],
    partition: impl Fn(&LeaderItem<I>) -> P,
) -> Vec<(&str, Vec<P>)> {
    items
        .chunk_by(|a, b| a.partition.topic == b.partition.topic)
        .filter_map(|chunk| {
            let topic = chunk.first()?.partition.topic.as_str();
            Some((topic, chunk.iter().map(&partition).collect()))
        })
        .collect()
}

/// An answer about a partition whose number is valid, or none.
fn answered<T>(
    topic: &str,
    partition: i32,
    error: ErrorCode,
    answer: T,
) -> Option<(TopicPartition, Result<T, ErrorCode>)> {
    let partition = TopicPartition::new(topic, PartitionNumber::new(partition)?);
    let answer = match error {
        ErrorCode::NONE => Ok(answer),
        code => Err(code),
    };
    Some((partition, answer))
}

/// Kafka's -1 for "none".
fn known<T: Default + PartialOrd>(number: T) -> Option<T> {
    (number >= T::default()).then_some(number)
}

struct OffsetsOf {
    isolation: Isolation,
    timeout_ms: i32,
}

impl LeaderQuery for OffsetsOf {
    type Request<'a> = ListOffsetsRequest<'a>;
    type Item = OffsetQuery;
    type Answer = FoundOffset;

    fn request<'a>(&self, items: &'a [LeaderItem<OffsetQuery>]) -> ListOffsetsRequest<'a> {
        let topics = by_topic(items, |item| ListOffsetsPartition {
            partition: item.partition.partition.get(),
            current_leader_epoch: item.epoch,
            timestamp: item.item.timestamp(),
        });
        ListOffsetsRequest {
            isolation: self.isolation,
            timeout_ms: self.timeout_ms,
            topics,
        }
    }

    fn answers(response: ListOffsetsResponse<'_>) -> Answered<FoundOffset> {
        let answers = response.partitions.iter().filter_map(|it| {
            let found = FoundOffset {
                offset: known(it.offset),
                timestamp: known(it.timestamp),
                leader_epoch: known(it.leader_epoch),
            };
            answered(it.topic, it.partition, it.error, found)
        });
        answers.collect()
    }
}

struct EndsOfEpochs;

impl LeaderQuery for EndsOfEpochs {
    type Request<'a> = LeaderEpochRequest<'a>;
    type Item = i32;
    type Answer = FoundEpochEnd;

    fn request<'a>(&self, items: &'a [LeaderItem<i32>]) -> LeaderEpochRequest<'a> {
        let topics = by_topic(items, |item| EpochPartition {
            partition: item.partition.partition.get(),
            current_leader_epoch: item.epoch,
            leader_epoch: item.item,
        });
        LeaderEpochRequest { topics }
    }

    fn answers(response: LeaderEpochResponse<'_>) -> Answered<FoundEpochEnd> {
        let answers = response.partitions.iter().filter_map(|it| {
            let found = FoundEpochEnd {
                leader_epoch: known(it.leader_epoch),
                end_offset: known(it.end_offset),
            };
            answered(it.topic, it.partition, it.error, found)
        });
        answers.collect()
    }
}
