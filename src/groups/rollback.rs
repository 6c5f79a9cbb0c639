//! Rolls a change of groups back, as far as nothing was committed since.
//!
//! A group may have resumed from the offsets that it was given. What it committed then is newer than what it had before, so it is
//! replaced only where the user says so. A rollback is recorded as a change of its own, before it changes anything: it can be
//! rolled back as well, and repeated after an interruption.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{
    ChangedGroup, ChangedOffset, GroupsChange, OffsetAndMetadata, RepoError, Repository, RestoreId,
};
use serde::Serialize;
use tokio::runtime::Handle;

use super::change::{ChangeError, offsets_after};
use crate::kafka::{
    Admin, Answers, ClientSettings, CommittedTopic, GroupDescription, TopicPartition,
};

/// What a rollback changes.
#[derive(Clone, Debug, Serialize)]
pub struct RollbackPlan {
    /// The restore whose offset map was used.
    pub restore: RestoreId,
    /// The change that is rolled back.
    pub change: RestoreId,
    /// Every offset of the change, and what becomes of it.
    pub offsets: Vec<OffsetRollback>,
    /// Groups that did not exist before and have nothing else, and are deleted.
    pub deleted: Vec<String>,
    #[serde(skip)]
    cluster_id: Option<String>,
}

/// What a rollback does with one offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRollback {
    /// The group.
    pub group: String,
    /// The topic in the cluster.
    pub topic: String,
    /// The partition.
    pub partition: PartitionNumber,
    /// What is committed now.
    pub now: Option<OffsetAndMetadata>,
    /// What was committed before the change.
    pub before: Option<OffsetAndMetadata>,
    /// What becomes of it.
    pub action: RollbackAction,
}

/// What becomes of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackAction {
    /// What was committed before is committed again, or nothing is, if nothing was.
    RolledBack,
    /// What was committed before is committed already.
    Unchanged,
    /// Something else was committed since the change, and stays.
    Kept,
    /// Nothing was committed before, and it stays: brokers delete no single offset of the group with the empty id.
    Undeletable,
}

/// Plans the rollback of a change. With `overwrite`, what was committed since is rolled back too. Blocks; must not be called from
/// asynchronous code.
///
/// # Errors
///
/// Fails if a group to change has members, if the cluster is not the one that was changed, or if it does not answer.
pub fn plan_rollback(
    change: &GroupsChange,
    overwrite: bool,
    kafka: &ClientSettings,
) -> Result<RollbackPlan, ChangeError> {
    let admin = Admin::connect(kafka)?;
    let cluster_id = admin.cluster()?.id;
    if let (Some(expected), Some(found)) = (&change.cluster_id, &cluster_id)
        && expected != found
    {
        return Err(ChangeError::OtherCluster {
            expected: expected.clone(),
            found: found.clone(),
        });
    }
    let names: Vec<&str> = change.groups.iter().map(|g| g.group.as_str()).collect();
    let described = admin.describe_groups(&names)?;
    let mut committed = admin.committed_offsets(&names)?;
    let mut plan = RollbackPlan {
        restore: change.restore.clone(),
        change: change.change.clone(),
        offsets: Vec::new(),
        deleted: Vec::new(),
        cluster_id,
    };
    for group in &change.groups {
        let now = committed.take(group.group.as_str())?.unwrap_or_default();
        let planned = plan.add(group, &by_partition(now), overwrite);
        check_members(group, planned, &described)?;
    }
    Ok(plan)
}

type Committed = BTreeMap<(String, PartitionNumber), OffsetAndMetadata>;

fn by_partition(topics: Vec<CommittedTopic>) -> Committed {
    let offsets = topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |committed| {
            let position = OffsetAndMetadata {
                offset: committed.offset,
                metadata: committed.metadata,
            };
            ((topic.topic.clone(), committed.partition), position)
        })
    });
    offsets.collect()
}

fn check_members(
    group: &ChangedGroup,
    is_changed: bool,
    described: &Answers<String, Option<GroupDescription>>,
) -> Result<(), ChangeError> {
    let described = described.get(group.group.as_str())?;
    let members = described.as_ref().map_or(0, |group| group.members);
    if is_changed && members > 0 {
        return Err(ChangeError::InUse {
            group: group.group.clone(),
            members,
        });
    }
    Ok(())
}

