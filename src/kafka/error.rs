//! Errors of a Kafka cluster and its client, by what the caller must do next.

#![expect(
    unsafe_code,
    reason = "librdkafka's table of error names is read through pointers"
)]

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::LazyLock;
use std::time::Duration;

use kbk_format::{OffsetSpan, PartitionNumber};
use rdkafka_sys::rd_kafka_resp_err_t as Resp;

use super::cause::plain;
use super::oidc::TokenFailure;

/// A failure on the Kafka side. The variant says what the caller, or the user, has to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// No broker answered.
    #[error("no broker of {addresses} can be reached: {cause}; {next}")]
    Unreachable {
        /// The bootstrap servers that were tried.
        addresses: String,
        /// The failure of the last attempt.
        cause: String,
        /// What to do about it.
        next: &'static str,
    },
    /// A broker answered and rejected the credentials.
    #[error(
        "{addresses} rejected the credentials of `sasl.mechanism` {mechanism}: {cause}; {next}"
    )]
    Authentication {
        /// The bootstrap servers that were tried.
        addresses: String,
        /// The mechanism of the login.
        mechanism: String,
        /// The broker's reason.
        cause: String,
        /// What to do about it.
        next: &'static str,
    },
    /// There is no token to log in with.
    #[error("{0}")]
    Token(#[from] TokenFailure),
    /// The credentials are valid and lack a permission.
    #[error(
        "not allowed to {doing} ({cause}): grant this principal the permission, or use another principal"
    )]
    Authorization {
        /// The attempted operation, with its resource.
        doing: String,
        /// The broker's reason.
        cause: String,
    },
    /// The topic does not exist, or no longer does.
    #[error("cannot {doing}: topic {topic} does not exist, or no longer does; check its name")]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The attempted operation.
        doing: String,
    },
    /// The log ends before an offset that it once contained: truncated, or deleted and created again.
    #[error(
        "{topic}/{partition}: offset {position} is beyond the log, which now holds {}: \
         the topic was truncated, or deleted and created again; run the backup again to store its present state",
        OffsetSpan::from(*.log_start_offset..*.log_end_offset)
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionNumber,
        /// The next offset to read.
        position: i64,
        /// The first offset in the log now.
        log_start_offset: i64,
        /// The exclusive end of the log now.
        log_end_offset: i64,
    },
    /// Another topic has the name by now.
    #[error(
        "topic {topic} was deleted and created again while it was read; run the backup again to store the new one"
    )]
    Recreated {
        /// The topic.
        topic: String,
    },
    /// A message in a format that librdkafka cannot decode.
    #[error(
        "{topic}/{partition}: the message at offset {offset} is in Kafka's old format v0 or v1 ({cause}), which librdkafka cannot read \
         (librdkafka#5549); use --client wire for a backup"
    )]
    OldFormat {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionNumber,
        /// The offset of the first message that cannot be decoded.
        offset: i64,
        /// How it shows.
        cause: &'static str,
    },
    /// A record exceeds a size limit of the topic, the brokers, or the producer.
    #[error(
        "{topic}/{partition}: the record of source offset {source_offset} ({size_bytes} bytes) is too large: {cause}; \
         raise `max.message.bytes` of the topic, or `message.max.bytes` of the brokers, above {size_bytes}"
    )]
    RecordTooLarge {
        /// The target topic.
        topic: String,
        /// The target partition.
        partition: PartitionNumber,
        /// The record's offset in the backup.
        source_offset: i64,
        /// Bytes of key, value and headers.
        size_bytes: usize,
        /// What rejected it.
        cause: String,
    },
    /// librdkafka replaces a timestamp of 0 by the present time: sending would change the record.
    #[error(
        "{topic}/{partition}: the record of source offset {source_offset} has the timestamp 0 (1970-01-01T00:00:00Z), which \
         librdkafka would silently replace by the present time; the record was not sent"
    )]
    TimestampZero {
        /// The target topic.
        topic: String,
        /// The target partition.
        partition: PartitionNumber,
        /// The record's offset in the backup.
        source_offset: i64,
    },
    /// A record was not written.
    #[error(
        "{topic}/{partition}: the record of source offset {source_offset} was not written: {cause}"
    )]
    Delivery {
        /// The target topic.
        topic: String,
        /// The target partition.
        partition: PartitionNumber,
        /// The record's offset in the backup.
        source_offset: i64,
        /// The reason.
        cause: String,
    },
    /// The cluster accepts nothing more of this producer: its transaction timed out, or another one has its transactional id.
    #[error(
        "cannot {doing}: the brokers accept nothing more of this producer ({cause}); its transaction timed out, or another run has its \
         transactional id"
    )]
    Fenced {
        /// The attempted operation.
        doing: String,
        /// The reason of the broker or the client.
        cause: String,
    },
    /// The client failed permanently.
    #[error("the Kafka client failed permanently: {cause}; run the command again")]
    Fatal {
        /// librdkafka's reason.
        cause: String,
    },
    /// The cluster does not support the request.
    #[error(
        "the cluster cannot {doing}: {cause}; it needs Apache Kafka 2.4 or newer, or one compatible with it"
    )]
    Unsupported {
        /// The attempted operation.
        doing: String,
        /// The reason of the client or the broker.
        cause: String,
    },
    /// The cluster is reachable and did not answer in time.
    #[error(
        "the cluster did not {doing} within {waited:.0?}: {cause}; check the brokers' health, then try again"
    )]
    Timeout {
        /// The attempted operation.
        doing: String,
        /// How long the client waited.
        waited: Duration,
        /// The last known cause.
        cause: String,
    },
    /// Brokers do not allow transactions to stay open for this long.
    #[error(
        "the brokers reject a transaction timeout of {} s: their `transaction.max.timeout.ms` is lower; raise it, set a lower \
         `-X transaction.timeout.ms`, or restore with --no-transactions",
        .timeout.as_secs_f64()
    )]
    TransactionTimeout {
        /// The timeout that they reject.
        timeout: Duration,
    },
    /// No broker coordinates transactions.
    #[error(
        "no broker took over the coordination of transactions within {waited:.0?}: {cause}; there must be as many brokers as their \
         `transaction.state.log.replication.factor` and `transaction.state.log.min.isr` require; correct these, or restore with \
         --no-transactions"
    )]
    NoCoordinator {
        /// How long the client waited.
        waited: Duration,
        /// What the cluster says.
        cause: String,
    },
    /// librdkafka rejected the settings.
    #[error("the Kafka client cannot start: {cause}; check --command-config and -X")]
    Settings {
        /// librdkafka's reason.
        cause: String,
    },
    /// Any other failure, in the broker's or the client's words.
    #[error("cannot {doing}: {cause}")]
    Other {
        /// The attempted operation.
        doing: String,
        /// The reason of the broker or the client.
        cause: String,
    },
}

