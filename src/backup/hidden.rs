//! What the cluster hides from this principal. Brokers leave topics, groups and committed offsets that it may not describe out of their
//! lists, as if they did not exist: only the answer about a name tells "not allowed" from "not there".

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{Groups, Snapshot};

use super::groups::OFFSETS_TOPIC;
use super::plan;
use super::survey::Survey;
use crate::kafka::{Admin, ClientSettings, KafkaError, TopicDescription};

/// What the last snapshot has, and the cluster may have and did not list, by name, with the causes.
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden {
    pub(super) topics: BTreeMap<String, String>,
    pub(super) groups: BTreeMap<String, String>,
    /// Groups that exist, and that no broker has listed. A broker that has just started, and does not yet know that it coordinates a group,
    /// leaves it out and reports no error; asked for the group, it says that another one should be.
    pub(super) unlisted: BTreeSet<String>,
}

impl Hidden {
    /// Asks for everything in the newest snapshot and its groups that the cluster did not list. `selected` are the topics in it that the run covers.
    /// Connects only if there is something to ask for. Blocks.
    pub(super) fn find(
        kafka: &ClientSettings,
        survey: &Survey,
        (newest, saved): (&Snapshot, Option<&Groups>),
        selected: &[String],
    ) -> Result<Hidden, KafkaError> {
        let topics = undescribed_topics(survey, (newest, saved), selected);
        let groups = unlisted_groups(survey, saved);
        if topics.is_empty() && groups.is_empty() {
            return Ok(Hidden::default());
        }
        let admin = Admin::connect(kafka)?;
        let mut hidden = match admin.look_up_groups(&groups) {
            Ok(found) => Hidden::of_groups(found),
            // A coordinator that does not answer does not say that a group is gone.
            Err(error @ KafkaError::Timeout { .. }) => {
                let cause = |group: &&str| ((*group).to_owned(), error.to_string());
                Hidden {
                    groups: groups.iter().map(cause).collect(),
                    ..Hidden::default()
                }
            }
            Err(error) => return Err(error),
        };
        hidden.topics = among(&admin, &topics)?;
        Ok(hidden)
    }

    /// Says of groups that no broker has listed which may exist all the same.
    fn of_groups<T>(found: BTreeMap<String, Result<Option<T>, KafkaError>>) -> Hidden {
        let mut hidden = Hidden::default();
        for (group, found) in found {
            match found {
                Ok(None) => {}
                Ok(Some(_)) => {
                    hidden.unlisted.insert(group);
                }
                Err(error) => {
                    hidden.groups.insert(group, error.to_string());
                }
            }
        }
        hidden
    }
}

/// Returns the topics of the newest snapshot that the cluster did not describe: those that the run covers, and those that the groups that
/// were read had committed offsets of.
fn undescribed_topics(
    survey: &Survey,
    (newest, saved): (&Snapshot, Option<&Groups>),
    selected: &[String],
) -> Vec<String> {
    let absent = plan::absent(&survey.topics, Some(newest), selected);
    let mut names: BTreeSet<&str> = absent.map(|topic| &*topic.name).collect();
    let groups = saved.into_iter().flat_map(|groups| &*groups.groups);
    let read = groups.filter(|group| survey.groups.has(&group.group));
    let committed = read.flat_map(|group| group.topics.iter().map(|topic| &*topic.topic));
    names.extend(committed.filter(|name| !survey.listed.contains(*name)));
    names.into_iter().map(str::to_owned).collect()
}

/// Returns the groups of the newest snapshot that the cluster did not list. Where it lacks some in any case, all of them are kept.
fn unlisted_groups<'a>(survey: &Survey, last: Option<&'a Groups>) -> Vec<&'a str> {
    if survey.groups.found.is_none() || survey.groups.missing.is_some() {
        return Vec::new();
    }
    let groups = last.into_iter().flat_map(|groups| &*groups.groups);
    groups
        .map(|group| group.group.as_str())
        .filter(|group| !survey.groups.has(group))
        .collect()
}

/// Asks for topics that the list of all topics lacks. Returns those that may exist all the same, each with the cause.
pub(super) fn among(
    admin: &Admin,
    names: &[String],
) -> Result<BTreeMap<String, String>, KafkaError> {
    let hidden = |(name, found)| match found {
        Err(KafkaError::UnknownTopic { .. }) => None,
        Err(error) => Some((name, KafkaError::to_string(&error))),
        Ok(_) => Some((name, "the cluster has it, and did not list it".to_owned())),
    };
    let found = admin.look_up_topics(names)?.into_iter();
    Ok(found.filter_map(hidden).collect())
}

/// Returns whether the list of all topics may lack some. Brokers do not say so, but this principal may then not describe
/// `__consumer_offsets`, which only principals with a permission on all topics may.
pub(super) fn may_lack_some(
    admin: &Admin,
    listed: &[TopicDescription],
) -> Result<bool, KafkaError> {
    if listed.iter().any(|topic| topic.name == OFFSETS_TOPIC) {
        return Ok(false);
    }
    let found = admin.look_up_topics(&[OFFSETS_TOPIC.to_owned()])?;
    Ok(found
        .values()
        .any(|found| found.as_ref().is_err_and(KafkaError::is_denied)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_that_its_coordinator_does_not_know_is_gone() {
        let refused = || KafkaError::Other {
            doing: "describe group denied".to_owned(),
            cause: "it may not be described".to_owned(),
        };
        let found = [
            ("deleted", Ok(None)),
            ("there", Ok(Some(()))),
            ("denied", Err(refused())),
        ];
        let found = found.map(|(group, found)| (group.to_owned(), found));
        let hidden = Hidden::of_groups(found.into());
        let denied = [("denied".to_owned(), refused().to_string())];
        assert_eq!(hidden.groups, denied.into());
        assert_eq!(hidden.unlisted, ["there".to_owned()].into());
    }
}
