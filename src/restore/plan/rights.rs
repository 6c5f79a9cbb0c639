//! Whether this principal may do what a restore does, as far as brokers report it in advance.
//!
//! All permissions are looked at before any is reported, so that an administrator can grant them at once.

use std::collections::{BTreeMap, BTreeSet};

use kbk_format::repo::{CreatedTopic, RestoreManifest};

use super::options::Purpose;
use super::restore_plan::{RestorePlan, TopicPlan};
use crate::kafka::{AclOperation, Admin, ClientSettings, KafkaError, Permission};
use crate::records::{ChosenTransport, SinkOptions, Transport};
use crate::restore::plan::obstacle::Obstacle;

/// What a plan needs beyond the permission to write to its targets.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    /// What the plan is for.
    pub(crate) purpose: Purpose,
    /// Consumer groups to restore.
    pub(crate) groups: Vec<String>,
}

/// Returns what is not permitted, or not possible: brokers validate the creation of topics without creating them. Blocks; must not be
/// called from asynchronous code.
pub(crate) fn missing(
    kafka: &ClientSettings,
    plan: &RestorePlan,
    needed: &Needed,
) -> Result<Vec<Obstacle>, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let mut check = Check::new(plan, needed);
    check.groups(&admin, plan, &needed.groups)?;
    let (new, existing): (Vec<_>, Vec<_>) =
        plan.topics().partition(|topic| topic.create().is_some());
    check.existing(&admin, &existing)?;
    match needed.purpose {
        Purpose::Compare => check.hidden_topics(&admin, &names_of(&new), AclOperation::Read)?,
        Purpose::Restore | Purpose::DryRun => {
            let mut topics = plan.topics();
            if let Some(topic) = topics.find(|topic| topic.config_afterwards().is_some()) {
                // Before records are written that would be left without their configuration.
                admin.check_config_changes(topic.target())?;
            }
            check.new_topics(&admin, &new)?;
        }
    }
    // Asking registers the id with its coordinator, and so fences the producers of an earlier run: a dry run changes nothing, and a
    // resumed restore takes over its ids only once nothing else prevents it.
    if needed.purpose == Purpose::Restore && plan.is_transactional() && !plan.resumed {
        let id = plan.manifest.transactional_id(0);
        let transport = ChosenTransport::new(plan.client, kafka.clone())?;
        if !may_write_as(&transport, &id)? {
            check.missing.insert(Permission::transactional_id(&id));
        }
    }
    Ok(check.into_obstacles())
}

