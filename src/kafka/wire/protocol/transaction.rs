//! InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn: who produces, and what belongs to a transaction.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// An idempotent producer, as brokers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: i64,
    /// Its epoch: a later one fences those before it.
    pub epoch: i16,
}

impl ProducerIdentity {
    /// No producer.
    pub const NONE: ProducerIdentity = ProducerIdentity { id: -1, epoch: -1 };

    fn encode(self, output: &mut Output<'_>) {
        output.int64(self.id);
        output.int16(self.epoch);
    }

    fn decode(input: &mut Input<'_>) -> Result<ProducerIdentity, Malformed> {
        Ok(ProducerIdentity {
            id: input.int64()?,
            epoch: input.int16()?,
        })
    }
}

/// Asks for a producer id, or for the next epoch of one. With a transactional id, this ends the transaction that is open under it.
#[derive(Clone, Copy, Debug)]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id, if the producer has one.
    pub transactional_id: Option<&'a str>,
    /// Milliseconds that its transactions may stay open.
    pub transaction_timeout_ms: i32,
    /// Who asks for its next epoch; [`NONE`](ProducerIdentity::NONE) to fence whoever has the transactional id.
    pub current: ProducerIdentity,
}

/// A producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// Whether the rest is valid.
    pub error: ErrorCode,
    /// Its id and epoch.
    pub producer: ProducerIdentity,
    throttle_ms: i32,
}

impl Request for InitProducerIdRequest<'_> {
    const API: Api = Api::InitProducerId;
    type Response<'a> = InitProducerIdResponse;

    fn versions(&self) -> RangeInclusive<i16> {
        let all = Api::InitProducerId.versions();
        match self.current == ProducerIdentity::NONE {
            true => all,
            false => 3..=*all.end(),
        }
    }

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        output.nullable_string(self.transactional_id);
        output.int32(self.transaction_timeout_ms);
        if version >= 3 {
            self.current.encode(output);
        }
        output.tags();
    }

    fn decode<'a>(
        _version: i16,
        input: &mut Input<'a>,
    ) -> Result<InitProducerIdResponse, Malformed> {
        let throttle_ms = input.int32()?;
        let response = InitProducerIdResponse {
            error: ErrorCode(input.int16()?),
            producer: ProducerIdentity::decode(input)?,
            throttle_ms,
        };
        input.tags()?;
        Ok(response)
    }
}

impl Response for InitProducerIdResponse {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

/// Adds partitions to the open transaction, or begins one with them. Not needed in transactions by KIP-890.
#[derive(Clone, Debug)]
pub struct AddPartitionsRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// Its producer.
    pub producer: ProducerIdentity,
    /// Partitions by topic.
    pub topics: Vec<(&'a str, Vec<i32>)>,
}

/// What became of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionResult<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Whether it succeeded.
    pub error: ErrorCode,
}

/// Results by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionResults<'a> {
    /// In any order.
    pub partitions: Vec<PartitionResult<'a>>,
    throttle_ms: i32,
}

impl<'a> PartitionResults<'a> {
    fn decode(input: &mut Input<'a>) -> Result<PartitionResults<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        let topics = input.array(2, |input| {
            let topic = input.string()?;
            let partitions = input.array(6, |input| {
                let result = PartitionResult {
                    topic,
                    partition: input.int32()?,
                    error: ErrorCode(input.int16()?),
                };
                input.tags()?;
                Ok(result)
            })?;
            input.tags()?;
            Ok(partitions)
        })?;
        input.tags()?;
        Ok(PartitionResults {
            partitions: topics.concat(),
            throttle_ms,
        })
    }
}

impl Response for PartitionResults<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

impl Request for AddPartitionsRequest<'_> {
    const API: Api = Api::AddPartitionsToTxn;
    type Response<'a> = PartitionResults<'a>;

    fn encode<'a>(&'a self, _version: i16, output: &mut Output<'a>) {
        output.string(self.transactional_id);
        self.producer.encode(output);
        output.array(self.topics.iter(), |output, (topic, partitions)| {
            output.string(topic);
            output.array(partitions.iter(), |output, partition| {
                output.int32(*partition);
            });
            output.tags();
        });
        output.tags();
    }

    fn decode<'a>(_version: i16, input: &mut Input<'a>) -> Result<PartitionResults<'a>, Malformed> {
        PartitionResults::decode(input)
    }
}

/// Adds the offsets of a group to the open transaction, or begins one with them. Not needed in transactions by KIP-890.
#[derive(Clone, Copy, Debug)]
pub struct AddOffsetsRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// Its producer.
    pub producer: ProducerIdentity,
    /// The group.
    pub group: &'a str,
}

/// Whether a request succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The error, or that there is none.
    pub error: ErrorCode,
    throttle_ms: i32,
}

