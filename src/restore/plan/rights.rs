//! Whether this principal may do what a restore does, as far as brokers report it in advance.

use super::restore_plan::{RestorePlan, TopicPlan};
use crate::kafka::{Admin, ClientSettings, KafkaError};
use crate::restore::plan::obstacle::Obstacle;

/// Returns what is not permitted, or not possible: brokers validate the creation of topics without creating them. Blocks; must not be
/// called from asynchronous code.
pub(crate) fn missing(
    kafka: &ClientSettings,
    plan: &RestorePlan,
) -> Result<Vec<Obstacle>, KafkaError> {
    let admin = Admin::connect(kafka)?;
    let (new, existing): (Vec<_>, Vec<_>) =
        plan.topics().partition(|topic| topic.create().is_some());
    let mut missing = missing_on(&admin, &existing, plan.is_transactional())?;
    for topic in new {
        missing.extend(cannot_create(&admin, topic)?);
    }
    Ok(missing)
}

/// Returns what is not permitted on topics that exist.
pub(crate) fn missing_on(
    admin: &Admin,
    topics: &[TopicPlan<'_>],
    transactional: bool,
) -> Result<Vec<Obstacle>, KafkaError> {
    let names: Vec<String> = topics
        .iter()
        .map(|topic| topic.target().to_owned())
        .collect();
    let rights = admin.topic_rights(&names)?;
    let mut missing = Vec::new();
    for topic in topics {
        // Brokers before 2.3 report no rights; what is missing there shows when it is used.
        let Some(rights) = rights.get(topic.target()) else {
            continue;
        };
        let configures = topic.config_afterwards().is_some();
        let needed = [
            ("WRITE", rights.write, true),
            // Kafka requires READ on a topic to commit offsets of it, and a transaction commits its position.
            ("READ", rights.read, transactional),
            ("ALTER_CONFIGS", rights.alter_configs, configures),
        ];
        let lacking = needed.iter().filter(|(_, given, needed)| *needed && !given);
        missing.extend(lacking.map(|(right, ..)| Obstacle::MissingRight {
            right,
            topic: topic.target().to_owned(),
        }));
    }
    Ok(missing)
}

fn cannot_create(admin: &Admin, topic: TopicPlan<'_>) -> Result<Option<Obstacle>, KafkaError> {
    let Some(create) = topic.create() else {
        return Ok(None);
    };
    let target = topic.target();
    match admin.try_create_topic(
        target,
        create.partitions,
        create.replication_factor,
        &create.config,
    ) {
        Ok(()) => Ok(None),
        Err(error) if error.is_denied() => Ok(Some(Obstacle::MissingRight {
            right: "CREATE",
            topic: target.to_owned(),
        })),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(KafkaError::Other { cause, .. }) => Ok(Some(Obstacle::CannotCreate {
            topic: target.to_owned(),
            cause,
        })),
        Err(error) => Err(error),
    }
}
