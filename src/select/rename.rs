//! The name of each topic in the cluster, from all `--map` and `--map-regex` options together.

use std::collections::BTreeMap;

use super::rewrite::TopicRewrite;
use super::topic::{TopicError, TopicMapping};
use super::topic_ref::TopicRef;

/// Why topics cannot be renamed as the options say.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// A mapping of a topic that is not selected.
    #[error("--map {mapping}: `{}` is not among the selected topics", .mapping.source)]
    NotSelected {
        /// The mapping.
        mapping: TopicMapping,
    },
    /// Two mappings of one topic.
    #[error("--map names `{topic}` twice")]
    MappedTwice {
        /// The topic's name in the backup.
        topic: String,
    },
    /// A rewrite whose result is not a valid topic name.
    #[error("--map-regex {rewrite}, for `{topic}`: {error}")]
    BadName {
        /// The rewrite, as it was given.
        rewrite: String,
        /// The topic's name in the backup.
        topic: String,
        /// What is wrong with the new name.
        error: TopicError,
    },
    /// A rewrite that matches none of the selected topics.
    #[error("--map-regex {rewrite} matches none of the selected topics")]
    NothingMatches {
        /// The rewrite, as it was given.
        rewrite: String,
    },
    /// Two topics of the backup with one name in the cluster, where their records would be mixed.
    #[error("`{first}` and `{second}` would both be restored to `{target}`")]
    Mixed {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
        /// The name that both would have.
        target: String,
    },
}

impl RenameError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotSelected { .. } => {
                Some("`kbk ls` lists the backup's topics; --topic and --exclude select among them")
            }
            Self::NothingMatches { .. } => {
                Some("the pattern must match the whole name; `kbk ls` lists the backup's topics")
            }
            Self::Mixed { .. } => Some("give each topic its own --map SOURCE=TARGET"),
            Self::MappedTwice { .. } | Self::BadName { .. } => None,
        }
    }
}

/// Returns the target name of each of `topics`: its mapping's, else that of the first rewrite that matches its name, else its own.
pub fn rename_topics(
    topics: &[TopicRef],
    mappings: &[TopicMapping],
    rewrites: &[TopicRewrite],
) -> Result<BTreeMap<TopicRef, String>, RenameError> {
    let mut targets: BTreeMap<_, _> = topics.iter().map(|topic| (topic.clone(), None)).collect();
    for mapping in mappings {
        let mut selected = targets.iter_mut();
        let target = selected.find(|(topic, _)| mapping.source.names(topic));
        let (_, target) = target.ok_or_else(|| RenameError::NotSelected {
            mapping: mapping.clone(),
        })?;
        if target.replace(mapping.target.clone()).is_some() {
            return Err(RenameError::MappedTwice {
                topic: mapping.source.to_string(),
            });
        }
    }
    for rewrite in rewrites {
        let mut matches = false;
        for (source, target) in &mut targets {
            if let Some(name) = rewrite.apply(source.name()) {
                matches = true;
                // Checked even where a mapping or an earlier rewrite wins: a rule that makes invalid names is a mistake.
                let name = name.map_err(|error| RenameError::BadName {
                    rewrite: rewrite.to_string(),
                    topic: source.to_string(),
                    error,
                })?;
                target.get_or_insert(name);
            }
        }
        if !matches {
            return Err(RenameError::NothingMatches {
                rewrite: rewrite.to_string(),
            });
        }
    }
    let named: BTreeMap<TopicRef, String> = targets
        .into_iter()
        .map(|(source, target)| {
            let target = target.unwrap_or_else(|| source.name().to_owned());
            (source, target)
        })
        .collect();
    refuse_mixing(&named)?;
    Ok(named)
}

/// Returns the target of each name. ACLs are about names: of several topics of one, the one that the cluster had last counts.
pub fn target_names(targets: &BTreeMap<TopicRef, String>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    // In order: a name comes before the same name with an id.
    for (topic, target) in targets {
        names
            .entry(topic.name().to_owned())
            .or_insert_with(|| target.clone());
    }
    names
}