impl KafkaError {
    /// Converts the result of a call that ended with `code`; `topic` is the topic that it concerned, if any.
    pub(super) fn of(code: Code, doing: &str, topic: Option<&str>, detail: &str) -> KafkaError {
        let cause = code.explain(detail);
        let doing = match topic {
            Some(topic) if code == Code::TOPIC_DENIED && !doing.contains(topic) => {
                format!("{doing}, of topic {topic}")
            }
            _ => doing.to_owned(),
        };
        match code {
            Code::TOPIC_DENIED
            | Code::GROUP_DENIED
            | Code::CLUSTER_DENIED
            | Code::TRANSACTIONAL_ID_DENIED => KafkaError::Authorization { doing, cause },
            Code::UNKNOWN_TOPIC | Code::LOCAL_UNKNOWN_TOPIC | Code::UNKNOWN_TOPIC_ID
                if topic.is_some() =>
            {
                KafkaError::UnknownTopic {
                    topic: topic.unwrap_or_default().to_owned(),
                    doing,
                }
            }
            Code::FATAL => KafkaError::Fatal { cause },
            Code::UNSUPPORTED_FEATURE | Code::UNSUPPORTED_VERSION => {
                KafkaError::Unsupported { doing, cause }
            }
            _ if code.is_local_timeout() => KafkaError::Other {
                doing,
                cause: format!("{cause}; check the network and the brokers, then try again"),
            },
            _ => KafkaError::Other { doing, cause },
        }
    }