impl RollbackPlan {
    /// Plans one group; returns whether it is changed.
    fn add(&mut self, group: &ChangedGroup, now: &Committed, overwrite: bool) -> bool {
        let planned = |changed: &ChangedOffset| {
            let place = (changed.topic.to_string(), changed.partition);
            let now = now.get(&place);
            OffsetRollback {
                group: group.group.clone(),
                topic: place.0,
                partition: place.1,
                action: action(changed, now, overwrite),
                now: now.cloned(),
                before: changed.before.clone(),
            }
        };
        let mut planned: Vec<OffsetRollback> = group.offsets.iter().map(planned).collect();
        let is_changed = planned.iter().any(OffsetRollback::is_changed);
        // A group that has anything else is not only what the change made it.
        let removed = planned.iter().filter(|offset| offset.is_removed());
        let removed: BTreeSet<_> = removed
            .map(|offset| (offset.topic.clone(), offset.partition))
            .collect();
        if !group.existed && is_changed && now.keys().all(|place| removed.contains(place)) {
            self.deleted.push(group.group.clone());
        } else if group.group.is_empty() {
            let removed = planned.iter_mut().filter(|offset| offset.is_removed());
            removed.for_each(|offset| offset.action = RollbackAction::Undeletable);
        }
        self.offsets.extend(planned);
        is_changed
    }

    /// Returns the offsets of an action.
    pub fn with(&self, action: RollbackAction) -> impl Iterator<Item = &OffsetRollback> {
        let offsets = self.offsets.iter();
        offsets.filter(move |offset| offset.action == action)
    }

    /// Returns whether anything stays that the rollback is to take away.
    #[must_use]
    pub fn keeps(&self) -> bool {
        let kept = [RollbackAction::Kept, RollbackAction::Undeletable];
        kept.into_iter()
            .any(|kept| self.with(kept).next().is_some())
    }

    /// Builds the change that this rollback makes; `None` if it changes nothing.
    fn change(&self, sequence: u64) -> Option<GroupsChange> {
        let mut groups: BTreeMap<&str, Vec<ChangedOffset>> = BTreeMap::new();
        for offset in self.with(RollbackAction::RolledBack) {
            groups
                .entry(&offset.group)
                .or_default()
                .push(ChangedOffset {
                    // It was read from a change, whose topics have valid names.
                    topic: offset.topic.parse().ok()?,
                    partition: offset.partition,
                    before: offset.now.clone(),
                    after: offset.before.clone(),
                });
        }
        let group = |(group, offsets): (&str, _)| ChangedGroup {
            group: group.to_owned(),
            existed: true,
            offsets,
        };
        let now = Timestamp::now();
        (!groups.is_empty()).then(|| GroupsChange {
            restore: self.restore.clone(),
            change: RestoreId::fresh(now),
            sequence,
            undoes: Some(self.change.clone()),
            changed_at: now,
            cluster_id: self.cluster_id.clone(),
            groups: groups.into_iter().map(group).collect(),
        })
    }
}

impl OffsetRollback {
    fn is_changed(&self) -> bool {
        self.action == RollbackAction::RolledBack
    }

    fn is_removed(&self) -> bool {
        self.is_changed() && self.before.is_none()
    }
}

fn action(
    changed: &ChangedOffset,
    now: Option<&OffsetAndMetadata>,
    overwrite: bool,
) -> RollbackAction {
    if now == changed.before.as_ref() {
        RollbackAction::Unchanged
    } else if overwrite || now == changed.after.as_ref() {
        RollbackAction::RolledBack
    } else {
        RollbackAction::Kept
    }
}

/// Rolls a change back and returns the name of the change that this is; `None` if there was nothing to do. Blocks; must not be
/// called from asynchronous code.
///
/// # Errors
///
/// Fails if the repository or the cluster does.
pub fn rollback(
    plan: &RollbackPlan,
    repository: &Repository,
    kafka: &ClientSettings,
    runtime: &Handle,
) -> Result<Option<RestoreId>, ChangeError> {
    let sequence = runtime.block_on(repository.next_groups_change())?;
    let Some(change) = plan.change(sequence) else {
        return Ok(None);
    };
    let admin = Admin::connect(kafka)?;
    runtime.block_on(repository.record_groups_change(&change))?;
    admin.commit_offsets(&offsets_after(&change))?;
    for group in &change.groups {
        let removed = group.offsets.iter().filter(|offset| offset.after.is_none());
        let removed: Vec<_> = removed
            .map(|offset| TopicPartition::new(offset.topic.to_string(), offset.partition))
            .collect();
        if !plan.deleted.contains(&group.group) && !removed.is_empty() {
            admin.delete_offsets(&group.group, &removed)?;
        }
    }
    let deleted: Vec<&str> = plan.deleted.iter().map(String::as_str).collect();
    if !deleted.is_empty() {
        admin.delete_groups(&deleted)?;
    }
    Ok(Some(change.change))
}

