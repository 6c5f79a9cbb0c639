//! Names one topic of a snapshot: `orders`, or `orders@ID` where several topics had that name.
//!
//! A topic that was deleted and created again is two topics of one name, with different ids. A name alone is the one that the
//! cluster has, or had last. The mount shows the others under the same names as here.

use std::fmt;
use std::str::FromStr;

use kbk_format::repo::{Id, Snapshot, TopicName, TopicState};

use super::topic::{TopicError, topic_name};

/// A topic of a snapshot, by its name or by its name and the first digits of its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicRef {
    name: String,
    /// At least [`TopicRef::DIGITS`] lower-case hex digits.
    id: Option<String>,
}

impl TopicRef {
    /// The fewest digits of an id that name a topic.
    const DIGITS: usize = 8;

    /// Returns the reference to the topic of a valid name.
    pub(crate) fn named(name: &str) -> TopicRef {
        TopicRef {
            name: name.to_owned(),
            id: None,
        }
    }

    /// Returns the shortest reference to a topic of the snapshot.
    pub fn of(snapshot: &Snapshot, topic: &TopicState) -> TopicRef {
        let current = current(snapshot, &topic.name);
        match current.is_some_and(|current| current.topic_id == topic.topic_id) {
            true => TopicRef::named(&topic.name),
            false => TopicRef::with_id(topic),
        }
    }

    /// Returns the reference to a topic that is valid whatever else has its name.
    pub fn with_id(topic: &TopicState) -> TopicRef {
        TopicRef::new(&topic.name, topic.topic_id)
    }

    /// As [`with_id`](Self::with_id), for the topic of this name and id.
    pub fn new(name: &TopicName, id: Id) -> TopicRef {
        TopicRef {
            name: name.to_string(),
            id: Some(id.to_string()),
        }
    }

    /// Returns the name without an id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the first digits of the id, if it has any.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns whether the digits of the id are those of the topic. Without digits, any topic of the name matches.
    pub fn matches(&self, topic: &TopicState) -> bool {
        self.is(&topic.name, topic.topic_id)
    }

    /// As [`matches`](Self::matches), for the topic of this name and id.
    pub fn is(&self, name: &str, id: Id) -> bool {
        let starts = |digits: &String| id.to_string().starts_with(digits);
        self.name == name && self.id.as_ref().is_none_or(starts)
    }

    /// Returns whether this reference names a topic that was selected as `other`: the name alone does, if no id is given.
    pub(super) fn names(&self, other: &TopicRef) -> bool {
        let starts = |digits: &str| other.id().is_some_and(|id| id.starts_with(digits));
        self.name == other.name && self.id().is_none_or(starts)
    }

    /// Finds the topic in a snapshot.
    pub fn find<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a TopicState> {
        match self.id {
            Some(_) => snapshot.topics.iter().find(|topic| self.matches(topic)),
            None => current(snapshot, &self.name),
        }
    }
}

/// Returns the topic of this name that the cluster has, or had last.
pub(super) fn current<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a TopicState> {
    let named = snapshot.topics.iter().filter(|topic| &*topic.name == name);
    named.max_by_key(|topic| (!topic.deleted, topic.last_seen, topic.first_seen))
}

impl fmt::Display for TopicRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}@{id}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for TopicRef {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let Some((name, id)) = text.split_once('@') else {
            let name = topic_name(text)?;
            return Ok(TopicRef { name, id: None });
        };
        let digits = (Self::DIGITS..=32).contains(&id.len());
        if !digits || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(TopicError::Id(text.to_owned()));
        }
        Ok(TopicRef {
            name: topic_name(name)?,
            id: Some(id.to_ascii_lowercase()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::TopicRef;

    #[test]
    fn a_name_may_be_followed_by_digits_of_an_id() {
        let parsed: TopicRef = "orders@1A2b3c4d".parse().unwrap();
        assert_eq!((parsed.name(), parsed.id()), ("orders", Some("1a2b3c4d")));
        assert_eq!(parsed.to_string(), "orders@1a2b3c4d");
        let parsed: TopicRef = "orders".parse().unwrap();
        assert_eq!((parsed.name(), parsed.id()), ("orders", None));
        let longest = format!("orders@{}", "a".repeat(32));
        assert!(longest.parse::<TopicRef>().is_ok());
        for text in [
            "",
            "@",
            "orders@",
            "orders@1a2b3c4",
            "orders@1a2b3c4g",
            "@1a2b3c4d",
            "a b@1a2b3c4d",
            "orders@1a2b3c4d@1a2b3c4d",
            &format!("{longest}a"),
        ] {
            assert!(text.parse::<TopicRef>().is_err(), "{text}");
        }
    }
}