impl Response for Outcome {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

impl Request for AddOffsetsRequest<'_> {
    const API: Api = Api::AddOffsetsToTxn;
    type Response<'a> = Outcome;

    fn encode<'a>(&'a self, _version: i16, output: &mut Output<'a>) {
        output.string(self.transactional_id);
        self.producer.encode(output);
        output.string(self.group);
        output.tags();
    }

    fn decode<'a>(_version: i16, input: &mut Input<'a>) -> Result<Outcome, Malformed> {
        let throttle_ms = input.int32()?;
        let error = ErrorCode(input.int16()?);
        input.tags()?;
        Ok(Outcome { error, throttle_ms })
    }
}

/// Commits offsets of a group within the open transaction.
#[derive(Clone, Debug)]
pub struct TxnOffsetCommitRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// Its producer.
    pub producer: ProducerIdentity,
    /// Whether the transaction follows KIP-890, so that the group joins it by this request alone.
    pub transaction_v2: bool,
    /// The group, of which this client is not a member.
    pub group: &'a str,
    /// Offsets by topic.
    pub topics: Vec<(&'a str, Vec<CommittedPartition<'a>>)>,
}

/// An offset to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedPartition<'a> {
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// What is kept with it.
    pub metadata: &'a str,
}

impl TxnOffsetCommitRequest<'_> {
    /// The first version of transactions by KIP-890.
    const FIRST_OF_V2: i16 = 5;
}

impl Request for TxnOffsetCommitRequest<'_> {
    const API: Api = Api::TxnOffsetCommit;
    type Response<'a> = PartitionResults<'a>;

    fn versions(&self) -> RangeInclusive<i16> {
        by_transaction_version(
            Api::TxnOffsetCommit,
            TxnOffsetCommitRequest::FIRST_OF_V2,
            self.transaction_v2,
        )
    }

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        output.string(self.transactional_id);
        output.string(self.group);
        self.producer.encode(output);
        if version >= 3 {
            // No generation, no member, no instance: the group has no members, or others than this client.
            output.int32(-1);
            output.string("");
            output.nullable_string(None);
        }
        output.array(self.topics.iter(), |output, (topic, partitions)| {
            output.string(topic);
            output.array(partitions.iter(), |output, partition| {
                output.int32(partition.partition);
                output.int64(partition.offset);
                if version >= 2 {
                    // The leader epoch of the offset: none.
                    output.int32(-1);
                }
                output.string(partition.metadata);
                output.tags();
            });
            output.tags();
        });
        output.tags();
    }

    fn decode<'a>(_version: i16, input: &mut Input<'a>) -> Result<PartitionResults<'a>, Malformed> {
        PartitionResults::decode(input)
    }
}

/// Commits or aborts the open transaction.
#[derive(Clone, Copy, Debug)]
pub struct EndTxnRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// Its producer.
    pub producer: ProducerIdentity,
    /// Whether the transaction follows KIP-890, so that the producer has another epoch afterwards.
    pub transaction_v2: bool,
    /// Whether to commit.
    pub commit: bool,
}

/// Whether a transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnResponse {
    /// Whether it is.
    pub error: ErrorCode,
    /// Who produces the next transaction, where it follows KIP-890; else [`NONE`](ProducerIdentity::NONE).
    pub next: ProducerIdentity,
    throttle_ms: i32,
}

impl EndTxnRequest<'_> {
    /// The first version of transactions by KIP-890.
    const FIRST_OF_V2: i16 = 5;
}

impl Request for EndTxnRequest<'_> {
    const API: Api = Api::EndTxn;
    type Response<'a> = EndTxnResponse;

    fn versions(&self) -> RangeInclusive<i16> {
        by_transaction_version(Api::EndTxn, EndTxnRequest::FIRST_OF_V2, self.transaction_v2)
    }

    fn encode<'a>(&'a self, _version: i16, output: &mut Output<'a>) {
        output.string(self.transactional_id);
        self.producer.encode(output);
        output.boolean(self.commit);
        output.tags();
    }

    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<EndTxnResponse, Malformed> {
        let throttle_ms = input.int32()?;
        let error = ErrorCode(input.int16()?);
        let next = match version {
            EndTxnRequest::FIRST_OF_V2.. => ProducerIdentity::decode(input)?,
            _ => ProducerIdentity::NONE,
        };
        input.tags()?;
        Ok(EndTxnResponse {
            error,
            next,
            throttle_ms,
        })
    }
}

impl Response for EndTxnResponse {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

/// Returns the versions of a request for transactions of one kind: a broker tells the kinds apart by the version.
fn by_transaction_version(api: Api, first_of_v2: i16, is_v2: bool) -> RangeInclusive<i16> {
    let all = api.versions();
    match is_v2 {
        true => first_of_v2..=*all.end(),
        false => *all.start()..=first_of_v2 - 1,
    }
}
