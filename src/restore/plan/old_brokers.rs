//! Leaves out settings of topics to be created that the brokers are too old to know.

use std::collections::BTreeMap;

use super::restore_plan::RestorePlan;
use crate::kafka::{Admin, ClientSettings, KafkaError};

/// Settings with which a topic accepts any timestamp while it is filled (KIP-937, Apache Kafka 3.6).
const ANY_TIME: [&str; 2] = [
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
];
/// What brokers before that have instead.
const ANY_TIME_BEFORE: &str = "message.timestamp.difference.max.ms";

/// Asks the cluster to check the first topic that is to be created, and replaces in all of them what it does not know and nobody saved. What was
/// saved stays, so that the cluster's refusal is reported.
pub(super) fn adapt(kafka: &ClientSettings, plan: &mut RestorePlan) -> Result<(), KafkaError> {
    let mut created = plan.topics().filter_map(|topic| {
        let create = topic.create()?;
        Some((topic.target().to_owned(), create.clone()))
    });
    let Some((target, create)) = created.next() else {
        return Ok(());
    };
    drop(created);
    let tried = Admin::connect(kafka)?.try_create_topic(&target, &create);
    // Any other failure is reported with those of the other topics.
    let Err(KafkaError::Other { cause, .. }) = tried else {
        return Ok(());
    };
    if ANY_TIME.iter().any(|key| is_unknown(&cause, key)) {
        for topic in &mut plan.manifest.topics {
            if let Some(create) = &mut topic.create {
                replace(&mut create.config, &mut topic.config_afterwards);
            }
        }
    }
    Ok(())
}

/// Whether a broker says that it does not know a setting.
fn is_unknown(cause: &str, key: &str) -> bool {
    cause.contains(&format!("Unknown topic config name: {key}"))
}

fn replace(
    filling: &mut BTreeMap<String, String>,
    afterwards: &mut BTreeMap<String, Option<String>>,
) {
    let is_saved =
        |afterwards: &BTreeMap<_, _>, key: &str| matches!(afterwards.get(key), Some(Some(_)));
    for key in ANY_TIME {
        if is_saved(afterwards, key) {
            continue;
        }
        let Some(limit) = filling.remove(key) else {
            continue;
        };
        afterwards.remove(key);
        let before = filling.insert(ANY_TIME_BEFORE.to_owned(), limit.clone());
        // The second of the two finds what the first has inserted.
        if before.as_ref() != Some(&limit) {
            afterwards.insert(ANY_TIME_BEFORE.to_owned(), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::config;

    const UNLIMITED: &str = "9223372036854775807";

    fn config(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        entries.iter().map(own).collect()
    }

    fn replaced(
        saved: &[(&str, &str)],
    ) -> (BTreeMap<String, String>, BTreeMap<String, Option<String>>) {
        let saved = config(saved);
        let mut filling = config::while_filling(&saved, 0);
        let mut afterwards = config::afterwards(&saved, &filling, false);
        replace(&mut filling, &mut afterwards);
        (filling, afterwards)
    }

    #[test]
    fn any_time_is_accepted_by_the_older_setting() {
        let (filling, afterwards) = replaced(&[]);
        assert_eq!(filling[ANY_TIME_BEFORE], UNLIMITED);
        assert_eq!(afterwards[ANY_TIME_BEFORE], None, "removed again");
        for key in ANY_TIME {
            assert!(!filling.contains_key(key) && !afterwards.contains_key(key));
        }
        let (filling, afterwards) = replaced(&[(ANY_TIME_BEFORE, "5000")]);
        assert_eq!(filling[ANY_TIME_BEFORE], UNLIMITED);
        assert_eq!(afterwards[ANY_TIME_BEFORE].as_deref(), Some("5000"));
        let (_, afterwards) = replaced(&[(ANY_TIME_BEFORE, UNLIMITED)]);
        assert!(
            !afterwards.contains_key(ANY_TIME_BEFORE),
            "already as saved"
        );
    }

    #[test]
    fn what_was_saved_stays_and_is_refused() {
        let key = "message.timestamp.before.max.ms";
        let (filling, afterwards) = replaced(&[(key, "5000")]);
        assert!(filling.contains_key(key));
        assert_eq!(afterwards[key].as_deref(), Some("5000"));
        assert!(!filling.contains_key("message.timestamp.after.max.ms"));
    }

    #[test]
    fn the_words_of_brokers_are_known() {
        let cause = "Unknown topic config name: message.timestamp.before.max.ms (INVALID_CONFIG)";
        assert!(is_unknown(cause, ANY_TIME[1]) && !is_unknown(cause, ANY_TIME[0]));
    }
}
