//! Which topics a restore writes to (SPEC section 11.7): `restores/<restore>/targets.json`, durable before the first record is written.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::id::Id;
use super::keys::{Key, TopicName};
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;

/// The topics that a restore writes to, as the cluster knew them before the first record was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTargets {
    /// The restore.
    pub restore: RestoreId,
    /// Every target of the restore, in its order.
    pub topics: Vec<TargetTopic>,
}

/// A topic that a restore writes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTopic {
    /// Its name in the cluster.
    pub target: TopicName,
    /// Its id in the cluster; zeros where the cluster has no topic ids.
    pub topic_id: Id,
}

impl Document for RestoreTargets {
    const FORMAT: &'static str = "kbk-restore-targets";
}

impl Repository {
    /// Records the ids of a restore's targets; durable when this returns, which must be before the first record is written.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`](super::RepoErrorKind::Refused) where other ids are recorded, or the error of the store.
    pub async fn record_targets(&self, targets: &RestoreTargets) -> Result<()> {
        let key = Key::RestoreTargets {
            restore: targets.restore.clone(),
        };
        if let Put::Exists = self.store().put_if_absent(&key, seal(targets).0).await?
            && self.restore_targets(&targets.restore).await?.as_ref() != Some(targets)
        {
            let detail = "other targets of this restore are recorded".to_owned();
            return Err(self.store().refused(&key, detail));
        }
        self.store().sync_folders([key.to_string()]).await
    }

    /// Reads the ids of a restore's targets; `None` if no record was written yet.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn restore_targets(&self, restore: &RestoreId) -> Result<Option<RestoreTargets>> {
        let key = Key::RestoreTargets {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<RestoreTargets>(&key).await? else {
            return Ok(None);
        };
        if found.restore != *restore {
            let detail = format!("it is of restore {}", found.restore);
            return Err(self.store().damaged(&key, detail));
        }
        Ok(Some(found.value))
    }
}
