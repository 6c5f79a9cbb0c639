//! What a restore of consumer groups replaced in the target, so that it can be undone (SPEC section 11.7).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::keys::{Key, RESTORES, TopicName};
use super::listing::Listed;
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;
use crate::PartitionNumber;

/// What consumer groups of the target had committed before a restore of groups, and what replaced it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupsChange {
    /// The restore whose offset map was used.
    pub restore: RestoreId,
    /// The name of the change.
    pub change: RestoreId,
    /// Its place in the order of all changes of the repository, from 1: clocks cannot tell.
    pub sequence: u64,
    /// The change that this one rolls back, if it is a rollback.
    pub undoes: Option<RestoreId>,
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
    /// What was committed instead; null where the committed offset was removed.
    pub after: Option<OffsetAndMetadata>,
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

    /// Returns the `sequence` of a change that is made now.
    ///
    /// # Errors
    ///
    /// As [`all_groups_changes`](Self::all_groups_changes).
    pub async fn next_groups_change(&self) -> Result<u64> {
        let changes = self.all_groups_changes().await?;
        Ok(changes
            .last()
            .map_or(1, |last| last.sequence.saturating_add(1)))
    }

    /// Reads the changes of groups of all restores, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// As [`groups_changes`](Self::groups_changes).
    pub async fn all_groups_changes(&self) -> Result<Vec<GroupsChange>> {
        let mut changes = self.changes_in(RESTORES).await?;
        changes.sort_by(|a, b| (a.sequence, &a.change).cmp(&(b.sequence, &b.change)));
        Ok(changes)
    }

    /// Reads the changes of groups that used the offset map of a restore.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn groups_changes(&self, restore: &RestoreId) -> Result<Vec<GroupsChange>> {
        self.changes_in(&format!("{RESTORES}/{restore}/groups"))
            .await
    }

    async fn changes_in(&self, folder: &str) -> Result<Vec<GroupsChange>> {
        let mut changes = Vec::new();
        for Listed { key, .. } in self.store().list(folder).await? {
            if !matches!(key, Key::GroupsChange { .. }) {
                continue;
            }
            if let Some(found) = self.store().read::<GroupsChange>(&key).await? {
                let name = Key::GroupsChange {
                    restore: found.restore.clone(),
                    change: found.change.clone(),
                };
                if name != key {
                    return Err(self.store().damaged(&key, format!("it is {name}")));
                }
                if found.sequence == 0 {
                    let detail = "it is change 0".to_owned();
                    return Err(self.store().damaged(&key, detail));
                }
                changes.push(found.value);
            }
        }
        Ok(changes)
    }
}
