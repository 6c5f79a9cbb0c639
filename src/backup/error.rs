//! Why a backup failed.

use kbk_format::repo::{RepoError, TopicNameError};
use kbk_tools::claims::{ClaimError, ClaimLost};

use super::base::DamagedSnapshots;
use super::continuity::ContinuityError;
use super::pipeline::PipelineError;
use super::survey::SurveyError;
use crate::kafka::KafkaError;

/// Why a backup failed. No snapshot was made, and the last one is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The survey of the cluster, or the selection of topics.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// A topic with a name that Kafka does not allow.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// The repository has the topics of another cluster.
    #[error(
        "cannot back up cluster {found} to {repository}: its newest snapshot is of cluster {stored}; use a repository of its own for \
         each cluster, or --allow-cluster-change if this cluster has replaced that one"
    )]
    OtherCluster {
        /// Where it is.
        repository: String,
        /// The id of the cluster in the newest snapshot.
        stored: String,
        /// The id of the cluster that answered.
        found: String,
    },
    /// The comparison of the logs with what is stored.
    #[error(transparent)]
    Continuity(#[from] ContinuityError),
    /// Another run writes the same topics.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
    /// Another run has the same topics now.
    #[error(transparent)]
    ClaimLost(#[from] ClaimLost),
    /// An access to the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The newest snapshots are damaged.
    #[error("{0}")]
    DamagedSnapshots(Box<DamagedSnapshots>),
    /// A snapshot to pass over that is intact.
    #[error("cannot ignore snapshot {0}: it is not damaged; run the backup without ignoring it")]
    NotDamaged(u64),
    /// Reading or storing records.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl From<KafkaError> for BackupError {
    fn from(error: KafkaError) -> BackupError {
        SurveyError::Kafka(error).into()
    }
}
