//! What a broker's refusal means: for the user, and for the transaction.

use super::error::WireError;
use super::producer::ProduceFailure;
use super::protocol::ErrorCode;
use crate::kafka::commit::TransactionError;
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::partition::TopicPartition;

/// Returns an error for the user, with the partition that it concerns.
pub(super) fn explained(error: WireError, doing: &str, addresses: &str) -> KafkaError {
    let doing = match &error {
        WireError::Partition { subject, .. } => format!("{doing}: {subject}"),
        _ => doing.to_owned(),
    };
    error.into_kafka(addresses, &doing, None)
}

/// Returns the error of a batch for `target` that a broker did not take; without a target, of a request that concerns none.
pub(super) fn undelivered(
    failure: &ProduceFailure,
    target: Option<&TopicPartition>,
    addresses: &str,
) -> KafkaError {
    let ProduceFailure {
        error,
        source_offset,
        batch_bytes,
        message,
        ..
    } = failure.clone();
    let Some(at) = target else {
        return explained(error, "write records", addresses);
    };
    let (topic, partition) = (at.topic.clone(), at.partition);
    let said = match &message {
        Some(message) => format!("{error}: {message}"),
        None => error.to_string(),
    };
    let delivery = |cause: String| KafkaError::Delivery {
        topic: topic.clone(),
        partition,
        source_offset,
        cause,
    };
    match error.code() {
        Some(ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE) => {
            KafkaError::RecordTooLarge {
                topic,
                partition,
                source_offset,
                size_bytes: batch_bytes,
                cause: format!("{said}; the size is that of the record's batch"),
            }
        }
        Some(ErrorCode::INVALID_RECORD) => delivery(format!(
            "{said}; it, or one in the same batch, violates a setting of the topic, such as \
                 `message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`, or a `cleanup.policy` that requires keys"
        )),
        Some(ErrorCode::INVALID_TIMESTAMP) => delivery(format!(
            "{said}; its timestamp, or one in the same batch, is outside what `message.timestamp.before.max.ms` and \
                 `message.timestamp.after.max.ms` of the topic allow"
        )),
        Some(code) if !is_denied(code) && !code.is_unknown_topic() => delivery(said),
        _ => {
            let doing = format!("write to topic {topic}");
            error.into_kafka(addresses, &doing, Some(&topic))
        }
    }
}

/// Decides what a failure means for the transaction; `explained` is the same for the user.
pub(super) fn judged(error: &WireError, explained: KafkaError) -> TransactionError {
    let Some(code) = error.code() else {
        return TransactionError::Failed(explained);
    };
    let is_fenced = [
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::INVALID_TXN_STATE,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::PRODUCER_FENCED,
    ];
    if is_fenced.contains(&code) {
        return TransactionError::Fenced(KafkaError::Fenced {
            doing: "write in transactions".to_owned(),
            cause: error.to_string(),
        });
    }
    // A failure that passes has been tried again for as long as there was time.
    let is_final = is_denied(code)
        || code.is_transient()
        || Code(i32::from(code.0)).rejects_records()
        || code == ErrorCode::INVALID_TRANSACTION_TIMEOUT;
    match is_final {
        true => TransactionError::Failed(explained),
        false => TransactionError::Again(explained),
    }
}

/// Whether the principal lacks a permission.
fn is_denied(code: ErrorCode) -> bool {
    let denied = [
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ];
    denied.contains(&code)
}
