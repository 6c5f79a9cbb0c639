//! What brokers answer in place of, or beside, a result.

use std::fmt;

/// An error code of the protocol, 0 for success. A newer broker may send one that has no name here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Success.
    pub const NONE: ErrorCode = ErrorCode(0);
    /// There is no such offset: it is before the first or after the last.
    pub const OFFSET_OUT_OF_RANGE: ErrorCode = ErrorCode(1);
    /// The topic or the partition does not exist, or the broker does not know of it yet.
    pub const UNKNOWN_TOPIC_OR_PARTITION: ErrorCode = ErrorCode(3);
    /// The partition has no leader.
    pub const LEADER_NOT_AVAILABLE: ErrorCode = ErrorCode(5);
    /// The request took longer than the broker may wait, for replicas or for another broker.
    pub const REQUEST_TIMED_OUT: ErrorCode = ErrorCode(7);
    /// The batch is larger than the topic allows.
    pub const MESSAGE_TOO_LARGE: ErrorCode = ErrorCode(10);
    /// The broker cannot tell who the coordinator is, or is not it yet.
    pub const COORDINATOR_LOAD_IN_PROGRESS: ErrorCode = ErrorCode(14);
    /// There is no coordinator.
    pub const COORDINATOR_NOT_AVAILABLE: ErrorCode = ErrorCode(15);
    /// Another broker is the coordinator.
    pub const NOT_COORDINATOR: ErrorCode = ErrorCode(16);
    /// The batch is larger than a segment of the log.
    pub const RECORD_LIST_TOO_LARGE: ErrorCode = ErrorCode(18);
    /// The principal may not read or describe the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: ErrorCode = ErrorCode(29);
    /// The principal may not use the group.
    pub const GROUP_AUTHORIZATION_FAILED: ErrorCode = ErrorCode(30);
    /// The principal may not do this to the cluster.
    pub const CLUSTER_AUTHORIZATION_FAILED: ErrorCode = ErrorCode(31);
    /// A timestamp is outside what the topic allows.
    pub const INVALID_TIMESTAMP: ErrorCode = ErrorCode(32);
    /// The listener does not offer the mechanism.
    pub const UNSUPPORTED_SASL_MECHANISM: ErrorCode = ErrorCode(33);
    /// The listener expects no login, or not now.
    pub const ILLEGAL_SASL_STATE: ErrorCode = ErrorCode(34);
    /// The broker does not answer this version of the request.
    pub const UNSUPPORTED_VERSION: ErrorCode = ErrorCode(35);
    /// The sequence number is not the one after that of the last batch.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: ErrorCode = ErrorCode(45);
    /// The batch is in the log, before the last few.
    pub const DUPLICATE_SEQUENCE_NUMBER: ErrorCode = ErrorCode(46);
    /// Another producer has a later epoch.
    pub const INVALID_PRODUCER_EPOCH: ErrorCode = ErrorCode(47);
    /// The transaction is not in a state for this request: it is over, perhaps.
    pub const INVALID_TXN_STATE: ErrorCode = ErrorCode(48);
    /// The coordinator knows the transactional id under another producer id.
    pub const INVALID_PRODUCER_ID_MAPPING: ErrorCode = ErrorCode(49);
    /// Transactions may not stay open for that long.
    pub const INVALID_TRANSACTION_TIMEOUT: ErrorCode = ErrorCode(50);
    /// The last transaction of this id is still being ended.
    pub const CONCURRENT_TRANSACTIONS: ErrorCode = ErrorCode(51);
    /// The principal may not use the transactional id.
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ErrorCode = ErrorCode(53);
    /// The broker knows nothing of the producer, such as after its records were deleted.
    pub const UNKNOWN_PRODUCER_ID: ErrorCode = ErrorCode(59);
    /// The client's leader epoch is earlier than the broker's.
    pub const FENCED_LEADER_EPOCH: ErrorCode = ErrorCode(74);
    /// The client's leader epoch is later than the broker's.
    pub const UNKNOWN_LEADER_EPOCH: ErrorCode = ErrorCode(75);
    /// A record violates a setting of the topic, or the batch is not one that a client may produce.
    pub const INVALID_RECORD: ErrorCode = ErrorCode(87);
    /// A transaction that may change the committed offset is open.
    pub const UNSTABLE_OFFSET_COMMIT: ErrorCode = ErrorCode(88);
    /// Another producer has the transactional id.
    pub const PRODUCER_FENCED: ErrorCode = ErrorCode(90);
    /// The transaction can only be aborted.
    pub const TRANSACTION_ABORTABLE: ErrorCode = ErrorCode(120);
    /// There is no topic of this id, or the broker does not know of it yet.
    pub const UNKNOWN_TOPIC_ID: ErrorCode = ErrorCode(100);

    /// Codes after which the same request may succeed, here or at the broker that leads the partition by then.
    const TRANSIENT: [i16; 23] = [
        3,   // UNKNOWN_TOPIC_OR_PARTITION: a broker that has just become the leader may say so
        5,   // LEADER_NOT_AVAILABLE
        6,   // NOT_LEADER_OR_FOLLOWER
        7,   // REQUEST_TIMED_OUT
        8,   // BROKER_NOT_AVAILABLE
        9,   // REPLICA_NOT_AVAILABLE
        13,  // NETWORK_EXCEPTION
        14,  // COORDINATOR_LOAD_IN_PROGRESS
        15,  // COORDINATOR_NOT_AVAILABLE
        16,  // NOT_COORDINATOR
        19,  // NOT_ENOUGH_REPLICAS
        20,  // NOT_ENOUGH_REPLICAS_AFTER_APPEND: sent again, it is a duplicate
        51,  // CONCURRENT_TRANSACTIONS
        56,  // KAFKA_STORAGE_ERROR
        72,  // LISTENER_NOT_FOUND
        74,  // FENCED_LEADER_EPOCH
        75,  // UNKNOWN_LEADER_EPOCH
        78,  // OFFSET_NOT_AVAILABLE: a new leader that does not know its high watermark yet
        88,  // UNSTABLE_OFFSET_COMMIT: a transaction that may change the offset is open
        89,  // THROTTLING_QUOTA_EXCEEDED
        100, // UNKNOWN_TOPIC_ID
        103, // INCONSISTENT_TOPIC_ID
        129, // REBOOTSTRAP_REQUIRED
    ];

    /// Whether the same request may succeed later, once leaders are looked up again.
    #[must_use]
    pub fn is_transient(self) -> bool {
        ErrorCode::TRANSIENT.contains(&self.0)
    }

    /// Whether the topic or partition may not exist. A broker that has just started says the same of one that does.
    #[must_use]
    pub fn is_unknown_topic(self) -> bool {
        [
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_ID,
        ]
        .contains(&self)
    }

    /// Returns the name in Kafka's documentation.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let at = NAMES
            .binary_search_by_key(&self.0, |(code, _)| *code)
            .ok()?;
        NAMES.get(at).map(|(_, name)| *name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// Kafka's `Errors`, ascending.
const NAMES: &[(i16, &str)] = &[
    (-1, "UNKNOWN_SERVER_ERROR"),
    (1, "OFFSET_OUT_OF_RANGE"),
    (2, "CORRUPT_MESSAGE"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION"),
    (4, "INVALID_FETCH_SIZE"),
    (5, "LEADER_NOT_AVAILABLE"),
    (6, "NOT_LEADER_OR_FOLLOWER"),
    (7, "REQUEST_TIMED_OUT"),
    (8, "BROKER_NOT_AVAILABLE"),
    (9, "REPLICA_NOT_AVAILABLE"),
    (10, "MESSAGE_TOO_LARGE"),
    (11, "STALE_CONTROLLER_EPOCH"),
    (12, "OFFSET_METADATA_TOO_LARGE"),
    (13, "NETWORK_EXCEPTION"),
    (14, "COORDINATOR_LOAD_IN_PROGRESS"),
    (15, "COORDINATOR_NOT_AVAILABLE"),
    (16, "NOT_COORDINATOR"),
    (17, "INVALID_TOPIC_EXCEPTION"),
    (18, "RECORD_LIST_TOO_LARGE"),
    (19, "NOT_ENOUGH_REPLICAS"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (21, "INVALID_REQUIRED_ACKS"),
    (22, "ILLEGAL_GENERATION"),
    (23, "INCONSISTENT_GROUP_PROTOCOL"),
    (24, "INVALID_GROUP_ID"),
    (25, "UNKNOWN_MEMBER_ID"),
    (26, "INVALID_SESSION_TIMEOUT"),
    (27, "REBALANCE_IN_PROGRESS"),
    (28, "INVALID_COMMIT_OFFSET_SIZE"),
    (29, "TOPIC_AUTHORIZATION_FAILED"),
    (30, "GROUP_AUTHORIZATION_FAILED"),
    (31, "CLUSTER_AUTHORIZATION_FAILED"),
    (32, "INVALID_TIMESTAMP"),
    (33, "UNSUPPORTED_SASL_MECHANISM"),
    (34, "ILLEGAL_SASL_STATE"),
    (35, "UNSUPPORTED_VERSION"),
    (36, "TOPIC_ALREADY_EXISTS"),
    (37, "INVALID_PARTITIONS"),
    (38, "INVALID_REPLICATION_FACTOR"),
    (39, "INVALID_REPLICA_ASSIGNMENT"),
    (40, "INVALID_CONFIG"),
    (41, "NOT_CONTROLLER"),
    (42, "INVALID_REQUEST"),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    (44, "POLICY_VIOLATION"),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (46, "DUPLICATE_SEQUENCE_NUMBER"),
    (47, "INVALID_PRODUCER_EPOCH"),
    (48, "INVALID_TXN_STATE"),
    (49, "INVALID_PRODUCER_ID_MAPPING"),
    (50, "INVALID_TRANSACTION_TIMEOUT"),
    (51, "CONCURRENT_TRANSACTIONS"),
    (52, "TRANSACTION_COORDINATOR_FENCED"),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (54, "SECURITY_DISABLED"),
    (55, "OPERATION_NOT_ATTEMPTED"),
    (56, "KAFKA_STORAGE_ERROR"),
    (57, "LOG_DIR_NOT_FOUND"),
    (58, "SASL_AUTHENTICATION_FAILED"),
    (59, "UNKNOWN_PRODUCER_ID"),
    (70, "FETCH_SESSION_ID_NOT_FOUND"),
    (71, "INVALID_FETCH_SESSION_EPOCH"),
    (72, "LISTENER_NOT_FOUND"),
    (73, "TOPIC_DELETION_DISABLED"),
    (74, "FENCED_LEADER_EPOCH"),
    (75, "UNKNOWN_LEADER_EPOCH"),
    (76, "UNSUPPORTED_COMPRESSION_TYPE"),
    (77, "STALE_BROKER_EPOCH"),
    (78, "OFFSET_NOT_AVAILABLE"),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE"),
    (87, "INVALID_RECORD"),
    (88, "UNSTABLE_OFFSET_COMMIT"),
    (89, "THROTTLING_QUOTA_EXCEEDED"),
    (90, "PRODUCER_FENCED"),
    (100, "UNKNOWN_TOPIC_ID"),
    (103, "INCONSISTENT_TOPIC_ID"),
    (104, "INCONSISTENT_CLUSTER_ID"),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR"),
    (108, "NEW_LEADER_ELECTED"),
    (109, "OFFSET_MOVED_TO_TIERED_STORAGE"),
    (119, "INVALID_REGISTRATION"),
    (120, "TRANSACTION_ABORTABLE"),
    (129, "REBOOTSTRAP_REQUIRED"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names_that_are_found() {
        assert!(NAMES.is_sorted_by_key(|(code, _)| *code));
        for (code, name) in NAMES {
            assert_eq!(ErrorCode(*code).name(), Some(*name));
        }
        assert_eq!(ErrorCode(6).to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(ErrorCode(12_345).to_string(), "error 12345");
    }

    #[test]
    fn transient_codes_are_named() {
        for code in ErrorCode::TRANSIENT {
            assert!(ErrorCode(code).name().is_some(), "{code}");
        }
        assert!(!ErrorCode::TOPIC_AUTHORIZATION_FAILED.is_transient());
        assert!(!ErrorCode::NONE.is_transient());
    }
}
