//! The claims of restores on the partitions that they write to.
//!
//! Two restores that both find a topic empty would both fill it. So each commits its name as the metadata of an offset of every target
//! partition, for one group that all restores share. The last one to commit holds the claim. The steps, in their order, leave no gap:
//!
//! 1. the claim is committed;
//! 2. the log must end where it ended when the restore was planned;
//! 3. records are written;
//! 4. before the first transaction in a target is committed, the claim must still be held.
//!
//! A restore that claims a target before another one's step 4 makes that one fail there. One that claims it later fails in its own step 2,
//! since the records of the other one are in the log, committed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kbk_format::repo::{CommittedOffset, RestoreId, RestoreManifest};

use crate::kafka::{Admin, CommittedTopic, GroupOffsets, KafkaError, TopicPartition};
use crate::records::{ChosenTransport, Transport};
use crate::restore::error::RestoreError;
use crate::restore::target_error::TargetError;

/// The prefix of a restore's name in the metadata of a claim (SPEC section 11.7).
const METADATA_PREFIX: &str = "kbk1:";

/// The claims of one restore.
pub(crate) struct Claims<'a> {
    transport: &'a ChosenTransport,
    restore: &'a RestoreId,
    targets: &'a [TopicPartition],
    /// Targets of which the claim was held when records of this run were already in their logs.
    confirmed: Mutex<BTreeSet<usize>>,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(
        transport: &'a ChosenTransport,
        restore: &'a RestoreId,
        targets: &'a [TopicPartition],
    ) -> Claims<'a> {
        Claims {
            transport,
            restore,
            targets,
            confirmed: Mutex::default(),
        }
    }

    /// Claims all targets, from whichever restore had claimed them before.
    pub(crate) fn take(&self, admin: &Admin) -> Result<(), KafkaError> {
        let mut topics: BTreeMap<&str, Vec<CommittedOffset>> = BTreeMap::new();
        for target in self.targets {
            let partitions = topics.entry(&target.topic).or_default();
            partitions.push(CommittedOffset {
                partition: target.partition,
                offset: 0,
                leader_epoch: None,
                metadata: self.metadata(),
            });
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| CommittedTopic {
                topic: topic.to_owned(),
                partitions,
            });
        admin.commit_offsets(&[GroupOffsets {
            group: RestoreManifest::CLAIMS_GROUP.to_owned(),
            topics: topics.collect(),
        }])
    }

    /// Fails if another restore holds a claim. What nobody claims may be taken.
    pub(crate) fn check_others(&self) -> Result<(), RestoreError> {
        match self.held_by_others(self.targets)? {
            Some((target, Some(holder))) => Err(self.lost(target, Some(holder))),
            _ => Ok(()),
        }
    }

    /// Fails if the claim on one of these targets was lost. Records of this run must be in their logs.
    pub(crate) fn confirm(&self, targets: impl Iterator<Item = usize>) -> Result<(), RestoreError> {
        let mut confirmed = self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new: BTreeSet<usize> = targets
            .filter(|target| !confirmed.contains(target))
            .collect();
        let partitions: Vec<_> = new
            .iter()
            .map(|target| self.targets[*target].clone())
            .collect();
        if let Some((target, holder)) = self.held_by_others(&partitions)? {
            return Err(self.lost(target, holder));
        }
        confirmed.extend(new);
        Ok(())
    }

    /// Gives up all claims. One that stays does no harm: the next restore takes it.
    pub(crate) fn release(&self, admin: &Admin) {
        let released = admin.delete_offsets(RestoreManifest::CLAIMS_GROUP, self.targets);
        if let Err(error) = released {
            tracing::debug!("the claims on the targets stay: {error}");
        }
    }

    /// Gives up the claims that this restore still holds.
    pub(crate) fn release_held(&self, admin: &Admin) {
        let own = self.metadata();
        let held = self.held(self.targets).map(|claims| {
            let claims = self.targets.iter().zip(claims);
            let own = claims.filter(|(_, claim)| claim.as_ref() == Some(&own));
            own.map(|(target, _)| target.clone()).collect::<Vec<_>>()
        });
        let released = held.and_then(|held| match held.is_empty() {
            true => Ok(()),
            false => admin.delete_offsets(RestoreManifest::CLAIMS_GROUP, &held),
        });
        if let Err(error) = released {
            tracing::debug!("the claims on the targets stay: {error}");
        }
    }

    /// Returns the first of these targets that this restore does not hold, and what is committed there instead, if anything.
    fn held_by_others(
        &self,
        targets: &[TopicPartition],
    ) -> Result<Option<(TopicPartition, Option<String>)>, KafkaError> {
        if targets.is_empty() {
            return Ok(None);
        }
        let claims = targets.iter().cloned().zip(self.held(targets)?);
        let own = self.metadata();
        let mut others: Vec<_> = claims
            .filter(|(_, claim)| claim.as_deref() != Some(own.as_str()))
            .collect();
        // One that somebody holds says more than one that nobody does.
        others.sort_by_key(|(_, claim)| claim.is_none());
        Ok(others.into_iter().next())
    }

    /// Returns the claim on each of these targets, whose ever it is.
    fn held(&self, targets: &[TopicPartition]) -> Result<Vec<Option<String>>, KafkaError> {
        let group = RestoreManifest::CLAIMS_GROUP;
        let committed = self.transport.committed(group, targets)?.into_iter();
        Ok(committed
            .map(|claim| claim.map(|claim| claim.metadata))
            .collect())
    }

    fn lost(&self, target: TopicPartition, claim: Option<String>) -> RestoreError {
        let restore = self.restore.clone();
        match claim {
            None => TargetError::Unclaimed { restore, target },
            Some(claim) => TargetError::Claimed {
                restore,
                target,
                holder: claim.trim_start_matches(METADATA_PREFIX).to_owned(),
            },
        }
        .into()
    }

    fn metadata(&self) -> String {
        format!("{METADATA_PREFIX}{}", self.restore)
    }
}
