//! Produce: record batches into the log of their leader. The records are not copied into the request.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output, TopicId};

/// Asks the leader of some partitions to append a batch to each, and to answer once all replicas in sync have it.
#[derive(Clone, Debug)]
pub struct ProduceRequest<'a> {
    /// The id of the transactions that the batches belong to, if they do.
    pub transactional_id: Option<&'a str>,
    /// Whether the transaction follows KIP-890, so that a partition joins it by this request alone.
    pub transaction_v2: bool,
    /// Milliseconds that the broker may wait for replicas.
    pub timeout_ms: i32,
    /// The topics.
    pub topics: Vec<ProduceTopic<'a>>,
}

/// A topic to append to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic<'a> {
    /// Its name, for versions up to 12.
    pub name: &'a str,
    /// Its id, for later ones.
    pub id: TopicId,
    /// Its partitions, each once: a broker refuses two batches of one partition.
    pub partitions: Vec<ProducePartition<'a>>,
}

/// A batch to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducePartition<'a> {
    /// The partition's number.
    pub partition: i32,
    /// The batch's header.
    pub header: &'a [u8],
    /// All of the batch after its header.
    pub records: &'a [u8],
}

/// The answer about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition<'a> {
    /// Its topic, in versions up to 12; else empty.
    pub topic: &'a str,
    /// Its topic, in later ones; else all zeros.
    pub topic_id: TopicId,
    /// Its number.
    pub partition: i32,
    /// Whether the batch is in the log.
    pub error: ErrorCode,
    /// The offset of its first record; -1 where it is not known.
    pub base_offset: i64,
    /// The first offset of the log; -1 where the broker does not say.
    pub log_start_offset: i64,
    /// The number of the first record that was refused, counted from 0, where the broker names one.
    pub first_refused: Option<i32>,
    /// Why, in the broker's words.
    pub error_message: Option<&'a str>,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse<'a> {
    /// In any order.
    pub partitions: Vec<ProducedPartition<'a>>,
    throttle_ms: i32,
}

impl ProduceRequest<'_> {
    /// The first version of transactions by KIP-890, and the first that names topics by their ids.
    const FIRST_OF_V2: i16 = 12;
    const FIRST_BY_ID: i16 = 13;
    /// All replicas in sync.
    const ACKS_ALL: i16 = -1;
}

impl Request for ProduceRequest<'_> {
    const API: Api = Api::Produce;
    type Response<'a> = ProduceResponse<'a>;

    fn versions(&self) -> RangeInclusive<i16> {
        let all = Api::Produce.versions();
        let has_ids = || {
            let mut topics = self.topics.iter();
            topics.all(|topic| topic.id != TopicId::default())
        };
        match (self.transactional_id, self.transaction_v2) {
            (Some(_), false) => *all.start()..=ProduceRequest::FIRST_OF_V2 - 1,
            (Some(_), true) if has_ids() => ProduceRequest::FIRST_OF_V2..=*all.end(),
            (Some(_), true) => ProduceRequest::FIRST_OF_V2..=ProduceRequest::FIRST_BY_ID - 1,
            (None, _) if has_ids() => all,
            (None, _) => *all.start()..=ProduceRequest::FIRST_BY_ID - 1,
        }
    }

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        output.nullable_string(self.transactional_id);
        output.int16(ProduceRequest::ACKS_ALL);
        output.int32(self.timeout_ms);
        output.array(self.topics.iter(), |output, topic| {
            match version {
                ProduceRequest::FIRST_BY_ID.. => output.uuid(topic.id),
                _ => output.string(topic.name),
            }
            output.array(topic.partitions.iter(), |output, partition| {
                output.int32(partition.partition);
                output.records(partition.header, partition.records);
                output.tags();
            });
            output.tags();
        });
        output.tags();
    }

    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<ProduceResponse<'a>, Malformed> {
        let topics = input.array(2, |input| {
            let (topic, topic_id) = match version {
                ProduceRequest::FIRST_BY_ID.. => ("", input.uuid()?),
                _ => (input.string()?, TopicId::default()),
            };
            let partitions =
                input.array(22, |input| partition(version, (topic, topic_id), input))?;
            input.tags()?;
            Ok(partitions)
        })?;
        let throttle_ms = input.int32()?;
        // Where leaders that moved are now listening, among others: leaders are looked up instead.
        input.tags()?;
        Ok(ProduceResponse {
            partitions: topics.concat(),
            throttle_ms,
        })
    }
}

fn partition<'a>(
    version: i16,
    (topic, topic_id): (&'a str, TopicId),
    input: &mut Input<'a>,
) -> Result<ProducedPartition<'a>, Malformed> {
    let partition = input.int32()?;
    let error = ErrorCode(input.int16()?);
    let base_offset = input.int64()?;
    let _log_append_time = input.int64()?;
    let log_start_offset = if version >= 5 { input.int64()? } else { -1 };
    let (mut first_refused, mut error_message) = (None, None);
    if version >= 8 {
        let refused = input.array(5, |input| {
            let refused = (input.int32()?, input.nullable_string()?);
            input.tags()?;
            Ok(refused)
        })?;
        error_message = input.nullable_string()?;
        if let Some((number, message)) = refused.first() {
            first_refused = Some(*number);
            // What is wrong with the record says more than that one is.
            error_message = message.or(error_message);
        }
    }
    input.tags()?;
    Ok(ProducedPartition {
        topic,
        topic_id,
        partition,
        error,
        base_offset,
        log_start_offset,
        first_refused,
        error_message,
    })
}

impl Response for ProduceResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
