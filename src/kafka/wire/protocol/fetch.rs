//! Fetch: record batches as they are in the leader's log. What is returned borrows them from the frame.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Isolation, Malformed, Output, TopicId};

/// Asks the leader of some partitions, without a fetch session: each request names all of its partitions.
#[derive(Clone, Debug)]
pub struct FetchRequest<'a> {
    /// Milliseconds that the broker may wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes that are worth an answer before that.
    pub min_bytes: i32,
    /// Bytes of records in the answer; a first batch may exceed it.
    pub max_bytes: i32,
    /// Which records are returned, and whether aborted transactions are listed.
    pub isolation: Isolation,
    /// The partitions.
    pub topics: Vec<FetchTopic<'a>>,
}

/// A topic to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic<'a> {
    /// Its name, for versions up to 12.
    pub name: &'a str,
    /// Its id, for later ones.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A partition to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its number.
    pub partition: i32,
    /// The leader epoch that the client knows, by which a leader of an earlier or later one refuses to answer; -1 for any.
    pub current_leader_epoch: i32,
    /// Where to begin. The first batch that is returned contains this offset or is after it.
    pub offset: i64,
    /// Bytes of records of this partition; a first batch may exceed it.
    pub max_bytes: i32,
}

/// A transaction whose records are in a response, and that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The first offset of the transaction in this partition.
    pub first_offset: i64,
}

/// The answer about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition<'a> {
    /// Its topic, in versions up to 12; else empty.
    pub topic: &'a str,
    /// Its topic, in later ones; else all zeros.
    pub topic_id: TopicId,
    /// Its number.
    pub partition: i32,
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// One past the last offset that all replicas in sync have.
    pub high_watermark: i64,
    /// One past the last offset before which no transaction is open; -1 where the broker does not say.
    pub last_stable_offset: i64,
    /// The first offset; -1 where the broker does not say.
    pub log_start_offset: i64,
    /// The aborted transactions that these records may belong to.
    pub aborted: Vec<AbortedTransaction>,
    /// Batches, of which the last may be cut off.
    pub records: &'a [u8],
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<'a> {
    /// Whether the request failed as a whole.
    pub error: ErrorCode,
    /// In any order.
    pub partitions: Vec<FetchedPartition<'a>>,
    throttle_ms: i32,
}

impl FetchRequest<'_> {
    /// The first version that names topics by their ids, and no longer by their names.
    pub const FIRST_BY_ID: i16 = 13;
}

impl Request for FetchRequest<'_> {
    const API: Api = Api::Fetch;
    type Response<'a> = FetchResponse<'a>;

    fn versions(&self) -> RangeInclusive<i16> {
        let all = Api::Fetch.versions();
        let has_ids = self
            .topics
            .iter()
            .all(|topic| topic.id != TopicId::default());
        match has_ids {
            true => all,
            false => *all.start()..=FetchRequest::FIRST_BY_ID - 1,
        }
    }

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        if version <= 14 {
            // The replica that asks: none. A tagged field from version 15 on.
            output.int32(-1);
        }
        output.int32(self.max_wait_ms);
        output.int32(self.min_bytes);
        output.int32(self.max_bytes);
        output.int8(self.isolation.code());
        if version >= 7 {
            // No session, and none to create (`FetchMetadata.LEGACY`).
            output.int32(0);
            output.int32(-1);
        }
        output.array(self.topics.iter(), |output, topic| {
            match version {
                FetchRequest::FIRST_BY_ID.. => output.uuid(topic.id),
                _ => output.string(topic.name),
            }
            output.array(topic.partitions.iter(), |output, partition| {
                output.int32(partition.partition);
                if version >= 9 {
                    output.int32(partition.current_leader_epoch);
                }
                output.int64(partition.offset);
                if version >= 12 {
                    // The last fetched epoch, of followers: a leader that no longer knows it would answer OFFSET_OUT_OF_RANGE.
                    output.int32(-1);
                }
                if version >= 5 {
                    // The log start offset, of followers.
                    output.int64(-1);
                }
                output.int32(partition.max_bytes);
                output.tags();
            });
            output.tags();
        });
        if version >= 7 {
            // Partitions to remove from the session.
            output.array([].iter(), |_, (): &()| ());
        }
        if version >= 11 {
            // No rack: followers are not read from.
            output.string("");
        }
        output.tags();
    }

    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<FetchResponse<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        let mut error = ErrorCode::NONE;
        if version >= 7 {
            error = ErrorCode(input.int16()?);
            let _session = input.int32()?;
        }
        let mut partitions = Vec::new();
        input.array(3, |input| {
            let (mut topic, mut topic_id) = ("", TopicId::default());
            match version {
                FetchRequest::FIRST_BY_ID.. => topic_id = input.uuid()?,
                _ => topic = input.string()?,
            }
            let read = input.array(24, |input| partition(version, (topic, topic_id), input))?;
            match partitions.is_empty() {
                // Mostly there is one topic, whose list is that of all.
                true => partitions = read,
                false => partitions.extend(read),
            }
            input.tags()
        })?;
        input.tags()?;
        Ok(FetchResponse {
            error,
            partitions,
            throttle_ms,
        })
    }
}

fn partition<'a>(
    version: i16,
    (topic, topic_id): (&'a str, TopicId),
    input: &mut Input<'a>,
) -> Result<FetchedPartition<'a>, Malformed> {
    let partition = input.int32()?;
    let error = ErrorCode(input.int16()?);
    let high_watermark = input.int64()?;
    let last_stable_offset = input.int64()?;
    let log_start_offset = if version >= 5 { input.int64()? } else { -1 };
    let aborted = input.array(16, |input| {
        let aborted = AbortedTransaction {
            producer_id: input.int64()?,
            first_offset: input.int64()?,
        };
        input.tags()?;
        Ok(aborted)
    })?;
    if version >= 11 {
        let _preferred_read_replica = input.int32()?;
    }
    let records = input.nullable_bytes()?.unwrap_or_default();
    input.tags()?;
    Ok(FetchedPartition {
        topic,
        topic_id,
        partition,
        error,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        aborted,
        records,
    })
}

impl Response for FetchResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
