//! Failures of this client as those that the engine knows, whichever client it uses.

use std::fmt;

use super::error::{BrokerName, WireError};
use super::protocol::Api;
use crate::kafka::cause::Cause;
use crate::kafka::error::{Code, KafkaError};

impl WireError {
    /// Converts a failure of `doing` something with a cluster that was looked for at `addresses`; `topic` is what it concerned, if any.
    pub(in crate::kafka) fn into_kafka(
        self,
        addresses: &str,
        doing: &str,
        topic: Option<&str>,
    ) -> KafkaError {
        let other = |cause: String| KafkaError::Other {
            doing: doing.to_owned(),
            cause,
        };
        match self {
            WireError::Property { .. } => KafkaError::Settings {
                cause: self.to_string(),
            },
            WireError::Connect { broker, cause } => KafkaError::Unreachable {
                addresses: addresses.to_owned(),
                cause: located(&broker, addresses, &cause),
                next: Cause::NEXT,
            },
            WireError::Tls { broker, cause } => KafkaError::Unreachable {
                addresses: addresses.to_owned(),
                cause: located(&broker, addresses, &cause),
                next: "check the properties of TLS, and that this is the port of a listener with TLS",
            },
            WireError::Authentication {
                mechanism, cause, ..
            } => KafkaError::Authentication {
                addresses: addresses.to_owned(),
                mechanism: mechanism.to_owned(),
                cause,
                next: Cause::login(mechanism),
            },
            WireError::Token(failure) => KafkaError::Token(failure),
            WireError::Timeout { waited, .. } => KafkaError::Timeout {
                doing: doing.to_owned(),
                waited,
                cause: self.as_cause(),
            },
            WireError::Broker {
                broker,
                request,
                code,
            }
            | WireError::Partition {
                broker,
                request,
                code,
                ..
            } => {
                let code = Code(i32::from(code.0));
                KafkaError::of(code, doing, topic, &said(&broker, request).to_string())
            }
            WireError::NoLeader { code, .. } if code.is_unknown_topic() && topic.is_some() => {
                KafkaError::UnknownTopic {
                    topic: topic.unwrap_or_default().to_owned(),
                    doing: doing.to_owned(),
                }
            }
            WireError::NoLeader { code, .. } if !code.is_transient() => {
                KafkaError::of(Code(i32::from(code.0)), doing, topic, "")
            }
            WireError::NoVersion { .. } => KafkaError::Unsupported {
                doing: doing.to_owned(),
                cause: self.to_string(),
            },
            WireError::Recreated { topic } => KafkaError::Recreated { topic },
            error @ (WireError::NoLeader { .. }
            | WireError::UnknownBroker { .. }
            | WireError::Disconnected { .. }
            | WireError::Throttled { .. }
            | WireError::Malformed { .. }
            | WireError::Unsendable { .. }
            | WireError::Missing { .. }
            | WireError::Truncated { .. }
            | WireError::Batch { .. }) => other(error.to_string()),
        }
    }

    /// Describes it as the cause of a time-out, which says how long was waited for, and what to do next, itself.
    pub(super) fn as_cause(&self) -> String {
        match self {
            WireError::Timeout {
                broker,
                request,
                cause,
                ..
            } => format!("{broker} did not answer {}: {cause}", request.name()),
            error => error.to_string(),
        }
    }

    /// Whether it says something about a broker as a whole, such as that nothing answers, and not about a topic or a partition.
    pub(super) fn is_of_broker(&self) -> bool {
        matches!(
            self,
            WireError::Connect { .. }
                | WireError::Tls { .. }
                | WireError::Authentication { .. }
                | WireError::Token(_)
                | WireError::UnknownBroker { .. }
                | WireError::Disconnected { .. }
                | WireError::Timeout { .. }
        )
    }
}

impl From<WireError> for KafkaError {
    /// Converts a failure of what needs no cluster.
    fn from(error: WireError) -> KafkaError {
        error.into_kafka("the cluster", "use the Kafka client", None)
    }
}

/// Names the broker of a failure, unless the message begins with its address.
fn located(broker: &BrokerName, addresses: &str, cause: &str) -> String {
    match broker.address.to_string() == addresses {
        true => cause.to_owned(),
        false => format!("{broker}: {cause}"),
    }
}

/// Says who answered what.
fn said(broker: &BrokerName, request: Api) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{broker} answered {}", request.name()))
}
