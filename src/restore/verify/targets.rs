//! Checks that the targets of a restore are the topics that it began with, and hold what it wrote.
//!
//! Topics have names, and producers write to whatever has the name: a topic that is deleted and created again, emptied or truncated
//! meanwhile takes the rest of the records without a word. So the identity and the bounds of every target are compared when a restore
//! begins, when it is resumed, and before it is done.

use std::collections::BTreeMap;

use kbk_format::repo::{Hex, Id, RestoreTargets, TargetTopic};

use crate::kafka::{Admin, ConfigSource, KafkaError, PartitionOffsets, TopicPartition};
use crate::restore::context::RestoreContext;
use crate::restore::error::RestoreError;
use crate::restore::plan::restore_plan::RestorePlan;
use crate::restore::target_error::TargetError;
use crate::restore::verify::known::Known;
use crate::restore::write::written::Written;

/// Returns the targets that an earlier run recorded, which must still be the same topics; `None` where it recorded none.
pub(crate) fn recorded(
    context: RestoreContext<'_>,
    admin: &Admin,
) -> Result<Option<RestoreTargets>, RestoreError> {
    let restore = &context.manifest.restore;
    let targets = context.repository.restore_targets(restore);
    let targets = context.runtime.block_on(targets)?;
    if let Some(targets) = &targets {
        check_identity(admin, targets)?;
    }
    Ok(targets)
}

/// Returns the targets as they are now, all of which exist, and records them in the repository if the restore keeps anything there.
pub(crate) fn record(
    context: RestoreContext<'_>,
    plan: &RestorePlan,
    known: &Known<'_>,
    admin: &Admin,
) -> Result<RestoreTargets, RestoreError> {
    let names: Vec<String> = plan
        .topics()
        .map(|topic| topic.target().to_owned())
        .collect();
    let described = known.once(|| admin.describe_topics(Some(&names)))?;
    let ids: BTreeMap<String, Id> = described
        .into_iter()
        .map(|topic| (topic.name, Hex(topic.topic_id)))
        .collect();
    let topics = plan.topics().map(|topic| TargetTopic {
        target: topic.restored.target.clone(),
        topic_id: ids.get(topic.target()).copied().unwrap_or(Id::ZERO),
    });
    let targets = RestoreTargets {
        restore: context.manifest.restore.clone(),
        topics: topics.collect(),
    };
    if plan.offset_map {
        let recorded = context.repository.record_targets(&targets);
        context.runtime.block_on(recorded)?;
    }
    Ok(targets)
}

/// Fails if somebody has written to a target since the restore was planned.
pub(crate) fn check_unwritten(
    admin: &Admin,
    plan: &RestorePlan,
    known: &Known<'_>,
) -> Result<(), RestoreError> {
    let ends = plan.topics().flat_map(|topic| {
        let targets = topic.restored.targets.iter();
        targets.map(move |target| {
            let partition = TopicPartition::new(topic.target(), target.partition);
            (partition, target.offset)
        })
    });
    let (targets, ends): (Vec<_>, Vec<_>) = ends.unzip();
    let offsets = known.once(|| admin.offsets(&targets))?;
    for (target, expected) in targets.into_iter().zip(ends) {
        let found = offsets.get(&target)?.high_watermark;
        // Others may add records to a target that is appended to, and none may be lost.
        if found < expected || (found > expected && !plan.manifest.append) {
            return Err(TargetError::Changed {
                target,
                expected,
                found,
            }
            .into());
        }
    }
    Ok(())
}

/// Fails unless all targets are the topics that the restore began with, and hold everything that is written to them. Returns their bounds.
pub(crate) fn check(
    admin: &Admin,
    plan: &RestorePlan,
    targets: &RestoreTargets,
    written: &BTreeMap<TopicPartition, Written>,
) -> Result<BTreeMap<TopicPartition, PartitionOffsets>, RestoreError> {
    check_identity(admin, targets)?;
    check_configuration(admin, plan)?;
    let asked: Vec<TopicPartition> = written.keys().cloned().collect();
    let offsets = admin.offsets(&asked)?;
    let mut bounds = BTreeMap::new();
    for topic in plan.topics() {
        for target in &topic.restored.targets {
            let partition = TopicPartition::new(topic.target(), target.partition);
            let found = *offsets.get(&partition)?;
            if let Some(written) = written.get(&partition) {
                check_bounds(&partition, written, &found)?;
            }
            bounds.insert(partition, found);
        }
    }
    Ok(bounds)
}

