//! Failures of the wire client, each with the broker, the request, and what was expected and found.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::FormatError;

use super::address::Address;
use super::protocol::{Api, ErrorCode, VersionRange};
use crate::kafka::cause::Cause;
use crate::kafka::oidc::TokenFailure;
use crate::kafka::partition::TopicPartition;

/// A broker, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerName {
    /// Its number; `None` of an address in `bootstrap.servers`, before its number is known.
    pub id: Option<i32>,
    /// Where it listens.
    pub address: Arc<Address>,
}

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "broker {id} ({})", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// A failure of the wire client. [`is_transient`](WireError::is_transient) says whether the same may succeed later.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A property that this client cannot honour.
    #[error("`{property}`: {cause}")]
    Property {
        /// Its name.
        property: String,
        /// What is not supported, and what to do.
        cause: String,
    },
    /// No connection to a broker.
    #[error("cannot connect to {broker}: {cause}; check the address, the network and the broker")]
    Connect {
        /// The broker.
        broker: BrokerName,
        /// Of each address of the host, what failed.
        cause: String,
    },
    /// A broker that cannot be connected to as the settings ask, however often it is tried.
    #[error("cannot connect to {broker}: {cause}; check the properties of TLS")]
    Tls {
        /// The broker.
        broker: BrokerName,
        /// What TLS says, and the property that it concerns.
        cause: String,
    },
    /// A login that the broker refuses, or a broker that cannot prove who it is.
    #[error(
        "cannot log in to {broker} with `sasl.mechanism` {mechanism}: {cause}; {}", Cause::login(.mechanism)
    )]
    Authentication {
        /// The broker.
        broker: BrokerName,
        /// The mechanism.
        mechanism: &'static str,
        /// The broker's reason, or what is wrong with its proof.
        cause: String,
    },
    /// No token to log in with.
    #[error("{0}")]
    Token(TokenFailure),
    /// A broker that was known, and that the cluster does not name any more.
    #[error("broker {id} is not part of the cluster any more")]
    UnknownBroker {
        /// Its number.
        id: i32,
    },
    /// A connection that ended.
    #[error("{broker} closed the connection during {}: {cause}", .request.name())]
    Disconnected {
        /// The broker.
        broker: BrokerName,
        /// The request under way.
        request: Api,
        /// How far it was, or what the system says.
        cause: String,
    },
    /// A broker that does not answer.
    #[error("{broker} did not answer {} within {waited:.0?}: {cause}; check the broker's health, then try again", .request.name())]
    Timeout {
        /// The broker.
        broker: BrokerName,
        /// The request under way.
        request: Api,
        /// How long it was waited for.
        waited: Duration,
        /// What it waited for.
        cause: Cow<'static, str>,
    },
    /// A broker that asks for more patience than there is: a quota is exceeded.
    #[error("{broker} asks not to be sent {} for another {left:.0?}: a quota is exceeded; check the quotas of this principal", .request.name())]
    Throttled {
        /// The broker.
        broker: BrokerName,
        /// The request that was not sent.
        request: Api,
        /// How long the broker wants to be left alone.
        left: Duration,
    },
    /// An answer that is not one of Kafka's.
    #[error("{broker} answered {} (version {version}) with bytes that kbk cannot read: {cause}; check that a Kafka broker listens there, with this `security.protocol`", .request.name())]
    Malformed {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// The version of it that was sent.
        version: i16,
        /// What was expected, and what was found.
        cause: String,
    },
    /// A request that the broker answers in no version that is known here.
    #[error("{broker} and kbk have no version of {} in common: kbk has {} to {}, the broker {}; it needs Apache Kafka 2.1 or newer, or one compatible with it",
        .request.name(), .request.versions().start(), .request.versions().end(), described(.theirs))]
    NoVersion {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// The versions that the broker answers.
        theirs: Option<VersionRange>,
    },
    /// A request that cannot be written.
    #[error("cannot send {} to {broker}: {cause}", .request.name())]
    Unsendable {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// Why.
        cause: String,
    },
    /// A broker's error about a request.
    #[error("{broker} answered {} with {code}", .request.name())]
    Broker {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// The broker's error.
        code: ErrorCode,
    },
    /// A broker's error about a topic or a partition.
    #[error("{broker} answered {} about {subject} with {code}", .request.name())]
    Partition {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// The topic, or the partition as `TOPIC/NUMBER`.
        subject: String,
        /// The broker's error.
        code: ErrorCode,
    },
    /// An answer that leaves out a partition.
    #[error("{broker} left {partition} out of its answer to {}", .request.name())]
    Missing {
        /// The broker.
        broker: BrokerName,
        /// The request.
        request: Api,
        /// The partition.
        partition: TopicPartition,
    },
    /// A partition without a leader.
    #[error("{partition} has no leader ({code}); check which brokers are down")]
    NoLeader {
        /// The partition.
        partition: TopicPartition,
        /// What the cluster says about it.
        code: ErrorCode,
    },
    /// A topic that was deleted, and another of its name created.
    #[error("{topic} was deleted and created again")]
    Recreated {
        /// The topic.
        topic: String,
    },
    /// A log from which records that were read are gone.
    #[error(
        "{partition}: the log was truncated to offset {end_offset}, after records up to offset {position} had been read"
    )]
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// One past the last record that was read.
        position: i64,
        /// Where the epoch of that record ends now.
        end_offset: i64,
    },
    /// Records that are damaged.
    #[error("{broker} returned damaged records of {partition}, at position {} of the response: {}", .source.position, .source.detail)]
    Batch {
        /// The broker.
        broker: BrokerName,
        /// The partition.
        partition: TopicPartition,
        /// What is wrong.
        source: FormatError,
    },
}

fn described(range: &Option<VersionRange>) -> String {
    match range {
        Some(range) => format!("{} to {}", range.min, range.max),
        None => "none".to_owned(),
    }
}

impl WireError {
    /// Creates an error about a property.
    pub(super) fn property(property: &str, cause: impl Into<String>) -> WireError {
        WireError::Property {
            property: property.to_owned(),
            cause: cause.into(),
        }
    }

    /// Whether the same may succeed later: on a new connection, or at another broker.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            WireError::Connect { .. }
            | WireError::UnknownBroker { .. }
            | WireError::Disconnected { .. }
            | WireError::Timeout { .. }
            | WireError::Throttled { .. }
            | WireError::Missing { .. } => true,
            WireError::Broker { code, .. }
            | WireError::Partition { code, .. }
            | WireError::NoLeader { code, .. } => code.is_transient(),
            WireError::Token(failure) => failure.is_transient,
            WireError::Property { .. }
            | WireError::Tls { .. }
            | WireError::Authentication { .. }
            | WireError::Malformed { .. }
            | WireError::NoVersion { .. }
            | WireError::Unsendable { .. }
            | WireError::Recreated { .. }
            | WireError::Truncated { .. }
            | WireError::Batch { .. } => false,
        }
    }

    /// Whether a response to Fetch was damaged, or is not one: on its way, or where it comes from.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            WireError::Batch { .. }
                | WireError::Malformed {
                    request: Api::Fetch,
                    ..
                }
        )
    }

    /// Returns what the broker answered, where that is the failure.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            WireError::Broker { code, .. }
            | WireError::Partition { code, .. }
            | WireError::NoLeader { code, .. } => Some(*code),
            _ => None,
        }
    }
}
