//! Restores of the repository that began to write to the same targets and have not finished.
//!
//! Records that such a restore wrote are not a reason to append: whoever resumes it, or restores again, would have them twice.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt;
use kbk_format::PartitionNumber;
use kbk_format::repo::{RepoError, Repository, RestoreId, RestoreManifest};

use super::restore_plan::TopicPlan;
use super::target_cluster::TargetCluster;

/// Unfinished restores into a cluster, by the partitions that they write to.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedRestores(BTreeMap<(String, PartitionNumber), UnfinishedRestore>);

/// A restore that was neither finished nor discarded.
#[derive(Clone, Debug)]
pub(crate) struct UnfinishedRestore {
    /// Its name.
    pub(crate) restore: RestoreId,
    /// Whether it writes in transactions, so that it can be resumed.
    pub(crate) resumable: bool,
}

impl UnfinishedRestores {
    /// Reads the manifests of the repository's unfinished restores into this cluster.
    pub(crate) async fn find(
        repository: &Repository,
        cluster: &TargetCluster,
    ) -> Result<UnfinishedRestores, RepoError> {
        let mut found = UnfinishedRestores::default();
        let mut records = pin!(repository.restore_records(repository.restores().await?));
        while let Some((restore, record)) = records.next().await {
            match record {
                Ok(record) => {
                    let unfinished = record.filter(|record| record.end.is_none());
                    let manifest = unfinished.map(|record| record.manifest);
                    let here = manifest.filter(|manifest| manifest.cluster_id == cluster.id);
                    here.iter().for_each(|manifest| found.add(manifest));
                }
                Err(error) => {
                    tracing::warn!("cannot tell whether restore {restore} has finished: {error}");
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, manifest: &RestoreManifest) {
        for topic in &manifest.topics {
            for target in &topic.targets {
                let unfinished = UnfinishedRestore {
                    restore: manifest.restore.clone(),
                    resumable: manifest.producers > 0,
                };
                self.0
                    .insert((topic.target.to_string(), target.partition), unfinished);
            }
        }
    }

    /// Returns the last of those that write to a partition that this restore writes to.
    pub(crate) fn of(&self, topic: TopicPlan<'_>) -> Option<&UnfinishedRestore> {
        let targets = topic.restored.targets.iter();
        targets
            .filter_map(|target| self.0.get(&(topic.target().to_owned(), target.partition)))
            .max_by_key(|unfinished| &unfinished.restore)
    }
}