    /// Names the missing permission, if the error is one of authorization.
    pub(super) fn needing(mut self, permission: impl fmt::Display) -> KafkaError {
        if let KafkaError::Authorization { cause, .. } = &mut self {
            *cause = format!("{cause}; it needs {permission}");
        }
        self
    }

    /// Returns the message for a place that names the partition anyway: without its name at the start.
    #[must_use]
    pub fn within(&self, topic: &str, partition: PartitionNumber) -> String {
        let message = self.to_string();
        match message.strip_prefix(&format!("{topic}/{partition}: ")) {
            Some(rest) => rest.to_owned(),
            None => message,
        }
    }

    /// Whether this principal lacks a permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, KafkaError::Authorization { .. })
    }

    /// Returns what to say of an outage that this error is a part of: no broker could be reached.
    pub(super) fn outage(&self) -> Option<String> {
        match self {
            KafkaError::Unreachable {
                addresses, cause, ..
            } => Some(format!("no broker of {addresses} can be reached: {cause}")),
            _ => None,
        }
    }

    /// Whether the cluster does not support the request, so that the caller may try another one.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, KafkaError::Unsupported { .. })
    }
}

/// An error code of the protocol, or of librdkafka where negative.
///
/// A plain number instead of the enum of the bindings: a newer broker may send a code that this librdkafka does not define, and an
/// enum must not hold such a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Code(pub(super) i32);

