//! OffsetForLeaderEpoch: where a leader epoch ends, which shows whether a log was truncated (KIP-320).

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// Asks the leader of some partitions.
#[derive(Clone, Debug)]
pub struct LeaderEpochRequest<'a> {
    /// The partitions, by topic.
    pub topics: Vec<(&'a str, Vec<EpochPartition>)>,
}

/// A partition to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochPartition {
    /// Its number.
    pub partition: i32,
    /// The leader epoch that the client knows, by which a leader of an earlier or later one refuses to answer; -1 for any.
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// The answer about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// The largest epoch up to the one that was asked for; -1 where the leader knows none.
    pub leader_epoch: i32,
    /// One past its last offset; -1 where the leader knows none.
    pub end_offset: i64,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderEpochResponse<'a> {
    /// In any order.
    pub partitions: Vec<EpochEnd<'a>>,
    throttle_ms: i32,
}

impl Request for LeaderEpochRequest<'_> {
    const API: Api = Api::OffsetForLeaderEpoch;
    type Response<'a> = LeaderEpochResponse<'a>;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        if version >= 3 {
            // The replica that asks: a consumer, which has to name itself, or the request needs more permissions.
            output.int32(-1);
        }
        output.array(self.topics.iter(), |output, (topic, partitions)| {
            output.string(topic);
            output.array(partitions.iter(), |output, partition| {
                output.int32(partition.partition);
                output.int32(partition.current_leader_epoch);
                output.int32(partition.leader_epoch);
                output.tags();
            });
            output.tags();
        });
        output.tags();
    }

    fn decode<'a>(
        _version: i16,
        input: &mut Input<'a>,
    ) -> Result<LeaderEpochResponse<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        let topics = input.array(2, |input| {
            let topic = input.string()?;
            let partitions = input.array(18, |input| {
                let error = ErrorCode(input.int16()?);
                let end = EpochEnd {
                    topic,
                    partition: input.int32()?,
                    error,
                    leader_epoch: input.int32()?,
                    end_offset: input.int64()?,
                };
                input.tags()?;
                Ok(end)
            })?;
            input.tags()?;
            Ok(partitions)
        })?;
        input.tags()?;
        Ok(LeaderEpochResponse {
            partitions: topics.concat(),
            throttle_ms,
        })
    }
}

impl Response for LeaderEpochResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
