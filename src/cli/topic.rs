//! Topic names on the command line: `TOPIC/PARTITION` places and `SRC=DST` mappings.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::error::CliError;
use super::rewrite::TopicRewrite;

/// Kafka's longest topic name.
const MAX_NAME: usize = 249;

/// Whether Kafka takes `name` for a topic (org.apache.kafka.common.internals.Topic).
fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && name.bytes().all(legal)
}

/// Text that names no topic.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A name that Kafka does not take.
    #[error("`{0}` is not a topic name: Kafka takes 1 to 249 of a-z A-Z 0-9 `.` `_` `-`")]
    Name(String),
    /// Something else than a partition number after the slash.
    #[error("`{0}` is not a partition; give a topic, or TOPIC/PARTITION as in `orders/0`")]
    Partition(String),
    /// No `=` between the names.
    #[error("`{0}` maps no topic; give SOURCE=TARGET as in `orders=orders-restored`")]
    Mapping(String),
}

pub(super) fn topic_name(name: &str) -> Result<String, TopicError> {
    if is_topic_name(name) {
        Ok(name.to_owned())
    } else {
        Err(TopicError::Name(name.to_owned()))
    }
}

/// A topic, given by its name in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName(pub String);

impl FromStr for TopicName {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        topic_name(text).map(Self)
    }
}

/// A topic, or one partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlace {
    /// Its name.
    pub topic: String,
    /// One partition; all of them without.
    pub partition: Option<i32>,
}

impl FromStr for TopicPlace {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (topic, partition) = match text.split_once('/') {
            Some((topic, number)) => (topic, Some(partition(number)?)),
            None => (text, None),
        };
        Ok(Self {
            topic: topic_name(topic)?,
            partition,
        })
    }
}

fn partition(text: &str) -> Result<i32, TopicError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| TopicError::Partition(text.to_owned()))
}

/// One `--map SRC=DST`: restore a topic under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMapping {
    /// Its name in the backup.
    pub source: String,
    /// Its name in the cluster.
    pub target: String,
}

impl fmt::Display for TopicMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.source, self.target)
    }
}

impl FromStr for TopicMapping {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (source, target) = text
            .split_once('=')
            .ok_or_else(|| TopicError::Mapping(text.to_owned()))?;
        Ok(Self {
            source: topic_name(source)?,
            target: topic_name(target)?,
        })
    }
}

/// The target name of each of `topics`: its mapping's, else that of the first rewrite that matches it, else its own.
///
/// Refuses a mapping of a topic that is not restored, a topic mapped twice, a rewrite that matches no topic, and two topics
/// that would be mixed in one target.
pub(super) fn map_topics(
    topics: &[String],
    mappings: &[TopicMapping],
    rewrites: &[TopicRewrite],
) -> Result<BTreeMap<String, String>, CliError> {
    let mut targets: BTreeMap<_, _> = topics.iter().map(|topic| (topic.clone(), None)).collect();
    for mapping in mappings {
        let target = targets.get_mut(&mapping.source).ok_or_else(|| {
            CliError::usage(format!(
                "--map {mapping}: `{}` is not among the topics to restore",
                mapping.source
            ))
            .hint("`kbk ls` lists the backup's topics; --topic and --exclude choose among them")
        })?;
        if target.replace(mapping.target.clone()).is_some() {
            return Err(CliError::usage(format!(
                "--map names `{}` twice",
                mapping.source
            )));
        }
    }
    for rewrite in rewrites {
        let mut matches = false;
        for (source, target) in &mut targets {
            if let Some(name) = rewrite.apply(source) {
                matches = true;
                let wrong = |error| {
                    CliError::usage(format!("--map-regex {rewrite}, for `{source}`: {error}"))
                };
                let name = name.map_err(wrong)?;
                target.get_or_insert(name);
            }
        }
        if !matches {
            let message = format!("--map-regex {rewrite} matches none of the topics to restore");
            return Err(CliError::usage(message)
                .hint("the pattern is for the whole name; `kbk ls` lists the backup's topics"));
        }
    }
    let named: BTreeMap<String, String> = targets
        .into_iter()
        .map(|(source, target)| (source.clone(), target.unwrap_or(source)))
        .collect();
    refuse_mixing(&named)?;
    Ok(named)
}

