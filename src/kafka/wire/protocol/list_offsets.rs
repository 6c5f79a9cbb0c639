//! ListOffsets: the first offset, the last one, or that of a time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Isolation, Malformed, Output};

/// Asks the leader of some partitions.
#[derive(Clone, Debug)]
pub struct ListOffsetsRequest<'a> {
    /// What "the last offset" is.
    pub isolation: Isolation,
    /// Milliseconds that the broker may take to look into tiered storage.
    pub timeout_ms: i32,
    /// The partitions, by topic.
    pub topics: Vec<(&'a str, Vec<ListOffsetsPartition>)>,
}

/// A partition to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartition {
    /// Its number.
    pub partition: i32,
    /// The leader epoch that the client knows, by which a leader of an earlier or later one refuses to answer; -1 for any.
    pub current_leader_epoch: i32,
    /// A time, or a negative number that stands for an offset.
    pub timestamp: i64,
}

/// The answer about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// The timestamp of the record that was found; -1 where none was asked for, or none found.
    pub timestamp: i64,
    /// The offset; -1 where there is none for the time.
    pub offset: i64,
    /// The leader epoch of the record at the offset; -1 where the broker does not say.
    pub leader_epoch: i32,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponse<'a> {
    /// In any order.
    pub partitions: Vec<ListedOffset<'a>>,
    throttle_ms: i32,
}

impl Request for ListOffsetsRequest<'_> {
    const API: Api = Api::ListOffsets;
    type Response<'a> = ListOffsetsResponse<'a>;

    fn versions(&self) -> RangeInclusive<i16> {
        let all = Api::ListOffsets.versions();
        // An earlier version would be answered as well, and wrongly: without the isolation, and with a time before 1970.
        let asked = self.topics.iter().flat_map(|(_, partitions)| partitions);
        let for_timestamp = |partition: &ListOffsetsPartition| match partition.timestamp {
            -3 => 7,
            -4 => 8,
            -5 => 9,
            _ => 1,
        };
        let for_isolation = match self.isolation {
            Isolation::ReadCommitted => 2,
            Isolation::ReadUncommitted => 1,
        };
        let first = asked.map(for_timestamp).fold(for_isolation, i16::max);
        first..=*all.end()
    }

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        // The replica that asks: none.
        output.int32(-1);
        if version >= 2 {
            output.int8(self.isolation.code());
        }
        output.array(self.topics.iter(), |output, (topic, partitions)| {
            output.string(topic);
            output.array(partitions.iter(), |output, partition| {
                output.int32(partition.partition);
                if version >= 4 {
                    output.int32(partition.current_leader_epoch);
                }
                output.int64(partition.timestamp);
                output.tags();
            });
            output.tags();
        });
        if version >= 10 {
            output.int32(self.timeout_ms);
        }
        output.tags();
    }

    fn decode<'a>(
        version: i16,
        input: &mut Input<'a>,
    ) -> Result<ListOffsetsResponse<'a>, Malformed> {
        let throttle_ms = if version >= 2 { input.int32()? } else { 0 };
        let topics = input.array(2, |input| {
            let topic = input.string()?;
            let partitions = input.array(22, |input| {
                let partition = ListedOffset {
                    topic,
                    partition: input.int32()?,
                    error: ErrorCode(input.int16()?),
                    timestamp: input.int64()?,
                    offset: input.int64()?,
                    leader_epoch: if version >= 4 { input.int32()? } else { -1 },
                };
                input.tags()?;
                Ok(partition)
            })?;
            input.tags()?;
            Ok(partitions)
        })?;
        input.tags()?;
        Ok(ListOffsetsResponse {
            partitions: topics.concat(),
            throttle_ms,
        })
    }
}

impl Response for ListOffsetsResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
