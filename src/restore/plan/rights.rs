//! Whether this principal may do what a restore does, as far as brokers tell before anything is done.

use crate::kafka::{Admin, ClientSettings, KafkaError};
use crate::restore::plan::preflight::Obstacle;
use crate::restore::plan::{RestorePlan, Target, TopicPlan};

/// What is not allowed, or not possible: topics are created as a trial, which changes nothing. Blocks; must not be called from
/// asynchronous code.
pub(crate) fn lacking(
    kafka: &ClientSettings,
    plan: &RestorePlan,
) -> Result<Vec<Obstacle>, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let (existing, new): (Vec<_>, Vec<_>) = plan
        .topics
        .iter()
        .partition(|topic| matches!(topic.action, Target::Existing));
    let mut lacking = lacking_on(&admin, &existing, plan.transactions)?;
    for topic in new {
        lacking.extend(cannot_create(&admin, topic)?);
    }
    Ok(lacking)
}

/// The same of topics that are there now.
pub(crate) fn lacking_on(
    admin: &Admin,
    topics: &[&TopicPlan],
    transactions: bool,
) -> Result<Vec<Obstacle>, KafkaError> {
    let names: Vec<String> = topics.iter().map(|topic| topic.target.clone()).collect();
    let rights = admin.topic_rights(&names)?;
    let mut lacking = Vec::new();
    for topic in topics {
        let Some(rights) = rights.get(&topic.target) else {
            continue;
        };
        let configures = !topic.config_afterwards.is_empty();
        let needed = [
            ("WRITE", rights.write, true),
            // Positions are committed with the records, and that is a kind of reading.
            ("READ", rights.read, transactions),
            ("ALTER_CONFIGS", rights.alter_configs, configures),
        ];
        let missing = needed.iter().filter(|(_, given, needed)| *needed && !given);
        lacking.extend(missing.map(|(right, ..)| Obstacle::MissingRight {
            right,
            topic: topic.target.clone(),
        }));
    }
    Ok(lacking)
}

fn cannot_create(admin: &Admin, topic: &TopicPlan) -> Result<Option<Obstacle>, KafkaError> {
    let Target::Create {
        partitions,
        replication_factor,
        config,
    } = &topic.action
    else {
        return Ok(None);
    };
    match admin.try_create_topic(&topic.target, *partitions, *replication_factor, config) {
        Ok(()) => Ok(None),
        Err(error) if error.is_denied() => Ok(Some(Obstacle::MissingRight {
            right: "CREATE",
            topic: topic.target.clone(),
        })),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(KafkaError::Other { cause, .. }) => Ok(Some(Obstacle::CannotCreate {
            topic: topic.target.clone(),
            cause,
        })),
        Err(error) => Err(error),
    }
}
