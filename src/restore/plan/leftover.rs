//! Temporary topic settings that earlier restores left.
//!
//! A restore that failed, or was abandoned, leaves the topics that it created with the settings that they had while records were written.
//! Its manifest says which topics and which settings.

use std::collections::BTreeMap;

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
        for restore in repository.restores().await? {
            let manifest = match repository.restore(&restore).await {
                Ok(manifest) => manifest,
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
        configs.any(|config| {
            let mut temporary = config::temporary();
            temporary.all(|(key, _)| {
                config
                    .get(key)
                    .is_some_and(|value| is_set(existing, key, value))
            })
        })
    }

    /// Returns the entries of an existing topic that an earlier restore set for a time, and that still are as it set them.
    pub(crate) fn entries(
        &self,
        target: &str,
        existing: &ExistingTopic,
    ) -> impl Iterator<Item = (&'static str, &'static str)> {
        let configs = self.0.get(target);
        config::temporary().filter(move |(key, value)| {
            let set = |config: &BTreeMap<String, String>| {
                config.get(*key).is_some_and(|set| set == value)
            };
            configs.is_some_and(|configs| configs.iter().any(set)) && is_set(existing, key, value)
        })
    }
}

fn is_like_one(topic: &ExistingTopic) -> bool {
    config::temporary().any(|(key, value)| is_set(topic, key, value))
}

/// Returns whether the entry is set on the topic itself.
fn is_set(topic: &ExistingTopic, key: &str, value: &str) -> bool {
    let entry = topic.config.as_ref().and_then(|config| config.get(key));
    entry.is_some_and(|entry| {
        entry.source == ConfigSource::Topic && entry.value.as_deref() == Some(value)
    })
}