/// Returns whether this principal may write in transactions with this id. Ends a transaction that is open under it, and fences its
/// producer.
fn may_write_as(transport: &impl Transport, id: &str) -> Result<bool, KafkaError> {
    let options = SinkOptions {
        transactional_id: Some(id.to_owned()),
        ..SinkOptions::default()
    };
    match transport.open_sink(options) {
        Ok(_) => Ok(true),
        Err(error) if error.is_denied() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns what is not permitted on topics that exist.
pub(crate) fn missing_on(
    admin: &Admin,
    plan: &RestorePlan,
    topics: &[TopicPlan<'_>],
) -> Result<Vec<Obstacle>, KafkaError> {
    let needed = Needed {
        purpose: Purpose::Restore,
        groups: Vec::new(),
    };
    let mut check = Check::new(plan, &needed);
    check.existing(admin, topics)?;
    Ok(check.into_obstacles())
}

/// Returns what is not permitted of creating topics and of changing the configuration of others, each given by its name. Blocks; must
/// not be called from asynchronous code.
pub(crate) fn missing_to_configure(
    kafka: &ClientSettings,
    created: &[(String, CreatedTopic)],
    changed: &[String],
) -> Result<Vec<Obstacle>, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let mut check = Check::default();
    for (target, create) in created {
        check.creation(&admin, target, create)?;
    }
    let names: Vec<String> = created.iter().map(|(target, _)| target.clone()).collect();
    check.hidden_topics(&admin, &names, AclOperation::Describe)?;
    if let Some(target) = changed.first() {
        admin.check_config_changes(target)?;
    }
    for (target, rights) in admin.topic_rights(changed)? {
        if !rights.allow(AclOperation::AlterConfigs) {
            let permission = Permission::topic(AclOperation::AlterConfigs, &target);
            check.missing.insert(permission);
        }
    }
    Ok(check.into_obstacles())
}

/// A check in progress.
#[derive(Default)]
struct Check {
    purpose: Purpose,
    /// Whether READ on the targets is needed.
    reads: bool,
    /// A group of the restore's own that this principal may commit offsets of, where that is known.
    progress_group: Option<String>,
    missing: BTreeSet<Permission>,
    unchecked: BTreeSet<Permission>,
    /// The topics to create, by their names in metrics.
    metrics: BTreeMap<String, String>,
    /// Topics that cannot be created for another reason.
    refused: Vec<Obstacle>,
}

impl Check {
    fn new(plan: &RestorePlan, needed: &Needed) -> Check {
        Check {
            purpose: needed.purpose,
            // Kafka requires READ on a topic to commit offsets of it, and a transaction commits its position.
            reads: plan.is_transactional()
                || plan.verify
                || !needed.groups.is_empty()
                || needed.purpose == Purpose::Compare,
            progress_group: None,
            missing: BTreeSet::new(),
            unchecked: BTreeSet::new(),
            metrics: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// Checks the groups whose offsets are committed: those that keep the progress and the claims, and those that are restored.
    fn groups(
        &mut self,
        admin: &Admin,
        plan: &RestorePlan,
        restored: &[String],
    ) -> Result<(), KafkaError> {
        let mut progress = Vec::new();
        if plan.is_transactional() {
            progress = plan.manifest.groups();
            progress.push(RestoreManifest::CLAIMS_GROUP.to_owned());
        }
        let names: Vec<&str> = progress
            .iter()
            .chain(restored)
            .map(String::as_str)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        for (group, rights) in admin.group_rights(&names)? {
            if !rights.allow(AclOperation::Read) {
                let permission = Permission::group(AclOperation::Read, &group);
                self.missing.insert(permission);
            } else if progress.contains(&group) {
                self.progress_group.get_or_insert(group);
            }
        }
        Ok(())
    }

    fn existing(&mut self, admin: &Admin, topics: &[TopicPlan<'_>]) -> Result<(), KafkaError> {
        let rights = admin.topic_rights(&names_of(topics))?;
        for topic in topics {
            // Brokers before 2.3 report no rights; what is missing there shows when it is used.
            let Some(rights) = rights.get(topic.target()) else {
                continue;
            };
            let lacking = self.operations(topic);
            let lacking = lacking
                .into_iter()
                .filter(|operation| !rights.allow(*operation));
            let lacking = lacking.map(|operation| Permission::topic(operation, topic.target()));
            self.missing.extend(lacking);
        }
        Ok(())
    }

    /// Returns the operations that a target is used with, but for its creation.
    fn operations(&self, topic: &TopicPlan<'_>) -> Vec<AclOperation> {
        let writes = self.purpose != Purpose::Compare;
        let needed = [
            (AclOperation::Read, self.reads),
            (AclOperation::Write, writes),
            (AclOperation::Delete, writes && topic.restored.purge),
            (AclOperation::DescribeConfigs, writes),
            (
                AclOperation::AlterConfigs,
                writes && topic.config_afterwards().is_some(),
            ),
        ];
        let needed = needed.into_iter().filter(|(_, needed)| *needed);
        needed.map(|(operation, _)| operation).collect()
    }

    fn new_topics(&mut self, admin: &Admin, topics: &[TopicPlan<'_>]) -> Result<(), KafkaError> {
        for topic in topics {
            if let Some(create) = topic.create() {
                self.creation(admin, topic.target(), create)?;
            }
        }
        let group = self.progress_group.as_deref();
        let reported = match admin.rights_on_new_topics(&names_of(topics), group) {
            // What is missing there shows when it is used.
            Err(error) if error.is_unsupported() => return Ok(()),
            reported => reported?,
        };
        for topic in topics {
            let reported = reported.get(topic.target());
            for operation in self.operations(topic) {
                let permission = Permission::topic(operation, topic.target());
                match reported.and_then(|reported| reported.get(&operation)) {
                    Some(true) => {}
                    Some(false) => drop(self.missing.insert(permission)),
                    None => drop(self.unchecked.insert(permission)),
                }
            }
        }
        Ok(())
    }

    /// Adds `operation` to what is missing on topics that the cluster does not list, where they may exist for others.
    fn hidden_topics(
        &mut self,
        admin: &Admin,
        names: &[String],
        operation: AclOperation,
    ) -> Result<(), KafkaError> {
        if names.is_empty() {
            return Ok(());
        }
        let hidden = admin.hidden_topics(names)?.into_iter();
        let hidden = hidden.map(|name| Permission::topic(operation, &name));
        self.missing.extend(hidden);
        Ok(())
    }

    fn creation(
        &mut self,
        admin: &Admin,
        target: &str,
        create: &CreatedTopic,
    ) -> Result<(), KafkaError> {
        // The cluster is asked for one topic at a time, and does not know of the others yet.
        if let Some(other) = self.metrics.insert(in_metrics(target), target.to_owned()) {
            self.refused.push(Obstacle::NamesCollide {
                topic: target.to_owned(),
                other,
            });
        }
        match admin.try_create_topic(target, create) {
            Ok(()) => {}
            Err(error) if error.is_denied() => {
                let permission = Permission::topic(AclOperation::Create, target);
                self.missing.insert(permission);
            }
            Err(error) if error.is_unsupported() => {}
            Err(KafkaError::Other { cause, .. }) => self.refused.push(Obstacle::CannotCreate {
                topic: target.to_owned(),
                cause,
            }),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the obstacles. What could not be checked matters only where something has to be granted anyway.
    fn into_obstacles(self) -> Vec<Obstacle> {
        let unchecked = match self.missing.is_empty() {
            true => BTreeSet::new(),
            false => self.unchecked,
        };
        let missing = self.missing.into_iter();
        let missing = missing.map(|permission| Obstacle::MissingRight { permission });
        let unchecked = unchecked.into_iter();
        let unchecked = unchecked.map(|permission| Obstacle::UncheckedRight { permission });
        missing.chain(unchecked).chain(self.refused).collect()
    }
}

/// Returns the name of a topic in Kafka's metrics. Kafka creates no topic whose name there is that of another one.
fn in_metrics(topic: &str) -> String {
    topic.replace('.', "_")
}

fn names_of(topics: &[TopicPlan<'_>]) -> Vec<String> {
    let names = topics.iter().map(|topic| topic.target().to_owned());
    names.collect()
}
