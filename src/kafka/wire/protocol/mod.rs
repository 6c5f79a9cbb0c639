//! Kafka's messages as bytes: requests are encoded, responses decoded. No I/O.
//!
//! ```text
//! request     | length 4 | api key 2 | version 2 | correlation id 4 | client id | tags | body |
//! response    | length 4 | correlation id 4 | tags | body |
//! ```
//!
//! A *flexible* version of a message has compact lengths (varints, one more than the length, 0 for null) and tagged fields, and its
//! headers have tags; the others have lengths of two and four bytes. [`Api::is_flexible`] tells them apart, and [`Input`] and
//! [`Output`] read and write either form by the same calls.
//!
//! Written by hand, without a crate: docs/decisions/0022. A count is compared with the bytes that remain before anything is allocated
//! for it, so that a response of some bytes cannot ask for gigabytes. What a decoder returns borrows from the frame.
//!
//! This folder uses `kbk_format` and `thiserror` alone: the fuzz target `wire_response` compiles it without Kafka's client.
//!
//! | file | holds |
//! |---|---|
//! | `api` | the requests, their versions, and [`Request`] |
//! | `input`, `output` | the primitive types |
//! | `error_code` | what brokers answer, by name, and what to do about it |
//! | `api_versions`, `metadata`, `list_offsets`, `leader_epoch`, `fetch`, `offset_fetch`, `describe_groups`, `sasl` | the requests that read, with their responses |
//! | `produce`, `coordinator`, `transaction` | those that write |

mod api;
mod api_versions;
mod coordinator;
mod describe_groups;
mod error_code;
mod fetch;
mod input;
mod leader_epoch;
mod list_offsets;
mod metadata;
mod offset_fetch;
mod output;
mod produce;
mod sasl;
#[cfg(test)]
mod tests;
mod transaction;
#[cfg(test)]
mod write_tests;

pub use api::{Api, Request, Response};
pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse, VersionRange};
pub use coordinator::{CoordinatorKind, FindCoordinatorRequest, FindCoordinatorResponse};
pub use describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
pub use error_code::ErrorCode;
pub use fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition,
};
pub use input::{Input, Malformed};
pub use leader_epoch::{EpochEnd, EpochPartition, LeaderEpochRequest, LeaderEpochResponse};
pub use list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListedOffset,
};
pub use metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic,
};
pub use offset_fetch::{FetchedOffset, OffsetFetchRequest, OffsetFetchResponse};
pub use output::{EncodedFrame, Output, TooLong};
pub use produce::{
    ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
};
pub use sasl::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
pub use transaction::{
    AddOffsetsRequest, AddPartitionsRequest, CommittedPartition, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, Outcome, PartitionResult, PartitionResults,
    ProducerIdentity, TxnOffsetCommitRequest,
};

/// A topic's id: never reused, not even where a topic of the same name is created again. All zeros where there is none.
pub type TopicId = [u8; 16];

/// Whether records of transactions that are open or aborted are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All records, up to the high watermark.
    ReadUncommitted,
    /// Those of transactions only where they are committed, up to the last stable offset.
    ReadCommitted,
}

impl Isolation {
    /// Returns the number in requests.
    fn code(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}