impl Code {
    pub(super) const NONE: Code = Code(Resp::RD_KAFKA_RESP_ERR_NO_ERROR as i32);
    pub(super) const PARTITION_EOF: Code = Code(Resp::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32);
    pub(super) const OFFSET_RESET: Code = Code(Resp::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32);
    pub(super) const LOG_TRUNCATION: Code = Code(Resp::RD_KAFKA_RESP_ERR__LOG_TRUNCATION as i32);
    pub(super) const TOPIC_DENIED: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32);
    pub(super) const GROUP_DENIED: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as i32);
    pub(super) const GROUP_NOT_FOUND: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND as i32);
    pub(super) const CLUSTER_DENIED: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED as i32);
    pub(super) const TRANSACTIONAL_ID_DENIED: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as i32);
    pub(super) const TOPIC_EXISTS: Code = Code(Resp::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS as i32);
    pub(super) const REQUEST_TIMED_OUT: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as i32);
    pub(super) const UNKNOWN_TOPIC: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32);
    pub(super) const UNKNOWN_TOPIC_ID: Code = Code(Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID as i32);
    pub(super) const LOCAL_UNKNOWN_TOPIC: Code =
        Code(Resp::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32);
    pub(super) const UNKNOWN_PARTITION: Code =
        Code(Resp::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as i32);
    /// What librdkafka reports where no partition of a request has a leader.
    pub(super) const NO_LEADERS: Code = Code(Resp::RD_KAFKA_RESP_ERR__NOENT as i32);
    pub(super) const LEADER_NOT_AVAILABLE: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32);
    pub(super) const FENCED_LEADER_EPOCH: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH as i32);
    pub(super) const COORDINATOR_NOT_AVAILABLE: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE as i32);
    pub(super) const INVALID_TRANSACTION_TIMEOUT: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT as i32);
    pub(super) const INVALID_RECORD: Code = Code(Resp::RD_KAFKA_RESP_ERR_INVALID_RECORD as i32);
    /// Another record of the batch was rejected.
    pub(super) const DIFFERENT_RECORD: Code =
        Code(Resp::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD as i32);
    pub(super) const FENCED: Code = Code(Resp::RD_KAFKA_RESP_ERR__FENCED as i32);
    pub(super) const STATE: Code = Code(Resp::RD_KAFKA_RESP_ERR__STATE as i32);
    pub(super) const BAD_COMPRESSION: Code = Code(Resp::RD_KAFKA_RESP_ERR__BAD_COMPRESSION as i32);
    pub(super) const FATAL: Code = Code(Resp::RD_KAFKA_RESP_ERR__FATAL as i32);
    pub(super) const UNSUPPORTED_FEATURE: Code =
        Code(Resp::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE as i32);
    pub(super) const UNSUPPORTED_VERSION: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION as i32);
    pub(super) const AUTHENTICATION: Code = Code(Resp::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32);
    pub(super) const SASL_FAILED: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED as i32);
    pub(super) const ALL_BROKERS_DOWN: Code =
        Code(Resp::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as i32);
    pub(super) const TRANSPORT: Code = Code(Resp::RD_KAFKA_RESP_ERR__TRANSPORT as i32);
    pub(super) const NOT_CONTROLLER: Code = Code(Resp::RD_KAFKA_RESP_ERR_NOT_CONTROLLER as i32);
    pub(super) const TIMED_OUT: Code = Code(Resp::RD_KAFKA_RESP_ERR__TIMED_OUT as i32);
    pub(super) const BAD_MESSAGE: Code = Code(Resp::RD_KAFKA_RESP_ERR__BAD_MSG as i32);
    pub(super) const QUEUE_FULL: Code = Code(Resp::RD_KAFKA_RESP_ERR__QUEUE_FULL as i32);
    pub(super) const PURGED_IN_QUEUE: Code = Code(Resp::RD_KAFKA_RESP_ERR__PURGE_QUEUE as i32);
    pub(super) const PURGED_IN_FLIGHT: Code = Code(Resp::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT as i32);
    pub(super) const MESSAGE_TOO_LARGE: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as i32);
    pub(super) const BATCH_TOO_LARGE: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE as i32);
    pub(super) const INVALID_TIMESTAMP: Code =
        Code(Resp::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as i32);

    /// The code of the last failed call on this thread, for calls that return only -1 or null.
    pub(super) fn last() -> Code {
        // SAFETY: reads a thread-local number of librdkafka.
        Code(unsafe { rdkafka_sys::rd_kafka_last_error() } as i32)
    }

    /// Converts the code into a result.
    pub(super) fn ok(self) -> Result<(), Code> {
        if self == Code::NONE {
            Ok(())
        } else {
            Err(self)
        }
    }

    /// Whether a retry of the call may succeed: leaders move, coordinators load, connections break.
    pub(super) fn is_transient(self) -> bool {
        const TRANSIENT: [Resp; 15] = [
            Resp::RD_KAFKA_RESP_ERR__TRANSPORT,
            Resp::RD_KAFKA_RESP_ERR__TIMED_OUT,
            Resp::RD_KAFKA_RESP_ERR__WAIT_COORD,
            Resp::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Resp::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
            Resp::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            Resp::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Resp::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
            Resp::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
            Resp::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
            Resp::RD_KAFKA_RESP_ERR_NOT_CONTROLLER,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Resp::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            Resp::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            Resp::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
        ];
        TRANSIENT.iter().any(|&known| known as i32 == self.0)
    }

    /// Whether a permission on a group, or on a topic of it, is missing.
    pub(super) fn is_denied_group(self) -> bool {
        matches!(self, Code::GROUP_DENIED | Code::TOPIC_DENIED)
    }

    /// Whether no broker answered the client in time.
    pub(super) fn is_local_timeout(self) -> bool {
        matches!(self, Code::TIMED_OUT | Code::TRANSPORT)
    }

    /// Whether a broker rejected a record for its content or its sender, so that a retry would fail as well.
    pub(super) fn rejects_records(self) -> bool {
        const REJECTIONS: [Code; 18] = [
            Code::MESSAGE_TOO_LARGE,
            Code::BATCH_TOO_LARGE,
            Code::INVALID_TIMESTAMP,
            Code::INVALID_RECORD,
            Code::DIFFERENT_RECORD,
            Code(Resp::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_INVALID_REQUEST as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_POLICY_VIOLATION as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT as i32),
            Code(Resp::RD_KAFKA_RESP_ERR_SECURITY_DISABLED as i32),
            Code::TOPIC_DENIED,
            Code::CLUSTER_DENIED,
            Code::TRANSACTIONAL_ID_DENIED,
            Code::UNKNOWN_TOPIC,
            Code::LOCAL_UNKNOWN_TOPIC,
        ];
        REJECTIONS.contains(&self)
    }

    /// Whether a broker rejected the credentials.
    pub(super) fn is_authentication(self) -> bool {
        matches!(self, Code::AUTHENTICATION | Code::SASL_FAILED)
    }

    /// Describes the failure: `detail` and the code's name, or the code's description where there is no detail.
    pub(super) fn explain(self, detail: &str) -> String {
        match (detail, self.in_our_words()) {
            ("", _) | (_, Some(_)) => self.to_string(),
            (detail, None) => format!("{} ({})", plain(detail), self.name()),
        }
    }

    /// Describes the failures of connections, of which librdkafka's descriptions say less.
    fn in_our_words(self) -> Option<&'static str> {
        match self {
            Code::TRANSPORT => Some("the connection to the broker failed"),
            Code::TIMED_OUT => Some("no answer in time"),
            Code::ALL_BROKERS_DOWN => Some("no broker can be reached"),
            _ => None,
        }
    }

    /// Returns the code's name in the protocol, such as `TOPIC_AUTHORIZATION_FAILED`.
    pub(super) fn name(self) -> String {
        NAMES
            .get(&self.0)
            .map_or_else(|| format!("error {}", self.0), |(name, _)| name.clone())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.in_our_words() {
            return f.write_str(text);
        }
        match NAMES.get(&self.0) {
            Some((name, text)) => write!(f, "{} ({name})", plain(text)),
            None => write!(f, "error {}, which this client does not know", self.0),
        }
    }
}