/// Returns the change of this name, or the last one that was not a rollback: of one restore, or of all.
///
/// # Errors
///
/// Fails if there is none, or if the repository cannot be read.
pub async fn find_change(
    repository: &Repository,
    restore: Option<&RestoreId>,
    change: Option<&RestoreId>,
) -> Result<GroupsChange, ChangeError> {
    let mut changes = changes(repository, restore).await?;
    let wanted = |found: &GroupsChange| match change {
        Some(change) => found.change == *change,
        None => found.undoes.is_none(),
    };
    match changes.iter().rposition(wanted) {
        Some(at) => Ok(changes.swap_remove(at)),
        None => Err(ChangeError::NoChange {
            change: change.cloned(),
            restore: restore.cloned(),
        }),
    }
}

/// Returns the changes of one restore, or of all, in the order in which they were made.
///
/// # Errors
///
/// Fails if the repository cannot be read.
pub async fn changes(
    repository: &Repository,
    restore: Option<&RestoreId>,
) -> Result<Vec<GroupsChange>, RepoError> {
    let mut changes = repository.all_groups_changes().await?;
    changes.retain(|change| restore.is_none_or(|restore| change.restore == *restore));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Option<OffsetAndMetadata> {
        Some(OffsetAndMetadata {
            offset,
            metadata: String::new(),
        })
    }

    fn group(existed: bool, before: Option<i64>) -> ChangedGroup {
        ChangedGroup {
            group: "g".to_owned(),
            existed,
            offsets: vec![ChangedOffset {
                topic: "orders".parse().unwrap(),
                partition: PartitionNumber::ZERO,
                before: before.and_then(at),
                after: at(18),
            }],
        }
    }

    fn plan(group: &ChangedGroup, now: &[(&str, i64)], overwrite: bool) -> RollbackPlan {
        let now = now
            .iter()
            .map(|(topic, offset)| {
                let place = ((*topic).to_owned(), PartitionNumber::ZERO);
                (place, at(*offset).unwrap())
            })
            .collect();
        let mut plan = RollbackPlan {
            restore: "r".parse().unwrap(),
            change: "c".parse().unwrap(),
            offsets: Vec::new(),
            deleted: Vec::new(),
            cluster_id: None,
        };
        let is_changed = plan.add(group, &now, overwrite);
        assert_eq!(is_changed, plan.change(1).is_some());
        plan
    }

    #[test]
    fn only_what_the_change_left_is_rolled_back() {
        use RollbackAction::{Kept, RolledBack, Unchanged};
        for (existed, before, now, overwrite, expected, deleted) in [
            (
                true,
                Some(7),
                &[("orders", 18)][..],
                false,
                RolledBack,
                false,
            ),
            (true, Some(7), &[("orders", 7)], false, Unchanged, false),
            (true, Some(7), &[("orders", 90)], false, Kept, false),
            (true, Some(7), &[("orders", 90)], true, RolledBack, false),
            (true, Some(7), &[], false, Kept, false),
            (true, None, &[("orders", 18)], false, RolledBack, false),
            (false, None, &[("orders", 18)], false, RolledBack, true),
            (false, None, &[("orders", 90)], false, Kept, false),
            (false, None, &[("orders", 90)], true, RolledBack, true),
            // It has read another topic since.
            (
                false,
                None,
                &[("orders", 18), ("audit", 3)],
                false,
                RolledBack,
                false,
            ),
            (false, None, &[], false, Unchanged, false),
        ] {
            let case = format!("{existed} {before:?} {now:?} {overwrite}");
            let plan = plan(&group(existed, before), now, overwrite);
            assert_eq!(plan.offsets[0].action, expected, "{case}");
            assert_eq!(!plan.deleted.is_empty(), deleted, "{case}");
            assert_eq!(plan.keeps(), expected == Kept, "{case}");
        }
    }

    #[test]
    fn a_rollback_is_a_change_that_can_be_rolled_back() {
        let rolled_back = plan(&group(true, Some(7)), &[("orders", 90)], true);
        let change = rolled_back.change(4).unwrap();
        assert_eq!(
            (change.sequence, change.undoes),
            (4, Some("c".parse().unwrap()))
        );
        let offset = &change.groups[0].offsets[0];
        assert_eq!((&offset.before, &offset.after), (&at(90), &at(7)));
    }
}
