//! What is committed in a transaction beside records, and why a transaction fails: the same for both clients.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::OffsetAndMetadata;

use super::error::KafkaError;

/// A position to commit in a transaction, for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The topic, which must exist in the cluster.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// The offset and metadata to commit.
    pub committed: OffsetAndMetadata,
}

/// Positions to commit together, by consumer group.
pub type Positions = BTreeMap<String, Vec<OffsetCommit>>;

/// Why a transaction failed, and what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// The transaction must be aborted, and can then be retried.
    #[error(transparent)]
    Again(KafkaError),
    /// The transaction can be retried with a new producer only: this one is unusable.
    #[error(transparent)]
    Lost(KafkaError),
    /// The cluster has ended the transaction, or has committed it, and accepts nothing more of this producer. Another one can find out what
    /// is committed, unless another run has taken over.
    #[error(transparent)]
    Fenced(KafkaError),
    /// A retry would fail as well.
    #[error(transparent)]
    Failed(#[from] KafkaError),
}

impl From<TransactionError> for KafkaError {
    fn from(error: TransactionError) -> KafkaError {
        match error {
            TransactionError::Again(error)
            | TransactionError::Lost(error)
            | TransactionError::Fenced(error)
            | TransactionError::Failed(error) => error,
        }
    }
}
