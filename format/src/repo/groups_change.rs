//! What a restore of consumer groups replaced in the target, so that it can be undone (SPEC section 11.7).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::keys::{Key, RESTORES, TopicName};
use super::listing::Listed;
use super::repository::Repository;
use super::restore::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;
use crate::PartitionNumber;

/// What consumer groups of the target had committed before a restore of groups, and what replaced it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupsChange {
    /// The restore whose offset map was used.
    pub restore: RestoreId,
    /// The name of the change; names sort by time.
    pub change: RestoreId,
    /// When the change was recorded.
    pub changed_at: Timestamp,
    /// Kafka's id of the cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// The groups.
    pub groups: Vec<ChangedGroup>,
}

/// A group that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedGroup {
    /// Its id.
    pub group: String,
    /// Whether the cluster had it before.
    pub existed: bool,
    /// The offsets that were changed.
    pub offsets: Vec<ChangedOffset>,
}

/// A committed offset that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedOffset {
    /// The topic in the cluster.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionNumber,
    /// What was committed before; null where nothing was.
    pub before: Option<OffsetAndMetadata>,
    /// What is committed now.
    pub after: OffsetAndMetadata,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetAndMetadata {
    /// The next record to read.
    pub offset: i64,
    /// The metadata committed with it.
    pub metadata: String,
}

impl Document for GroupsChange {
    const FORMAT: &'static str = "kbk-groups-change";
}

impl Repository {
    /// Records a change of groups; durable when this returns, so that a change that has begun can always be undone.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`](super::RepoErrorKind::Refused) if another one has this name, or the error of the store.
    pub async fn record_groups_change(&self, change: &GroupsChange) -> Result<()> {
        let key = Key::GroupsChange {
            restore: change.restore.clone(),
            change: change.change.clone(),
        };
        match self.store().put_if_absent(&key, seal(change).0).await? {
            Put::Done => self.store().sync_folders([key.to_string()]).await,
            Put::Exists => {
                let detail = "another change has this name".to_owned();
                Err(self.store().refused(&key, detail))
            }
        }
    }

    /// Reads the changes of groups that used the offset map of a restore, ordered by time.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn groups_changes(&self, restore: &RestoreId) -> Result<Vec<GroupsChange>> {
        let folder = format!("{RESTORES}/{restore}/groups");
        let mut changes = Vec::new();
        for Listed { key, .. } in self.store().list(&folder).await? {
            if let Some(found) = self.store().read::<GroupsChange>(&key).await? {
                let name = Key::GroupsChange {
                    restore: found.restore.clone(),
                    change: found.change.clone(),
                };
                if name != key {
                    return Err(self.store().damaged(&key, format!("it is {name}")));
                }
                changes.push(found.value);
            }
        }
        Ok(changes)
    }
}
