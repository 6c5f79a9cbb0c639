//! Temporary topic settings that earlier restores left.
//!
//! A restore that failed, or was abandoned, leaves the topics that it created with the settings that they had while records were written.
//! Its manifest says which topics and which settings.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt;
use kbk_format::repo::{RepoError, Repository};

use super::target_cluster::{ExistingTopic, TargetCluster};
use crate::kafka::ConfigSource;
use crate::restore::config;

/// What earlier restores configured the topics with that they created.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(BTreeMap<String, Vec<BTreeMap<String, String>>>);

impl Leftovers {
    /// Reads the manifests of earlier restores into this cluster, if a topic of it looks like one of theirs.
    pub(crate) async fn find(
        repository: &Repository,
        cluster: &TargetCluster,
    ) -> Result<Leftovers, RepoError> {
        let mut found = Leftovers::default();
        if !cluster.topics.values().any(is_like_one) {
            return Ok(found);
        }
        let mut records = pin!(repository.restore_records(repository.restores().await?));
        while let Some((restore, record)) = records.next().await {
            let manifest = match record {
                Ok(record) => record.map(|record| record.manifest),
                Err(error) => {
                    tracing::warn!("cannot tell what restore {restore} left: {error}");
                    continue;
                }
            };
            let here = manifest.filter(|manifest| manifest.cluster_id == cluster.id);
            for topic in here.into_iter().flat_map(|manifest| manifest.topics) {
                if let Some(create) = topic.create {
                    let configs = found.0.entry(topic.target.to_string()).or_default();
                    configs.push(create.config);
                }
            }
        }
        Ok(found)
    }

    /// Returns whether an existing topic still is as an earlier restore created it.
    pub(crate) fn is_filling(&self, target: &str, existing: &ExistingTopic) -> bool {
        let mut configs = self.0.get(target).into_iter().flatten();
        configs.any(|config| config::temporary().all(|key| is_as_in(existing, config, key)))
    }

    /// Returns the entries of an existing topic that an earlier restore set for a time, and that still are as it set them.
    pub(crate) fn entries(&self, target: &str, existing: &ExistingTopic) -> Vec<&'static str> {
        let configs = self.0.get(target);
        let is_left = |key: &&str| {
            let mut configs = configs.into_iter().flatten();
            configs.any(|config| is_as_in(existing, config, key))
        };
        config::temporary().filter(is_left).collect()
    }
}

/// Returns whether the topic has an entry of its own that is like the one in `config`.
pub(crate) fn is_as_in(
    existing: &ExistingTopic,
    config: &BTreeMap<String, String>,
    key: &str,
) -> bool {
    let value = config.get(key);
    value.is_some_and(|value| is_set(existing, key, value))
}

/// Returns whether the topic keeps everything, as topics do that a restore fills.
fn is_like_one(topic: &ExistingTopic) -> bool {
    is_set(topic, "retention.ms", "-1") || is_set(topic, "retention.bytes", "-1")
}

/// Returns whether the entry is set on the topic itself.
fn is_set(topic: &ExistingTopic, key: &str, value: &str) -> bool {
    let entry = topic.config.as_ref().and_then(|config| config.get(key));
    entry.is_some_and(|entry| {
        entry.source == ConfigSource::Topic && entry.value.as_deref() == Some(value)
    })
}