fn check_identity(admin: &Admin, targets: &RestoreTargets) -> Result<(), RestoreError> {
    let names = targets.topics.iter().map(|topic| topic.target.to_string());
    let names: Vec<String> = names.collect();
    let described = match admin.describe_topics(Some(&names)) {
        // Says which of them exist.
        Err(KafkaError::UnknownTopic { .. }) => admin.describe_topics(None)?,
        described => described?,
    };
    let found: BTreeMap<String, Id> = described
        .into_iter()
        .map(|topic| (topic.name, Hex(topic.topic_id)))
        .collect();
    for TargetTopic { target, topic_id } in &targets.topics {
        let found = found.get(&**target);
        if found != Some(topic_id) {
            return Err(TargetError::Replaced {
                restore: targets.restore.clone(),
                topic: target.to_string(),
                expected: *topic_id,
                found: found.map_or_else(|| "no such topic".to_owned(), ToString::to_string),
            }
            .into());
        }
    }
    Ok(())
}

/// Fails if somebody has configured a target so that restored records may have been removed or changed. What the restore itself sets
/// afterwards is no such change: a run that was killed may have set it.
///
/// It is seen only while it lasts. Brokers do state the time that they gave a batch, but for a batch that was sent again they state that of
/// its records, so that an answer is no proof.
fn check_configuration(admin: &Admin, plan: &RestorePlan) -> Result<(), RestoreError> {
    const LOG_APPEND_TIME: &str = "LogAppendTime";
    let names: Vec<String> = plan
        .topics()
        .map(|topic| topic.target().to_owned())
        .collect();
    let mut configs = match admin.topic_configs_each(&names) {
        // A cluster that reports no configurations, such as the one of `kbk demo`.
        Err(error) if error.is_unsupported() => return Ok(()),
        configs => configs?,
    };
    for topic in plan.topics() {
        // Not every principal may see it.
        let Some(Ok(config)) = configs.remove(topic.target()) else {
            continue;
        };
        let name = || topic.target().to_owned();
        let planned = |key: &str| topic.restored.config_afterwards.get(key);
        if let Some(entry) = config.get("message.timestamp.type")
            && entry.value.as_deref() == Some(LOG_APPEND_TIME)
        {
            let is_planned = match planned("message.timestamp.type") {
                Some(Some(value)) => value == LOG_APPEND_TIME,
                // The entry is removed afterwards, and the cluster's own value applies.
                Some(None) => entry.source != ConfigSource::Topic,
                None => false,
            };
            if !is_planned {
                return Err(TargetError::AppendTimes { topic: name() }.into());
            }
        }
        let compacts = |policy: &&String| policy.contains("compact");
        let policy = config.get("cleanup.policy");
        let policy = policy.and_then(|entry| entry.value.as_ref());
        let is_planned = planned("cleanup.policy")
            .and_then(Option::as_ref)
            .is_some_and(|policy| compacts(&policy));
        if let Some(found) = policy.filter(compacts)
            && topic.restored.create.is_some()
            && !is_planned
        {
            let (topic, found) = (name(), found.clone());
            return Err(TargetError::Compacted { topic, found }.into());
        }
    }
    Ok(())
}

fn check_bounds(
    target: &TopicPartition,
    written: &Written,
    found: &PartitionOffsets,
) -> Result<(), TargetError> {
    let (Some(start), Some(end)) = (written.start(), written.end()) else {
        return Ok(());
    };
    if found.high_watermark < end {
        return Err(TargetError::Truncated {
            target: target.clone(),
            expected: end,
            found: found.high_watermark,
        });
    }
    if found.log_start_offset > start {
        return Err(TargetError::Trimmed {
            target: target.clone(),
            expected: start,
            found: found.log_start_offset,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_must_hold_everything_from_the_first_to_the_last_record() {
        let target = TopicPartition::new("copy", 0.into());
        let mut written = Written::default();
        let check = |written: &Written, log_start_offset, high_watermark| {
            let bounds = PartitionOffsets {
                log_start_offset,
                high_watermark,
                last_stable_offset: high_watermark,
            };
            check_bounds(&target, written, &bounds)
        };
        assert!(check(&written, 9, 9).is_ok(), "nothing was written");
        written.reach(7, 20);
        assert!(check(&written, 7, 20).is_ok());
        assert!(check(&written, 0, 21).is_ok());
        assert!(matches!(
            check(&written, 8, 20),
            Err(TargetError::Trimmed {
                expected: 7,
                found: 8,
                ..
            })
        ));
        assert!(matches!(
            check(&written, 0, 19),
            Err(TargetError::Truncated {
                expected: 20,
                found: 19,
                ..
            })
        ));
    }
}