fn refuse_mixing(targets: &BTreeMap<String, String>) -> Result<(), CliError> {
    let mut sources = BTreeMap::new();
    for (source, target) in targets {
        if let Some(other) = sources.insert(target, source) {
            let message = format!("`{other}` and `{source}` would both be restored to `{target}`");
            return Err(
                CliError::usage(message).hint("give each topic its own --map SOURCE=TARGET")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(topics: &[&str], mappings: &[&str]) -> Result<BTreeMap<String, String>, CliError> {
        map_all(topics, mappings, &[])
    }

    fn map_all(
        topics: &[&str],
        mappings: &[&str],
        rewrites: &[&str],
    ) -> Result<BTreeMap<String, String>, CliError> {
        let topics: Vec<_> = topics.iter().map(|topic| topic.to_string()).collect();
        let mappings: Vec<_> = mappings.iter().map(|text| text.parse().unwrap()).collect();
        let rewrites: Vec<_> = rewrites.iter().map(|text| text.parse().unwrap()).collect();
        map_topics(&topics, &mappings, &rewrites)
    }

    #[test]
    fn rules_stand_behind_mappings_and_the_first_one_counts() {
        let topics = ["prod-a", "prod-b", "c"];
        let rules = ["prod-(b)=only-$1", "prod-(.*)=new-$1"];
        let targets = map_all(&topics, &["prod-a=x"], &rules).unwrap();
        let names: Vec<_> = targets.values().map(String::as_str).collect();
        assert_eq!(names, ["c", "x", "only-b"]);
        let message = |rule: &str| map_all(&topics, &[], &[rule]).unwrap_err().to_string();
        assert!(message("prod-.*=same").contains("both be restored to `same`"));
        assert!(message("prod-a=c").contains("both be restored to `c`"));
        assert!(message("d=e").contains("matches none"));
        assert!(message("(.*)=$1 x").contains("`c x` is not a topic name"));
    }

    #[test]
    fn places() {
        let place: TopicPlace = "orders/12".parse().unwrap();
        assert_eq!(
            (place.topic.as_str(), place.partition),
            ("orders", Some(12))
        );
        let place: TopicPlace = "orders".parse().unwrap();
        assert_eq!((place.topic.as_str(), place.partition), ("orders", None));
        for text in [
            "",
            "/",
            "orders/",
            "orders/x",
            "orders/-1",
            "orders/0/1",
            "orders/2147483648",
            "a b",
            "..",
            "é",
        ] {
            assert!(text.parse::<TopicPlace>().is_err(), "{text}");
        }
        assert!("a".repeat(249).parse::<TopicName>().is_ok());
        assert!("a".repeat(250).parse::<TopicName>().is_err());
    }

    #[test]
    fn mappings() {
        let targets = map(&["a", "b"], &["a=x"]).unwrap();
        assert_eq!(targets["a"], "x");
        assert_eq!(targets["b"], "b");
        // Names may be swapped.
        assert_eq!(map(&["a", "b"], &["a=b", "b=a"]).unwrap()["a"], "b");
        for text in ["", "a", "=b", "a=", "a=b=c", "a=b c"] {
            assert!(text.parse::<TopicMapping>().is_err(), "{text}");
        }
    }

    #[test]
    fn mappings_that_cannot_be_meant() {
        let message =
            |topics: &[&str], mappings: &[&str]| map(topics, mappings).unwrap_err().to_string();
        assert!(message(&["a"], &["c=x"]).contains("`c` is not among"));
        assert!(message(&["a"], &["a=x", "a=y"]).contains("`a` twice"));
        assert!(message(&["a", "b"], &["a=b"]).contains("both be restored to `b`"));
    }
}
