//! Why a restore of records failed.

use kbk_format::repo::{OffsetAndMetadata, RepoError, RestoreId};

use super::held_up::HeldUp;
use super::target_error::TargetError;
use crate::kafka::{KafkaError, TopicPartition};
use crate::restore::plan::obstacle::Obstacle;

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Everything is written, and the repository cannot be read again to compare it.
    #[error("every record is written, and not every one was compared with the backup: {0}")]
    NotCompared(RepoError),
    /// Permissions that could be checked only once the topics existed.
    #[error("{}; the topics that were created are still empty", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    MissingRights(Vec<Obstacle>),
    /// A target is no longer what it has to be.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Another run of the same restore writes now.
    #[error(
        "cannot continue restore {restore}: {holder} has taken it over; nothing was committed after that; wait until that run has ended"
    )]
    TakenOver {
        /// The restore.
        restore: RestoreId,
        /// Who writes it now.
        holder: String,
    },
    /// Restored records are not readable.
    #[error(
        "everything is written, but consumers cannot read all of it yet: {}; once it has ended, run `kbk restore --resume` (Kafka's \
         `kafka-transactions.sh find-hanging` finds a transaction that nobody will end)",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    HeldUp(Vec<HeldUp>),
    /// The group that keeps the progress has no position for a partition that has records.
    #[error(
        "cannot resume: group {group} has no committed position for {source_partition}, but {target} holds records from offset {offset} on; \
         either the group has expired (`offsets.retention.minutes` of the brokers) or another producer writes there; delete the \
         targets, and restore again from the start"
    )]
    ProgressLost {
        /// The group.
        group: String,
        /// The source partition.
        source_partition: String,
        /// The target partition.
        target: TopicPartition,
        /// The offset of the first unexpected record.
        offset: i64,
    },
    /// The group that keeps the progress has a position that no restore wrote.
    #[error(
        "cannot resume restore {restore}: {committed:?} is committed as its position in {partition}, which no page of its offset map \
         covers; another program uses its group, so restore again from the start under other names"
    )]
    Progress {
        /// The restore.
        restore: RestoreId,
        /// The source partition.
        partition: String,
        /// What is committed.
        committed: OffsetAndMetadata,
    },
}