/// librdkafka's names and descriptions of the codes.
static NAMES: LazyLock<HashMap<i32, (String, String)>> = LazyLock::new(|| {
    let (mut table, mut count) = (ptr::null(), 0);
    // SAFETY: both out parameters are valid; the table is static data inside librdkafka.
    unsafe { rdkafka_sys::rd_kafka_get_err_descs(&mut table, &mut count) };
    let text = |text: *const std::ffi::c_char| {
        // SAFETY: names and descriptions are null or static C strings.
        (!text.is_null()).then(|| {
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned()
        })
    };
    (0..count)
        .filter_map(|index| {
            // SAFETY: the index is inside the table. The code is read as a number because the table has holes.
            let (code, entry) = unsafe {
                let entry = table.add(index);
                ((&raw const (*entry).code).cast::<i32>().read(), entry)
            };
            // SAFETY: as above; these two fields are plain pointers.
            let (name, desc) = unsafe { ((*entry).name, (*entry).desc) };
            Some((code, (text(name)?, text(desc)?)))
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_have_names_and_unknown_ones_a_number() {
        assert_eq!(Code::TOPIC_DENIED.name(), "TOPIC_AUTHORIZATION_FAILED");
        assert!(
            Code::PARTITION_EOF
                .to_string()
                .starts_with("no more messages")
        );
        assert_eq!(Code(9999).name(), "error 9999");
    }

    #[test]
    fn a_denied_topic_is_named() {
        let error = KafkaError::of(Code::TOPIC_DENIED, "read topic orders", Some("orders"), "");
        assert!(
            error
                .to_string()
                .starts_with("not allowed to read topic orders"),
            "{error}"
        );
    }
}