fn refuse_mixing(targets: &BTreeMap<TopicRef, String>) -> Result<(), RenameError> {
    let mut sources: BTreeMap<&String, &TopicRef> = BTreeMap::new();
    for (source, target) in targets {
        if let Some(other) = sources.insert(target, source) {
            return Err(RenameError::Mixed {
                first: other.to_string(),
                second: source.to_string(),
                target: target.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = BTreeMap<String, String>;

    fn map(topics: &[&str], mappings: &[&str]) -> Result<Names, RenameError> {
        map_all(topics, mappings, &[])
    }

    fn map_all(
        topics: &[&str],
        mappings: &[&str],
        rewrites: &[&str],
    ) -> Result<Names, RenameError> {
        let topics: Vec<_> = topics.iter().map(|text| text.parse().unwrap()).collect();
        let mappings: Vec<_> = mappings.iter().map(|text| text.parse().unwrap()).collect();
        let rewrites: Vec<_> = rewrites.iter().map(|text| text.parse().unwrap()).collect();
        let targets = rename_topics(&topics, &mappings, &rewrites)?.into_iter();
        Ok(targets
            .map(|(source, target)| (source.to_string(), target))
            .collect())
    }

    #[test]
    fn mappings_win_over_rewrites_and_the_first_rewrite_wins() {
        let topics = ["prod-a", "prod-b", "c"];
        let rules = ["prod-(b)=only-$1", "prod-(.*)=new-$1"];
        let targets = map_all(&topics, &["prod-a=x"], &rules).unwrap();
        let names: Vec<_> = targets.values().map(String::as_str).collect();
        assert_eq!(names, ["c", "x", "only-b"]);
        let message = |rule: &str| map_all(&topics, &[], &[rule]).unwrap_err().to_string();
        assert!(message("prod-.*=same").contains("both be restored to `same`"));
        assert!(message("prod-a=c").contains("both be restored to `c`"));
        assert!(message("d=e").contains("matches none"));
        assert!(message("(.*)=$1 x").contains("\"c x\" is not a valid topic name"));
    }

    #[test]
    fn mappings() {
        let targets = map(&["a", "b"], &["a=x"]).unwrap();
        assert_eq!(targets["a"], "x");
        assert_eq!(targets["b"], "b");
        // Names may be swapped.
        assert_eq!(map(&["a", "b"], &["a=b", "b=a"]).unwrap()["a"], "b");
    }

    #[test]
    fn an_earlier_topic_of_a_name_is_mapped_by_its_id() {
        let older = format!("orders@{}", "1a2b3c4d".repeat(4));
        let topics = ["orders", &older];
        let targets = map(&topics, &["orders@1a2b3c4d=orders-old"]).unwrap();
        assert_eq!(
            (&*targets["orders"], &*targets[&older]),
            ("orders", "orders-old")
        );
        let mixed = map(&topics, &[]).unwrap_err().to_string();
        assert!(mixed.contains("both be restored to `orders`"), "{mixed}");
        assert_eq!(map(&[&older], &[]).unwrap()[&older], "orders");
        assert_eq!(map(&[&older], &["orders=x"]).unwrap()[&older], "x");
        let other = map(&topics, &["orders@ffffffff=x"])
            .unwrap_err()
            .to_string();
        assert!(other.contains("is not among the selected"), "{other}");
    }

    #[test]
    fn contradictory_mappings_are_refused() {
        let message =
            |topics: &[&str], mappings: &[&str]| map(topics, mappings).unwrap_err().to_string();
        assert!(message(&["a"], &["c=x"]).contains("`c` is not among"));
        assert!(message(&["a"], &["a=x", "a=y"]).contains("`a` twice"));
        assert!(message(&["a", "b"], &["a=b"]).contains("both be restored to `b`"));
    }
}
