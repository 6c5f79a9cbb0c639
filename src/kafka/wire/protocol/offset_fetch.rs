//! OffsetFetch: what a group has committed.

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// Asks the coordinator of a group.
#[derive(Clone, Debug)]
pub struct OffsetFetchRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// Partitions by topic.
    pub topics: Vec<(&'a str, Vec<i32>)>,
}

/// What is committed for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchedOffset<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// The offset; -1 where nothing is committed.
    pub offset: i64,
    /// What is kept with it.
    pub metadata: Option<&'a str>,
    /// Whether the offset is valid.
    pub error: ErrorCode,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse<'a> {
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// In any order.
    pub partitions: Vec<FetchedOffset<'a>>,
    throttle_ms: i32,
}

impl OffsetFetchRequest<'_> {
    /// The first version by which a coordinator refuses while a transaction that is open may change an offset (KIP-447).
    const FIRST_OF_STABLE: i16 = 7;
}

impl Request for OffsetFetchRequest<'_> {
    const API: Api = Api::OffsetFetch;
    type Response<'a> = OffsetFetchResponse<'a>;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        output.string(self.group);
        output.array(self.topics.iter(), |output, (topic, partitions)| {
            output.string(topic);
            output.array(partitions.iter(), |output, partition| {
                output.int32(*partition);
            });
            output.tags();
        });
        if version >= OffsetFetchRequest::FIRST_OF_STABLE {
            output.boolean(true);
        }
        output.tags();
    }

    fn decode<'a>(
        _version: i16,
        input: &mut Input<'a>,
    ) -> Result<OffsetFetchResponse<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        let topics = input.array(2, |input| {
            let topic = input.string()?;
            let partitions = input.array(19, |input| {
                let partition = input.int32()?;
                let offset = input.int64()?;
                let _leader_epoch = input.int32()?;
                let fetched = FetchedOffset {
                    topic,
                    partition,
                    offset,
                    metadata: input.nullable_string()?,
                    error: ErrorCode(input.int16()?),
                };
                input.tags()?;
                Ok(fetched)
            })?;
            input.tags()?;
            Ok(partitions)
        })?;
        let error = ErrorCode(input.int16()?);
        input.tags()?;
        Ok(OffsetFetchResponse {
            error,
            partitions: topics.concat(),
            throttle_ms,
        })
    }
}

impl Response for OffsetFetchResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}
