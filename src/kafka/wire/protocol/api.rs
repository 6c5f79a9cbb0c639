//! The requests, and the versions of them that are encoded here.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Input, Malformed, Output};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Appends record batches.
    Produce,
    /// Reads record batches.
    Fetch,
    /// Finds offsets: the first, the last, or by time.
    ListOffsets,
    /// Describes brokers, topics and partitions.
    Metadata,
    /// Finds where a leader epoch ends.
    OffsetForLeaderEpoch,
    /// Finds who coordinates a group or transactions.
    FindCoordinator,
    /// Names a producer, and ends the transaction of the one before.
    InitProducerId,
    /// Adds partitions to a transaction.
    AddPartitionsToTxn,
    /// Adds a group to a transaction.
    AddOffsetsToTxn,
    /// Ends a transaction.
    EndTxn,
    /// Commits offsets of a group within a transaction.
    TxnOffsetCommit,
    /// Looks up what a group has committed.
    OffsetFetch,
    /// Describes groups.
    DescribeGroups,
    /// Chooses a mechanism to log in by.
    SaslHandshake,
    /// Lists the requests that a broker answers.
    ApiVersions,
    /// Carries a message of that mechanism.
    SaslAuthenticate,
}

impl Api {
    /// Returns the number in request headers.
    #[must_use]
    pub fn key(self) -> i16 {
        match self {
            Api::Produce => 0,
            Api::Fetch => 1,
            Api::ListOffsets => 2,
            Api::Metadata => 3,
            Api::OffsetFetch => 9,
            Api::DescribeGroups => 15,
            Api::SaslHandshake => 17,
            Api::ApiVersions => 18,
            Api::FindCoordinator => 10,
            Api::InitProducerId => 22,
            Api::OffsetForLeaderEpoch => 23,
            Api::AddPartitionsToTxn => 24,
            Api::AddOffsetsToTxn => 25,
            Api::EndTxn => 26,
            Api::TxnOffsetCommit => 28,
            Api::SaslAuthenticate => 36,
        }
    }

    /// Returns the name in Kafka's documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Api::Produce => "Produce",
            Api::Fetch => "Fetch",
            Api::ListOffsets => "ListOffsets",
            Api::Metadata => "Metadata",
            Api::OffsetFetch => "OffsetFetch",
            Api::DescribeGroups => "DescribeGroups",
            Api::SaslHandshake => "SaslHandshake",
            Api::ApiVersions => "ApiVersions",
            Api::SaslAuthenticate => "SaslAuthenticate",
            Api::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            Api::FindCoordinator => "FindCoordinator",
            Api::InitProducerId => "InitProducerId",
            Api::AddPartitionsToTxn => "AddPartitionsToTxn",
            Api::AddOffsetsToTxn => "AddOffsetsToTxn",
            Api::EndTxn => "EndTxn",
            Api::TxnOffsetCommit => "TxnOffsetCommit",
        }
    }

    /// Returns the versions that are encoded and decoded here. The oldest are those of Apache Kafka 2.1: the first with leader epochs.
    #[must_use]
    pub fn versions(self) -> RangeInclusive<i16> {
        match self {
            // Before version 3 there are no transactions, and batches of other formats.
            Api::Produce => 3..=13,
            Api::Fetch => 4..=17,
            Api::ListOffsets => 1..=10,
            Api::Metadata => 1..=12,
            // Version 0 is followed by messages without frames.
            Api::SaslHandshake => 1..=1,
            Api::ApiVersions => 0..=3,
            Api::SaslAuthenticate => 0..=2,
            Api::OffsetForLeaderEpoch => 2..=4,
            // Before version 1 groups only; from version 7 on nothing that is needed here.
            Api::FindCoordinator => 1..=6,
            Api::InitProducerId => 0..=5,
            // Later ones are for brokers.
            Api::AddPartitionsToTxn => 0..=3,
            Api::AddOffsetsToTxn => 0..=4,
            Api::EndTxn => 0..=5,
            Api::TxnOffsetCommit => 0..=5,
            // Later ones ask about several groups.
            Api::OffsetFetch => 5..=7,
            Api::DescribeGroups => 1..=5,
        }
    }

    /// Whether a version has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        let first = match self {
            Api::Produce => 9,
            Api::Fetch => 12,
            Api::DescribeGroups => 5,
            Api::ListOffsets | Api::OffsetFetch => 6,
            Api::Metadata => 9,
            Api::ApiVersions => 3,
            Api::OffsetForLeaderEpoch => 4,
            Api::SaslAuthenticate | Api::InitProducerId => 2,
            Api::FindCoordinator
            | Api::AddPartitionsToTxn
            | Api::AddOffsetsToTxn
            | Api::EndTxn
            | Api::TxnOffsetCommit => 3,
            Api::SaslHandshake => i16::MAX,
        };
        version >= first
    }

    /// Whether the header of a response has tagged fields. That of ApiVersions never has: it is read before versions are known.
    #[must_use]
    pub fn has_flexible_response_header(self, version: i16) -> bool {
        self != Api::ApiVersions && self.is_flexible(version)
    }
}

/// A request, and how its response is read.
pub trait Request {
    /// Which one it is.
    const API: Api;
    /// What is answered; it borrows from the frame.
    type Response<'a>: Response;

    /// Returns the versions that can say what this request says.
    fn versions(&self) -> RangeInclusive<i16> {
        Self::API.versions()
    }

    /// Writes the body.
    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>);

    /// Reads the body of a response.
    ///
    /// # Errors
    ///
    /// Where the bytes are not such a response.
    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<Self::Response<'a>, Malformed>;
}

/// What every response has.
pub trait Response {
    /// Returns for how long the broker asks to be sent nothing.
    fn throttle(&self) -> Duration;
}

/// Converts a throttle time. A negative one, which no broker sends, is none.
pub(super) fn throttle(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
